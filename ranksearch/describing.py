"""What a command says of a task on the way: model, images, budgets, layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ranksearch.costs import UNITS, Cost, budget_limit, measure_cost
from ranksearch.evaluate import Estimate, evaluate
from ranksearch.problem import Problem
from ranksearch.runfolder import budget_name
from ranksearch.searching import SearchSettings
from ranksearch.task import Task


class Reporter(Protocol):
    """Whoever wants to know how a run is going."""

    def line(self, text: str) -> None:
        """A fact."""

    def progress(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        """`done` of `total` of a stage, and its best score so far."""


def metric_name(task: Task) -> str:
    """What to call the task's metric in a table."""
    name = getattr(task.metric_fn, "__name__", type(task.metric_fn).__name__)
    return {"top1": "top-1 %", "binary_accuracy": "accuracy %"}.get(name, name)


def describe_task(task: Task, reporter: Reporter) -> Cost:
    """Say what is compressed, on which images; the dense model's cost."""
    dense = measure_cost(task.model, task.example.to(task.device))
    s = task.splits
    reporter.line(f"model: {task.model_name}, {dense.params:,} parameters, {dense.flops:,} FLOPs")
    reporter.line(
        f"images: {len(s.moments):,} for moments, {len(s.divergence):,} for divergence, "
        f"{len(s.finetune):,} for fine-tuning, {_size(task, 'validation')} for validation, "
        f"{_size(task, 'test')} for the final evaluation"
    )
    return dense


def describe_budgets(dense: Cost, settings: SearchSettings, reporter: Reporter) -> None:
    """Say what the budgets are in absolute terms."""
    for budget in settings.budgets:
        limit, whole = budget_limit(dense, budget, settings.metric), dense.of(settings.metric)
        reporter.line(
            f"budget {budget_name(budget)}: at most {limit:,} of {whole:,} {UNITS[settings.metric]}"
        )


def describe_dense(task: Task, reporter: Reporter) -> Estimate | None:
    """Evaluate the dense model on the validation images, where there are some."""
    found = evaluate(task.model, task, "validation")
    if found is not None:
        reporter.line(f"dense model: {metric_name(task)} {show_estimate(found)} on validation images")
    return found


def show_estimate(estimate: Estimate) -> str:
    """`87.99 ± 0.33`, the mean and its standard error."""
    return f"{estimate.mean:.4g} ± {estimate.stderr:.2g}"


def _size(task: Task, role: Any) -> str:
    dataset: Any = task.dataset(role)
    return "none" if dataset is None else f"{len(dataset):,}"


def describe_layers(problem: Problem, reporter: Reporter) -> None:
    """Say how many layers and candidates there are, why layers stay dense, and whose errors count for more."""
    candidates = sum(len(table.candidates) for table in problem.tables)
    reporter.line(f"layers: {len(problem.tables)} with {candidates:,} candidates")
    reasons: dict[str, list[str]] = {}
    for layer in problem.layers:
        if layer.reason is not None:
            reasons.setdefault(layer.reason, []).append(layer.name)
    for reason, names in reasons.items():
        reporter.line(f"dense stay {_listed(names)}: {reason}")
    advice = problem.advice
    if advice.early and advice.early_weight is not None:
        names = [table.layer.name for table in problem.tables[: advice.early]]
        reporter.line(f"errors of {_listed(names)} count {advice.early_weight:g} times")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
