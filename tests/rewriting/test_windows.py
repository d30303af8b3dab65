"""Window attention that calls its layers is torchvision's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2

from ranksearch.networks import copy_model
from ranksearch.rewriting import plain_form, restored


def attention(
    kind: type[ShiftedWindowAttention], window: tuple[int, int], shift: tuple[int, int], bias: bool
) -> nn.Module:
    torch.manual_seed(0)
    module = kind(8, list(window), list(shift), 2, qkv_bias=bias)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return nn.Sequential(module).eval()


@pytest.mark.parametrize("kind", [ShiftedWindowAttention, ShiftedWindowAttentionV2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shift", [(0, 0), (2, 1), (0, 1)])
@pytest.mark.parametrize("size", [(8, 6), (7, 5), (4, 9), (3, 3)])
def test_it_computes_the_same(
    kind: type[ShiftedWindowAttention], bias: bool, shift: tuple[int, int], size: tuple[int, int]
) -> None:
    model = attention(kind, (4, 3), shift, bias)
    written = plain_form(copy_model(model))
    assert written[0] is not model[0]
    inputs = torch.randn(2, *size, 8)
    with torch.no_grad():
        wanted = model(inputs)
        torch.testing.assert_close(written(inputs), wanted)
        assert written.state_dict().keys() == model.state_dict().keys()
        joined = restored(written)
        assert type(joined[0]) is kind
        torch.testing.assert_close(joined(inputs), wanted)
