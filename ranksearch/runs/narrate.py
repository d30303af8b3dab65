"""What a command says of a task on the way: model, images, budgets, layers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ranksearch.costs import Budget, Cost, shown, unit_of
from ranksearch.planning import Problem
from ranksearch.progress import Reporter, ticks
from ranksearch.searching import SearchResult
from ranksearch.tasks import CROSS_ENTROPY, Estimate, Task, evaluate, metric_name, show_estimate

log = logging.getLogger(__name__)


def describe_task(task: Task, dense: Cost, reporter: Reporter) -> None:
    """Say what is compressed, and what it costs, on which images."""
    s = task.splits
    reporter.line(f"model: {task.model_name}, {show_cost(dense)}")
    reporter.line(
        f"images: {len(s.moments):,} for moments, {len(s.divergence):,} for divergence, "
        f"{len(s.finetune):,} for fine-tuning, {_size(task, 'validation')} for validation, "
        f"{_size(task, 'test')} for the final evaluation"
    )
    if task.validation is None and s.validation:
        reporter.line(
            "validation: on images set aside from the training images; a model that was trained on them scores higher "
            "there than on new ones"
        )


def describe_budgets(budgets: Sequence[Budget], reporter: Reporter) -> None:
    """Say what the budgets are in absolute terms."""
    for budget in budgets:
        reporter.line(f"budget {budget.name}: {budget}")
        if all(limit.limit >= limit.dense for limit in budget.every):
            log.warning("budget %s: the dense model keeps to it, so nothing has to be cut", budget.name)


def show_cost(cost: Cost) -> str:
    """`269,722 parameters, 81,102,080 FLOPs`."""
    return ", ".join(f"{shown(name, amount)} {unit_of(name)}" for name, amount in cost.amounts.items())


def describe_dense(task: Task, reporter: Reporter) -> Estimate | None:
    """Evaluate the dense model on the validation images, where there are some."""
    what = "dense model, validation"
    found = evaluate(task.model, task, "validation", progress=ticks(reporter.progress, what))
    if found is not None:
        reporter.line(f"dense model: {metric_name(task)} {show_estimate(found)} on validation images")
        if (chance := _chance(task)) is not None and found.mean - 2 * found.stderr <= chance:
            log.warning(
                "dense model: no better than chance, which is %.3g. Are its weights those of a trained model, and the "
                "classes of the data in the order that it was trained with?",
                chance,
            )
    return found


def _chance(task: Task) -> float | None:
    """Top-1 accuracy of guessing, in per cent; None for other metrics."""
    if task.metric_fn is not CROSS_ENTROPY.metric_fn:
        return None
    classes = task.outputs(task.model, task.example).shape[1]
    return 100 / max(1, classes)


def _size(task: Task, role: Any) -> str:
    dataset: Any = task.dataset(role)
    return "none" if dataset is None else f"{len(dataset):,}"


def describe_layers(problem: Problem, reporter: Reporter) -> None:
    """Say how many layers and candidates there are, why layers stay dense, and whose errors count for more."""
    candidates = sum(len(table.candidates) for table in problem.tables)
    reporter.line(f"layers: {len(problem.tables)} with {candidates:,} candidates")
    unused = [table for table in problem.tables if table.unused]
    if unused:
        params = sum(table.dense.params for table in unused)
        named = _listed([table.layer.name for table in unused])
        reporter.line(
            f"unused: {named}, {params:,} parameters. The outputs do not depend on them; they are cut to the least "
            "rank, with zeros as weights (`ignore` keeps them)"
        )
    reasons: dict[str, list[str]] = {}
    for layer in problem.layers:
        if layer.reason is not None:
            reasons.setdefault(layer.reason, []).append(layer.name)
    for reason, names in reasons.items():
        reporter.line(f"kept dense: {_listed(names)} ({reason})")
    layer_weights = problem.layer_weights
    if layer_weights.early and layer_weights.early_weight is not None:
        names = [table.layer.name for table in layer_weights.early_ones(problem.tables)]
        reporter.line(f"errors of {_listed(names)} count {layer_weights.early_weight:g} times")


def describe_times(results: Sequence[SearchResult], reporter: Reporter) -> None:
    """Say what plans within a budget of time were measured to take."""
    for result in results:
        if "time" in result.scores:
            time, low, high, predicted = (
                result.scores[f"time{end}"] for end in ("", "_low", "_high", "_predicted")
            )
            reporter.line(
                f"budget {result.budget.name}: takes {time:.3f} ({low:.3f} to {high:.3f}) of the dense time, "
                f"predicted {predicted:.3f}"
            )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
