"""Layers that are not plain become ones that compute the same; others stay."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from ranksearch.networks import copy_model
from ranksearch.rewriting import plain_form


class Transposed(nn.Module):
    """As transformers' `Conv1D`."""

    def __init__(self, given: int, out: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(given, out)), nn.Parameter(torch.randn(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


class Standardised(nn.Conv2d):
    """As timm's `ScaledStdConv2d`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = self.gain * (self.weight - mean) / deviation
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Initialised(nn.Linear):
    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)


class Padded(nn.Conv2d):
    """Pads as TensorFlow does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Normed(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.normalize(x, dim=-1))


def old(norm: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return norm(nn.Conv1d(3, 4, 3))


IMAGE, ROWS, SIGNAL = torch.randn(2, 3, 9, 9), torch.randn(2, 3), torch.randn(2, 3, 9)

PLAIN = {
    "transposed": (Transposed(3, 4), ROWS, nn.Linear),
    "square": (Transposed(3, 3), torch.randn(2, 5, 3), nn.Linear),
    "standardised": (Standardised(3, 4, 3, stride=2, padding=1, bias=False), IMAGE, nn.Conv2d),
    "initialised": (Initialised(3, 4), ROWS, nn.Linear),
    "weight_norm": (parametrizations.weight_norm(nn.Linear(3, 4)), ROWS, nn.Linear),
    "spectral_norm": (parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), IMAGE, nn.Conv2d),
    "orthogonal": (parametrizations.orthogonal(nn.Linear(3, 4)), ROWS, nn.Linear),
    "old weight_norm": (old(weight_norm), SIGNAL, nn.Conv1d),
    "old spectral_norm": (old(spectral_norm), SIGNAL, nn.Conv1d),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("module", "inputs", "kind"), PLAIN.values(), ids=PLAIN)
def test_a_layer_in_plain_form(module: nn.Module, inputs: Tensor, kind: type, training: bool) -> None:
    model = copy_model(nn.Sequential(module, nn.ReLU()).eval())
    wanted = model(inputs)
    found = plain_form(model.train(training))
    assert type(found[0]) is kind
    assert set(found.state_dict()) <= {"0.weight", "0.bias"}
    assert all(part.training == training for part in found.modules())
    assert all(p.requires_grad and p.is_leaf for p in found.parameters())
    torch.testing.assert_close(found.eval()(inputs), wanted)


OTHER = {
    "padded": Padded(3, 4, 3),
    "normed": Normed(3, 4),
    "embedding": nn.Embedding(3, 4),
    "depthwise": nn.Conv2d(3, 3, 3, groups=3),
    "bilinear": nn.Bilinear(3, 3, 4),
    "norm": nn.LayerNorm((3, 3)),
}


@pytest.mark.parametrize("module", OTHER.values(), ids=OTHER)
def test_what_computes_otherwise_stays(module: nn.Module) -> None:
    assert plain_form(nn.Sequential(module))[0] is module


def test_ties_stay() -> None:
    first, second = Transposed(3, 3), Transposed(3, 3)
    second.weight = first.weight
    found = plain_form(nn.Sequential(first, second))
    assert list(found) == [first, second]


def test_hooks_and_patches_stay() -> None:
    hooked, patched = Transposed(3, 3), Transposed(3, 3)
    hooked.register_forward_hook(lambda module, args, output: output + 1)
    patched.forward = lambda x: x  # type: ignore[method-assign]
    assert list(plain_form(nn.Sequential(hooked, patched))) == [hooked, patched]


def test_a_plain_model_is_not_touched() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    before, modules = copy.deepcopy(model.state_dict()), list(model.modules())
    assert list(plain_form(model).modules()) == modules
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_the_root_itself() -> None:
    assert type(plain_form(Transposed(3, 4))) is nn.Linear


def test_what_is_trained_stays_trained_where_no_gradients_are_recorded() -> None:
    with torch.no_grad():
        found = plain_form(nn.ModuleList([nn.MultiheadAttention(8, 2), nn.LSTM(5, 4), Transposed(3, 4)]))
    assert all(parameter.requires_grad for parameter in found.parameters())
    frozen = plain_form(nn.ModuleList([nn.MultiheadAttention(8, 2), nn.LSTM(5, 4)]).requires_grad_(False))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
