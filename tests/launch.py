"""How tests start processes of ours, and two ranks as users start them."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent


def environment(**more):
    """The environment of a process of ours, on one thread."""
    path = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TQDM_DISABLE": "1", **more}


def launcher(configuration, *more):
    """``accelerate launch`` of two ranks with one of the examples' configurations."""
    file = HERE.parent / "examples" / "accelerate" / configuration
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file)]
    return [*command, "--num_processes", "2", "--main_process_port", "0", *more]
