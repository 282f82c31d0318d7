"""A disk that is full, read-only or somebody else's: one line with the path, nothing half, and it goes on with room.

A limit on the size of files stands for a full disk: what writes beyond it gets an error, as it would there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import save_file

import tdro.run.describe_data  # noqa: F401 (imported before a test patches what it takes from other modules)
import tiny
import tiny_mixture
from tdro import console
from tdro.cli import main
from tdro.disk import DiskError, disk_error_line, reserve_space, writing
from tdro.errors import UserError
from tdro.files import write_atomic
from tdro.training import trainer


@contextlib.contextmanager
def no_file_above(size):
    """No file of this process may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mixture(tmp_path):
    return tiny_mixture.mixture(tmp_path / "mixture", tasks=2)


def refused(capsys, arguments, *, path):
    """The command ends with status 2 and one line at the end, which names the path."""
    assert main(list(map(str, arguments))) == 2
    output = capsys.readouterr()
    lines = output.err.replace("\r", "\n").splitlines()
    assert "Traceback" not in output.out + output.err
    assert [line.startswith("error:") for line in lines][-1:] == [True]
    assert sum(line.startswith("error:") for line in lines) == 1
    assert str(path) in lines[-1] and "cannot be written" in lines[-1]
    return lines[-1]


def content_of(*places):
    """Every file's bytes, without times, locks and logs."""
    found = {}
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and path.name not in ("run.log", "run.json", "report.html", "lock", "versions.json"):
                found[str(path)] = re.sub(rb'"seconds": [\d.]+', b"", path.read_bytes())
    return found


FULL = "No space left on device"
ERRORS = [
    (OSError(errno.ENOSPC, FULL), FULL),
    (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), "make room"),
    (OSError(errno.EROFS, "Read-only file system"), "name another place"),
    (PermissionError(errno.EACCES, "Permission denied"), "name another place"),
    (PermissionError(errno.EPERM, "Operation not permitted"), "name another place"),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "a file is where a folder should be"),
    (IsADirectoryError(errno.EISDIR, "Is a directory"), "a folder is where a file should be"),
    (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    (OSError("1000 requested and 12 written"), FULL),  # NumPy
    (RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/0"), FULL),
    (RuntimeError("basic_ios::clear: iostream error"), FULL),
    (RuntimeError("File /a/b.pt cannot be opened."), "Permission denied"),
    (Exception("Error while serializing: I/O error: No space left on device (os error 28)"), FULL),  # safetensors
    (Exception("Error while serializing: I/O error: Read-only file system (os error 30)"), "Read-only"),
    (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]), FULL),
    (pa.ArrowException("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"), FULL),
]


