"""Other people's models, scored as they score themselves: ``encode_query``, ``encode_document`` and ``similarity``."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer

import tiny
import tiny_mixture
from evaluate_once import evaluate_once
from tdro.cli import main
from tdro.console import log_to
from tdro.data.task import Task, TestSet, prompt_of
from tdro.errors import UserError
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.machine import Machine
from tdro.mining.embedder import embedder_of
from tdro.mining.mine_task import mine_task
from tdro.mining.mining_settings import MiningSettings
from tdro.models.fingerprint import model_fingerprint
from tdro.models.saving import save_model
from tdro.models.similarity import similarity_of
from tdro.planning.plan import make_plan
from tdro.recipe.schema import Recipe
from tdro.run import pipeline
from tdro.run.training_data import mixture_on_disk
from tdro.run.workspace import Workspace
from tdro.search.embedding_store import EmbeddingStore, TextList
from tdro.training.in_batch_loss import InBatchLoss
from tdro.training.stacking import embed_columns
from tiny_stacks import NOT_FROM_TOKENS, STACKS, bare

MACHINE = Machine("cpu", bf16=False)


def some_texts(count: int, longest: int, seed: int) -> list[str]:
    """Distinct texts of random words, some in capitals."""
    draw = random.Random(seed)
    words = [*tiny.WORDS[10:40], *(word.upper() for word in tiny.WORDS[10:40])]
    return [" ".join(draw.choice(words) for _ in range(draw.randint(2, longest))) for _ in range(count)]


QUERIES, PASSAGES = some_texts(9, 8, 0), some_texts(30, 24, 1)


@pytest.fixture(scope="module")
def test_set(tmp_path_factory) -> TestSet:
    folder = tmp_path_factory.mktemp("sets") / "set"
    (folder / "qrels").mkdir(parents=True)
    for name, prefix, texts in (("queries", "q", QUERIES), ("corpus", "d", PASSAGES)):
        rows = [{"_id": f"{prefix}{number}", "text": text} for number, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{number}\td{3 * number}\t1\n" for number in range(len(QUERIES)))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return TestSet("set", str(folder))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function that gives the folder of a stack, and stock sentence-transformers' model of it."""
    folder = tmp_path_factory.mktemp("models")

    def make(name: str) -> tuple[Path, SentenceTransformer]:
        path = folder / name
        if not (path / "modules.json").exists():
            STACKS[name](path)
        return path, SentenceTransformer(str(path), device="cpu", trust_remote_code=name == "custom-module")

    return make


def own_scores(model: SentenceTransformer) -> np.ndarray:
    return model.similarity(model.encode_query(QUERIES), model.encode_document(PASSAGES)).numpy()


@pytest.mark.parametrize("name", STACKS)
def test_evaluation_gives_the_models_own_scores(name, made, test_set, tmp_path):
    path, stock = made(name)
    (result,) = evaluate_all(
        f"{path}/", [test_set], tmp_path, model_name="m", bf16=False, device="cpu", trust_remote_code=True
    )
    expected = own_scores(stock)
    found = np.full_like(expected, np.nan)
    order: list[list[int]] = [[] for _ in QUERIES]
    for line in (tmp_path / "m" / "set.trec").read_text().splitlines():
        query, _, passage, _, score, _ = line.split()
        found[int(query[1:]), int(passage[1:])] = float(score)
        order[int(query[1:])].append(int(passage[1:]))
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()), rtol=1e-5)
    ranked = np.take_along_axis(expected, np.array(order), axis=1)
    assert (np.diff(ranked, axis=1) <= 1e-5).all()
    assert result["similarity"] == stock.similarity_fn_name
    assert result["prompts"] == {side: stock.prompts[side] for side in ("query", "document")}


# Mining and evaluation encode and compare by the same code. What mining does by itself: prompts, sides, the width and
# similarity that it asks the model for, and code of the model's own.
MINED = (
    *("mean", "dense-dot", "dense-euclidean", "manhattan", "truncated-dot", "default-prompt", "passage-prompt"),
    *("prompt-left-out-max-dot", "lengths-by-side", "left-padding-gpt2", "static", "router", "asym", "custom-module"),
)


