"""The command line and the package's public names: output, exit statuses, and what is not imported."""

import argparse
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import tdro
from tdro.cli import main
from tdro.commands.parser import STAGE_COMMANDS, command_line
from tdro.errors import UserError
from tdro.recipe.names import STAGES

ROOT = Path(__file__).parent.parent
RECIPE = "name: small\nbase: {kind: static, source: smollm2}\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def runs(monkeypatch):
    """Calls of the pipeline, which is replaced; put an exception into ``raises`` to have it raised."""
    calls = types.SimpleNamespace(made=[], workers=[], raises=None)

    def run(recipe, stages, force, workers):
        calls.made.append((recipe.name, stages, force))
        calls.workers.append(workers)
        if calls.raises is not None:
            raise calls.raises

    pipeline = types.ModuleType("tdro.run.pipeline")
    pipeline.run_recipe = run
    monkeypatch.setitem(sys.modules, "tdro.run.pipeline", pipeline)
    monkeypatch.setattr(tdro, "pipeline", pipeline, raising=False)
    return calls


def python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip()


# ---- imports

HEAVY = '{"torch", "transformers", "datasets", "sentence_transformers", "numpy", "pydantic", "yaml"}'


def test_import_and_help_load_nothing_heavy() -> None:
    code = f"""import sys, io, contextlib, tdro
from tdro.cli import main
for arguments in (["--help"], ["run", "--help"], ["--version"]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(arguments)
print(sorted({HEAVY} & set(sys.modules)))"""
    assert python(code) == "[]"


def test_weights_and_recipe_names_need_no_torch() -> None:
    code = 'import sys; from tdro import TaskWeights, load_recipe; print("torch" in sys.modules)'
    assert python(code) == "False"


@pytest.mark.parametrize("name", tdro.__all__)
def test_public_names_are_there(name) -> None:
    assert getattr(tdro, name).__name__ == name
    assert name in dir(tdro)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'TaskWeight'"):
        _ = tdro.TaskWeight
    with pytest.raises(ImportError):
        from tdro import TaskWeight  # noqa: F401


def test_the_version_is_the_projects(capsys) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert tdro.__version__ == re.search(r'^version = "(.*)"$', project, re.MULTILINE)[1]
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"tdro {tdro.__version__}\n"


# ---- running a recipe


def test_run_calls_the_pipeline(runs) -> None:
    Path("r.yaml").write_text(RECIPE)
    assert main(["run", "r.yaml"]) == 0
    assert main(["run", "r.yaml", "--force"]) == 0
    assert main(["run", "r.yaml", "--workers", "3"]) == 0
    assert runs.made == [("small", None, False), ("small", None, True), ("small", None, False)]
    assert runs.workers == [1, 1, 3]


@pytest.mark.parametrize("stage", list(STAGES))
def test_each_stage_is_a_command(runs, stage) -> None:
    assert main([stage, "quickstart"]) == 0
    assert runs.made == [("quickstart", (stage,), False)]


def test_workers_are_for_models_of_a_recipe_and_not_beside_ranks(runs, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["run", "quickstart", "--workers", "2", "--processes", "2"])
    assert "not allowed with argument --workers" in capsys.readouterr().err
    assert main(["evaluate", "model", "--on", "nano-beir", "--workers", "2"]) == 2
    assert "error: --workers: is for the models of a recipe" in capsys.readouterr().err
    assert runs.made == []


