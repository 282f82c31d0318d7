"""Reading a mixture folder: good ones, and what is said about wrong ones."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdro.data.mixtures.build import built_file
from tdro.data.mixtures.folder import beir_sha256, mixture_fingerprint, read_mixture
from tdro.errors import UserError
from tdro.files import sha256, write_json, write_jsonl


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """Built tasks are not left in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


ROWS = [
    {"id": "a", "query": "wie?", "positives": ["so", "oder so"], "negatives": []},
    {"id": "b", "query": "why?\u2028", "positives": ["because"], "negatives": ["no", "never"]},
]


@pytest.fixture
def folder(tmp_path):
    """Two tasks, and a test set each for a trained and an untrained kind."""
    place = tmp_path / "mixture"
    for name in ("ui_de", "code"):
        write_jsonl(place / "train" / f"{name}.jsonl", ROWS)
    for name in ("ui_de", "geo"):
        write_jsonl(place / "tests" / name / "corpus.jsonl", [{"_id": "p0", "title": "", "text": "such"}])
        write_jsonl(place / "tests" / name / "queries.jsonl", [{"_id": "q0", "text": "which?"}])
        (place / "tests" / name / "qrels").mkdir()
        (place / "tests" / name / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tp0\t1\n")
    tasks = [
        {"name": name, "file": f"train/{name}.jsonl", "instruction": f"Find {name}",
         "symmetric": False, "rows": 2, "licence": "MIT", "source": "here",
         "sha256": sha256(place / "train" / f"{name}.jsonl")}
        for name in ("ui_de", "code")
    ]  # fmt: skip
    tests = [
        {"name": name, "folder": f"tests/{name}", "task": task, "instruction": "Find", "symmetric": True,
         "queries": 1, "passages": 1, "sha256": beir_sha256(place / "tests" / name)}
        for name, task in (("ui_de", "ui_de"), ("geo", ""))
    ]  # fmt: skip
    write_json(place / "mixture.json", {"format": "tdro-mixture/1", "name": "toy", "tasks": tasks, "tests": tests})
    return place


def change(folder, function):
    """Apply a function to ``mixture.json``."""
    content = json.loads((folder / "mixture.json").read_text())
    function(content)
    write_json(folder / "mixture.json", content)


def put_rows(folder, *lines):
    """Other rows for the first task, without a recorded checksum."""
    (folder / "train" / "ui_de.jsonl").write_text("\n".join(lines) + "\n")
    change(folder, lambda content: [content["tasks"][0].pop(key) for key in ("sha256", "rows")])


def test_what_is_written_is_read(folder):
    mixture = read_mixture(folder)
    assert mixture.names == ["ui_de", "code"]
    assert mixture.sizes == [2, 2]
    task = mixture.tasks[0]
    assert task.rows.column_names == ["id", "query", "positives", "negatives"]
    assert task.rows.to_list() == ROWS
    assert (task.prompt, task.symmetric, task.licence, task.source) == (
        "Instruct: Find ui_de\nQuery: ", False, "MIT", "here",
    )  # fmt: skip
    assert [(test.name, test.trained, test.symmetric) for test in mixture.tests] == [
        ("ui_de", True, True),
        ("geo", False, True),
    ]
    assert mixture.tests[1].folder == str(folder / "tests" / "geo")


def test_a_task_says_that_its_rows_take_no_in_batch_negatives(folder):
    assert read_mixture(folder).hard_negatives_only == ()
    before = mixture_fingerprint(read_mixture(folder))
    change(folder, lambda content: content["tasks"][1].update(in_batch_negatives=False))
    assert read_mixture(folder).hard_negatives_only == (1,)
    assert mixture_fingerprint(read_mixture(folder)) == before  # of the texts alone
    change(folder, lambda content: content["tasks"][1].update(in_batch_negatives="no"))
    with pytest.raises(UserError, match=r"tasks\[1\]: key 'in_batch_negatives' must be bool, found 'no'"):
        read_mixture(folder)


def test_a_subset_keeps_the_order_and_its_tests_know_what_was_trained(folder):
    assert read_mixture(folder, ["code", "ui_de"]).names == ["ui_de", "code"]
    mixture = read_mixture(folder, ["code"])
    assert mixture.names == ["code"]
    assert [test.task for test in mixture.tests] == ["", ""]


def test_an_unknown_task_is_named_with_the_nearest(folder):
    with pytest.raises(UserError, match="no task 'ui_ed'; did you mean 'ui_de'"):
        read_mixture(folder, ["ui_ed"])
    with pytest.raises(UserError, match="no task 'xyz'; it has ui_de, code"):
        read_mixture(folder, ["xyz"])


def test_missing_id_and_negatives_are_filled_in(folder):
    put_rows(folder, '{"query": "q", "positives": ["p"], "more": 1}', "", '{"query": "r", "positives": ["p"]}')
    assert read_mixture(folder).tasks[0].rows.to_list() == [
        {"id": "1", "query": "q", "positives": ["p"], "negatives": []},
        {"id": "3", "query": "r", "positives": ["p"], "negatives": []},
    ]


GOOD = '{"query": "q", "positives": ["p"]}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "expected a JSON object, found list"),
        ('{"positives": ["p"]}', "no key 'query'"),
        ('{"query": "q", "positive": ["p"]}', "no key 'positives'; did you mean it by 'positive'"),
        ('{"query": 3, "positives": ["p"]}', "key 'query' must be a string, found int"),
        ('{"id": 3, "query": "q", "positives": ["p"]}', "key 'id' must be a string, found int"),
        ('{"query": " ", "positives": ["p"]}', "key 'query' is empty"),
        ('{"query": "q", "positives": []}', "'positives' is empty"),
        ('{"query": "q", "positives": "p"}', "key 'positives' must be a list of strings, found str"),
        ('{"query": "q", "positives": [null]}', "a text in 'positives' must be a string, found NoneType"),
        ('{"query": "q", "positives": ["p", ""]}', "a text in 'positives' is empty"),
        ('{"query": "q", "positives": ["p"], "negatives": {}}', "key 'negatives' must be a list"),
        ('{"query": "q", "positives": ["p"], "negatives": [1]}', "a text in 'negatives' must be a string, found int"),
        ('{"query": "\\ud800", "positives": ["p"]}', "key 'query' has half of a surrogate pair"),
        ('{"query": "q", "query": "r", "positives": ["p"]}', "key 'query' stands twice in an object"),
        ('{"query": "q", "positives": ["p"], "n": ' + "7" * 5000 + "}", "a number with thousands of digits"),
        ('{"query": "q", "positives": ' + "[" * 100_000, "nested too deep"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(folder, line, message):
    put_rows(folder, GOOD, line)
    with pytest.raises(UserError, match=r"ui_de\.jsonl, line 2: ") as raised:
        read_mixture(folder)
    assert message in str(raised.value)


LINES = st.sampled_from(
    [GOOD, "", '{"query": "日本 😀\\n", "positives": ["é"]}', "{", "7" * 5000, "[" * 5000, "null", '{"query": 1e999}']
) | st.text(max_size=20).map(lambda text: " ".join(text.splitlines()))


def is_read_or_named(path, lines, encoding, packed):
    """Rows as a task's are, or an error that names the file, and the first line that is no row."""
    content = "\n".join(lines).encode(encoding)
    path.write_bytes(gzip.compress(content) if packed else content)
    good = [number for number, line in enumerate(lines, 1) if line.startswith('{"query": "')]
    try:
        rows = built_file(path, "task").open().to_list()
    except UserError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        assert not any(f"line {number}:" in str(error) for number in good)
        return
    assert [row["id"] for row in rows] == [str(number) for number in good]
    assert all(row["query"].strip() and row["positives"] and not row["negatives"] for row in rows)


FILES = {
    "lines": st.lists(LINES, max_size=5),
    "encoding": st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"]),
    "packed": st.booleans(),
}


@settings(max_examples=50)
@given(**FILES)
def test_malformed_files(tmp_path_factory, **made):
    is_read_or_named(tmp_path_factory.getbasetemp() / "task.jsonl", **made)


@pytest.mark.slow
@settings(max_examples=5000)
@given(**FILES)
def test_malformed_files_5000_times(tmp_path_factory, **made):
    is_read_or_named(tmp_path_factory.getbasetemp() / "task.jsonl", **made)


def test_files_without_rows_or_text_are_named(folder):
    put_rows(folder, "")
    with pytest.raises(UserError, match=r"ui_de\.jsonl: no rows"):
        read_mixture(folder)
    (folder / "train" / "ui_de.jsonl").write_bytes(b'{"query": "caf\xe9"}')
    with pytest.raises(UserError, match=r"ui_de\.jsonl, line 1: byte 0xe9 .* is not UTF-8"):
        read_mixture(folder)
    (folder / "train" / "ui_de.jsonl").unlink()
    with pytest.raises(UserError, match=r"ui_de\.jsonl: cannot be opened"):
        read_mixture(folder)


def test_a_changed_file_is_named(folder):
    path = folder / "train" / "code.jsonl"
    text = path.read_text()
    path.write_text(text.replace("because", "becauze"))
    with pytest.raises(UserError, match=r"code\.jsonl: its content.*\n.*remove 'sha256'"):
        read_mixture(folder)
    path.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"code\.jsonl: 1 rows, but mixture\.json says 2"):
        read_mixture(folder)
    path.write_text(text)
    (folder / "tests" / "geo" / "queries.jsonl").write_text("")
    with pytest.raises(UserError, match="geo: its content"):
        read_mixture(folder)
    (folder / "tests" / "geo" / "queries.jsonl").unlink()
    with pytest.raises(UserError, match=r"queries\.jsonl: no such file \(test set 'geo'\)"):
        read_mixture(folder)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda c: c.update(format="tdro-mixture/9"),
            "key 'format' must be 'tdro-mixture/1', found 'tdro-mixture/9'",
        ),
        (lambda c: c.update(tasks={}), "key 'tasks' must be a list"),
        (lambda c: c["tasks"].append(3), r"tasks\[2\] must be an object"),
        (lambda c: c["tasks"][1].pop("file"), r"tasks\[1\]: key 'file' is missing"),
        (
            lambda c: c["tasks"][1].update(symmetric="no"),
            r"tasks\[1\]: key 'symmetric' must be bool, found 'no'",
        ),
        (lambda c: c["tests"][0].update(instruction=None), r"tests\[0\]: key 'instruction' must be str"),
        (lambda c: c["tasks"][1].update(name="ui_de"), r"tasks\[1\]: a second entry is named 'ui_de'"),
    ],
)
def test_a_wrong_key_is_named(folder, function, message):
    change(folder, function)
    with pytest.raises(UserError, match=message):
        read_mixture(folder)


def test_a_folder_without_a_mixture_is_named(tmp_path):
    with pytest.raises(UserError, match=r"mixture\.json: no such file"):
        read_mixture(tmp_path)
    for content in ("7" * 5000, "[" * 100_000):
        (tmp_path / "mixture.json").write_text(content)
        with pytest.raises(UserError, match=r"mixture\.json: cannot be read"):
            read_mixture(tmp_path)


def test_the_fingerprint_is_of_the_content(folder):
    first = mixture_fingerprint(read_mixture(folder))
    assert mixture_fingerprint(read_mixture(folder, ["code"])) != first
    change(folder, lambda content: content["tasks"][0].update(licence="other", source="there"))
    assert mixture_fingerprint(read_mixture(folder)) == first
    change(folder, lambda content: content["tasks"][0].update(instruction="Find another"))
    second = mixture_fingerprint(read_mixture(folder))
    assert second != first
    put_rows(folder, GOOD)
    assert mixture_fingerprint(read_mixture(folder)) not in (first, second)
