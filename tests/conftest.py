"""Settings of all tests: no deadline for hypothesis (CI machines are slow and noisy), and no network.

And what ``test_ranks.py`` and ``test_scale.py`` share: to start two ranks takes longer than all that they do.
"""

import logging
import os
import subprocess

import pytest
from hypothesis import settings

from launch import HERE, environment, launcher

if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share the cores; read when torch is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("tdro", deadline=None, max_examples=50)
settings.load_profile("tdro")


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A run sends tdro's messages to its own log; the next test looks for its own in ``caplog``."""
    yield
    logger = logging.getLogger("tdro")
    logger.propagate = True
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory):
    """Folder with the models that ``rank_worker`` and ``scale_worker`` train, and with the results of two ranks."""
    import scale_worker

    out = tmp_path_factory.mktemp("ranks")
    scale_worker.make_models(out)
    command = launcher("fsdp.yaml", str(HERE / "scale_worker.py"), str(out))
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    traceback = [line for line in done.stderr.splitlines() if line.startswith("[rank0]")]
    assert done.returncode == 0, "\n".join(traceback[-40:]) or done.stderr[-3000:]
    return out
