"""What is switched on NVIDIA GPUs; torch has these switches on CPUs too."""

import pytest
import torch

import tiny
from tdro.models.cuda import attention_of_any_shape
from tdro.training.in_batch_loss import InBatchLoss


@pytest.fixture(params=[True, False], autouse=True)
def before(request):
    was = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(request.param)
    yield request.param
    assert torch.backends.cuda.cudnn_sdp_enabled() == request.param
    torch.backends.cuda.enable_cudnn_sdp(was)


def test_cudnn_is_off_inside_and_as_it_was_afterwards_also_after_an_error():
    with pytest.raises(ZeroDivisionError), attention_of_any_shape():
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        raise ZeroDivisionError


def test_a_model_with_gradient_checkpointing_is_left_alone(before, tmp_path):
    model = tiny.decoder(tmp_path)
    model[0].auto_model.gradient_checkpointing_enable()
    with attention_of_any_shape(model):
        assert torch.backends.cuda.cudnn_sdp_enabled() == before


@pytest.mark.parametrize("caching", [False, True])
def test_a_loss_embeds_without_cudnn(caching, tmp_path):
    model, seen = tiny.decoder(tmp_path), []
    model[0].register_forward_hook(lambda *_: seen.append(torch.backends.cuda.cudnn_sdp_enabled()))
    columns = [model.preprocess(["one", "two words"]), model.preprocess(["three", "four"])]
    InBatchLoss(model, mini_batch_size=2, gradient_caching=caching)(columns).backward()
    assert seen and not any(seen)
