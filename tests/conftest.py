"""Settings of all tests: no deadline for hypothesis (CI machines are slow and noisy), no network, long files first.

And what several files share: two ranks train everything that is trained on two ranks.
"""

import contextlib
import functools
import gc
import importlib.metadata
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

import hub_server
from launch import fork_server_is_a_fork, in_ranks, launcher, run_in_fork
from tdro.disk import cache_folder
from tdro.files import read_json

if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share the cores; read when torch is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Whenever a model is made or loaded, or a run begins, these read packages' files again: 12 % of the time of a tiny run.
importlib.metadata.metadata = functools.cache(importlib.metadata.metadata)
importlib.metadata.version = functools.cache(importlib.metadata.version)
# A killed process loses nothing that it has written. Only a machine without power does, which no test can bring about;
# but waiting for the disk at every file took a tenth of the tests' time, and more on a slow disk.
os.fsync = lambda file: None
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["HF_ENDPOINT"] = hub_server.HUB.endpoint  # the tests with the fixture ``hub`` are online, but not far
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
fork_server_is_a_fork()
settings.register_profile("tdro", deadline=None, max_examples=25)  # other ones in each run
settings.load_profile("tdro")

# Files of 10 s and more, the longest first, so that no core idles while another is at the last of them. What two
# files share is made by the first; the second stands so far behind that it need not wait.
LONG = (
    *("real", "site", "study_ray", "same_command_again", "pipeline", "scale", "development", "resume", "model_matrix"),
    *("disks", "gpu_benchmark", "loss", "gain", "study", "workers", "sample", "inspect", "paper_recipes", "trackers"),
    *("stock_trainer", "matryoshka", "hub", "uniform_longer", "uniform_last", "init", "sampler", "ranks", "devices"),
    *("examples", "gradient_factors", "evaluate_models", "base", "keys"),
)

# What is downloaded, unpacked or built from packages on the index. It is the same for everybody, so that the tests use
# the user's: CI and a second run of the tests do not download it again.
SHARED = ("wheels", "models", "sample-mixture")


def pytest_configure(config):
    """A cache folder for this run of the tests, removed at its end: what they build is not left in the user's.

    The processes of xdist get it from the one that starts them, by the environment.
    """
    if hasattr(config, "workerinput"):
        return
    own, users = Path(tempfile.mkdtemp(prefix="tdro-tests-")), cache_folder().absolute()
    with contextlib.suppress(OSError):  # the user's cannot be made: the tests have all for themselves
        for name in ("wheels", "models"):
            (users / name).mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        if (users / name).is_dir():
            (own / name).symlink_to(users / name)
    os.environ["TDRO_CACHE"] = str(own)
    os.environ["HF_HOME"] = str(own / "huggingface")  # no token of the user's, and no downloads into the user's cache
    config.add_cleanup(lambda: shutil.rmtree(own, ignore_errors=True))  # removes the links, not what they lead to


def pytest_collection_modifyitems(items):
    """Long files first; the others as they were."""
    place = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


def pytest_collection():
    """To look for garbage while everything is imported took a seventh of that time, and found none."""
    gc.disable()


def pytest_collection_finish():
    """What has been imported is no garbage: each training collects it, which took 0.4 s of its second."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """A run sends tdro's messages to its own log; the next test looks for its own in ``caplog``."""
    yield
    logger = logging.getLogger("tdro")
    logger.propagate = True
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture
def hub(monkeypatch):
    """A hub on the loopback that this process's libraries ask; nobody waits before asking again."""
    import time
    from types import SimpleNamespace

    import datasets
    import huggingface_hub.file_download
    import huggingface_hub.utils._http

    from tdro.hub import faults

    hub_server.HUB.clear()
    hub_server.HUB.start()
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "STREAMING_READ_MAX_RETRIES", 2)
    for name in ("READ", "READ_SERVER_UNAVAILABLE", "READ_RATE_LIMIT", "OPEN"):
        monkeypatch.setattr(datasets.config, f"STREAMING_{name}_RETRY_INTERVAL", 0, raising=False)
    at_once = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    for module in (huggingface_hub.utils._http, huggingface_hub.file_download, faults):
        monkeypatch.setattr(module, "time", at_once)
    return hub_server.HUB


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory):
    """Folder with what ``scale_worker`` trains on two ranks, once for all of pytest's processes."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    out = shared / "ranks"
    with FileLock(shared / "ranks.lock"):
        if not (out / "done").exists():
            start_two_ranks(out)
            (out / "done").touch()
    return out


def start_two_ranks(out):
    """Fork two ranks with the settings that ``accelerate launch`` hands to the ranks that it starts."""
    import scale_worker

    out.mkdir(exist_ok=True)
    scale_worker.make_models(out)
    script = out / "tell.py"
    script.write_text(
        "import json, os, sys\n"
        "kept = ('ACCELERATE_', 'FSDP_', 'WORLD_SIZE')\n"
        "told = {key: value for key, value in os.environ.items() if key.startswith(kept)}\n"
        "with open(sys.argv[1] + os.environ['RANK'], 'w') as out:\n"
        "    json.dump(told, out)\n"
    )

    def launch():
        from accelerate.commands.launch import main

        sys.argv = launcher("fsdp.yaml", str(script), str(out / "settings-"))[2:]  # without `python -m`
        main()

    done = run_in_fork(launch, out / "output")
    assert done.returncode == 0, done.stdout[-3000:]
    settings, second = (read_json(out / f"settings-{rank}") for rank in range(2))
    assert settings == second and settings["ACCELERATE_USE_FSDP"] == "true" and settings["WORLD_SIZE"] == "2"

    def work(machine):
        os.environ |= settings
        scale_worker.run_all(out, machine)

    in_ranks(2, work, out / "output")
