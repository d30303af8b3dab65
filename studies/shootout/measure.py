"""What a plan is worth: built, with and without re-estimated BatchNorm statistics, on the test images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from cells import Record, pack
from methods import Bench
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ranksearch.calibration import Moments
from ranksearch.compression import CompressConfig, best_recalibrated, fitted_models
from ranksearch.compression.training import finetune
from ranksearch.costs import measure_cost
from ranksearch.errors import InputError, expected
from ranksearch.networks import run
from ranksearch.planning import Choice
from ranksearch.tasks import Task


@dataclass(frozen=True)
class Images:
    """inputs (N, …) and their classes (N,)."""

    inputs: Tensor
    classes: Tensor


def load_images(task: Task, count: int | None) -> Images:
    """All test images, or `count` of them, drawn once and for all (folders are sorted by class)."""
    if task.test is None:
        raise InputError(expected("--data", "data with test images", "none"))
    size = len(cast(Any, task.test))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))[: count or size].sort().values
    loader = DataLoader(Subset(task.test, order.tolist()), batch_size=500)
    inputs, classes = zip(*loader, strict=True)
    return Images(torch.cat(inputs), torch.cat(classes))


def correct(model: nn.Module, task: Task, images: Images) -> NDArray[np.bool_]:
    """Which test images the model classifies correctly, (N,)."""
    outputs = run(model, images.inputs, batch_size=task.batch_size, device=task.device).cpu()
    return np.asarray(outputs.argmax(dim=1) == images.classes)


def accuracy(hits: NDArray[np.bool_]) -> float:
    """Per cent."""
    return 100 * float(hits.mean())


def carried_out(bench: Bench, choice: Choice, moments: Mapping[str, Moments]) -> list[nn.Module]:
    """The models of a plan that compete: fitted afresh for this project's candidates, else with the method's own
    factors."""
    problem, plan = bench.problem, bench.problem.plan(choice)
    if bench.published:
        return [problem.build(plan)]
    models, _ = fitted_models(problem.task, problem.layers, plan, moments, CompressConfig())
    return models


def measure(
    bench: Bench, choice: Choice, metric: str, images: Images, moments: Mapping[str, Moments]
) -> dict[str, Any]:
    """Accuracy without and with re-estimated statistics, held-out divergence, cost, seconds."""
    started = time.monotonic()
    problem, task = bench.problem, bench.problem.task
    models = carried_out(bench, choice, moments)
    fitted = time.monotonic()
    cost = measure_cost(models[0], task.example)
    assert cost == problem.plan(choice).cost
    dense_outputs = bench.scoring.dense_outputs
    raw = best_recalibrated(task, models, dense_outputs, blends=(0.0,))
    before = correct(raw.model, task, images)
    found = best_recalibrated(task, models, dense_outputs)
    after = correct(found.model, task, images)
    return {
        "params": cost.params,
        "flops": cost.flops,
        "fraction": cost.of(metric) / problem.dense.of(metric),
        "accuracy_without": accuracy(before),
        "accuracy": accuracy(after),
        "divergence_without": raw.divergence.mean,
        "divergence": found.divergence.mean,
        "blend": found.blend,
        "correct_without": pack(before),
        "correct": pack(after),
        "seconds_fit": fitted - started,
        "seconds_measure": time.monotonic() - fitted,
    }


def measure_tuned(
    bench: Bench,
    choice: Choice,
    images: Images,
    moments: Mapping[str, Moments],
    *,
    steps: int,
    seed: int,
) -> Record:
    """Accuracy before and after a short fine-tune by distillation, the same steps and rate for every method."""
    started = time.monotonic()
    task = bench.problem.task
    models = carried_out(bench, choice, moments)
    model = best_recalibrated(task, models, bench.scoring.dense_outputs).model
    before = correct(model, task, images)
    tuned = finetune(model, task.model, task, steps=steps, seed=seed)
    after = correct(tuned, task, images)
    return {
        "steps": steps,
        "accuracy_before": accuracy(before),
        "accuracy": accuracy(after),
        "correct": pack(after),
        "seconds": time.monotonic() - started,
    }
