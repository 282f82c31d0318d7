"""What ``tdro inspect`` says of a model: the same as building it would show, and what is wrong with it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

import tiny
from tdro.cli import main
from tdro.errors import UserError
from tdro.machine import Machine
from tdro.models.base import build_base
from tdro.models.inspect.facts import Token
from tdro.models.inspect.look import inspect_model
from tdro.models.load import load_model
from tdro.recipe.training_sections import Lora, Training
from tdro.training.finetune import FinetuneJob, finetune
from tiny_lm import LORA, settings, write_causal_lm, write_encoder


@pytest.fixture(scope="module")
def causal_lm(tmp_path_factory):
    return write_causal_lm(tmp_path_factory.mktemp("models") / "llama", special=("<s>", "</s>"))


@pytest.fixture(scope="module")
def decoder(causal_lm, tmp_path_factory):
    return build_base(settings("decoder", causal_lm, layers=2), tmp_path_factory.mktemp("bases") / "b", max_tokens=32)


@pytest.fixture
def adapter(decoder, tmp_path):
    """The folder of an adapter whose matrices B are not zero."""
    return write_adapter(decoder, tmp_path / "adapter", moved=True)


def write_adapter(base, folder, moved):
    model = load_model(base, device="cpu", lora=LORA)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name and moved:
                value.fill_(0.1)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def parameters(model, trained=False):
    return sum(value.numel() for value in model.parameters() if value.requires_grad or not trained)


def only_warning(facts):
    (warning,) = facts.warnings
    return warning


# --- a bare decoder


def test_a_decoder_before_and_after(causal_lm):
    facts = inspect_model(causal_lm, layers=2, max_tokens=32)
    assert (facts.form, facts.kind, facts.architecture) == ("transformers", "decoder", "LlamaForCausalLM")
    assert facts.tied is True and facts.width == 16
    found, built = facts.found, facts.built
    assert (found.layers, built.layers) == (3, 2)
    assert (found.pooling, built.pooling) == (None, "lasttoken")
    assert (found.tokenization.padding_side, built.tokenization.padding_side) == ("left", "right")
    assert (found.tokenization.chat_template, built.tokenization.chat_template) == (True, False)
    assert (found.tokenization.ends_in_eos, found.tokenization.cut_ends_in_eos) == (False, False)
    assert (built.tokenization.ends_in_eos, built.tokenization.cut_ends_in_eos) == (True, True)
    assert found.tokenization.eos == built.tokenization.eos == Token("</s>", 1)
    assert (found.tokenization.pad, built.tokenization.pad) == (None, Token("<|pad|>", found.rows))
    assert (built.rows, built.tokenization.tokens) == (found.rows + 1, found.tokenization.tokens + 1)
    assert built.tokenization.max_tokens == 32
    assert facts.warnings == ()


def test_it_says_what_is_built(causal_lm, decoder):
    facts = inspect_model(causal_lm, layers=2, max_tokens=32)
    assert facts.trained == facts.built.parameters == parameters(load_model(decoder, device="cpu"))
    adapted = parameters(load_model(decoder, device="cpu", lora=Lora()), trained=True)
    assert facts.trained_with_lora == adapted
    assert inspect_model(decoder).found == facts.built


def test_with_lora(causal_lm):
    facts = inspect_model(causal_lm, lora=True)
    assert facts.trained == facts.trained_with_lora < facts.built.parameters
    assert (facts.adapter.r, facts.adapter.alpha, facts.adapter.layers) == (8, 32, 21)
    assert facts.adapter.targets == ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")


def test_weights_on_disk(tmp_path):
    source = write_causal_lm(tmp_path / "lm", layers=1, dtype=torch.bfloat16)
    assert (inspect_model(source).found.dtype, inspect_model(source).built.dtype) == ("bfloat16", "float32")
    assert inspect_model(source, lora=True).built.dtype == "bfloat16"  # frozen


def test_tokens_without_embeddings_and_too_few_positions(tmp_path):
    facts = inspect_model(write_causal_lm(tmp_path / "lm", layers=1, more_rows=-2))
    assert facts.found.rows == facts.found.tokenization.tokens - 2
    assert facts.built.rows == facts.built.tokenization.tokens
    assert "2 tokens have no row" in facts.warnings[0]
    assert "up to 128 tokens" in inspect_model(tmp_path / "lm", max_tokens=512).warnings[1]


def test_an_encoder_read_as_a_decoder(tmp_path):
    model = tiny.encoder(tmp_path / "bert")
    model.save_pretrained(str(tmp_path / "model"))
    assert "not a causal language model" in only_warning(
        inspect_model(tmp_path / "model", kind="decoder", max_tokens=8)
    )


# --- models that are taken as they are


def test_a_built_base_has_nothing_to_change(decoder):
    facts = inspect_model(decoder)
    assert (facts.form, facts.kind, facts.warnings) == ("sentence-transformers", "encoder", ())
    assert facts.found == facts.built
    assert facts.found.tokenization.cut_ends_in_eos


def test_a_bare_encoder_gets_mean_pooling(tmp_path):
    facts = inspect_model(write_encoder(tmp_path / "bert"))
    assert (facts.kind, facts.architecture, facts.tied) == ("encoder", "BertModel", None)
    assert (facts.found.pooling, facts.built.pooling) == (None, "mean")
    assert facts.found.tokenization.eos is None
    assert facts.trained_with_lora > 0


def test_a_static_model(tmp_path):
    tiny.static_model().save_pretrained(str(tmp_path / "static"))
    facts = inspect_model(tmp_path / "static")
    assert (facts.found.layers, facts.found.rows, facts.width, facts.found.parameters) == (None, 203, 16, 203 * 16)
    assert facts.trained_with_lora is None and facts.attention is None and facts.warnings == ()
    with pytest.raises(UserError, match="no layer can carry an adapter"):
        inspect_model(tmp_path / "static", lora=True)


def test_a_chat_model_that_somebody_made_an_embedder(tmp_path):
    source = write_causal_lm(tmp_path / "lm", layers=1, pad_token="<pad>")
    naive = SentenceTransformer(modules=[Transformer(str(source)), Pooling(16, "lasttoken")], device="cpu")
    naive.prompts, naive.default_prompt_name = {"query": "Query: ", "document": ""}, "query"
    naive.save_pretrained(str(tmp_path / "naive"))
    facts = inspect_model(tmp_path / "naive")
    assert facts.prompts == {"query": "Query: "}
    for finding in (
        "chat template",
        "pads on the left",
        "no end-of-sequence token",
        "--kind decoder",
        "prompt 'query'",
    ):
        assert any(finding in warning for warning in facts.warnings), finding
    assert inspect_model(tmp_path / "naive", kind="decoder", max_tokens=32).warnings == ()


def test_mean_pooling_of_a_causal_model(tmp_path):
    source = write_causal_lm(tmp_path / "lm", layers=1, pad_token="<pad>")
    (tmp_path / "lm" / "chat_template.jinja").unlink()
    SentenceTransformer(modules=[Transformer(str(source)), Pooling(16, "mean")], device="cpu").save_pretrained(
        str(tmp_path / "mean")
    )
    assert "mean pooling of a causal model" in only_warning(inspect_model(tmp_path / "mean"))


# --- adapters


def test_an_adapter_that_works(adapter):
    facts = inspect_model(adapter)
    assert (facts.form, facts.warnings) == ("adapter", ())
    assert facts.adapter.changes and facts.adapter.similarity < 1
    assert (facts.adapter.r, facts.adapter.alpha, facts.adapter.layers) == (4, 8, 14)
    assert facts.trained == parameters(load_model(adapter, device="cpu")) - facts.found.parameters


def test_an_adapter_without_a_sentence_transformers_folder(adapter):
    (adapter / "modules.json").unlink()
    facts = inspect_model(adapter)
    assert facts.adapter.changes and facts.adapter.layers == 14
    (warning,) = facts.warnings
    assert "pooling of a bare transformer" in warning


def test_an_adapter_whose_matrices_are_zero(decoder, tmp_path):
    facts = inspect_model(write_adapter(decoder, tmp_path / "adapter", moved=False))
    assert not facts.adapter.changes and facts.adapter.similarity == pytest.approx(1)
    assert only_warning(facts) == "the adapter changes nothing: A or B is zero in each of its 14 layers"


def test_an_adapter_for_other_layers(adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "target_modules": ["c_attn", "c_fc"]}))
    facts = inspect_model(adapter)
    assert not facts.adapter.changes and facts.adapter.layers == 0 and facts.trained == 0
    assert "changes nothing" in only_warning(facts) and "c_attn, c_fc" in only_warning(facts)


def test_an_adapter_whose_weights_have_other_names(adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    renamed = {name.replace("layers.", "blocks."): value for name, value in weights.items()}
    save_file(renamed, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    assert "changes nothing" in only_warning(inspect_model(adapter))


def test_an_adapter_takes_no_options(adapter):
    with pytest.raises(UserError, match="not a whole model"):
        inspect_model(adapter, lora=True)


def test_training_says_that_an_adapter_never_moved(tmp_path, caplog):
    tiny.decoder(tmp_path / "parts").save_pretrained(str(tmp_path / "base"), create_model_card=False)

    def load():
        return load_model(tmp_path / "base", device="cpu", lora=LORA)

    training = Training(steps=1, batch=4, negatives=1, temperature=0.05, learning_rate=1e-60, warmup_steps=0)
    job = FinetuneJob("mine", "uniform", np.ones(1), training, seed=1)
    finetune(load, tiny.tokenized(load(), [tiny.task("a")]), job, tmp_path / "model", Machine())
    assert "mine: the adapter changes nothing" in caplog.text


# --- what cannot be read


@pytest.mark.parametrize("name", ["nowhere", "broken.gguf", "notes", "somebody/no-such-model"])
def test_what_is_no_model(tmp_path, name):
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but not really")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.json").write_text("{}")
    with pytest.raises(UserError):
        inspect_model(name if "/" in name else tmp_path / name)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_broken_files(tmp_path, name):
    folder = write_causal_lm(tmp_path / "lm", layers=1)
    (folder / name).write_text("[not JSON")
    for kind in ("decoder", "encoder"):
        with pytest.raises(UserError, match=str(folder)):
            inspect_model(folder, kind=kind)


@pytest.mark.parametrize("name", ["modules.json", "adapter_config.json"])
def test_broken_additions(tmp_path, name):
    folder = write_causal_lm(tmp_path / "lm", layers=1)
    (folder / name).write_text("[not JSON")
    with pytest.raises(UserError, match=str(folder)):
        inspect_model(folder)


def test_gguf_is_for_decoders(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"")
    with pytest.raises(UserError, match="read as decoders"):
        inspect_model(tmp_path / "model.gguf", kind="encoder")


def test_only_a_decoder_can_be_cut(decoder):
    with pytest.raises(UserError, match="taken as it is"):
        inspect_model(decoder, layers=1)


# --- the command


def test_the_command_prints_a_table_and_warnings_last(decoder, tmp_path, capsys):
    folder = write_adapter(decoder, tmp_path / "adapter", moved=False)
    assert main(["inspect", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["found", "tdro", "would"]
    assert lines[-1].startswith("warning: the adapter changes nothing")
    assert sum(line.startswith("warning:") for line in lines) == 1


def test_the_command_on_a_decoder(causal_lm, capsys):
    assert main(["inspect", str(causal_lm), "--layers", "2", "--lora"]) == 0
    table = {line[:14].strip(): line[14:].strip() for line in capsys.readouterr().out.splitlines()}
    assert table["pooling"].split("  ")[-1].strip() == "last token"
    assert table["EOS appended"].startswith("no ")
    assert "r 8, alpha 32, 14 layers" in table["adapter"]
    assert "<|pad|> (id " in table["pad token"]


def test_the_command_on_nothing(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.real
def test_smollm2():
    facts = inspect_model("smollm2", layers=6)
    assert (facts.form, facts.architecture, facts.found.dtype) == ("GGUF", "LlamaModel", "Q4_1")
    assert (facts.found.layers, facts.built.layers, facts.width, facts.found.parameters) == (30, 6, 576, 134_515_008)
    assert facts.built.tokenization.eos == Token("<|im_end|>", 2) and facts.built.tokenization.cut_ends_in_eos
    assert facts.warnings == ()
