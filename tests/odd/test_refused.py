"""Of models that cannot be compressed one line says why not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from odd_models import model, named, plain, quantised, task_of, through
from torch import Tensor, nn

import ranksearch
from ranksearch.errors import InputError, RankSearchError

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, about what it means to do away with


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
        r"got one from torch\.jit\. Hand in the module that it was made of, and script",
    ),
    "quantised": (
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 4)).eval(), {nn.Linear}),
        r"model: expected weights in floating point, got quantised ones \(0\)\. Compress the model before it is",
    ),
    "lazy": (
        lambda: nn.Sequential(nn.LazyLinear(4)),
        r"0: expected parameters with a shape, got lazy ones\. Run the",
    ),
    "compiled": (
        lambda: torch.compile(model()),
        r"got one from torch\.compile\. Hand in its `_orig_mod`, and compile",
    ),
    "exported": (
        lambda: torch.export.export(model(), (torch.randn(2, 8),)).module(),
        r"model: expected a plain module, got one from torch\.export\. Hand in the module that it was",
    ),
    "half precision": (lambda: model().bfloat16(), "Inputs and weights have to be of one dtype"),
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
        r"logits of several classes.*outputs \(2,\)",
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
    with pytest.raises(
        InputError, match=r"a state of tensors alone.* got more\.0\.\S+, a \w+\. Quantise what is delivered"
    ):
        through(quantised(), tmp_path)
    with pytest.raises(InputError, match="names that safetensors can store, got __metadata__"):
        through(named("__metadata__"), tmp_path, epochs=0)