def test_a_file_of_ones_own_comes_before_a_built_in_recipe(runs) -> None:
    Path("quickstart").write_text(RECIPE)
    assert main(["run", "quickstart"]) == 0
    assert runs.made[0][0] == "small"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.yaml", "error: nothing.yaml: no such file\n"),
        ("a/b", "error: a/b: no such file\n"),
        (
            "quikstart",
            "error: quikstart: no such file, and no built-in recipe 'quikstart'; did you mean 'qu",
        ),
        ("zzz", "error: zzz: no such file, and no built-in recipe 'zzz'; there are: "),
    ],
)
def test_a_recipe_that_is_not_there(runs, capsys, name, message) -> None:
    assert main(["run", name]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert runs.made == []


def test_a_bad_recipe_never_reaches_the_pipeline(runs, capsys) -> None:
    Path("r.yaml").write_text(RECIPE + "sed: 1\n")
    assert main(["run", "r.yaml"]) == 2
    assert capsys.readouterr().err == "error: r.yaml, line 3: sed: unknown key; did you mean 'seed'?\n"
    assert runs.made == []


def test_errors_of_the_user_interrupts_and_bugs(runs, capsys) -> None:
    runs.raises = UserError("runs/quickstart: belongs to another recipe; use --force")
    assert main(["run", "quickstart"]) == 2
    assert capsys.readouterr().err == "error: runs/quickstart: belongs to another recipe; use --force\n"
    runs.raises = KeyboardInterrupt()
    assert main(["run", "quickstart"]) == 130
    assert capsys.readouterr().err.strip() == "stopped; the same command continues the run"
    runs.raises = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        main(["run", "quickstart"])


def test_without_a_command_the_help_is_printed(capsys) -> None:
    assert main([]) == 2
    assert "tdro run quickstart" in capsys.readouterr().out


def parsers(parser: argparse.ArgumentParser, name: str = "tdro"):
    """A parser and those of its commands, by what is typed."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, one in action.choices.items():
                yield from parsers(one, f"{name} {command}")


@pytest.mark.parametrize(("name", "parser"), list(parsers(command_line())))
def test_every_help_says_what_it_does_with_an_example_that_parses(name, parser) -> None:
    assert parser.description
    example = re.search(r"(?:Example|Begin with): (tdro [^.>]*(?:\.\w+[^.>]*)*)", parser.epilog)[1]
    assert example.startswith(name)
    assert callable(command_line().parse_args(example.split()[1:]).function)


def test_the_commands_of_the_stages_are_those_of_the_table() -> None:
    assert {command.NAME: command.SUMMARY for command in STAGE_COMMANDS} == STAGES


def test_an_unknown_command_is_status_2(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["rnu", "quickstart"])
    assert caught.value.code == 2
    assert "reference" in capsys.readouterr().err


# ---- printing


def test_recipe_prints_what_can_be_saved_and_run(runs, capsys) -> None:
    assert main(["recipe", "quickstart"]) == 0
    Path("mine.yaml").write_text(capsys.readouterr().out)
    assert main(["run", "mine.yaml"]) == 0
    assert runs.made[0][0] == "quickstart"


def test_recipe_lists_names_and_keys(capsys) -> None:
    assert main(["recipe"]) == 0
    assert "quickstart" in capsys.readouterr().out.split()
    assert main(["recipe", "--keys"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert main(["recipe", "quikstart"]) == 2
    assert "did you mean 'quickstart'?" in capsys.readouterr().err


def test_weights_of_the_paper(capsys) -> None:
    assert main(["weights", "paper", "--top", "70"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 25 + 2
    assert lines[1].split() == ["miracl", "0.0588", "1.47", "32405", "20.09"]
    assert sum(line.split()[1] == "-" for line in lines[1:26]) == 8
    assert lines[-2] == "17 of 25 tasks, 17.0 effective, 87 % of 11067280 rows"


def test_weights_without_sizes(capsys) -> None:
    Path("w.json").write_text(json.dumps({"a": 0.25, "longer": 0.75}))
    assert main(["weights", "w.json"]) == 0
    assert capsys.readouterr().out == (
        "task    weight  x uniform\nlonger  0.7500       1.50\na       0.2500       0.50\n2 of 2 tasks, 1.8 effective\n"
    )


def test_weights_of_a_run_folder_know_the_rows(capsys) -> None:
    Path("runs/x/weights").mkdir(parents=True)
    Path("runs/x/weights/weights.json").write_text(json.dumps({"a": 0.5, "b": 0.5}))
    Path("runs/x/run.json").write_text(json.dumps({"tasks": [{"name": "a", "rows": 10}, {"name": "b", "rows": 30}]}))
    assert main(["weights", "runs/x/weights/weights.json"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:3] == [["a", "0.5000", "1.00", "10", "2.00"], ["b", "0.5000", "1.00", "30", "0.67"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["w.json"], "w.json: no such file"),
        (["paper", "--top", "0"], "'top-0' is impossible: P of top-P"),
    ],
)
def test_weights_that_cannot_be(capsys, arguments, message) -> None:
    assert main(["weights", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_sample_prints_where_it_is_and_its_licences(monkeypatch, capsys) -> None:
    from tdro import quickstart as sample

    monkeypatch.setenv("TDRO_CACHE", "cache")
    monkeypatch.setattr(sample, "build_sample", lambda folder: folder)
    assert main(["sample", "here"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "here"
    assert "Apache-2.0" in printed
    assert main(["sample"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(Path("cache", "sample-mixture"))


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m tdro recipe --keys | head -1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("# Every key of a recipe\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["recipe"], ["recipe", "--keys"], ["weights", "paper"]])
def test_a_full_output_is_called_the_output(arguments) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "tdro", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written (No space left on device); send it elsewhere\n"