@pytest.mark.parametrize("name", MINED)
def test_mining_finds_what_the_model_scores_highest(name, made, tmp_path):
    path, stock = made(name)
    rows = [
        {"id": str(number), "query": query, "positives": [PASSAGES[3 * number]], "negatives": []}
        for number, query in enumerate(QUERIES)
    ]
    scores = own_scores(stock)
    answers = np.array([scores[number, 3 * number] for number in range(len(QUERIES))])
    limits = answers - 0.1 * np.abs(answers)
    expected = [
        [PASSAGES[place] for place in np.argsort(-row) if place != 3 * number and row[place] <= limits[number]][:4]
        for number, row in enumerate(scores)
    ]
    mined = mine_task(
        Task("toy", Dataset.from_list(rows)),
        MiningSettings("dense", 4, relative_margin=0.1),
        corpus={text: text for text in PASSAGES},  # each with what it is without its title
        embedder=embedder_of(str(path), tmp_path, MACHINE, trust_remote_code=True),
    )
    assert mined.rows["negatives"][:] == expected


@pytest.mark.parametrize(
    "name", ["dense-dot", "dense-euclidean", "truncated", "prompt-left-out", "router", "passage-prompt"]
)
def test_the_same_numbers_as_mteb(name, made, test_set, tmp_path):
    mteb = pytest.importorskip("mteb")
    from mteb.mocks.mock_tasks.retrieval import MockRetrievalTask

    class InMemory(MockRetrievalTask):
        ignore_identical_ids = False

        def load_data(self, *_, **__):
            parts = {
                "corpus": Dataset.from_list([{"id": f"d{n}", "title": "", "text": t} for n, t in enumerate(PASSAGES)]),
                "queries": Dataset.from_list([{"id": f"q{n}", "text": text} for n, text in enumerate(QUERIES)]),
                "relevant_docs": {f"q{number}": {f"d{3 * number}": 1} for number in range(len(QUERIES))},
                "top_ranked": None,
            }
            self.dataset, self.data_loaded = {"default": {"test": parts}}, True

        def task_specific_scores(self, scores, *_, **__):
            self.by_query = scores  # before they are rounded
            return {}

    path, stock = made(name)
    task = InMemory().filter_eval_splits(["test"])
    mteb.evaluate(stock, task, cache=None)
    (ours,) = evaluate_all(path, [test_set], tmp_path, model_name="m", bf16=False, device="cpu")
    for measure, key in {"ndcg@10": "ndcg_cut_10", "recall@100": "recall_100", "map@100": "map_cut_100"}.items():
        theirs = [task.by_query[query][key] for query in ours["queries"]]
        np.testing.assert_allclose(ours[measure], theirs, rtol=0, atol=1e-6)


def test_a_similarity_in_the_models_code(test_set):
    model = tiny.static_model()
    model.similarity_fn_name = "euclidean"
    by_distance = evaluate_once(model, test_set, bf16=False)
    model.similarity_fn_name = "cosine"
    model.similarity = lambda one, other: -torch.cdist(one, other)
    by_own = evaluate_once(model, test_set, bf16=False)
    assert (by_distance.pop("similarity"), by_own.pop("similarity")) == ("euclidean", "custom")
    assert by_own["ndcg@10"] == by_distance["ndcg@10"]
    queries, passages = torch.randn(100, 4), torch.randn(100, 4)
    expected = -(queries - passages).norm(dim=1)
    torch.testing.assert_close(similarity_of(model).pairs(queries, passages), expected, atol=1e-4, rtol=1e-4)


def test_an_instruction_stands_in_place_of_the_models_prompts(made, test_set, tmp_path):
    path, stock = made("prompt-left-out")
    (result,) = evaluate_all(
        path, [replace(test_set, instruction="w3")], tmp_path, model_name="m", bf16=False, device="cpu"
    )
    asked = prompt_of("w3")
    assert result["prompts"] == {"query": asked, "document": ""}
    scores = stock.similarity(stock.encode_query(QUERIES, prompt=asked), stock.encode_document(PASSAGES, prompt=""))
    first = [line.split() for line in (tmp_path / "m" / "set.trec").read_text().splitlines() if line.split()[3] == "1"]
    np.testing.assert_allclose([float(line[4]) for line in first], scores.max(dim=1).values.numpy(), atol=1e-5)
    assert [int(line[2][1:]) for line in first] == scores.argmax(dim=1).tolist()


def test_embeddings_are_kept_by_side_prompt_and_width(made, tmp_path):
    """One folder for all: no model reads what was encoded another way."""
    folder = tmp_path / "embeddings"
    for name in ("prompt-left-out", "router"):
        _, stock = made(name)
        for prompt in ("", "w9 "):
            for side, encode in (("query", stock.encode_query), ("document", stock.encode_document)):
                store = EmbeddingStore(folder, [TextList(QUERIES, prompt, side)], stock, name, MACHINE)
                store.encode(progress=False)
                expected = encode(QUERIES, prompt=prompt, normalize_embeddings=True)
                np.testing.assert_allclose(store.whole(0).numpy(), expected, atol=1e-6)
    _, stock = made("dense-dot")
    for similarity, width in (("dot", None), ("cosine", None), ("dot", 3), ("euclidean", 3)):
        stock.similarity_fn_name, stock.truncate_dim = similarity, width
        store = EmbeddingStore(folder, [TextList(QUERIES)], stock, "one", MACHINE)
        store.encode(progress=False)
        expected = stock.encode(QUERIES, normalize_embeddings=similarity == "cosine")
        np.testing.assert_allclose(store.whole(0).numpy(), expected, atol=1e-6)


