"""Attention written as linear layers is `nn.MultiheadAttention`, argument by argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ranksearch.rewriting import Attention, plain_form, restored

MODULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False, "batch_first": True},
    "other keys": {"kdim": 5, "vdim": 7},
}

CALLS: dict[str, dict[str, Any]] = {
    "weights": {},
    "no weights": {"need_weights": False},
    "weights of every head": {"average_attn_weights": False},
    "forbidden": {"attn_mask": torch.rand(4, 6).lt(0.3).index_fill(1, torch.tensor([0]), False)},
    "added": {"attn_mask": torch.randn(4, 6), "need_weights": False},
    "of each head": {"attn_mask": torch.randn(3 * 2, 4, 6)},
    "padding": {"key_padding_mask": torch.arange(6).ge(torch.tensor([6, 4, 1])[:, None])},
    "both": {
        "attn_mask": torch.randn(4, 6),
        "key_padding_mask": torch.randn(3, 6),
        "need_weights": False,
    },
}


def attention(**kwargs: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, **kwargs).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def inputs(module: nn.MultiheadAttention) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    sizes = [(3, 4, 8), (3, 6, module.kdim), (3, 6, module.vdim)]
    found = [torch.randn(*size, generator=generator) for size in sizes]
    return found if module.batch_first else [x.transpose(0, 1) for x in found]


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_it_computes_the_same(module: dict[str, Any], call: dict[str, Any]) -> None:
    dense = attention(**module)
    written = Attention.of(dense)
    given = inputs(dense)
    for found, wanted in zip(written(*given, **call), dense(*given, **call), strict=True):
        assert (found is None) == (wanted is None)
        if wanted is not None:
            torch.testing.assert_close(found, wanted)


def test_one_sequence_alone() -> None:
    dense = attention()
    query = torch.randn(4, 8)
    for found, wanted in zip(
        Attention.of(dense)(query, query, query), dense(query, query, query), strict=True
    ):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_causal_mask(need_weights: bool) -> None:
    dense = attention(batch_first=True)
    query = torch.randn(2, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    wanted, _ = dense(query, query, query, attn_mask=mask, is_causal=True, need_weights=need_weights)
    written = Attention.of(dense)
    for given in (mask, None):
        found, _ = written(query, query, query, attn_mask=given, is_causal=True, need_weights=need_weights)
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_joined_again_it_is_the_module_that_it_was(module: dict[str, Any]) -> None:
    dense = attention(**module)
    joined = restored(plain_form(nn.Sequential(attention(**module))))[0]
    assert type(joined) is nn.MultiheadAttention
    assert joined.state_dict().keys() == dense.state_dict().keys()
    assert all(torch.equal(joined.state_dict()[name], tensor) for name, tensor in dense.state_dict().items())
    assert repr(joined) == repr(dense)


@pytest.mark.parametrize("kwargs", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_modules_with_extra_keys_stay(kwargs: dict[str, bool]) -> None:
    module = attention(**kwargs)
    assert plain_form(nn.Sequential(module))[0] is module


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("masked", [False, True])
def test_an_encoder_takes_no_fused_kernel(masked: bool) -> None:
    """Which would take the weights of layers instead of calling them."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    dense = nn.TransformerEncoder(layer, 2).eval()
    padding = torch.arange(5).ge(torch.tensor([5, 3])[:, None]) if masked else None
    given = torch.randn(2, 5, 8)
    with torch.no_grad():
        wanted = dense(given, src_key_padding_mask=padding)
        calls: list[str] = []
        written = plain_form(dense)
        written.layers[0].linear1.register_forward_hook(lambda *_: calls.append("linear1"))
        found = written(given, src_key_padding_mask=padding)
    assert calls
    seen = slice(None) if padding is None else ~padding
    torch.testing.assert_close(found[seen], wanted[seen])
