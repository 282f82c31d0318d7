"""Files and folders that are whole or not there."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tdro.errors import UserError
from tdro.files import make_once, whole_folder


def test_a_folder_gets_its_name_when_it_is_whole(tmp_path):
    place = tmp_path / "deep" / "made"
    with whole_folder(place) as folder:
        (folder / "a").write_text("1")
        assert not place.exists()
    with whole_folder(place) as folder:
        (folder / "b").write_text("2")
        assert (place / "a").exists()
    assert [path.name for path in place.iterdir()] == ["b"] and list(place.parent.iterdir()) == [place]


def test_an_error_leaves_what_was_there(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "made") as folder:
        (folder / "b").write_text("2")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "a"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/made: cannot be written"), whole_folder(tmp_path / "file" / "made"):
        pass


def test_what_is_made_once_is_waited_for_by_the_others(tmp_path):
    file, made = tmp_path / "deep" / "file", []

    def make():
        made.append(file.exists())
        time.sleep(0.05)
        file.write_text("whole")

    def ask(_):
        make_once(file, make)
        return file.read_text()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["whole"] * 4
    assert made == [False]


def test_what_cannot_be_made_is_named_and_made_by_the_next(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"):
        make_once(tmp_path / "file" / "json", lambda: None)
    with pytest.raises(ZeroDivisionError):
        make_once(tmp_path / "folder" / "json", lambda: 1 / 0)
    make_once(tmp_path / "folder" / "json", (tmp_path / "folder" / "json").touch)
    assert (tmp_path / "folder" / "json").exists()
