"""Full compression: refitted, re-estimated, fine-tuned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import ranksearch
from ranksearch.calibration import calibration_moments
from ranksearch.compression import CompressConfig, check_stages, compress, planned_layers
from ranksearch.compression.refit import refit
from ranksearch.compression.training import MATCHING, FinetuneConfig
from ranksearch.compression.training.followed import Followed, between
from ranksearch.costs import Cost, measure_cost
from ranksearch.errors import InputError, MismatchError
from ranksearch.networks import discover, run
from ranksearch.planning import Effort, Plan, Problem
from ranksearch.tasks import Estimate, Task, divergence
from ranksearch.tasks.splits import Splits


def half(problem: Problem) -> Plan:
    """A plan from the middle of every table."""
    return problem.plan([len(table.candidates) // 2 for table in problem.tables])


def dense(problem: Problem) -> Plan:
    keep = [next(k for k, c in enumerate(t.candidates) if c.is_dense) for t in problem.tables]
    return problem.plan(keep)


def test_a_dense_plan_is_the_model(tiny_problem: Problem) -> None:
    done = compress(tiny_problem.task, dense(tiny_problem), config=CompressConfig(epochs=0))
    x = tiny_problem.task.inputs("divergence")
    torch.testing.assert_close(done.model(x), tiny_problem.task.model(x), rtol=1e-4, atol=1e-4)
    assert done.blend == 0
    assert done.factorised.mean == pytest.approx(0, abs=1e-6)


def test_cost_divergence_and_blend_are_those_of_the_model(tiny_problem: Problem) -> None:
    task, plan = tiny_problem.task, half(tiny_problem)
    done = compress(task, plan, config=CompressConfig(epochs=0))
    assert done.cost == plan.cost == measure_cost(done.model, task.example)
    held_out = task.inputs("divergence")
    outputs = [run(m, held_out, batch_size=32, device=task.device) for m in (task.model, done.model)]
    assert done.factorised.mean == pytest.approx(divergence(outputs[0], outputs[1], task.loss).mean, rel=1e-4)
    assert done.finetuned is None
    assert not done.model.training


def test_refitting_reaches_less_error_with_more_iterations(tiny_problem: Problem) -> None:
    task = tiny_problem.task
    plan = half(tiny_problem)
    layers = planned_layers(discover(task.model, task.example), [plan])
    moments = calibration_moments(task, layers)
    errors = [
        refit(task, layers, plan, moments, Effort(iterations=k, fit_flops=1e12))[1].error for k in (0, 5, 100)
    ]
    assert errors == sorted(errors, reverse=True)


def test_feature_matching_needs_no_images_but_those_of_calibration(tiny_problem: Problem) -> None:
    task = tiny_problem.task
    s = task.splits
    few = replace(task, splits=Splits(s.seed, s.moments, s.divergence, (), ()))
    plan = half(tiny_problem)
    quick = replace(MATCHING, lr=1e-3)
    config = CompressConfig(iterations=0, in_order=False, match_epochs=30, matching=quick)
    done = compress(few, plan, config=config)
    assert done.matched is not None
    assert done.delivered == done.matched
    assert done.matched.mean < done.factorised.mean
    held_out = task.inputs("divergence")
    outputs = [run(m, held_out, batch_size=32, device=task.device) for m in (task.model, done.model)]
    assert done.matched.mean == pytest.approx(divergence(outputs[0], outputs[1], task.loss).mean, rel=1e-4)


def test_buffers_of_another_type_or_shape_are_no_obstacle_between_two_states() -> None:
    def made(weight: float, mean: torch.Tensor, last: torch.Tensor) -> nn.Module:
        model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
        nn.init.constant_(model.weight, weight)
        model.register_buffer("mean", mean)
        model.register_buffer("last", last)
        return model.eval()

    before = made(0.0, torch.tensor(1.0, dtype=torch.bfloat16), torch.zeros(2))
    found = between(before, made(4.0, torch.tensor(3.0), torch.ones(5)), 0.25).state_dict()
    assert found["weight"].item() == 1.0
    assert (found["mean"].item(), found["mean"].dtype) == (1.5, torch.float32)
    assert found["last"].tolist() == [1.0] * 5


def test_training_is_followed_as_far_as_it_is_nearest(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def spy(before: nn.Module, after: nn.Module, score: Callable[[nn.Module], Estimate]) -> Followed:
        for end in (before, after):
            assert not end.training
        # Half of the way, whatever is nearest.
        model = between(before, after, 0.5)
        found.append(Followed(model, 0.5, Estimate(-1.0 - len(found), 0.0, 1)))
        assert score(before) == divergence_of(tiny_problem.task, before)
        return found[-1]

    monkeypatch.setattr("ranksearch.compression.full.follow", spy)
    done = compress(
        tiny_problem.task, half(tiny_problem), config=CompressConfig(iterations=3, match_epochs=1, epochs=1)
    )
    assert (done.matched, done.finetuned) == (found[0].divergence, found[1].divergence)
    assert done.model is found[1].model


def divergence_of(task: Task, model: nn.Module) -> Estimate:
    held_out = task.inputs("divergence")
    outputs = [run(m, held_out, batch_size=task.batch_size, device=task.device) for m in (task.model, model)]
    return divergence(outputs[0], outputs[1], task.loss)


class Told(Dataset[Any]):
    """Examples whose label is a dictionary."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.data[index][0], {"label": index}