def test_the_command_says_how_a_model_was_scored(made, test_set, tmp_path, capsys):
    prompted, dot = made("default-prompt")[0], made("dense-dot")[0]
    main(["evaluate", f"{prompted}/", str(dot), "--on", test_set.folder, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "scored by dot, dense-dot's own similarity" in printed
    assert 'before queries: "w7 w8 "\nbefore passages: "w9 "' in printed
    assert printed.count("scored by") == printed.count("before queries") == 1
    result = json.loads((tmp_path / "out" / "dense-dot" / "set.json").read_text())
    assert result["similarity"] == "dot" and result["prompts"] == {"query": "", "document": ""}


def test_code_of_a_model_is_run_only_where_one_says_so(made, test_set, tmp_path, capsys):
    path, out = str(made("custom-module")[0]), ["--out", str(tmp_path / "out")]
    rows = [{"query": QUERIES[0], "positive": PASSAGES[0]}, {"query": QUERIES[1], "positive": PASSAGES[1]}]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for command in (
        ["evaluate", path, "--on", test_set.folder, *out],
        ["data", "mine", str(data), "--model", path, "--per-row", "1", "--out", str(tmp_path / "mined")],
        ["inspect", path],
    ):
        assert main(command) == 2
        assert "--trust-remote-code" in capsys.readouterr().err
        assert main([*command, "--trust-remote-code"]) == 0
        capsys.readouterr()


# ---- Models that say nothing of pooling, and models that are no embedders


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> dict[str, Path]:
    """Folders of models that are no embedders, as their own libraries save them."""
    folder = tmp_path_factory.mktemp("others")
    raw = bare(folder / "raw-bert")
    config = json.loads((Path(raw) / "config.json").read_text())
    changed = {
        "cross-encoder": {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}},
        "colbert-v2": {"architectures": ["HF_ColBERT"]},
        "clip": {"architectures": ["CLIPModel"], "model_type": "clip"},
    }
    for name, more in changed.items():
        shutil.copytree(raw, folder / name)
        (folder / name / "config.json").write_text(json.dumps({**config, **more}))
    saved = {
        "sparse": ({"model_type": "SparseEncoder"}, "sentence_transformers.sparse_encoder.models.SpladePooling"),
        "splade-old": ({}, "sentence_transformers.sparse_encoder.models.SpladePooling.SpladePooling"),
        "multi-vector": ({"model_type": "MultiVectorEncoder"}, "sentence_transformers.base.modules.dense.Dense"),
        "pylate": ({"similarity_fn_name": "MaxSim"}, "pylate.models.Dense.Dense"),
        "reranker": ({"model_type": "CrossEncoder"}, "sentence_transformers.base.modules.transformer.Transformer"),
        "clip-old": ({}, "sentence_transformers.models.CLIPModel"),
    }
    for name, (about, second) in saved.items():
        shutil.copytree(raw, folder / name)
        modules = [("", "sentence_transformers.models.Transformer"), ("1_Other", second)]
        entries = [
            {"idx": number, "name": str(number), "path": path, "type": kind}
            for number, (path, kind) in enumerate(modules)
        ]
        (folder / name / "modules.json").write_text(json.dumps(entries))
        (folder / name / "config_sentence_transformers.json").write_text(json.dumps(about))
    return {path.name: path for path in folder.iterdir() if path.name != "raw-bert"}


KINDS = {
    **dict.fromkeys(["cross-encoder", "reranker"], "a reranker"),
    **dict.fromkeys(["colbert-v2", "multi-vector", "pylate"], "a late-interaction model"),
    **dict.fromkeys(["sparse", "splade-old"], "a sparse model"),
    **dict.fromkeys(["clip", "clip-old"], "a model of images and text"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_embedder_is_refused_by_every_command(name, others, test_set, tmp_path, capsys):
    path = str(others[name])
    data, out = tmp_path / "rows.jsonl", tmp_path / "out"
    data.write_text('{"query": "a", "positive": "b"}\n{"query": "c", "positive": "d"}\n')
    recipe = tiny_mixture.recipe(tmp_path, base={"kind": "encoder", "source": path})
    for refused in (
        lambda: main(["evaluate", path, "--on", test_set.folder, "--out", str(out)]),
        lambda: main(["data", "mine", str(data), "--model", path, "--out", str(out)]),
        lambda: main(["inspect", path]),
        lambda: main(["init", str(data), "--base", path, "--out", str(out)]),
        lambda: make_plan(recipe, mixture_on_disk(recipe), 1),
        lambda: pipeline.run_recipe(recipe),
    ):
        try:
            assert refused() == 2
            said = capsys.readouterr().err
        except UserError as error:
            said = str(error)
        assert KINDS[name] in said and len(said.strip().splitlines()) == 1, said
    assert not out.exists() and not list((tmp_path / "run").glob("*/*.json"))


def test_a_bare_transformer_is_named_as_one(made, test_set, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))
    raw = bare(tmp_path / "raw")
    data = tmp_path / "rows.jsonl"
    data.write_text(
        "".join(json.dumps({"query": q, "positive": p}) + "\n" for q, p in zip(QUERIES, PASSAGES, strict=False))
    )
    what = "a bare transformer (BertModel), which says nothing of pooling; sentence-transformers takes mean pooling"
    for command in (
        ["evaluate", raw, "--on", test_set.folder, "--out", str(tmp_path / "out")],
        ["data", "mine", str(data), "--model", raw, "--per-row", "1", "--out", str(tmp_path / "mined")],
        ["inspect", raw],
    ):
        main(command)
        assert f"warning: {raw}: {what}" in capsys.readouterr().out.splitlines()
    result = json.loads((tmp_path / "out" / "raw" / "set.json").read_text())
    stock = SentenceTransformer(raw, device="cpu")
    expected = evaluate_once(stock, test_set)
    assert result["ndcg@10"] == expected["ndcg@10"]
    for folder in ("one", "two"):  # the second finds the base built
        log_to(None, main=True)
        Workspace(trained_on(tmp_path / folder, raw), tmp_path / folder, MACHINE).models.check()
        assert capsys.readouterr().out.count(f"warning: {raw}: {what}") == 1


def test_an_adapter_alone_is_its_base_with_it(made, test_set, tmp_path, capsys):
    pytest.importorskip("peft")
    model = tiny.lora_decoder(tmp_path / "base")
    model.transformers_model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "tokenizer.json").write_bytes((tmp_path / "base" / "tokenizer.json").read_bytes())
    (tmp_path / "adapter" / "tokenizer_config.json").write_bytes(
        (tmp_path / "base" / "tokenizer_config.json").read_bytes()
    )
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": str(tmp_path / "base")}))
    stock = SentenceTransformer(str(tmp_path / "adapter"), device="cpu")
    main(["evaluate", f"{tmp_path / 'adapter'}/", "--on", test_set.folder, "--out", str(tmp_path / "out")])
    assert "an adapter of a bare transformer" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "adapter" / "set.json").read_text())
    assert result["ndcg@10"] == evaluate_once(stock, test_set)["ndcg@10"]