@pytest.mark.parametrize(("error", "said"), ERRORS, ids=[str(error)[:40] for error, _ in ERRORS])
def test_every_library_s_error_becomes_one_line_with_the_path(tmp_path, error, said, monkeypatch, capsys):
    with pytest.raises(DiskError) as caught, writing(tmp_path / "a" / "b.json"):
        try:
            raise error
        except Exception as inner:
            raise RuntimeError("could not save") from inner
    assert isinstance(caught.value, UserError) and isinstance(caught.value, OSError)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'a' / 'b.json'}: cannot be written (") and said in line and "\n" not in line
    monkeypatch.setattr("tdro.recipe.builtin.built_in", lambda: (_ for _ in ()).throw(error))
    assert main(["recipe"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("y"), RuntimeError("CUDA out of memory"), ConnectionError(111, "refused"),
              FileNotFoundError(2, "No such file or directory", "x"), OSError("not a GGUF file")],
)  # fmt: skip
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, writing("somewhere"):
        raise error
    assert caught.value is error and disk_error_line(error) is None


def test_real_writers_at_a_real_limit(tmp_path):
    """Each of the libraries that write for us, stopped by the system."""
    values = np.zeros(100_000)

    def arrow(path):
        with path.open("wb") as file, pa.ipc.new_stream(file, pa.schema([("a", pa.float64())])) as stream:
            stream.write_batch(pa.record_batch([pa.array(values)], names=["a"]))

    writers = {
        "torch": lambda path: torch.save({"state": torch.zeros(100_000)}, path),
        "safetensors": lambda path: save_file({"a": values}, path),
        "numpy": lambda path: np.save(path, values),
        "json": lambda path: path.write_text(json.dumps(values.tolist())),
        "arrow": arrow,
        "copy": lambda path: shutil.copyfile(source, path),
        "tree": lambda path: shutil.copytree(source.parent, path),
        "atomic": lambda path: write_atomic(path, lambda file: np.save(file, values)),
    }
    source = tmp_path / "from" / "source"
    source.parent.mkdir()
    source.write_bytes(values.tobytes())
    for name, write in writers.items():
        named_so = pytest.raises(DiskError, match=f"^{tmp_path}/{name}: cannot be")
        with no_file_above(100_000), named_so, writing(tmp_path / name):
            write(tmp_path / name)
    assert not (tmp_path / "atomic").exists()


def test_a_memory_map_fails_before_it_is_written_to(tmp_path):
    """A page that finds no room would end the process by a signal."""
    with (tmp_path / "map").open("wb") as file:
        file.truncate(1 << 20)
    assert (tmp_path / "map").stat().st_blocks == 0
    reserve_space(tmp_path / "map")
    assert (tmp_path / "map").stat().st_blocks * 512 >= 1 << 20 and (tmp_path / "map").stat().st_size == 1 << 20


def test_the_similarities_of_a_reference_reserve_their_room(tmp_path, monkeypatch):
    from tdro.dro.stage_one import scoring as reference

    def full(*arguments):
        raise OSError(errno.ENOSPC, FULL)

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(UserError, match=rf"^{tmp_path}/store/cosines.npy: cannot be written"):
        reference._open(tmp_path / "store" / "cosines.npy", (10, 4, 2))
    assert not list((tmp_path / "store").iterdir())


def test_a_log_that_cannot_be_written_stops_the_run_in_a_line(tmp_path, capsys):
    console.log_to(tmp_path, main=True)
    with no_file_above(100), pytest.raises(UserError, match=r"run\.log: cannot be written"):
        for _ in range(20):
            console.say("a line of the run")
    assert "Logging error" not in capsys.readouterr().err


def test_the_error_has_a_line_of_its_own_below_a_bar(capsys, monkeypatch):
    def stopped():
        console.tqdm(total=3, desc="half").update(1)
        raise UserError("that is wrong")

    monkeypatch.setattr("tdro.recipe.builtin.built_in", stopped)
    assert main(["recipe"]) == 2
    assert "\nerror: that is wrong\n" in capsys.readouterr().err


def test_no_folder_for_temporary_files(monkeypatch, capsys):
    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tdro.recipe.builtin.built_in", none)
    assert main(["recipe"]) == 2
    assert "set TMPDIR" in capsys.readouterr().err
    temporary = Path(tempfile.gettempdir()) / f"{tempfile.gettempprefix()}abc" / "model.safetensors"
    assert "TMPDIR names another folder" in str(DiskError(errno.ENOSPC, temporary))


def test_what_is_in_the_cache_can_be_moved(tmp_path):
    assert "TDRO_CACHE names another folder" in str(DiskError(errno.EROFS, tmp_path / "cache" / "bases" / "x"))
    assert "TDRO_CACHE" not in str(DiskError(errno.EROFS, tmp_path / "run"))


def commands(tmp_path, mixture, out):
    """Every command that writes what it is told to, with the output at ``out``."""
    tiny_mixture.recipe(tmp_path)
    rows = mixture / "train" / "task0.jsonl"
    recipe = tiny_mixture.recipe(tmp_path, folder=str(out))
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    return {
        **{stage: [stage, tmp_path / "recipe.yaml"] for stage in ("run", "reference", "learn", "finetune", "report")},
        "evaluate": ["evaluate", tmp_path / "recipe.yaml"],
        "evaluate --on": ["evaluate", "bm25", "--on", mixture, "--out", out],
        "mine": ["data", "mine", mixture, "--by", "bm25", "--out", out],
        "dedup": ["data", "dedup", mixture, "--within", "--out", out],
        "audit": ["data", "dedup", mixture, "--within", "--audit", out],
        "describe": ["data", "describe", mixture, "--out", out],
        "check": ["data", "check", rows, "--bad-rows", out],
        "init": ["init", rows, "--base", tmp_path / "tokenizer", "--out", out],
        "compare": ["compare", tmp_path / "evaluation", "--out", out],
        "sample": ["sample", out],
    }


NAMES = ["run", "reference", "learn", "finetune", "report", "evaluate", "evaluate --on", "mine", "dedup", "audit",
         "describe", "init", "compare", "sample"]  # fmt: skip
FOLDERS = {"run", "reference", "learn", "finetune", "report", "evaluate", "evaluate --on", "mine", "dedup", "sample"}


@pytest.mark.parametrize("name", NAMES)
def test_an_output_that_cannot_be_is_refused_before_any_work(tmp_path, mixture, capsys, monkeypatch, name):
    """Under a file, on a read-only disk, in a foreign folder, on a full one; and nothing is left there."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "free").mkdir()
    for module in (
        *(
            "data.mixtures.from_paths.mixture_of",
            "data.mixtures.paths.find_raw_tasks",
            "data.mixtures.folder.read_mixture",
        ),
        "quickstart.build.fetch_wheels",
    ):
        monkeypatch.setattr(f"tdro.{module}", lambda *a, **k: pytest.fail("worked before"))
    line = refused(capsys, commands(tmp_path, mixture, tmp_path / "file" / "out")[name], path=tmp_path / "file")
    assert "a file is where a folder should be" in line
    for number in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT):
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "TemporaryFile", lambda dir, number=number: raise_(number, dir))
            out = tmp_path / "free" / "out"
            assert os.strerror(number) in refused(capsys, commands(tmp_path, mixture, out)[name], path=out)
    assert not list((tmp_path / "free").iterdir()) and (tmp_path / "file").read_text() == "mine"
    if name not in FOLDERS:
        assert main(list(map(str, commands(tmp_path, mixture, tmp_path / "free")[name]))) == 2
        assert "is a folder; name a file in it" in capsys.readouterr().err


def raise_(number, path):
    raise OSError(number, os.strerror(number), str(path))


def goes_on(tmp_path, capsys, arguments, outputs, limits, ended_after_each=True):
    """At each limit it is refused in a line; with room again the same command makes what it makes without.

    Unless it is ended after each limit, it goes on at the next from what it has left, and is ended after the last.
    """
    arguments = list(map(str, arguments))

    def remove():
        for place in [*outputs, tmp_path / "cache"]:
            shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink(missing_ok=True)

    remove()
    assert main(arguments) == 0
    expected = content_of(*outputs)
    for limit in limits:
        if ended_after_each or limit == limits[0]:
            remove()
        capsys.readouterr()
        with no_file_above(limit):
            refused(capsys, arguments, path=tmp_path)
        for path in (path for place in outputs if place.is_dir() for path in place.rglob("*.tmp")):
            pytest.fail(f"{path} is left")
        if ended_after_each or limit == limits[-1]:
            assert main(arguments) == 0
            assert content_of(*outputs) == expected


def test_what_is_held_out_goes_with_its_recipe(tmp_path, mixture, capsys, monkeypatch):
    rows = mixture / "train" / "task1.jsonl"
    commands(tmp_path, mixture, tmp_path / "x")  # the tokenizer
    arguments = ["init", rows, "--base", tmp_path / "tokenizer", "--out", tmp_path / "r.yaml", "--hold-out", "3"]
    goes_on(tmp_path, capsys, arguments, [tmp_path / "r.yaml", tmp_path / "r-held-out"], [200, 1500])
    for place in (tmp_path / "r.yaml", tmp_path / "r-held-out"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(
            "tdro.init.write_recipe.write_atomic",
            lambda path, text: (_ for _ in ()).throw(DiskError(errno.ENOSPC, path)),
        )
        refused(capsys, arguments, path=tmp_path / "r.yaml")
    assert main(list(map(str, arguments))) == 0


def test_evaluations_and_comparisons_go_on(tmp_path, mixture, capsys):
    tiny.static_model().save_pretrained(str(tmp_path / "model"), create_model_card=False)
    out = tmp_path / "evaluation"
    arguments = ["evaluate", tmp_path / "model", "bm25", "--on", mixture, "--out", out]
    goes_on(tmp_path, capsys, arguments, [out], [200, 700, 2000])
    goes_on(tmp_path, capsys, ["compare", out, "--out", tmp_path / "c.json"], [tmp_path / "c.json"], [600])
    describe = ["data", "describe", mixture, "--out", tmp_path / "d.json"]
    goes_on(tmp_path, capsys, describe, [tmp_path / "d.json"], [600])


def test_runs_go_on(tmp_path, capsys, monkeypatch):
    """The case: limits at which an index, a checkpoint, an optimizer's state, a model or the report finds no room."""
    recipe = tiny_mixture.recipe(
        tmp_path, reference__checkpoint_steps=3, weights__checkpoint_steps=3, finetune__checkpoint_steps=3,
        finetune__mixtures=["uniform"],
    )  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    where = []
    real = trainer.PlannedTrainer._save_checkpoint

    def save(self, *arguments):
        try:
            real(self, *arguments)
        except DiskError as error:
            where.append(error.filename)
            assert not (self._folder / "writing").exists()
            raise

    monkeypatch.setattr(trainer.PlannedTrainer, "_save_checkpoint", save)
    limits = [1000, 6000, 9000, 16_000]
    goes_on(tmp_path, capsys, ["run", tmp_path / "recipe.yaml"], [tmp_path / "run"], limits, ended_after_each=False)
