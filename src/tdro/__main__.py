"""``python -m tdro`` is the command line."""

import sys

from tdro.cli import main

sys.exit(main())
