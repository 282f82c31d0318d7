"""What makes models faster on CPUs: packed weights change not one bit, short texts' attention only the rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny
from tdro.data.tokens.tokenize import tokenize
from tdro.machine import Machine
from tdro.models import cpu
from tdro.models.encode import encode_tokens

TEXTS = [" ".join(f"w{(7 * i + 3 * j) % 200}" for j in range(1 + i % 30)) for i in range(60)]


@pytest.mark.parametrize("kind", tiny.MODELS)
@pytest.mark.parametrize("bf16", [True, False])
def test_same_bits_with_and_without(tmp_path, monkeypatch, kind, bf16):
    model = tiny.model(kind, tmp_path).eval()
    tokens, machine = tokenize(model, TEXTS, 24), Machine("cpu", bf16)
    found = encode_tokens(model, tokens, np.arange(60), machine)
    monkeypatch.setattr(cpu, "_can_pack", lambda model: False)
    assert np.array_equal(found, encode_tokens(model, tokens, np.arange(60), machine))


def test_used_where_there_is_bf16_and_gone_afterwards(tmp_path):
    model = tiny.encoder(tmp_path)
    if not cpu._can_pack(model):
        pytest.skip("this CPU or torch has no packed bf16 weights")
    layers = [module for module in model.modules() if type(module) is torch.nn.Linear]
    with cpu.packed_weights(model, Machine("cpu", bf16=False)):
        assert not any("forward" in vars(layer) for layer in layers)
    with pytest.raises(KeyboardInterrupt), cpu.packed_weights(model, Machine("cpu", bf16=True)):
        assert all("forward" in vars(layer) for layer in layers)
        raise KeyboardInterrupt
    assert not any("forward" in vars(layer) for layer in layers)


def test_weights_that_have_changed_are_packed_anew(tmp_path):
    model, machine = tiny.encoder(tmp_path).eval(), Machine("cpu", bf16=True)
    tokens = tokenize(model, TEXTS, 24)
    before = encode_tokens(model, tokens, np.arange(60), machine)
    with torch.no_grad():
        for layer in model.modules():
            if type(layer) is torch.nn.Linear:
                layer.weight.mul_(50)
    assert abs(before - encode_tokens(model, tokens, np.arange(60), machine)).max() > 0.01


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_short_text_attention_changes_rounding_only_and_leaves_nothing_behind(kind, tmp_path):
    model = tiny.model(kind, tmp_path).eval()
    features = model.preprocess(["one short text", "another"])

    def embedded(bf16):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(dict(features))["sentence_embedding"].float()

    plain, plain_bf16, flash = embedded(False), embedded(True), torch.backends.cuda.flash_sdp_enabled()
    with cpu.short_text_attention(model):
        assert torch.equal(embedded(False), plain)
        assert torch.allclose(embedded(True), plain_bf16, atol=0.03)
        with pytest.raises(RuntimeError), torch.autocast("cpu", torch.bfloat16):
            model(dict(features, input_ids=features["input_ids"].float()))
    assert torch.backends.cuda.flash_sdp_enabled() == flash
    assert not model[0]._forward_pre_hooks and not model[0]._forward_hooks
