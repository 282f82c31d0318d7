"""Limits count the text, prompts come on top, no row is longer than the model reads, and what is cut is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

import tiny
import tiny_lm
import tiny_mixture
from evaluate_once import evaluate_once
from tdro.cli import main
from tdro.data.task import Mixture, Task, TestSet
from tdro.data.tokens.cut_warnings import MUCH, brought_down, cut_lines, much_cut
from tdro.data.tokens.cuts import Cutter, SideCut, TaskCut
from tdro.data.tokens.limits import longest_row, positions, row_length
from tdro.data.tokens.mixture_index import index_mixture
from tdro.data.tokens.token_files import FORMAT, kept_tokens
from tdro.data.tokens.tokenize import encoder_of, tokenize, tokenizer_state
from tdro.errors import UserError
from tdro.files import fingerprint, write_jsonl
from tdro.machine import Machine
from tdro.mining.embedder import Embedder
from tdro.mining.mine_task import mine_task
from tdro.mining.mining_settings import MiningSettings
from tdro.models.base import build_base
from tdro.models.base_tokens import base_tokens
from tdro.models.load import load_model
from tdro.models.prompts import saved_prompts
from tdro.recipe.training_sections import Base
from tdro.run.workspace import Workspace

LONG = "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15 w16 w17 w18 w19 w20"
KINDS = ("static", "bert", "roberta", "llama")
READS = {"static": None, "bert": 32, "roberta": 40, "llama": 32}  # tokens; RoBERTa's table has two rows more


def write_model(kind: str, folder: Path, **length: int) -> Path:
    """A tiny sentence-transformers folder; ``max_seq_length`` is written into its ``sentence_bert_config.json``."""
    if kind == "static":
        model = tiny.static_model()
    elif kind == "roberta":
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        config = RobertaConfig(vocab_size=203, max_position_embeddings=42, pad_token_id=1, **sizes)
        model = _with(folder.with_name(f"{folder.name}-raw"), RobertaModel(config))
    else:
        made = {"bert": tiny.encoder, "llama": tiny.decoder}[kind]
        model = made(folder.with_name(f"{folder.name}-raw"))
    model.save_pretrained(str(folder), create_model_card=False)
    if length:
        (folder / "sentence_bert_config.json").write_text(json.dumps(length), encoding="utf-8")
    return folder


def _with(folder: Path, inner: torch.nn.Module) -> SentenceTransformer:
    fast = PreTrainedTokenizerFast(tokenizer_object=tiny.tokenizer(), pad_token="[PAD]", unk_token="[UNK]")
    inner.save_pretrained(folder)
    fast.save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(16, pooling_mode="mean")], device="cpu")


def loaded(kind: str, folder: Path) -> SentenceTransformer:
    return load_model(write_model(kind, folder / kind), device="cpu")


def task(queries: list[str], instruction: str = "", name: str = "a", symmetric: bool = False) -> Task:
    rows = [{"id": str(n), "query": q, "positives": [f"{LONG} w{n}"], "negatives": []} for n, q in enumerate(queries)]
    return Task(name, Dataset.from_list(rows), instruction, symmetric)


QUERIES = [f"w{n} {LONG}" for n in range(6)]
INSTRUCTION = "w30 w31 w32 w33 w34 w35 w36"  # with the template around it, 11 tokens: `:` is one of its own


def rows_of(tokens: object) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens.ids, tokens.starts[1:-1])]  # type: ignore[attr-defined]


# ---- rows of tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [4, 9])
def test_an_instruction_takes_nothing_of_the_text(kind: str, limit: int, tmp_path: Path) -> None:
    model = loaded(kind, tmp_path)
    bare = index_mixture([task(QUERIES)]).queries
    prompted = index_mixture([task(QUERIES, INSTRUCTION), task(["w9"], "", "b")]).queries
    plain, rows = rows_of(tokenize(model, bare, limit)), rows_of(tokenize(model, prompted, limit))
    before = len(rows[0]) - len(plain[0])
    assert before == 11
    assert [row[before:] for row in rows[:6]] == plain  # the end-of-sequence token is kept where there is one
    assert len({tuple(row) for row in rows[:6]}) == 6
    assert rows[6] == rows_of(tokenize(model, ["w9"], limit))[0]  # another task's, without an instruction


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama"])
def test_no_row_is_longer_than_the_model_reads(kind: str, tmp_path: Path) -> None:
    model = loaded(kind, tmp_path)
    texts = index_mixture([task([" ".join([LONG] * 5)], INSTRUCTION)]).queries
    for limit in (READS[kind], 1000):
        found = tokenize(model, texts, limit)
        assert found.lengths.max() == READS[kind]
    features = found.features(np.array([0]))
    assert features["input_ids"][0, -1] == 2  # [EOS]
    assert torch.isfinite(model(features)["sentence_embedding"]).all()
    assert tokenize(model, [LONG * 9], 1000).lengths.max() == READS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_training_reads_what_encode_reads_with_the_prompt(kind: str, tmp_path: Path) -> None:
    model = loaded(kind, tmp_path)
    one = task(["w5 w6 w7", "w8"], INSTRUCTION)
    trained = tokenize(model, index_mixture([one]).queries, 5)
    model.prompts = {"a": one.prompt}
    encoded = model.encode(["w5 w6 w7", "w8"], prompt_name="a", convert_to_tensor=True)
    fed = model(trained.features(np.arange(2)))["sentence_embedding"]
    assert torch.allclose(encoded, fed, atol=1e-6)


def test_an_instruction_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    model = loaded("bert", tmp_path)
    texts = index_mixture([task(QUERIES, " ".join([LONG] * 2))]).queries
    with pytest.raises(UserError, match=r"takes 44 of the 32 tokens"):
        tokenize(model, texts, 20)
    assert row_length(20, 24, 2, None) == 44
    assert row_length(20, 24, 2, 30) == 30
    with pytest.raises(UserError, match="task 'a'"):
        row_length(20, 28, 2, 30, "queries of task 'a'")
    with pytest.raises(UserError, match="2 tokens leaves nothing"):
        row_length(2, 0, 2, 64)


def test_token_files_are_named_by_prompts_and_limits(tmp_path: Path) -> None:
    model = loaded("bert", tmp_path)

    def folders(*tasks: Task, limit: int = 6) -> set[str]:
        texts = index_mixture(tasks).queries
        kept_tokens(model, texts, limit, tmp_path / "tokens", content=texts.digest)
        found = {path.name for path in (tmp_path / "tokens").iterdir()} - seen
        seen.update(found)
        return found

    seen: set[str] = set()
    bare = index_mixture([task(QUERIES)]).queries
    # Without prompts the name is what it has always been.
    assert folders(task(QUERIES)) == {fingerprint([FORMAT, tokenizer_state(model), bare.digest, 6])}
    assert folders(task(QUERIES, INSTRUCTION))
    assert folders(task(QUERIES, INSTRUCTION), limit=7)
    # The same texts, another part of which is the prompt.
    split = f"Instruct: {INSTRUCTION}\nQuery: w1 "
    shorter = task([f"w1 {query}" for query in QUERIES], INSTRUCTION)
    assert next(index_mixture([shorter]).queries.by_prompt(slice(1)))[1][0].startswith(split)
    assert folders(shorter)
    assert not folders(task(QUERIES, INSTRUCTION))
    assert folders(task(QUERIES), limit=32)
    assert not folders(task(QUERIES), limit=512)  # which is 32


# ---- how much a model reads


def test_how_much_a_model_reads(tmp_path: Path) -> None:
    for kind in KINDS:
        model = loaded(kind, tmp_path)
        assert longest_row(model) == READS[kind]
        assert base_tokens(Base(kind="encoder", source=str(tmp_path / kind))).longest == READS[kind]
    truncating = tiny.tokenizer(eos=False)
    truncating.enable_truncation(7)
    model = SentenceTransformer(modules=[StaticEmbedding(truncating, embedding_dim=4)], device="cpu")
    model.save_pretrained(str(tmp_path / "cut"), create_model_card=False)
    assert longest_row(model) == base_tokens(Base(kind="encoder", source=str(tmp_path / "cut"))).longest == 7
    assert tokenize(model, [LONG], 12).lengths.tolist() == [7]


def test_positions_of_learned_and_of_rotary_models() -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    with torch.device("meta"):
        assert positions(BertModel(BertConfig(max_position_embeddings=64, **sizes))) == 64
        assert positions(RobertaModel(RobertaConfig(max_position_embeddings=514, pad_token_id=1, **sizes))) == 512
    assert positions(tiny.static_model()) is None


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_length_beyond_the_positions_is_brought_down_when_a_model_is_read(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_model(kind, tmp_path / "m", max_seq_length=512)
    have = {"bert": 64, "roberta": 40}[kind]
    with caplog.at_level(logging.WARNING, "tdro"):
        model = load_model(folder, device="cpu")
    assert model.max_seq_length == have
    assert f"positions for {have} tokens, not for its max_seq_length of 512" in caplog.text
    assert base_tokens(Base(kind="encoder", source=str(folder))).longest == have
    assert np.isfinite(model.encode([LONG * 40])).all()


def test_a_length_below_the_positions_is_kept(tmp_path: Path) -> None:
    folder = write_model("bert", tmp_path / "m", max_seq_length=20)
    assert longest_row(load_model(folder, device="cpu")) == 20
    assert base_tokens(Base(kind="encoder", source=str(folder))).longest == 20


@pytest.mark.parametrize(
    ("longest", "prompted", "read"),
    [(24, {}, 24), (24, {"Instruct: the lamp\nQuery: ": 20}, 35), (500, {}, 128), (120, {"a b c " * 9: 120}, 128)],
)
def test_a_decoder_reads_as_far_as_prompt_and_text_go(
    longest: int, prompted: dict[str, int], read: int, tmp_path: Path
) -> None:
    source = tiny_lm.write_causal_lm(tmp_path / "lm", layers=1)
    assert base_tokens(Base(kind="decoder", source=str(source))).longest == 128
    folder = build_base(tiny_lm.settings("decoder", source), tmp_path / "base", max_tokens=longest, prompted=prompted)
    model = load_model(folder, device="cpu")
    assert longest_row(model) == model.max_seq_length
    if prompted and read < 128:
        prompt, limit = next(iter(prompted.items()))
        encode = encoder_of(model)
        read = limit + len(encode([prompt], None)[0]) - len(encode([""], None)[0])
        assert read > longest
    assert model.max_seq_length == read


# ---- what is cut


def words(texts: list[str], max_tokens: int | None) -> list[list[int]]:
    """A word a token, and one at the end."""
    return [
        [*[sum(map(ord, word)) for word in text.split()][: None if max_tokens is None else max_tokens - 1], 0]
        for text in texts
    ]


def test_shares_that_are_cut_and_texts_that_become_equal() -> None:
    cutter = Cutter(words, None, query_tokens=5, passage_tokens=50, prompts=True)
    queries = ["p q r s", "p q r s t", "p q r s u", "v"]
    cut = cutter.of(task(queries, "i j"), queries, ["x"])
    assert cut.query == SideCut(limit=5, prompt=4, cut=0.5, same=0.5)
    assert cut.passage == SideCut(limit=50, prompt=0, cut=0.0, same=0.0)
    assert cutter.of(task(queries, "i j", symmetric=True), queries, ["x"]).passage.prompt == 4
    short = Cutter(words, 7, query_tokens=5, passage_tokens=50, prompts=True).of(task(queries, "i j"), queries, ["x"])
    assert (short.query.limit, short.passage.limit) == (3, 7)
    with pytest.raises(UserError, match="queries of task 'a': the instruction before them takes 4 of the 5"):
        Cutter(words, 5, query_tokens=5, prompts=True).of(task(queries, "i j"), queries, ["x"])
    assert Cutter(words, None).of(task(queries), queries, ["x"]).query == SideCut(None, 0, 0.0, 0.0)


def test_what_is_said_of_limits_and_cuts() -> None:
    fine, lost = SideCut(20, 4, MUCH, 0.0), SideCut(20, 4, 0.21, 0.0)
    assert much_cut({"a": TaskCut(fine, fine)}, None) == ""
    one = much_cut({"a": TaskCut(fine, lost)}, None)
    assert one == "much is cut away: 21 % of a's passages after 20 tokens; raise data.passage_tokens"
    equal = SideCut(20, 0, 0.15, 0.1)
    several = much_cut({"a": TaskCut(lost, lost), "b": TaskCut(equal, lost)}, 24)
    assert "15 % of b's queries after 20 tokens (10 % of the different ones become equal), 21 % of" in several
    assert several.endswith("and 1 more; raise data.query_tokens")  # of the others the model reads no more
    cutter = Cutter(words, 24, 20, 30, prompts=True)
    (line,) = brought_down("m", cutter, {"a": TaskCut(fine, SideCut(24, 0, 0.0, 0.0))})
    assert line == "passage_tokens: 30 is brought down to 24: m reads no more than 24 tokens"
    (line,) = brought_down("m", cutter, {"a": TaskCut(SideCut(14, 10, 0.0, 0.0), SideCut(30, 0, 0.0, 0.0))})
    assert line == (
        "query_tokens: 20 is brought down to 14 for task 'a': of the 24 tokens that m reads, 10 are its instruction"
    )
    assert cut_lines("m", Cutter(words, None, 20, 20), {"a": TaskCut(fine, fine)}) == []


# ---- the commands


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks on an encoder of 64 positions; one has a long instruction, limits are too high for the passages."""
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    model = write_model("bert", tmp_path / "model", max_seq_length=64)
    for name in ("alpha", "beta"):
        rows = [
            {"query": f"{LONG} w{n}" if name == "alpha" else f"w{n}", "positive": " ".join([f"w{n}"] * (20 + 3 * n))}
            for n in range(24)
        ]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    training = {"steps": 2, "batch": 4, "chunk_rows": 4, "negatives": 1}
    content = {
        "name": "cut",
        "folder": str(tmp_path / "run"),
        "device": "cpu",
        "data": {
            "sources": {
                "alpha": {"source": str(tmp_path / "alpha.jsonl"), "instruction": f"{LONG} {LONG}"},
                "beta": {"source": str(tmp_path / "beta.jsonl"), "instruction": "w1"},
            },
            "query_tokens": 19,
            "passage_tokens": 512,
            "prompts": True,
        },
        "negatives": {"per_row": 1},
        "base": {"kind": "encoder", "source": str(model)},
        "reference": training,
        "weights": training,
        "finetune": [{**training, "name": "main", "mixtures": ["uniform"]}],
    }
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def change(path: Path, **data: object) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["data"] |= data
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_every_command_says_what_is_cut(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    down = "passage_tokens: 512 is brought down to 64: "
    much = "much is cut away: 100 % of alpha's queries after 19 tokens (96 % of the different ones become equal)"
    assert main(["plan", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert down in said and much in said and "% cut" in said and "100 / 38" in said
    assert main(["data", "describe", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert "100 % / 38 %" in said and "19 / 64 tokens, instructions not counted" in said
    assert "passages are cut at 64 tokens instead of 512: the model reads 64" in said
    assert "alpha: cut, 96 % of the different queries become equal" in said
    assert main(["run", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert down in said and much in said
    assert said.index(down) < said.index("reference: ")
    folder = recipe.parent / "run"
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "By the cut, different texts became equal: 95.8 % of alpha&#39;s queries" in report
    card = (folder / "models" / "main" / "uniform-seed1" / "README.md").read_text(encoding="utf-8")
    assert "19 tokens and passages to 64, prompts not counted" in card
    capsys.readouterr()
    change(recipe, query_tokens=22)  # which holds alpha's queries, but not beside their instruction
    assert main(["plan", str(recipe)]) == 0
    said = capsys.readouterr().out
    assert "query_tokens: 22 is brought down to 20 for task 'alpha': of the 64 tokens that" in said


def test_an_instruction_that_leaves_nothing_is_refused_before_work(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = yaml.safe_load(recipe.read_text(encoding="utf-8"))["data"]["sources"]
    sources["alpha"]["instruction"] = " ".join([LONG] * 4)
    change(recipe, sources=sources)
    for command in (["plan"], ["data", "describe"], ["reference"], ["run"]):
        assert main([*command, str(recipe)]) == 2
        said = capsys.readouterr().err
        assert "queries of task 'alpha': the instruction before them takes 84 of the 64 tokens" in said
    assert not (recipe.parent / "run" / "negatives").exists()


def test_the_run_reads_every_query_whole(recipe: Path) -> None:
    from tdro.recipe.schema import load_recipe

    change(recipe, query_tokens=22)
    sources = yaml.safe_load(recipe.read_text(encoding="utf-8"))["data"]["sources"]
    sources["alpha"]["instruction"] = f"{LONG} w1 w2"  # with its template 26 tokens, more than query_tokens
    change(recipe, sources=sources)
    loaded_recipe = load_recipe(recipe)
    workspace = Workspace(loaded_recipe, Path(loaded_recipe.folder), Machine())
    tokens = workspace.tokens(workspace.models.base(loaded_recipe.base)).queries
    assert len({tuple(row) for row in rows_of(tokens)}) == 48
    assert tokens.lengths.max() == 26 + 22


def test_decoders_of_a_run_leave_room_for_the_prompts_of_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    source = tiny_lm.write_causal_lm(tmp_path / "lm", layers=1)
    folder = tiny_mixture.mixture(tmp_path / "mixture", tasks=2)
    content = json.loads((folder / "mixture.json").read_text(encoding="utf-8"))
    content["tasks"][0]["instruction"] = "the lamp"
    (folder / "mixture.json").write_text(json.dumps(content), encoding="utf-8")
    base = {"kind": "decoder", "source": str(source)}
    lengths = {}
    for prompts in (False, True):
        recipe = tiny_mixture.recipe(tmp_path, base=base, data__prompts=prompts)
        workspace = Workspace(recipe, tmp_path / "run", Machine())
        lengths[prompts] = load_model(workspace.models.base(recipe.base).path, device="cpu").max_seq_length
        assert "unmined" not in vars(workspace.data)  # no row was read for it
    assert lengths[False] == 24  # the longer of query_tokens 16 and passage_tokens 24
    assert lengths[True] == 16 + base_tokens(Base.model_validate(base)).count(["Instruct: the lamp\nQuery: "])[0] - 1
    content["tasks"][1]["instruction"] = "x"  # now every query has one, and so has the model's prompt for any query
    (folder / "mixture.json").write_text(json.dumps(content), encoding="utf-8")
    workspace = Workspace(recipe, tmp_path / "run", Machine())
    model = load_model(workspace.models.base(recipe.base).path, device="cpu")
    prompt = saved_prompts(Mixture(workspace.data.unmined.tasks))["query"]
    assert "retrieve passages" in prompt
    row = encoder_of(model)([prompt], None)[0]
    assert model.max_seq_length == 16 + len(row) - 1


def test_init_writes_limits_that_fit_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    rows = [{"query": f"w{n}", "positive": " ".join([LONG] * 6) + f" w{n}"} for n in range(20)]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    for kind, longest in (("bert", 60), ("roberta", 40), ("static", 128)):
        model = write_model(kind, tmp_path / kind, **({"max_seq_length": 60} if kind == "bert" else {}))
        out = tmp_path / f"{kind}.yaml"
        assert main(["init", str(tmp_path / "mine.jsonl"), "--base", str(model), "--out", str(out)]) == 0
        data = yaml.safe_load(out.read_text(encoding="utf-8"))["data"]
        assert (data["query_tokens"], data["passage_tokens"]) == (16, longest)
        capsys.readouterr()
        assert main(["plan", str(out)]) == 0
        assert "brought down" not in capsys.readouterr().out


def test_describe_with_a_base_alone_says_what_the_model_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    write_jsonl(tmp_path / "mine.jsonl", [{"query": f"w{n}", "positive": " ".join([LONG] * n)} for n in range(1, 5)])
    model = write_model("bert", tmp_path / "m")
    assert main(["data", "describe", str(tmp_path / "mine.jsonl"), "--base", str(model)]) == 0
    said = capsys.readouterr().out
    assert "0 % / 75 %" in said and "what is read of them, 32 / 32 tokens" in said
    assert main(["data", "describe", str(tmp_path / "mine.jsonl")]) == 0
    assert "cut:" not in capsys.readouterr().out


def test_mining_and_evaluation_say_what_the_model_does_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded("bert", tmp_path)
    machine = Machine()

    def embedder(prompts: bool = True) -> Embedder:
        return Embedder(lambda: model, "m", tmp_path / "embeddings", machine, prompts, name="bert")

    settings = MiningSettings("dense", 1, (1, 5), None, None)
    long = [f"{LONG} {LONG} w{n}" for n in range(8)]
    with caplog.at_level(logging.WARNING, "tdro"):
        mine_task(task(long), settings, seed=0, embedder=embedder())
    assert "mining with bert: much is cut away: 100 % of a's queries after 32 tokens (88 % of" in caplog.text
    assert "it reads no more than 32 tokens" in caplog.text
    with pytest.raises(UserError, match="queries of task 'a': the instruction before them takes 44 of the 32"):
        mine_task(task(long, f"{LONG} {LONG}"), settings, seed=0, embedder=embedder())
    folder = tiny_mixture.mixture(tmp_path / "mixture", tasks=1) / "tests" / "task0"
    with pytest.raises(UserError, match="queries of test set 't': the instruction"):
        evaluate_once(model, TestSet("t", str(folder), instruction=f"{LONG} {LONG}"))
    result = evaluate_once(model, TestSet("t", str(folder), instruction="w1"))
    assert len(result["queries"]) == 10
