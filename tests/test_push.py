"""``tdro push``, and a run that ends with it, against a server of the hub's protocol."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest

import again
import hub_server
import tiny
from hub_server import LARGE, TOKEN, USER, Fault, Hub
from launch import in_ranks
from tdro import cli
from tdro.errors import UserError
from tdro.files import read_json, write_json
from tdro.hub.repo_id import wrong_repo_id
from tdro.models.load import load_model
from tdro.recipe.schema import load_recipe
from tdro.report.published_files import published_files
from tdro.run import pipeline
from tdro.weights import TaskWeights

REPO = f"{USER}/model"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; its recipe is ``r.yaml`` beside it."""
    folder = tmp_path_factory.mktemp("finished")
    again.write_data(folder, "enough")
    recipe = again.recipe(folder, "mixture", "none", prompts=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TDRO_CACHE", str(folder / "cache"))
        assert cli.main(["run", str(recipe), "-q"]) == 0
    return folder


@pytest.fixture
def model(run: Path) -> str:
    return str(run / "run/models/main/top-50-seed1")


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> str:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN


def push(*arguments: str) -> int:
    return cli.main(["push", *arguments])


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert push(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") <= 2
    return said


def test_a_dry_run_lists_the_files_and_asks_nobody(hub: Hub, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert push(model, REPO, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "nothing was uploaded" in said and f"{hub.endpoint}/{REPO} (private)" in said and "model.safetensors" in said
    assert push(model, REPO, "--dry-run", "--json", "--public") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["private"] is False and answer["commit"] is None
    names = {"README.md", "weights.json", "modules.json", "model.safetensors", "config_sentence_transformers.json"}
    assert names <= answer["files"].keys() and not {"training.json", "log.jsonl"} & answer["files"].keys()
    assert answer["files"]["model.safetensors"] == (Path(model) / "model.safetensors").stat().st_size
    assert not hub.requests


def test_what_is_pushed_is_the_model_for_everybody(
    hub: Hub, token: str, run: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(model, REPO) == 0
    repo = hub.repos["models", REPO]
    assert repo.private and f"{hub.endpoint}/{REPO} (private), commit {repo.sha[:7]}" in capsys.readouterr().out
    assert len(repo.files["model.safetensors"]) > LARGE  # by LFS
    pulled = load_model(REPO, device="cpu")
    assert pulled.prompts == load_model(model, device="cpu").prompts and "w0 find" in pulled.prompts["task0"]
    assert (pulled.encode(["w1 w2"]) == load_model(model, device="cpu").encode(["w1 w2"])).all()
    assert f'SentenceTransformer("{REPO}")' in repo.files["README.md"].decode()
    (run / "pulled.json").write_bytes(repo.files["weights.json"])
    assert TaskWeights.load(run / "pulled.json") == TaskWeights.load(run / "run/weights/weights.json")
    assert not [name for name, data in repo.files.items() if str(run).encode() in data]  # no path of this machine
    assert push(model, REPO) == 0 and repo.commits == 2  # nothing new: the one of its creation and ours


def test_other_content_is_replaced_only_if_that_is_asked_for(
    hub: Hub, token: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = hub.add("models", REPO, {".gitattributes": "x", "adapter_model.safetensors": "old", "README.md": "# old\n"})
    repo.private = True
    said = error_of(capsys, model, REPO)
    assert f"{REPO}: has other content on the hub (README.md, adapter_model.safetensors)" in said and "--force" in said
    assert repo.commits == 1
    assert push(model, REPO, "--force") == 0
    assert {".gitattributes", "modules.json"} <= repo.files.keys() and "adapter_model.safetensors" not in repo.files
    del repo.files["model.safetensors"]  # as an upload that was cut off leaves it: ours, but not all
    assert push(model, REPO) == 0 and "model.safetensors" in repo.files


def test_the_clients_newer_upload_does_the_same(
    hub: Hub, token: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hf_xet, which has a storage of its own for large files, folders go up in another way; here all are small."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(hub_server, "LARGE", 1 << 30)
    repo = hub.add("models", REPO, {".gitattributes": "x", "old.bin": "old"}, private=True)
    assert push(model, REPO, "--force") == 0
    assert {".gitattributes", "modules.json", "weights.json"} <= repo.files.keys() and "old.bin" not in repo.files
    assert repo.files["model.safetensors"] == (Path(model) / "model.safetensors").read_bytes()


def test_nothing_private_becomes_public_by_accident(
    hub: Hub, token: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = hub.add("models", REPO, {})
    assert "is public on the hub; publish there with tdro push --public" in error_of(capsys, model, REPO)
    repo.private = True
    assert "is private on the hub; make it public in its settings" in error_of(capsys, model, REPO, "--public")
    assert not repo.files
    assert push(model, f"{USER}/open", "--public") == 0 and not hub.repos["models", f"{USER}/open"].private


def test_what_cannot_be_pushed_is_refused_before_anything_is_sent(
    hub: Hub, model: str, tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no token for the hub; log in with `hf auth login`" in error_of(capsys, model, REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the hub does not know your token" in error_of(capsys, model, REPO)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert f"somebody is not you; you can push to {USER}/…" in error_of(capsys, model, "somebody/model")
    assert "no owner; write owner/name" in error_of(capsys, model, "model")
    assert "no such folder" in error_of(capsys, str(tmp_path / "none"), REPO)
    assert "it is a run: name one of its models, such as" in error_of(capsys, str(run / "run"), REPO)
    tiny.static_model(dimension=8).save(str(tmp_path / "plain"))
    assert push(str(tmp_path / "plain"), REPO, "--dry-run") == 0  # any model that has a card
    (tmp_path / "plain/README.md").unlink()
    assert "a model is published with its card" in error_of(capsys, str(tmp_path / "plain"), REPO)
    (tmp_path / "plain/README.md").write_text("# x\n")
    write_json(tmp_path / "plain/adapter_config.json", {"base_model_name_or_path": str(tmp_path)})
    assert "adapters of a base that only this machine has" in error_of(capsys, str(tmp_path / "plain"), REPO)
    assert not hub.asked("POST") and not hub.repos


def test_files_of_trainers_and_hidden_ones_stay_here(tmp_path: Path) -> None:
    tiny.static_model(dimension=8).save(str(tmp_path / "m"))
    for name in ("checkpoint-10/model.safetensors", "training/x.json", ".cache/x", "2_Dense/config.json", "log.jsonl"):
        (tmp_path / "m" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "m" / name).write_text("{}")
    found = published_files(tmp_path / "m", REPO)
    assert "2_Dense/config.json" in found and "tokenizer.json" in found
    assert not [name for name in found if name.startswith(("checkpoint", "training", ".cache", "log"))]


@pytest.mark.parametrize(
    ("path", "status", "line"),
    [("/commit/", 500, "the hub has a fault (500)"), ("/storage/", 500, "the hub has a fault (500)")],
)
def test_an_upload_that_fails_says_so(
    hub: Hub, token: str, model: str, capsys: pytest.CaptureFixture[str], path: str, status: int, line: str
) -> None:
    hub.faults = [Fault(path, 1000, status=status)]
    said = error_of(capsys, model, REPO)
    assert line in said and "push it again" in said
    hub.faults = [Fault("whoami", 1, status=429), Fault(f"models/{REPO}", 1, status=503)]
    assert push(model, REPO) == 0 and "model.safetensors" in hub.repos["models", REPO].files


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("me/model", ""),
        ("me/a.b-c_d", ""),
        ("model", "no owner"),
        ("me/a/b", "'a/b' is not made of"),
        ("/model", "'' is not made of"),
        ("me/.a", "'.a' is not made of"),
        ("mé/a", "is not made of"),
        ("me/a--b", "no '--'"),
        ("me/a.git", ".git"),
        ("me/" + "a" * 96, "over 96"),
    ],
)
def test_ids(text: str, problem: str) -> None:
    found = wrong_repo_id(text)
    assert problem in found and bool(found) == bool(problem)


# ---- a run that ends with it


def test_a_run_pushes_what_its_recipe_names(
    hub: Hub, token: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(run / "cache"))
    recipe = str(again.recipe(run, "mixture", "none", prompts=True, finetune__push={"top-50": REPO}))
    assert cli.main(["run", recipe]) == 0  # all is done but the push
    said = capsys.readouterr().out
    assert f"pushed: top-50-seed1 to {hub.endpoint}/{REPO} (private)" in said and "top-50-seed1: done before" in said
    repo = hub.repos["models", REPO]
    assert repo.private and read_json(run / "run/pushed.json") == {REPO: repo.sha}
    assert cli.main(["run", recipe]) == 0 and repo.commits == 2  # ours, and unchanged
    repo.commit({"README.md": "# edited on the hub\n"})
    begun = len(hub.requests)
    monkeypatch.setattr(pipeline.Pipeline, "begin", lambda *_: pytest.fail("begun"))
    assert cli.main(["run", recipe]) == 2
    assert f"{REPO}: has content on the hub that was not pushed from here" in capsys.readouterr().err
    assert not [each for each in hub.requests[begun:] if each[0] == "POST"]
    monkeypatch.delenv("HF_TOKEN")
    assert cli.main(["run", recipe]) == 2 and "no token" in capsys.readouterr().err


def test_several_ranks_push_once(hub: Hub, token: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(run / "cache"))
    (run / "run/pushed.json").unlink(missing_ok=True)  # what another test has pushed
    recipe = again.recipe(run, "mixture", "none", prompts=True, finetune__push={"top-50": REPO})
    for _ in range(2):
        in_ranks(2, lambda machine: pipeline.run_recipe(load_recipe(recipe)), run / "output")
    assert len(hub.asked("POST", "/commit/")) == 1  # one rank's, and none by the same command again
    assert read_json(run / "run/pushed.json") == {REPO: hub.repos["models", REPO].sha}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top-70": "me/x"}, "'top-70' is not among the mixtures"),
        ({"top-50": "x"}, "no owner; write owner/name"),
        ({"top-50": "me/x", "uniform": "me/x"}, "two mixtures would go to me/x"),
        ("me/x", "mapping"),
    ],
)
def test_what_a_recipe_cannot_push(tmp_path: Path, given: object, message: str) -> None:
    again.write_data(tmp_path, "enough")
    with pytest.raises(UserError, match="push") as raised:
        load_recipe(again.recipe(tmp_path, "mixture", "none", prompts=False, finetune__push=given))
    assert message in str(raised.value)
