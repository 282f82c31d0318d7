"""``python -m tdro`` is the command line; launchers start each rank with it."""

import atexit
import os
import sys

from tdro.cli import main

status = main()
if "RANK" in os.environ:
    # The rank's work is done and on disk. It ends here and now: while Python takes itself apart, gloo's threads can
    # abort the process or wait for ever, and the launcher would report a failure or never end.
    atexit._run_exitfuncs()  # trackers finish their runs there
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
sys.exit(status)
