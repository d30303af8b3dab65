"""Losses by hand and by torch's own distributions; what a task is measured by; models that the loss does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence
from torch.utils.data import TensorDataset

from ranksearch.calibration.moments import collect_moments
from ranksearch.errors import InputError
from ranksearch.networks import discover
from ranksearch.planning import LayerWeights, prepare
from ranksearch.tasks import CROSS_ENTROPY, LOSSES, Loss, Task, evaluate
from ranksearch.tasks.losses import BINARY_CROSS_ENTROPY, SQUARED_ERROR, binary_accuracy, top1

CPU = torch.device("cpu")


def unit(outputs: Tensor) -> Tensor:
    return nn.functional.normalize(outputs, dim=-1)


DISTRIBUTIONS = {
    "cross_entropy": lambda outputs, T: Categorical(logits=outputs / T),
    "segmentation": lambda outputs, T: Categorical(logits=outputs.movedim(1, -1) / T),
    "token_cross_entropy": lambda outputs, T: Categorical(logits=outputs / T),
    "causal_lm": lambda outputs, T: Categorical(logits=outputs / T),
    "binary_cross_entropy": lambda outputs, T: Bernoulli(logits=outputs / T),
    "squared_error": lambda outputs, T: Normal(outputs / T, torch.ones_like(outputs)),
    "cosine": lambda outputs, T: Normal(unit(outputs) / T, torch.ones_like(outputs)),
}
SHAPES = {"token_cross_entropy": (50, 3, 4), "causal_lm": (50, 3, 4), "segmentation": (50, 4, 2, 3)}


def outputs_of(seed: int, name: str = "") -> Tensor:
    return torch.randn(*SHAPES.get(name, (50, 4)), generator=torch.Generator().manual_seed(seed)).double()


def total(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1).sum(1)


@pytest.mark.parametrize("loss", [LOSSES.get(name) for name in LOSSES], ids=list(LOSSES))
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergences_are_those_of_the_distributions(loss: Loss, temperature: float) -> None:
    dense, other = outputs_of(0, loss.name), outputs_of(1, loss.name)
    make = DISTRIBUTIONS[loss.name]
    wanted = kl_divergence(make(dense, temperature), make(other, temperature))
    torch.testing.assert_close(loss.divergence(dense, other, temperature), total(wanted))
    assert loss.divergence(dense, dense, temperature).abs().max() < 1e-12


@pytest.mark.parametrize("loss", [LOSSES.get(name) for name in LOSSES], ids=list(LOSSES))
def test_values_and_samples_are_those_of_the_distributions(loss: Loss) -> None:
    outputs = outputs_of(0, loss.name)
    own = DISTRIBUTIONS[loss.name](outputs, 1.0)
    drawn = torch.stack([loss.sample(outputs, torch.Generator().manual_seed(seed)) for seed in range(2000)])
    targets = drawn[0]
    if loss.name == "causal_lm":  # position t predicts target t + 1
        assert bool((drawn[..., 0] == -100).all())
        drawn, own = drawn[..., 1:], DISTRIBUTIONS[loss.name](outputs[:, :-1], 1.0)
    classes = loss.axis is not None
    counted = nn.functional.one_hot(drawn.long(), 4).double() if classes else drawn.double()
    torch.testing.assert_close(counted.mean(0), own.probs if classes else own.mean, rtol=0, atol=0.1)
    if loss.name == "cosine":
        torch.testing.assert_close(loss.value(outputs, targets), 1 - (unit(outputs) * targets).sum(-1))
        return
    expected = -own.log_prob(drawn[0])
    if loss is SQUARED_ERROR:
        expected = expected - 0.5 * torch.tensor(2 * torch.pi).log()
    torch.testing.assert_close(loss.value(outputs, targets), total(expected))


@pytest.mark.parametrize("loss", [LOSSES.get(name) for name in LOSSES], ids=list(LOSSES))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_round_divergences(loss: Loss, dtype: torch.dtype) -> None:
    dense = outputs_of(0, loss.name).to(dtype)
    other = (outputs_of(0, loss.name) + 0.02 * outputs_of(1, loss.name)).to(dtype)
    wanted = loss.divergence(dense.double(), other.double(), 1.0)
    torch.testing.assert_close(loss.divergence(dense, other, 1.0).double(), wanted, rtol=1e-2, atol=1e-6)


def test_targets_take_the_shape_of_the_outputs() -> None:
    outputs, targets = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 2, 2])
    assert SQUARED_ERROR.value(outputs, targets).tolist() == [0, 0.5, 0]
    assert BINARY_CROSS_ENTROPY.value(outputs[:1], torch.tensor([1])).item() == pytest.approx(
        0.693147, rel=1e-5
    )
    with pytest.raises(InputError, match=r"targets: expected the outputs' shape \(3, 1\), got \(3, 2\)"):
        SQUARED_ERROR.value(outputs, torch.zeros(3, 2))


def test_what_a_task_is_measured_by() -> None:
    assert CROSS_ENTROPY.metric_fn is top1
    assert BINARY_CROSS_ENTROPY.metric_fn is binary_accuracy
    found = binary_accuracy(torch.tensor([[1.0, -1.0], [2.0, 3.0]]), torch.tensor([[1, 0], [1, 0]]))
    assert found.tolist() == [100, 50]
    data = TensorDataset(torch.tensor([[1.0], [3.0]] * 10), torch.tensor([[1.0], [1.0]] * 10))
    task = Task(nn.Identity(), data, test=data, loss=SQUARED_ERROR)
    assert task.metric_fn.__name__ == "minus squared_error"
    found_mean = evaluate(task.model, task, "test")
    assert found_mean is not None
    assert found_mean.mean == -1
    assert replace(task, metric_fn=top1).metric_fn is top1


def test_a_loss_that_tells_nothing_is_refused() -> None:
    """The softmax of one logit is one, whatever the logit."""
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), torch.randn(8, 3)
    layers = discover(model, x)
    with pytest.raises(InputError, match=r"got none \(no gradient comes to it .*\)\. Is it the loss"):
        prepare(Task(model, TensorDataset(torch.randn(60, 3))))
    found = collect_moments(model, layers, [x], BINARY_CROSS_ENTROPY, seed=0, device=CPU)
    assert all(bool(moments.G.any()) for moments in found.values())


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(self.first(x).detach())
        return found


class Frozen(Detached):
    """The same under no_grad, where no hook can be had."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.first(x)
        found: Tensor = self.last(features)
        return found


