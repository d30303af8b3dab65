"""Models that few people hand in work from search to load; of some a layer stays dense."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from odd_models import model, named, plain, task_of, through
from torch import Tensor, nn
from torch.nn.utils import prune

import ranksearch
from ranksearch.networks import discover

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about what it means to do away with


# --- what works


def lying() -> nn.Module:
    made = model()
    made.first.in_features, made.last.out_features = 3, 99
    del made.first.out_features
    return made


def plain_bias() -> nn.Module:
    made = model(lambda m, x: m.last(torch.relu(m.more(m.first(x)))), more=nn.Linear(8, 8))
    bias = made.more.bias.detach() + 5
    del made.more.bias
    made.more.bias = bias
    return made


def remembering(m: Any, x: Tensor) -> Tensor:
    m.seen = [{"hidden": torch.relu(m.first(x))}]
    return m.last(m.seen[0]["hidden"])


def routed(m: Any, x: Tensor) -> Tensor:
    """Each example goes through one of two layers, which may be given none."""
    chosen, y = x[:, 0] > 0, torch.zeros_like(x)
    y[chosen], y[~chosen] = m.first(x[chosen]), m.more(x[~chosen])
    return m.last(y)


def counted(m: Any, x: Tensor) -> Tensor:
    for _ in range(1 + int(x.sum().abs()) % 3):
        x = torch.relu(m.first(x))
    return m.last(x)


def one_by_one(m: Any, x: Tensor) -> Tensor:
    return torch.stack([plain(m, each) for each in x])


def no_pairs(m: Any, x: Tensor) -> Tensor:
    if len(x) == 2 and not m.training and not torch.is_grad_enabled():
        raise ValueError("no pairs")
    return plain(m, x)


def in_place(m: Any, x: Tensor) -> Tensor:
    y = m.first(x).mul_(2)
    y[:, :2] = 0
    return m.last(y)


def twice(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output * 2


def hooked() -> nn.Module:
    made = model(lambda m, x: plain(m, m.more(x)), more=nn.Sequential(nn.Linear(8, 8), nn.Tanh()))
    made.more.register_forward_hook(twice)
    made.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    return made


def keyed() -> nn.Module:
    more = nn.ModuleDict({"a b": nn.Linear(8, 8), "é*[x]": nn.Linear(8, 8), "0": nn.Linear(8, 8)})
    return model(lambda m, x: plain(m, m.more["a b"](m.more["é*[x]"](m.more["0"](x)))), more=more)


def in_list() -> nn.Module:
    made = model()
    made.held = [made.first, made.last]
    return made


WORKS: dict[str, Callable[[], nn.Module]] = {
    "sizes that lie": lying,
    "plain bias": plain_bias,
    "a parameter called pt": lambda: named("pt"),
    "pt is format": lambda: named("pt", "format"),
    "format is pt": lambda: named("format", "pt"),
    "tensors of the graph in containers": lambda: model(remembering),
    "routes": lambda: model(routed, more=nn.Linear(8, 8)),
    "calls that the input counts": lambda: model(counted),
    "one by one": lambda: model(one_by_one),
    "no pairs": lambda: model(no_pairs),
    "in place after a layer": lambda: model(in_place),
    "hooks": hooked,
    "keys": keyed,
    "a list of layers": in_list,
    "a scripted part": lambda: model(
        lambda m, x: plain(m, m.more(x)), more=torch.jit.script(nn.Linear(8, 8))
    ),
    "graph module": lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))).eval(),
    "complex layer": lambda: model(
        lambda m, x: plain(m, m.more(x.to(torch.complex64)).real), more=nn.Linear(8, 8, dtype=torch.complex64)
    ),
    "two dtypes": lambda: model(
        lambda m, x: m.last(torch.relu(m.first(x)).double()), last=nn.Linear(8, 4).double()
    ),
    "frozen": lambda: model().requires_grad_(False),
}


@pytest.mark.parametrize("name", WORKS)
def test_from_search_to_load(name: str, tmp_path: Path) -> None:
    assert through(WORKS[name](), tmp_path) > 0


def test_a_pass_in_place_gives_the_moments_of_one_that_is_not(tmp_path: Path) -> None:
    def copied(m: Any, x: Tensor) -> Tensor:
        y = m.first(x) * 2
        return m.last(torch.cat([torch.zeros_like(y[:, :2]), y[:, 2:]], dim=1))

    plans = [ranksearch.search(task_of(model(forward)), 0.7).plan for forward in (in_place, copied)]
    assert plans[0].ranks == plans[1].ranks
    assert plans[0].error == pytest.approx(plans[1].error, rel=1e-5)


# --- what stays dense


def without_weight() -> nn.Module:
    layer = nn.Linear(8, 8)
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight  # type: ignore[assignment]
    return layer


def with_bias(bias: Tensor) -> nn.Module:
    layer = nn.Linear(8, 8)
    layer.bias = nn.Parameter(bias)
    return layer


def padded() -> nn.Module:
    layer = nn.Conv1d(8, 8, 3, padding=1, padding_mode="reflect")
    layer.padding = (0,)
    return nn.Sequential(nn.Unflatten(1, (8, 1)), nn.ConstantPad1d((3, 4), 0.0), layer, nn.Flatten())


def pruned() -> nn.Module:
    return prune.l1_unstructured(nn.Linear(8, 8), "weight", 0.3)


DENSE = {
    "no parameter": (without_weight, "its weight is no parameter"),
    "pruned": (pruned, "its weight is computed from other parameters"),
    "broadcast bias": (lambda: with_bias(torch.ones(1)), r"its bias has the shape \(1,\)"),
    "complex": (lambda: nn.Linear(8, 8, dtype=torch.complex64), "its weight is torch.complex64"),
}


@pytest.mark.parametrize("name", DENSE)
def test_layers_that_stay_dense(name: str) -> None:
    make, reason = DENSE[name]
    made = model(lambda m, x: plain(m, m.more(x.to(m.kind)).real), more=make())
    made.kind = torch.complex64 if name == "complex" else torch.float32
    (found,) = [x for x in discover(made, torch.randn(1, 8)) if x.name == "more"]
    assert re.match(reason, found.reason or "none")


def test_a_padding_that_was_changed_afterwards() -> None:
    (found,) = [x for x in discover(padded(), torch.randn(1, 8)) if x.kind == "conv1d"]
    assert found.reason == "it pads other than its padding says"
