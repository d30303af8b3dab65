"""Models that few people hand in: they work from search to load, or one line says why not."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.compression import CompressConfig
from ranksearch.errors import InputError, RankSearchError
from ranksearch.networks import discover
from ranksearch.tasks import Task

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about what it means to do away with


class Forward(nn.Module):
    """Two linear layers and more modules by name, and a forward that is any function of them and the input."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, module in ({"first": nn.Linear(8, 8), "last": nn.Linear(8, 4)} | modules).items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def plain(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.relu(m.first(x)))


def model(forward: Callable[..., Tensor] = plain, **modules: nn.Module) -> Any:
    torch.manual_seed(0)
    return Forward(forward, **modules).eval()


def task_of(made: nn.Module) -> Task:
    inputs = torch.randn(24, 8, generator=torch.Generator().manual_seed(0))
    return Task(made, TensorDataset(inputs, torch.arange(24) % 4), batch_size=8)


def through(made: nn.Module, folder: Path, epochs: int = 1) -> int:
    """From search to load; the number of layers that are factorised."""
    task = task_of(made)
    result = ranksearch.search(task, 0.7)
    done = ranksearch.compress(task, result.plan, config=CompressConfig(iterations=3, epochs=epochs))
    ranksearch.save(folder, task, result, done)
    loaded = ranksearch.load(folder, made)
    inputs = task.inputs("divergence")
    torch.testing.assert_close(task.outputs(loaded, inputs), task.outputs(done.model, inputs))
    return sum(not candidate.is_dense for candidate in done.plan.choices.values())


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


def named(*names: str) -> nn.Module:
    made = model()
    shared = nn.Parameter(torch.ones(2))
    for name in names:
        made.register_parameter(name, shared)
    made.register_buffer("a b é", torch.ones(1))
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


def quantised() -> nn.Module:
    made = model(lambda m, x: plain(m, m.more(x)), more=nn.Sequential(nn.Linear(8, 8)))
    made.more = torch.ao.quantization.quantize_dynamic(made.more, {nn.Linear})
    return made.eval()


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


# --- what is refused


def overwriting(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.relu(m.first(x)).mul_(2))


def later(m: Any, x: Tensor) -> Tensor:
    if len(x) > 2:
        raise ValueError("boom,\n at once")
    return plain(m, x)


class Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise ValueError("boom")


class Stuck(nn.BatchNorm1d):
    def train(self, mode: bool = True) -> Stuck:
        return super().train(True)


def with_attribute(value: object) -> nn.Module:
    made = model()
    made.held = value
    return made


def with_child(name: str) -> nn.Module:
    made = model()
    setattr(made, name, nn.Linear(8, 8))
    return made


def half_there() -> nn.Module:
    made = model()
    made.last.to("meta")
    return made


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no module": (lambda: len, "model: expected an nn.Module, got builtin_function_or_method"),
    "scripted": (
        lambda: torch.jit.script(nn.Linear(8, 4)),
        r"got one from torch\.jit\. Script or trace it after",
    ),
    "meta": (half_there, r"last: expected weights with values, got ones on the meta device\. Load"),
    "in place": (lambda: model(overwriting), r"modified by an inplace operation.* write x = x \+ y"),
    "forward": (lambda: model(later), r"of shape \(8, 8\), got ValueError: boom, at once\."),
    "backward": (
        lambda: model(lambda m, x: Failing.apply(plain(m, x))),
        "one that can be differentiated, got ValueError: boom",
    ),
    "BatchNorm that keeps training": (
        lambda: model(lambda m, x: m.last(m.norm(m.first(x))), norm=Stuck(8)),
        r"more than 1 value per channel.* A BatchNorm layer uses the statistics of a batch",
    ),
    "lock": (lambda: with_attribute(threading.Lock()), r"cannot pickle.*\. Take off what cannot be copied"),
    "generator": (lambda: with_attribute(k for k in "ab"), "one that copy.deepcopy can copy"),
    "empty name": (lambda: with_child(""), "modules with names of one part, without dots, got ''"),
    "dotted name": (lambda: with_child("a.b"), "got 'a.b'. Register it by another name"),
    "graph of numbers": (
        lambda: model(lambda m, x: plain(m, x).argmax(1)),
        r"got torch\.int64\. Return what",
    ),
    "complex": (lambda: model(lambda m, x: plain(m, x).to(torch.complex64)), r"got torch\.complex64\."),
    "sparse": (lambda: model(lambda m, x: plain(m, x).to_sparse()), r"got torch\.sparse_coo\."),
    "scalar": (
        lambda: model(lambda m, x: plain(m, x).mean()),
        r"of 8 examples, \(8, …\), got the shape \(\)\.",
    ),
    "first alone": (
        lambda: model(lambda m, x: plain(m, x)[:1]),
        r"\(8, …\), got the shape \(1, 4\)\. The first",
    ),
    "turned": (lambda: model(lambda m, x: plain(m, x).T), r"\(8, …\), got the shape \(4, 8\)"),
    "nothing": (lambda: model(lambda m, x: plain(m, x)[:, :0]), r"got the shape \(8, 0\)"),
    "one number": (
        lambda: model(lambda m, x: plain(m, x).sum(-1)),
        r"logits of several classes.*outputs \(8,\)",
    ),
    "no dependence": (
        lambda: model(lambda m, x: plain(m, x) * 0 + torch.arange(4.0)),
        "outputs that differ between the calibration images",
    ),
    "NaN": (
        lambda: model(lambda m, x: plain(m, x) * float("nan")),
        "model: expected finite outputs on the calib",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(RankSearchError, match=message) as caught:
        ranksearch.search(task_of(make()), 0.7)
    assert "\n" not in str(caught.value)


def test_a_compressed_model_is_not_loaded_into_nothing(tmp_path: Path) -> None:
    through(model(), tmp_path, epochs=0)
    with pytest.raises(InputError, match="expected weights with values, got ones on the meta device"):
        ranksearch.load(tmp_path, model().to("meta"))


def spoilt_in_training(m: Any, x: Tensor) -> Tensor:
    y = torch.sigmoid(m.first(x))
    if m.training:
        y += 1
    return m.last(y)


@pytest.mark.parametrize(
    ("made", "batch_size", "message"),
    [
        (
            lambda: model(spoilt_in_training),
            8,
            "modified by an inplace operation.* Train nothing: `epochs=0`",
        ),
        (
            lambda: model(lambda m, x: m.last(m.norm(m.first(x))), norm=nn.BatchNorm1d(8)),
            1,
            "more than 1 value per channel.* Train nothing",
        ),
    ],
)
def test_what_cannot_be_trained_shows_before_anything_is_done(
    made: Callable[[], nn.Module], batch_size: int, message: str
) -> None:
    task = replace(task_of(made()), batch_size=batch_size)
    plan = ranksearch.search(task, 0.7).plan
    started: list[str] = []
    with pytest.raises(InputError, match=message):
        ranksearch.compress(task, plan, progress=lambda stage, done, total: started.append(stage))
    assert not started


def test_states_that_a_file_cannot_have(tmp_path: Path) -> None:
    """A quantised part is fine until then."""
    with pytest.raises(InputError, match=r"a state of tensors alone.* got more\.0\.\S+, a \w+\. Keep it by"):
        through(quantised(), tmp_path)
    with pytest.raises(InputError, match="names that safetensors can store, got __metadata__"):
        through(named("__metadata__"), tmp_path, epochs=0)
