"""What commands print for programs: ``--json``, ``--quiet``, exit statuses, and the recipe's JSON schema."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_mixture
from tdro import cli
from tdro.commands.output import as_json
from tdro.commands.parser import DATA_COMMANDS, OTHER_COMMANDS, STAGE_COMMANDS, command_line
from tdro.console import say
from tdro.errors import UserError
from tdro.files import write_json, write_jsonl
from tdro.recipe.builtin import built_in, built_in_file
from tdro.recipe.json_schema import FIRST_LINE, recipe_schema, write_schema
from tdro.recipe.yaml_lines import read_yaml

DOCS = Path(__file__).parents[1] / "docs" / "commands.md"


@dataclass
class Inner:
    path: Path
    values: Any


def test_json_has_no_nan_and_keeps_what_is_there():
    value = {"a": Inner(Path("x/y"), np.array([1.0, math.nan])), 3: (math.inf, np.int64(2), True, None, "ü")}
    said = as_json(value)
    assert "NaN" not in said and "Infinity" not in said and "ü" in said
    assert json.loads(said) == {"a": {"path": "x/y", "values": [1.0, None]}, "3": [None, 2, True, None, "ü"]}
    with pytest.raises(TypeError, match="object: not a value that JSON has"):
        as_json({"a": object()})


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def printed(capsys, *arguments, status=0) -> Any:
    extra = [] if "--schema" in arguments else ["--json"]
    assert cli.main([*map(str, arguments), *extra]) == status
    return json.loads(capsys.readouterr().out)


def documented(command: str) -> set[str]:
    """The keys at the top that docs/commands.md lists for a command, up to the first that is about an inner level."""
    (line,) = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| `tdro {command}` |")]
    return {part for part in line.replace("|", "").split("`") if part.isidentifier()}


def test_commands_print_what_the_docs_say(place, capsys):
    write_json(place / "weights.json", {"task_names": ["a", "b"], "weights": [0.75, 0.25]})
    for model, value in (("one", 0.25), ("two", 0.5)):
        result = {"test": "t", "queries": ["q1", "q2"], "ndcg@10": [value, value], "data": "x"}
        write_json(place / "evaluation" / model / "t.json", result)
    rows = [{"query": f"question {n}", "positives": [f"answer {n}"]} for n in range(3)]
    write_jsonl(place / "faq.jsonl", [*rows, rows[0]])
    weights = printed(capsys, "weights", "paper")
    assert len(weights["tasks"]) == 25 and set(weights) | set(weights["tasks"][0]) == documented("weights")
    compared = printed(capsys, "compare", "evaluation")
    assert set(compared) <= documented("compare") and [row["mixture"] for row in compared["rows"]] == ["one", "two"]
    checked = printed(capsys, "data", "check", "faq.jsonl")
    assert set(checked) == documented("data check") and checked["tasks"][0]["read"] == 4 and not checked["clean"]
    deduplicated = printed(capsys, "data", "dedup", "faq.jsonl", "--within")
    assert (
        deduplicated["tasks"]["faq"] == {"rows": 4, "exact": 1, "near": 0, "left": 3} and deduplicated["written"] == []
    )
    described = printed(capsys, "data", "describe", "faq.jsonl")
    assert set(described) == documented("data describe")
    studies = printed(capsys, "study")
    assert studies["selection"].endswith("?")
    assert "quickstart" in printed(capsys, "recipe")
    assert printed(capsys, "recipe", "--keys")["Top level"][0]["key"] == "name"
    assert printed(capsys, "recipe", "quickstart")["name"] == "quickstart"


@pytest.mark.parametrize("command", [["describe"], ["dedup", "--within"]])
def test_what_is_said_of_the_rows_stands_beside_the_json(place, capsys, command):
    write_jsonl(place / "faq.jsonl", [{"query": "a", "positives": ["b"]}, {"query": "", "positives": ["c"]}])
    write_jsonl(place / "more.jsonl", [{"query": "a", "positives": ["b"], "note": "c"}])
    tasks = [{"name": "more", "file": "more.jsonl"}]
    write_json(place / "mixture.json", {"format": "tdro-mixture/1", "name": "m", "tasks": tasks, "tests": []})
    base = "{kind: static, source: minilm, dimension: 8}"
    (place / "r.yaml").write_text(f"name: r\nbase: {base}\ndata: {{sources: {{faq: faq.jsonl}}}}\n")
    for path, said in (("faq.jsonl", "1 empty-text"), ("r.yaml", "1 empty-text"), (".", "not read")):
        assert cli.main(["data", *command, path, "--json"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["tasks"] and said in printed.err
        assert cli.main(["data", *command, path, "-q"]) == 0
        assert said not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["weights", "paper", "--for", "ms-swift"], ["evaluate", "quickstart"]])
def test_json_is_refused_where_there_is_no_table(place, capsys, arguments):
    assert cli.main([*arguments, "--json"]) == 2
    assert capsys.readouterr().err.startswith("error: --json: is for ")


def test_strict_and_an_error_have_their_statuses_with_json_too(place, capsys):
    write_jsonl(place / "faq.jsonl", [{"query": "a", "positives": ["b"]}, {"query": ""}])
    assert printed(capsys, "data", "check", "faq.jsonl", "--strict", status=1)["clean"] is False
    assert cli.main(["data", "check", "nowhere.jsonl", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ")


@pytest.mark.parametrize(("options", "out", "err"), [([], "a line\nit\n", ""), (["-q"], "it\n", "")])
def test_quiet_prints_the_answer_alone(place, capsys, monkeypatch, options, out, err):
    def run(_options):
        say("a line")
        say("it", answer=True)

    monkeypatch.setattr("tdro.commands.sample.run", run)
    assert cli.main(["sample", *options]) == 0
    assert capsys.readouterr() == (out, err)


def test_with_json_other_lines_go_to_the_errors(place, capsys, monkeypatch):
    monkeypatch.setattr("tdro.commands.sample.run", lambda _options: say("warning: odd"))
    assert cli.main(["sample", "--json"]) == 0
    assert capsys.readouterr() == ("", "warning: odd\n")
    assert cli.main(["sample", "--json", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_every_command_is_quiet_and_the_statuses_are_in_the_help():
    text = " ".join(command_line().format_help().split())
    assert "Exit status of every command: 0, done; 1, --strict found something; 2" in text and "130" in text
    parser = command_line()
    for command in (*STAGE_COMMANDS, *OTHER_COMMANDS, *DATA_COMMANDS):
        words = ["data", command.NAME] if command in DATA_COMMANDS else [command.NAME]
        needed = {"init": ["f", "--base", "m"], "mine": ["f", "--out", "o"], "study": [], "recipe": [], "sample": []}
        needed["push"] = ["m", "o/n"]
        assert parser.parse_args([*words, *needed.get(command.NAME, ["x"]), "-q"]).quiet


# ---- the schema


def errors_of(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str = "") -> list[str]:
    """What a schema says against a value, as far as our schemas go: refs, anyOf, properties, items, types, enums."""
    if "$ref" in schema:
        return errors_of(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, where)
    if "anyOf" in schema:
        each = [errors_of(value, one, root, where) for one in schema["anyOf"]]
        return [] if [] in each else [f"{where}: none of {len(each)} kinds"]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    wanted = schema.get("type")
    if wanted == "null":
        return [] if value is None else [f"{where}: not null"]
    is_bool = isinstance(value, bool) and wanted != "boolean"
    if wanted in kinds and (is_bool or not isinstance(value, kinds[wanted])):
        return [f"{where}: no {wanted}"]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return [f"{where}: not one of the words"]
    found = []
    if isinstance(value, dict):
        found += [f"{where}.{key}: missing" for key in schema.get("required", []) if key not in value]
        for key, each in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", True))
            found += [f"{where}.{key}: unknown"] if inner is False else []
            found += errors_of(each, inner, root, f"{where}.{key}") if isinstance(inner, dict) else []
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        found += [error for each in value for error in errors_of(each, schema["items"], root, f"{where}[]")]
    return found


def test_the_schema_takes_our_recipes_and_refuses_others(tmp_path):
    schema = recipe_schema()
    for name in built_in():
        assert errors_of(read_yaml(built_in_file(name))[0], schema, schema) == [], name
    short = {"name": "a", "base": {"kind": "static", "source": "minilm"}}
    short["data"] = {"sources": {"faq": "faq.csv"}, "test_sets": {"faq": "tests/faq"}}
    assert errors_of(short, schema, schema) == []
    dumped = json.loads(json.dumps(read_yaml_text(tiny_mixture.recipe(tmp_path).to_yaml(), tmp_path)))
    assert errors_of(dumped, schema, schema) == []
    assert errors_of(short | {"sed": 1}, schema, schema) == [".sed: unknown"]
    assert errors_of({"name": "a"}, schema, schema) == [".base: missing"]
    assert errors_of(short | {"seed": "x"}, schema, schema) == [".seed: no integer"]
    assert schema["properties"]["seed"]["description"].startswith("seed of everything random")


def read_yaml_text(text: str, folder: Path) -> Any:
    (folder / "r.yaml").write_text(text)
    return read_yaml(folder / "r.yaml")[0]


def test_printed_and_written_recipes_name_the_schema(place, capsys):
    assert cli.main(["recipe", "quickstart"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == FIRST_LINE
    assert printed(capsys, "recipe", "--schema") == json.loads(write_schema(place / "r.yaml").read_text())
    assert write_schema(place / "r.yaml").name == FIRST_LINE.partition("=")[2]
    (place / "recipe.schema.json").write_text("{}")
    with pytest.raises(UserError, match=r"recipe.schema.json: is there already and no schema of tdro's"):
        write_schema(place / "r.yaml")
    assert cli.main(["init", "nowhere.csv", "--base", "nothing", "--out", "r.yaml"]) == 2  # before any work
    assert "no schema of tdro's" in capsys.readouterr().err