def test_training_without_labels_reads_none(tiny_problem: Problem) -> None:
    task = replace(tiny_problem.task, train=Told(tiny_problem.task.train))
    weighed = CompressConfig(
        iterations=3, match_epochs=1, epochs=0, finetune=FinetuneConfig(label_weight=0.5)
    )
    compress(
        task, half(tiny_problem), config=weighed
    )  # label_weight is that of a fine-tuning that there is not
    compress(task, half(tiny_problem), config=CompressConfig(iterations=3, epochs=1))
    with pytest.raises(InputError, match="finetune data: expected targets that are one number or tensor"):
        compress(task, half(tiny_problem), config=replace(weighed, epochs=1))


def test_training_that_does_harm_is_not_delivered(
    tiny_problem: Problem, caplog: pytest.LogCaptureFixture
) -> None:
    harmful = FinetuneConfig(lr=3.0)
    config = CompressConfig(match_epochs=1, matching=harmful, epochs=1, finetune=harmful)
    done = compress(tiny_problem.task, half(tiny_problem), config=config)
    assert (done.matched, done.finetuned) == (None, None)
    assert done.delivered == done.factorised
    assert "feature matching raised the divergence" in caplog.text
    assert "fine-tuning raised the divergence" in caplog.text


def test_training_that_breaks_down_is_not_delivered(
    tiny_problem: Problem, caplog: pytest.LogCaptureFixture
) -> None:
    """A loss that is no number ends the training, not the compression."""
    config = CompressConfig(epochs=4, finetune=FinetuneConfig(lr=1e20))
    done = compress(tiny_problem.task, half(tiny_problem), config=config)
    assert done.finetuned is None
    assert done.delivered == done.factorised
    assert "fine-tuning: delivered without it. fine-tuning loss at step" in caplog.text


def test_images_that_are_missing_are_told(tiny_problem: Problem, caplog: pytest.LogCaptureFixture) -> None:
    task = tiny_problem.task
    alone = replace(task, splits=replace(task.splits, finetune=()))
    done = compress(alone, half(tiny_problem), config=CompressConfig(iterations=3, epochs=2))
    assert done.finetuned is None
    assert "fine-tuning: skipped, since there are no training images for it" in caplog.text


class _Told(nn.Module):
    """Hands out a dictionary in training, or wants something that is not at hand then."""

    def __init__(self, body: nn.Module, *, breaks: bool) -> None:
        super().__init__()
        self.body, self.breaks = body, breaks

    def forward(self, x: torch.Tensor) -> Any:
        if self.training and self.breaks:
            raise ValueError("targets are missing")
        return {"a": self.body(x), "b": x} if self.training else self.body(x)


@pytest.mark.parametrize(("breaks", "message"), [(False, "dict"), (True, "targets are missing")])
def test_a_model_that_cannot_be_trained_so_is_refused_early(
    tiny_task: Task, breaks: bool, message: str
) -> None:
    task = replace(tiny_task, model=_Told(tiny_task.model, breaks=breaks).eval())
    with pytest.raises(InputError, match=rf"(?s){message}.*`epochs=0`"):
        check_stages(task, CompressConfig(epochs=1))
    check_stages(task, CompressConfig(epochs=0))


def test_an_input_of_the_wrong_shape_is_not_blamed_on_training(tiny_task: Task) -> None:
    flat = TensorDataset(torch.zeros(len(tiny_task.train), 1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="input size"):
        check_stages(replace(tiny_task, train=flat), CompressConfig(epochs=1))


def test_volumes_from_the_search_to_the_loaded_model(tmp_path: Path) -> None:
    """Convolutions of three axes go the whole way, although their kernels know no channels-last order of images."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(2, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    task = Task(model.eval(), TensorDataset(torch.randn(64, 2, 5, 5, 5)), calibration_size=48, batch_size=16)
    result = ranksearch.search(task, 0.5, decompositions=["svd", "tucker2"])
    compressed = ranksearch.compress(task, result.plan, config=CompressConfig(iterations=3, epochs=1))
    assert any(not c.is_dense for n, c in result.plan.choices.items() if n in ("0", "3"))
    ranksearch.save(tmp_path / "small", task, result, compressed)
    loaded = ranksearch.load(tmp_path / "small", model)
    x = task.inputs("divergence")
    torch.testing.assert_close(loaded(x), compressed.model(x))


def test_same_seed_same_model(tiny_problem: Problem) -> None:
    config = CompressConfig(iterations=5, match_epochs=1, epochs=1, seed=3)
    first, second = (compress(tiny_problem.task, half(tiny_problem), config=config).model for _ in range(2))
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_moments_may_be_shared(tiny_problem: Problem) -> None:
    task, plan = tiny_problem.task, half(tiny_problem)
    moments = calibration_moments(task, planned_layers(tiny_problem.layers, [plan, dense(tiny_problem)]))
    shared = compress(task, plan, moments=moments, config=CompressConfig(iterations=5, epochs=0))
    alone = compress(task, plan, config=CompressConfig(iterations=5, epochs=0))
    assert shared.plan.error == pytest.approx(alone.plan.error, rel=1e-9)


def test_a_plan_that_lies_about_its_cost_is_refused(tiny_problem: Problem) -> None:
    plan = half(tiny_problem)
    wrong = Plan(plan.choices, plan.cost + Cost(params=1, flops=0))
    with pytest.raises(MismatchError, match="plan: expected the cost that it states"):
        compress(tiny_problem.task, wrong, config=CompressConfig(iterations=0, epochs=0))


def test_layers_that_have_to_stay_dense_are_refused(tiny_problem: Problem) -> None:
    task = tiny_problem.task
    hooked = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(3, 8, 3, padding=1, bias=False))
    model = torch.nn.Sequential(hooked, *list(task.model.children())[1:])
    with pytest.raises(MismatchError, match="layer 0: expected one that can be factorised"):
        planned_layers(discover(model, task.example), [half(tiny_problem)])
