"""Reading JSONL files that are not as they should be: what is read, and what is said with which line."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.data.read import text_files
from tdro.data.read.jsonl import raw_rows
from tdro.data.read.problem import Problem
from tdro.errors import UserError

ROWS = [{"query": "wie groß?", "n": 1}, {"query": "日本 😀", "n": 2}, {"query": "", "n": 3}]
TEXT = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)


def read(path, content: bytes, **how):
    """(line, value) or (line, kind, action) of what is in a file with this content."""
    path.write_bytes(content)
    found = []
    for line, _, value in raw_rows(path, **how):
        if isinstance(value, Problem):
            assert value.file == str(path)
            assert value.line in (line, None)
            found.append((line, value.kind, value.action))
        else:
            found.append((line, value))
    return found


def archive(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.pax_headers = {"comment": "é"}  # a header before the file's own
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_and_line_ends(tmp_path, encoding, end, packed):
    content = TEXT.replace("\n", end).encode(encoding)
    assert read(tmp_path / "rows", gzip.compress(content) if packed else content) == list(enumerate(ROWS, 1))


BROKEN = {
    "nonsense": "not-json",
    '{"a": 1': "not-json",
    '{"a": 1} {"a": 2}': "not-json",
    '\0\0{"a": 1}': "not-json",
    "{'a': 1}": "not-json",
    '{"a": 1, "b": 2, "a": 3}': "duplicate-key",
    '{"a": [{"t": 1, "t": 1}]}': "duplicate-key",
    '{"a": ' + "9" * 5000 + "}": "huge-number",
    "[" * 100_000: "nested-too-deep",
    '{"a":' * 100_000: "nested-too-deep",
}


@pytest.mark.parametrize(("line", "kind"), BROKEN.items(), ids=lambda value: value[:20])
def test_a_broken_line_is_named_and_costs_no_other(tmp_path, line, kind):
    found = read(tmp_path / "rows", f'{{"n": 1}}\n{line}\n{{"n": 3}}\n'.encode())
    assert found == [(1, {"n": 1}), (2, kind, "dropped"), (3, {"n": 3})]


def test_a_byte_that_is_not_utf8(tmp_path):
    found = read(tmp_path / "rows", b'{"n": 1}\n{"a": "caf\xe9"}\n{"n": 3}')
    assert found == [(1, {"n": 1}), (2, "not-utf8", "dropped"), (3, {"n": 3})]


def test_values_that_only_python_reads_are_left_to_the_rows(tmp_path):
    (_, nan), (_, huge), (_, half), (_, control) = read(
        tmp_path / "rows", b'{"a": NaN}\n{"a": 1e999}\n{"a": "\\ud800"}\n{"a": "x\0\ty"}\n'
    )
    assert nan["a"] != nan["a"]
    assert huge == {"a": float("inf")}
    assert half == {"a": "\ud800"}
    assert control == {"a": "x\0\ty"}


def test_blank_lines_count_but_are_no_rows(tmp_path):
    assert read(tmp_path / "rows", b'\n \t\r\n{"a": 1}\n\n{"a": 2}\n\n') == [(3, {"a": 1}), (5, {"a": 2})]
    assert read(tmp_path / "rows", b"") == []


def test_files_with_a_bom_that_were_joined(tmp_path):
    assert read(tmp_path / "rows", b'\xef\xbb\xbf{"a": 1}\n\xef\xbb\xbf{"a": 2}') == [(1, {"a": 1}), (2, {"a": 2})]


def test_one_value_over_many_lines_is_refused_at_once(tmp_path):
    assert read(tmp_path / "rows", json.dumps(ROWS, indent=1).encode()) == [(1, "not-json", "refused")]


def test_a_truncated_gzip_file_keeps_the_rows_before_the_break(tmp_path):
    lines = [json.dumps({"n": n, "text": f"{n * 7919 % 1000}"}) for n in range(300)]
    packed = gzip.compress("\n".join(lines).encode())
    seen = set()
    for cut in range(2, len(packed), 61):
        *rows, last = read(tmp_path / "rows", packed[:cut])
        assert [row for _, row in rows] == [json.loads(line) for line in lines[: len(rows)]]
        assert last == (len(rows) + 1, "broken-file", "refused")
        seen.add(len(rows))
    assert max(seen) > 250


@pytest.mark.parametrize("damage", [b"junk", b"\x1f\x8b\x08\0broken"])
def test_something_behind_a_gzip_stream_is_named(tmp_path, damage):
    found = read(tmp_path / "rows", gzip.compress(b'{"n": 1}\n') + damage)
    assert found == [(1, {"n": 1}), (2, "broken-file", "refused")]


def test_a_tar_archive_with_one_file_is_that_file(tmp_path):
    content = archive(("._rows.jsonl", b"of macOS"), ("rows.jsonl", TEXT.encode()))
    for packed in (content, gzip.compress(content)):
        assert read(tmp_path / "rows", packed) == list(enumerate(ROWS, 1))


def test_a_tar_archive_that_is_none_or_has_more_is_named(tmp_path):
    file = ("rows.jsonl", b'{"n": 1}\n{"n": 2}\n')
    assert read(tmp_path / "rows", archive(file, file))[2:] == [(3, "several-files", "refused")]
    assert read(tmp_path / "rows", archive(file)[:1548])[1:] == [(2, "broken-file", "refused")]
    assert read(tmp_path / "rows", archive(file)[:1500]) == [(1, "broken-file", "refused")]


def test_a_path_of_an_archive_is_never_written_to(tmp_path):
    (tmp_path / "data").mkdir()
    found = read(tmp_path / "data" / "rows", archive(("../../escaped.jsonl", b'{"n": 1}')))
    assert found == [(1, {"n": 1})]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "rows"]


def test_a_line_of_10_megabytes_is_read(tmp_path):
    row = {"query": "q", "positives": ["x" * 10_000_000]}
    assert read(tmp_path / "rows", json.dumps(row).encode() + b'\n{"n": 2}') == [(1, row), (2, {"n": 2})]


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_above_the_limit_is_left_out_and_never_in_memory(tmp_path, packed):
    content = b'{"n": 1}\n"' + b"x" * 40_000_000 + b'"\r\n{"n": 3}\n'
    (tmp_path / "rows").write_bytes(gzip.compress(content, 1) if packed else content)
    del content
    tracemalloc.start()
    try:
        found = list(raw_rows(tmp_path / "rows", longest=1 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [value for _, _, value in found][::2] == [{"n": 1}, {"n": 3}]
    assert (found[1][0], found[1][2].kind) == (2, "line-too-long")
    assert peak < 8 << 20


def test_files_that_cannot_be_opened_are_the_users_to_mend(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path, "a\0b"):
        with pytest.raises(UserError, match="cannot be opened"):
            list(raw_rows(path))


def test_keys_in_messages_are_plain_ascii(tmp_path):
    path = tmp_path / "rows"
    path.write_text('{"\\u001b[31mé": 1, "\\u001b[31mé": 2}')
    (_, _, problem), *_ = raw_rows(path)
    assert problem.message.isascii()
    assert problem.message.isprintable()


LINES = st.lists(
    st.one_of(
        st.dictionaries(st.text(max_size=3), st.text(max_size=8) | st.integers(), max_size=2).map(json.dumps),
        st.dictionaries(st.just("é"), st.text(max_size=8).filter(lambda t: t.isprintable()), max_size=2).map(
            lambda row: json.dumps(row, ensure_ascii=False)
        ),
        st.sampled_from(["", "  ", "[1", '"😀"', '"\0"']),
    ),
    max_size=6,
)


@settings(max_examples=50)
@given(
    lines=LINES,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    block=st.integers(1, 9),
    packed=st.booleans(),
)
def test_blocks_do_not_matter_and_reading_goes_on_from_any_row(tmp_path_factory, lines, end, encoding, block, packed):
    path = tmp_path_factory.getbasetemp() / "resumed"
    content = end.join(lines).encode(encoding)
    path.write_bytes(gzip.compress(content) if packed else content)
    whole = list(raw_rows(path))
    with mock.patch.object(text_files, "BLOCK", block):
        assert list(raw_rows(path)) == whole
    numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
    assert [line for line, _, _ in whole] == numbers
    for place, (line, after, _) in enumerate(whole):
        assert list(raw_rows(path, after, line + 1)) == whole[place + 1 :]
