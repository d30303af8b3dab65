"""Recurrent layers written as linear layers compute what torch's do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from ranksearch.rewriting import Recurrent, plain_form, restored

KINDS: list[Any] = [nn.LSTM, nn.GRU, nn.RNN, lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k)]
FORMS: list[dict[str, Any]] = [
    {},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"bias": False, "num_layers": 2},
]


@pytest.fixture(params=KINDS, ids=["lstm", "gru", "tanh", "relu"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def assert_same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, PackedSequence):
        torch.testing.assert_close(found.data, wanted.data)
        assert torch.equal(found.batch_sizes, wanted.batch_sizes)
    elif isinstance(wanted, Tensor):
        torch.testing.assert_close(found, wanted)
    else:
        for a, b in zip(found, wanted, strict=True):
            assert_same(a, b)


def states(module: nn.RNNBase, count: int) -> Any:
    cells = module.num_layers * (1 + module.bidirectional)
    first = torch.randn(cells, count, module.hidden_size)
    return (first, torch.randn_like(first)) if module.mode == "LSTM" else first


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("started", [False, True])
def test_it_computes_the_same(kind: Any, form: dict[str, Any], started: bool) -> None:
    torch.manual_seed(0)
    module = kind(5, 4, **form)
    inputs = torch.randn(3, 6, 5)
    count = len(inputs) if module.batch_first else inputs.shape[1]
    start = states(module, count) if started else None
    assert_same(Recurrent(module)(inputs, start), module(inputs, start))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_one_sequence_alone(kind: Any, form: dict[str, Any]) -> None:
    module, inputs = kind(5, 4, **form), torch.randn(6, 5)
    assert_same(Recurrent(module)(inputs), module(inputs))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("lengths", [(6, 4, 1), (2, 5, 3)])
def test_sequences_of_several_lengths(kind: Any, form: dict[str, Any], lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module = kind(5, 4, **form)
    packed = pack_sequence([torch.randn(n, 5) for n in lengths], enforce_sorted=False)
    for start in (None, states(module, 3)):
        assert_same(Recurrent(module)(packed, start), module(packed, start))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_joined_again_it_is_the_module_that_it_was(kind: Any, form: dict[str, Any]) -> None:
    module = kind(5, 4, **form)
    joined = restored(plain_form(nn.ModuleList([module])))[0]
    assert repr(joined) == repr(module)
    inputs = torch.randn(3, 6, 5)
    assert_same(joined(inputs), module(inputs))
    assert joined.state_dict().keys() == module.state_dict().keys()


def test_a_factorised_one_stays_as_it_is() -> None:
    model = plain_form(nn.ModuleList([nn.LSTM(5, 4)]))
    model[0].l0.input = nn.Sequential(nn.Linear(5, 2, bias=False), nn.Linear(2, 16))
    assert isinstance(restored(model)[0], Recurrent)


def test_projections_of_its_own_stay() -> None:
    module = nn.LSTM(5, 4, proj_size=2)
    assert plain_form(nn.ModuleList([module]))[0] is module
