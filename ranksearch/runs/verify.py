"""What was delivered, measured again: whole files, costs, outputs, and with data the accuracy and the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.compression import PLAN_FILE, WEIGHTS_FILE, check_sums, load_compressed
from ranksearch.costs import COSTS
from ranksearch.errors import InputError, expected
from ranksearch.folders import CONFIG
from ranksearch.networks import read_weights
from ranksearch.planning import PlanRecord, read_plan
from ranksearch.runs.config import load_options
from ranksearch.runs.evaluation import FINAL
from ranksearch.runs.measure_again import (
    Found,
    check_costs,
    check_metric,
    check_outputs,
    check_splits,
    check_time,
)
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import SplitsRecord
from ranksearch.runs.settings import torch_threads
from ranksearch.runs.tasks import build_task_and_data
from ranksearch.tasks.sources import dense_name, is_plain, make_model

_NOT_NEEDED = frozenset({"weights", "weights_entry", "probe", "out", "cache", "storage", "export", "accept"})
"""Options of a plan that the measurements do not depend on."""


@dataclass(frozen=True)
class Verified:
    """What was checked and found in order, and what was not checked, with the reason."""

    checked: tuple[str, ...]
    unchecked: tuple[str, ...]

    def __str__(self) -> str:
        left = f"; not checked: {', '.join(self.unchecked)}" if self.unchecked else ""
        return "; ".join(self.checked) + left


def delivered_in(path: Path) -> list[Path]:
    """The folder of a compressed model itself, or those in a run folder. Raises InputError where there is none."""
    found = (
        [path]
        if (path / PLAN_FILE).is_file()
        else sorted(p.parent for p in path.glob(f"compressed/*/{PLAN_FILE}"))
    )
    if not found:
        wanted = "the folder of a compressed model, or of a run"
        got = "a folder without a compressed model" if path.is_dir() else "none"
        begun = (path / CONFIG).is_file()
        way_out = f"The run has delivered nothing yet: `ranksearch run --resume --out {path}` continues it."
        raise InputError(expected(str(path), wanted, got, way_out if begun else ""))
    return found


def verify_delivered(folder: Path, given: Mapping[str, Any] | None = None) -> Verified:
    """Check a compressed model: what was found in order, and what was not looked at.

    Files, exported ones among them, are compared with their checksums. Where the model can be built (the plan names a
    built-in one, `given` names it, or the folder is trusted) it has to cost what the plan says, and its outputs for
    seeded inputs have to be those at delivery, as far as machines agree. With `data` its task metric is measured again
    on the same examples, and its time where that was measured: times are told but not held against anything, since they
    are those of a machine.
    given: options of a run by name; the others are the plan's own, where they name neither code nor files.

    Raises MismatchError where something differs.
    """
    given = {key: value for key, value in (given or {}).items() if value is not None}
    check_sums(folder, every=True)
    record = read_plan(folder / PLAN_FILE)
    name = _model_name(folder, record, given)
    if name is None:
        if "data" in given:
            way_out = "Name it with `model`, or add `trust=True` if you trust the folder."
            raise InputError(expected(str(folder), "a built-in model to measure", record.model.name, way_out))
        weights = read_weights(folder / WEIGHTS_FILE)
        text = f"files as delivered; {len(weights.tensors)} tensors (the model is your own and was not built)"
        return Verified((text,), ("costs, outputs and the task metric (name the model with `model`)",))
    with torch.random.fork_rng(devices=[]):
        dense = make_model(name)
        model = load_compressed(folder, record, dense)
    costs, others = check_costs(folder, record, model)
    found = [Found(f"files as delivered; {name} loads"), Found(costs), _outputs(folder, record, model)]
    timed = [metric for metric in others if (known := COSTS.find(metric)) is not None and known.measured]
    found += [Found(unchecked=f"{metric} (not known here)") for metric in others if metric not in timed]
    if "data" in given:
        found += _on_data(folder, record, model, timed, _options(record, {**given, "model": name}))
    else:
        found += [Found(unchecked=_NO_DATA), *(Found(unchecked=f"{x} (give `data`)") for x in timed)]
    return _verified(found)


def _outputs(folder: Path, record: PlanRecord, model: nn.Module) -> Found:
    if record.outputs is None:
        return Found(unchecked="outputs (none were kept at delivery)")
    return Found(check_outputs(folder, record, model))


def _on_data(
    folder: Path, record: PlanRecord, model: nn.Module, timed: Sequence[str], options: RunOptions
) -> list[Found]:
    """What the data that the options name say of a model."""
    with torch_threads(options):
        task, data = build_task_and_data(options)
        check_splits(folder, SplitsRecord(**task.splits.to_dict(), test=data.test_split))
        measured = task.laid_out(model)
        found = [check_metric(folder, record, measured, task, role) for role in FINAL]
        return found + [check_time(record, task, options, metric) for metric in timed]


def _verified(found: Sequence[Found]) -> Verified:
    checked = tuple(each.checked for each in found if each.checked)
    return Verified(checked, tuple(each.unchecked for each in found if each.unchecked))


_NO_DATA = "the task metric (give `data`)"


def _model_name(folder: Path, record: PlanRecord, given: Mapping[str, Any]) -> str | None:
    """The name by which the dense model may be built; None where nobody vouches for it."""
    if "model" in given:
        return str(given["model"])
    return dense_name(folder, record.model.name, trust=bool(given.get("trust")))


def _options(record: PlanRecord, given: Mapping[str, Any]) -> RunOptions:
    """The plan's own options, but for those that do not matter, under the given ones."""
    known = {
        key: value
        for key, value in record.options.items()
        if key in RunOptions.model_fields and key not in _NOT_NEEDED and key not in given
    }
    if is_plain(str(given["model"])):
        known["num_classes"] = None  # the name of a built-in model says it
    return load_options({**given, "weights": "none"}, under=known, under_name=PLAN_FILE)