# ---- As the base of a training


def trained_on(folder: Path, source: Path | str, **more) -> Recipe:
    folder.mkdir(exist_ok=True)
    return tiny_mixture.recipe(folder, base={"kind": "encoder", "source": str(source)}, reference__steps=2, **more)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TDRO_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["dense-wider", "normalize-dot", "prompts", "layers-weighted", "dense-euclidean"])
def test_a_trained_model_is_what_its_base_was(name, made, tmp_path, own_cache, caplog):
    path, stock = made(name)
    workspace = Workspace(trained_on(tmp_path, path), tmp_path, MACHINE)
    workspace.models.check()
    base = workspace.models.base(workspace.recipe.base)
    said = caplog.text
    save_model(workspace.models.loader(base)(), tmp_path / "saved", workspace.models.saving(base, merge=True))
    trained = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    check_kept(trained, stock, "dot" if name == "normalize-dot" else "cosine", said)
    np.testing.assert_array_equal(trained.encode(QUERIES), stock.encode(QUERIES))


def check_kept(trained: SentenceTransformer, base: SentenceTransformer, similarity: str, said: str) -> None:
    """What a training may not change, and what it says that it has changed."""
    assert [type(module) for module in trained] == [type(module) for module in base]
    assert (trained.truncate_dim, trained.max_seq_length) == (base.truncate_dim, base.max_seq_length)
    assert trained.similarity_fn_name == similarity and trained.prompts == {"query": "", "document": ""}
    assert ("trained models are saved with the cosine" in said) == (base.similarity_fn_name != similarity)
    assert ("has prompts of its own" in said) == any(base.prompts.values())


