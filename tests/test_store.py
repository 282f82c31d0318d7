"""Embeddings on disk: what encode gives, each text once, found again, continued, and shared by ranks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import tdro.search.embedding_store
import tiny
from launch import in_ranks
from tdro.errors import UserError
from tdro.evaluation.scoring.evaluate import evaluate_all
from tdro.machine import Machine
from tdro.search.embedding_store import EmbeddingStore, TextList
from test_search import write_test

TEXTS = ["w1 w2", "w3", "w1 w2", "w4 w5 w6 w7", "", "w9 w3", "w8"]


def texts_seen(model, monkeypatch) -> list[str]:
    """All texts that the model tokenizes from now on."""
    seen: list[str] = []
    inner = model.preprocess

    def listen(inputs, **more):
        seen.extend(text for text in inputs if text != "a")  # with which the kind of the model is found out
        return inner(inputs, **more)

    monkeypatch.setattr(model, "preprocess", listen)
    return seen


def all_blocks(store: EmbeddingStore, number: int) -> torch.Tensor:
    found = list(store.blocks(number))
    assert [start for start, _ in found] == np.cumsum([0, *(len(block) for _, block in found[:-1])]).tolist()
    return torch.cat([block for _, block in found])


@pytest.mark.parametrize("per_group", [100, 3])
def test_gives_what_encode_gives_and_each_text_of_a_group_once(tmp_path, monkeypatch, per_group):
    monkeypatch.setattr(tdro.search.embedding_store, "_TEXTS_PER_GROUP", per_group)
    model = tiny.static_model()
    expected = model.encode([f"w5 {text}" for text in TEXTS], normalize_embeddings=True)
    others = model.encode(["w3", "w11"], normalize_embeddings=True)
    seen = texts_seen(model, monkeypatch)
    store = EmbeddingStore(
        tmp_path, [TextList(TEXTS, "w5 "), TextList(["w3", "w11"]), TextList([])], model, "m", Machine(bf16=True)
    )
    store.encode(progress=False)
    for found in (all_blocks(store, 0), store.whole(0)):
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(store.whole(1).numpy(), others, atol=1e-6)
    assert seen.count("w5 w1 w2") == 1
    assert len(seen) == 8
    assert len(list(store.blocks(2))) == 0


def test_found_again_by_model_settings_and_text(tmp_path, monkeypatch):
    model = tiny.encoder(tmp_path / "model")
    seen = texts_seen(model, monkeypatch)
    EmbeddingStore(tmp_path / "e", [TextList(TEXTS)], model, "m", Machine()).encode(progress=False)
    del seen[:]
    again = EmbeddingStore(tmp_path / "e", [TextList(["w20"]), TextList(tuple(TEXTS))], model, "m", Machine())
    again.encode(progress=False)
    assert seen == ["w20"]
    for lists, fingerprint, machine, limit in [
        ([TextList(TEXTS, "w1 ")], "m", Machine(), 32),
        ([TextList(TEXTS)], "other", Machine(), 32),
        ([TextList(TEXTS)], "m", Machine(bf16=True), 32),
        ([TextList(TEXTS)], "m", Machine(), 3),
    ]:
        del seen[:]
        model.max_seq_length = limit
        store = EmbeddingStore(tmp_path / "e", lists, model, fingerprint, machine)
        store.encode(progress=False)
        assert len(seen) == 6
    settings = json.loads((store.folder / "settings.json").read_text())
    of_model = {"model": "m", "max_tokens": 3, "bf16": False, "width": None, "unit": True}
    assert settings == {"format": "tdro-embeddings/1", **of_model}


def test_an_interrupted_encoding_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(tdro.search.embedding_store, "_TEXTS_PER_GROUP", 2)
    model = tiny.static_model()
    store = EmbeddingStore(tmp_path, [TextList(TEXTS)], model, "m", Machine())
    inner, calls = EmbeddingStore._vectors, []

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return inner(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingStore, "_vectors", stopped)
        with pytest.raises(KeyboardInterrupt):
            store.encode(progress=False)
    assert len(list(store.folder.glob("*.npy"))) == 2
    seen = texts_seen(model, monkeypatch)
    EmbeddingStore(tmp_path, [TextList(TEXTS)], model, "m", Machine()).encode(progress=False)
    assert sorted(seen) == sorted(TEXTS[4:])
    np.testing.assert_allclose(all_blocks(store, 0).numpy(), model.encode(TEXTS, normalize_embeddings=True), atol=1e-6)
    assert not list(store.folder.glob(".*"))


def test_tokens_are_kept_for_the_next_model(tmp_path, monkeypatch):
    for seed in (0, 1):
        model = tiny.static_model(seed=seed)
        seen = texts_seen(model, monkeypatch)
        store = EmbeddingStore(tmp_path / "e", [TextList(TEXTS)], model, f"m{seed}", Machine())
        store.encode(tmp_path / "tokens", progress=False)
        assert len(seen) == (0 if seed else 6)


def test_a_model_that_gives_nan_is_refused(tmp_path):
    model = tiny.static_model()
    model[0].embedding.weight.data[:] = torch.nan
    store = EmbeddingStore(tmp_path, [TextList(["w1"])], model, "m", Machine())
    with pytest.raises(UserError, match=r"evaluating x: .* not all finite"):
        store.encode(title="evaluating x", progress=False)
    assert not list(store.folder.glob("*.npy"))


def test_a_broken_file_is_named(tmp_path):
    store = EmbeddingStore(tmp_path, [TextList(["w1"])], tiny.static_model(), "m", Machine())
    store.encode(progress=False)
    (path,) = store.folder.glob("*.npy")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=f"{path.name}: embeddings cannot be read"):
        store.whole(0)


def test_two_ranks_give_what_one_gives(tmp_path, monkeypatch):
    """To the last bit: the same files and values, on both ranks; each encodes its share."""
    monkeypatch.setattr(tdro.search.embedding_store, "_TEXTS_PER_GROUP", 16)
    tests = [write_test(tmp_path / name, seed) for seed, name in enumerate("ab")]
    tiny.encoder(tmp_path / "parts").save_pretrained(str(tmp_path / "model"), create_model_card=False)

    def evaluated(machine: Machine) -> None:
        encoded = []
        inner = EmbeddingStore._vectors
        monkeypatch.setattr(
            EmbeddingStore, "_vectors", lambda store, *more: (encoded.append(1), inner(store, *more))[1]
        )
        folder = tmp_path / f"results-{machine.world}"
        found = evaluate_all(tmp_path / "model", tests, folder, model_name="m", device="cpu", bf16=False)
        name = f"{machine.world}-{machine.rank}.json"
        (tmp_path / name).write_text(json.dumps({"found": found, "encoded": len(encoded)}))

    in_ranks(2, evaluated, tmp_path / "output")
    evaluated(Machine())
    one, two = (tmp_path / f"results-{world}" / "m" for world in (1, 2))
    files = sorted(str(file.relative_to(one)) for file in one.rglob("*") if file.is_file())
    assert files == [
        "a.json",
        "a.trec",
        "b.json",
        "b.trec",
        *(f"mteb-own/{name}.json" for name in ("a", "b", "model_meta")),
    ]
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file
    alone, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    assert alone["found"] == first["found"] == second["found"]
    assert (first["encoded"], second["encoded"]) == (alone["encoded"] // 2, alone["encoded"] // 2)
