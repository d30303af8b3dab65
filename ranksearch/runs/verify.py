"""What was delivered, checked: whole files, and a model that is what its plan says."""

from __future__ import annotations

from pathlib import Path

import torch

from ranksearch.compression import PLAN_FILE, WEIGHTS_FILE, check_sums, load_compressed
from ranksearch.costs import COSTS, measure_cost
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.networks import read_weights
from ranksearch.planning import PlanRecord, read_plan
from ranksearch.tasks.sources import is_plain, make_model


def delivered_in(path: Path) -> list[Path]:
    """The folder of a compressed model itself, or those in a run folder. Raises InputError where there is none."""
    found = (
        [path]
        if (path / PLAN_FILE).is_file()
        else sorted(p.parent for p in path.glob(f"compressed/*/{PLAN_FILE}"))
    )
    if not found:
        wanted = "the folder of a compressed model, or of a run"
        raise InputError(expected(str(path), wanted, "a folder without" if path.is_dir() else "none"))
    return found


def verify_delivered(folder: Path) -> str:
    """Check a compressed model; what was found in order.

    Files, exported ones among them, are compared with their checksums. Where the plan names a built-in model it is
    built too, the weights are loaded, and it has to cost what the plan says. Raises MismatchError where something
    differs.
    """
    check_sums(folder, every=True)
    record = read_plan(folder / PLAN_FILE)
    name = record.model.name
    if name is None or not is_plain(name):
        weights = read_weights(folder / WEIGHTS_FILE)
        return f"files as delivered; {len(weights.tensors)} tensors (the model is your own and was not built)"
    _check_cost(folder, record, name)
    return f"files as delivered; {name} loads, and costs what the plan says"


def _check_cost(folder: Path, record: PlanRecord, name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        model = load_compressed(folder, record, make_model(name))
    metrics = tuple(metric for metric in record.cost if metric in COSTS and COSTS.get(metric).exact)
    cost = measure_cost(model, torch.zeros(record.model.input_shape), metrics)
    for metric in metrics:
        if cost.of(metric) != record.cost[metric]:
            wanted = f"{record.cost[metric]:,} {metric}, as in {PLAN_FILE}"
            raise MismatchError(expected(str(folder / WEIGHTS_FILE), wanted, f"{cost.of(metric):,}"))