@pytest.mark.parametrize("kind", [Detached, Frozen])
def test_a_layer_without_gradient_stays_dense(kind: type[Detached]) -> None:
    """What it gives is needed all the same."""
    torch.manual_seed(0)
    task = Task(kind(), TensorDataset(torch.randn(60, 3), torch.zeros(60)))
    problem = prepare(task)
    reasons = {layer.name: layer.reason for layer in problem.layers}
    assert reasons == {"first": "no gradient comes to it on the calibration images", "last": None}
    assert [table.layer.name for table in problem.tables] == ["last"]


def test_a_model_without_any_gradient_is_refused() -> None:
    class Inferring(Detached):
        @torch.inference_mode()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    with pytest.raises(InputError, match=r"no gradient comes to it .* under torch\.no_grad"):
        prepare(Task(Inferring(), TensorDataset(torch.randn(60, 3))))


def test_a_layer_without_gradient_stays_dense_whatever_is_cached(tmp_path: Path) -> None:
    task = Task(Detached(), TensorDataset(torch.randn(60, 3)), cache=tmp_path)
    prepare(task, ignore=["first"])
    assert [table.layer.name for table in prepare(task).tables] == ["last"]
    with pytest.raises(InputError, match="no gradient comes to it"):
        prepare(task, ignore=["last"])


def test_layers_without_gradient_are_not_among_those_that_advice_counts() -> None:
    class Deep(Detached):
        def __init__(self) -> None:
            super().__init__()
            self.middle = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.last(self.middle(self.first(x).detach()).relu())
            return found

    problem = prepare(Task(Deep(), TensorDataset(torch.randn(60, 3))), layer_weights=LayerWeights(1))
    assert [table.layer.name for table in problem.tables] == ["last"]


def test_inputs_without_a_tensor_are_refused() -> None:
    task = Task(nn.Linear(2, 2), [("a word", 0)] * 20)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected examples whose input is a tensor, .*, got list"):
        _ = task.example
