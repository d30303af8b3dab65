"""A commented configuration file for a model and its data, after both have been looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from ranksearch.networks import take_inventory
from ranksearch.planning import Network, inspect_network
from ranksearch.progress import Reporter
from ranksearch.runs.command import from_folder
from ranksearch.runs.expectation import Expectation, expectation, in_words
from ranksearch.runs.narrate import describe_dense, describe_task, show_cost
from ranksearch.runs.options import RunOptions
from ranksearch.runs.settings import NOT_RECORDED, delivery_epochs, torch_threads
from ranksearch.runs.tasks import build_task_and_data
from ranksearch.tasks import Estimate, Task, metric_name, show_estimate

SLOW = 1800.0
"""Seconds of fine-tuning of one model from which on the file leaves it out."""


def initial_study(options: RunOptions, file: Path, reporter: Reporter) -> str:
    """What `--config` takes for a model and data, with what was found about them. file: where it will lie.

    Raises InputError where model and data do not fit together, as a run would.
    """
    with torch_threads(options):
        task, _ = build_task_and_data(options, reporter.line, reporter.progress)
        network = inspect_network(task, ignore=options.ignore)
        describe_task(task, network.cost, reporter)
        dense = describe_dense(task, reporter)
        expected = expectation(task, options)
    names = [layer.name for layer in network.layers]
    lines = [*_found(task, network, dense, file), "", *_options(options, expected, names, file)]
    return "\n".join(lines) + "\n"


def _found(task: Task, network: Network, dense: Estimate | None, file: Path) -> Iterator[str]:
    yield f"# ranksearch run --config {file.name}"
    yield "#"
    yield f"# {task.model_name}: {show_cost(network.cost)}"
    able = [layer for layer in network.layers if layer.reason is None]
    found = take_inventory(task.model, network.layers)
    share = found.able / max(1, found.total)
    yield f"# {len(able)} of {len(network.layers)} layers can be factorised; they have {share:.0%} of the parameters"
    s = task.splits
    yield f"# {len(s.moments) + len(s.divergence):,} images to calibrate on, {len(s.finetune):,} for fine-tuning"
    if dense is not None:
        yield f"# dense model: {metric_name(task)} {show_estimate(dense)} on {dense.count:,} validation examples"
    yield "# `ranksearch run -h` explains every option; dashes are underscores here."


def _options(options: RunOptions, expected: Expectation, layers: Sequence[str], file: Path) -> Iterator[str]:
    """Options that were given, then those that most people change."""
    base = file.absolute().parent
    values, defaults = (one.model_dump(mode="json") for one in (options, RunOptions()))
    given = {
        name: from_folder(base, name, value)
        for name, value in values.items()
        if name not in NOT_RECORDED | {"budget"} and value != defaults[name]
    }
    yield _line("model", given.pop("model", options.model))
    yield _line("data", given.pop("data", options.data_spec))
    for name, value in given.items():
        yield _line(name, value)
    if "max_drop" not in given:
        yield ""
        yield '# How much to keep: fractions, percentages ("20%") or amounts ("54k"); one plan each.'
        yield _line("budget", [kept.fraction or kept.name for kept in options.budget] or [0.5, 0.3])
        yield "# In place of a budget: the most that may be lost, in points of the task metric."
        yield f"# {_line('max_drop', 1.0)}"
    if "metric" not in given:
        yield "# What a budget counts: params, flops, bytes, or latency, which is measured on this machine."
        yield _line("metric", options.metric)
    yield ""
    yield from _training(options, expected, "epochs" in given)
    if "ignore" not in given:
        yield "# Layers that stay dense, by name or pattern."
        yield f"# {_line('ignore', [layers[-1]])}"
    yield "# Trials of a search around the analytic plan; they rarely improve the final model."
    yield f"# {_line('n_trials', 40)}"
    yield "# Files that need no ranksearch, beside the model: onnx, pt2, torchscript."
    yield f"# {_line('export', ['onnx', 'pt2'])}"


def _training(options: RunOptions, expected: Expectation, given: bool) -> Iterator[str]:
    epochs = delivery_epochs(options)
    if given or not epochs:
        return
    each = expected.training / epochs
    yield f"# Epochs of fine-tuning, without labels; here {in_words(each)} each, for each model, roughly."
    yield _line("epochs", 0 if expected.training > SLOW else epochs)


def _line(name: str, value: Any) -> str:
    """`name = value` as TOML has it, on one line."""
    if isinstance(value, list):
        return f"{name} = [{', '.join(_line('x', each).partition(' = ')[2] for each in value)}]"
    return tomli_w.dumps({name: value}).strip()