@pytest.mark.parametrize("name", ["truncated-dot", "static-dense-dot"])
def test_a_run_trains_at_the_models_width(name, made, tmp_path, own_cache, capsys):
    path, base = made(name)
    pipeline.run_recipe(trained_on(tmp_path, path), ["reference"])
    trained = SentenceTransformer(str(tmp_path / "run" / "reference"), device="cpu")
    check_kept(trained, base, "cosine", capsys.readouterr().out)
    assert not np.array_equal(trained.encode(QUERIES), base.encode(QUERIES))


@pytest.mark.parametrize("name", sorted(NOT_FROM_TOKENS))
def test_what_reads_more_than_tokens_is_no_base(name, made, tmp_path, own_cache):
    path, _ = made(name)
    recipe = trained_on(tmp_path, path, trust_remote_code=name == "custom-module")
    with pytest.raises(UserError, match="training reads tokens only"):
        Workspace(recipe, tmp_path, MACHINE).models.check()


def test_a_groups_base_is_refused_before_the_reference_is_trained(made, tmp_path, own_cache):
    base = {"kind": "encoder", "source": str(made("router")[0])}
    with pytest.raises(UserError, match=r"Router"):
        pipeline.run_recipe(tiny_mixture.recipe(tmp_path, finetune__base=base))
    assert not (tmp_path / "run" / "reference").exists() and not (tmp_path / "run" / "negatives").exists()


def test_training_pools_its_prompts_or_has_none(made, tmp_path, own_cache):
    path, _ = made("prompt-left-out")
    mixture = tiny_mixture.mixture(tmp_path / "mixture")
    content = json.loads((mixture / "mixture.json").read_text())
    content["tasks"][0]["instruction"] = "w3"
    (mixture / "mixture.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"include_prompt: false.*\nSet data\.prompts to false"):
        pipeline.run_recipe(trained_on(tmp_path, path, data__prompts=True), ["reference"])
    workspace = Workspace(trained_on(tmp_path, path, data__prompts=False), tmp_path, MACHINE)
    workspace.models.check()
    base = workspace.models.base(workspace.recipe.base)
    save_model(workspace.models.loader(base)(), tmp_path / "saved", workspace.models.saving(base, merge=True))
    trained = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert not trained[1].include_prompt and trained.prompts == {"query": "", "document": ""}


def test_the_losses_see_no_more_than_the_models_width(made):
    _, model = made("truncated-dot")
    model.eval()
    tokens = [model.preprocess(texts) for texts in (QUERIES, PASSAGES[:9], PASSAGES[9:18])]
    columns = [{key: column[key] for key in ("input_ids", "attention_mask")} for column in tokens]
    query, *passages = (torch.from_numpy(model.encode(texts)) for texts in (QUERIES, PASSAGES[:9], PASSAGES[9:18]))
    assert query.shape[1] == 5
    scores = torch.nn.functional.cosine_similarity(query[:, None], torch.cat(passages)[None], dim=2) / 0.05
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(9)).item()
    for caching in (False, True):
        loss = InBatchLoss(model, 0.05, 4, gradient_caching=caching)
        assert loss([dict(column) for column in columns]).item() == pytest.approx(expected, rel=1e-5)
    for embedded, whole in zip(embed_columns(model, columns, 4), (query, *passages), strict=True):
        np.testing.assert_allclose(embedded.detach().numpy(), whole.numpy(), atol=1e-6)


def test_a_fingerprint_sees_weights_of_every_format(made, tmp_path):
    path, _ = made("dense")
    before = model_fingerprint(path)
    shutil.copytree(path, tmp_path / "old")
    for number, file in enumerate(sorted((tmp_path / "old").rglob("*.safetensors"))):
        file.rename(file.with_name("pytorch_model.bin"))
        file.with_name("pytorch_model.bin").write_bytes(b"%d" % number)
        after = model_fingerprint(tmp_path / "old")
        assert after != before
        before = after
    (tmp_path / "old" / "code.py").write_text("x = 1\n")
    assert model_fingerprint(tmp_path / "old") != before


def test_inspect_says_what_training_would_change(made, capsys):
    for name, expected in {
        "truncated-dot": ("width           5 (truncate_dim; 8 without)", "similarity      dot", "it ranks by dot"),
        "prompt-left-out": ("similarity      cosine", "its pooling leaves the prompt out"),
        "router": ("sends queries and passages through different modules",),
    }.items():
        assert main(["inspect", str(made(name)[0])]) == (2 if name == "router" else 0)
        printed = "".join(capsys.readouterr())
        assert all(part in printed for part in expected), printed
