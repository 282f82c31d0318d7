"""sentence-transformers' last-token pooling is right for every padding, so we use it as it is."""

import json
from pathlib import Path

import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "pooling.json").read_text("utf-8"))
HIDDEN = torch.tensor(GOLDENS["last_hidden"])
CASES = [case for case in GOLDENS["cases"] if case["strategy"] == "lasttoken"]
(MIXED,) = [case for case in CASES if case["padding"].startswith("mixed")]
SAME_SIDE = [case for case in CASES if case is not MIXED]


def pool(hidden, mask, mode="lasttoken"):
    features = {"token_embeddings": hidden, "attention_mask": mask}
    return Pooling(hidden.shape[-1], mode)(features)["sentence_embedding"]


def last_tokens(hidden, mask):
    return torch.stack([row[int(own.nonzero().max())] for row, own in zip(hidden, mask, strict=True)])


@pytest.mark.parametrize("case", CASES, ids=[case["padding"] for case in CASES])
def test_last_token_under_each_padding(case):
    mask = torch.tensor(case["attention_mask"])
    torch.testing.assert_close(pool(HIDDEN, mask), last_tokens(HIDDEN, mask), rtol=0, atol=0)


@pytest.mark.parametrize("case", SAME_SIDE, ids=[case["padding"] for case in SAME_SIDE])
def test_agrees_with_the_authors_where_they_are_right(case):
    torch.testing.assert_close(pool(HIDDEN, torch.tensor(case["attention_mask"])), torch.tensor(case["out"]))


def test_differs_from_the_authors_where_they_are_wrong():
    ours, theirs = pool(HIDDEN, torch.tensor(MIXED["attention_mask"])), torch.tensor(MIXED["out"])
    same = [torch.allclose(one, other) for one, other in zip(ours, theirs, strict=True)]
    assert same == [True, True, False, True]  # row 2 is the one padded on the left


def test_mean_agrees_with_the_authors():
    cases = [case for case in GOLDENS["cases"] if case["strategy"] == "mean"]
    assert cases
    for case in cases:
        out = pool(HIDDEN, torch.tensor(case["attention_mask"]), "mean")
        torch.testing.assert_close(out, torch.tensor(case["out"]))


def test_gradient_reaches_the_last_token_only():
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1]])
    hidden = torch.randn(2, 4, 3, requires_grad=True)
    pool(hidden, mask).sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.abs().sum(-1).bool().tolist() == [
        [False, False, True, False],
        [False, False, False, True],
    ]
