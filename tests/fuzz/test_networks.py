"""Networks by chance, from search to what is loaded again: what is not refused keeps its promises, and the network that
was handed in stays as it was.

RANKSEARCH_FUZZ says how many, RANKSEARCH_FUZZ_FROM from which seed on.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import EVERYWHERE, INPUTS, OF_IMAGES, OF_SEQUENCES, OF_VECTORS, network
from torch import Tensor, nn

import ranksearch
from ranksearch.cache import digest
from ranksearch.compression import CompressConfig
from ranksearch.costs import measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import BudgetError, RankSearchError
from ranksearch.searching import SearchResult
from ranksearch.tasks import Task

pytestmark = pytest.mark.fuzz

COUNT = int(os.environ.get("RANKSEARCH_FUZZ", "300"))
FIRST = int(os.environ.get("RANKSEARCH_FUZZ_FROM", "0"))

ROUNDING = {torch.float64: 1e-7, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 1.6e-2}
"""Relative to the largest output."""


def state(model: nn.Module) -> str:
    """Everything that a model holds: weights and buffers, which modules are where, hooks, attributes, modes."""
    found: list[object] = []
    for name, module in model.named_modules(remove_duplicate=False):
        for key, value in sorted(vars(module).items()):
            found.append((name, key))
            if key in ("_parameters", "_buffers"):
                found += [value, [(k, id(v), v is not None and v.requires_grad) for k, v in value.items()]]
            else:
                found.append([(k, id(v)) for k, v in value.items()] if key == "_modules" else _held(value))
    return digest(*found)


def _held(value: Any) -> object:
    """What an attribute holds, tensors by their content."""
    if isinstance(value, Mapping):
        return {key: _held(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_held(each) for each in value]
    return value if isinstance(value, Tensor) else repr(value)


def generators() -> str:
    """The state of the random generators that a caller may draw from."""
    return digest(torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False))


def searched(task: Task, budget: float, metric: str, options: Mapping[str, Any]) -> SearchResult:
    """The plan within a budget, or, where that is too small, within the least one that the error names."""
    try:
        return ranksearch.search(task, budget, metric=metric, **options)
    except BudgetError as error:
        least = re.findall(r"expected at least ([0-9.]+)", str(error))
    return ranksearch.search(task, float(least[0]), metric=metric, **options)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_what_is_not_refused_keeps_its_promises(seed: int, tmp_path: Path) -> None:
    made = network(seed)
    rng = random.Random(seed)
    budget = rng.uniform(0.3, 0.9)
    # `svd` needs no iterations; the others, which take most of the time, have suites of their own.
    others = [name for name in DECOMPOSITIONS.names() if name != "svd"]
    options = {
        "decompositions": ["svd", *rng.sample(others, rng.choice([0, 0, 0, 1]))],
        "allocator": rng.choice(["knapsack"] * 6 + ["energy", "fwsvd", "alds", "uniform"]),
    }
    training = rng.choice([{}, {}, {}, {}, {"epochs": 1}, {"match_epochs": 1}, {"epochs": 1, "rounds": 2}])
    metric = rng.choice(["params", "params", "flops", "bytes"])
    before, drawn = state(made.model), generators()
    refused = None
    try:
        task = Task(made.model, made.data, calibration_size=12, batch_size=rng.choice([4, 5, 16]), seed=seed)
        result = searched(task, budget, metric, options)
        config = CompressConfig(**{"iterations": 3, "epochs": 0} | training)
        compressed = ranksearch.compress(task, result.plan, config=config)
        ranksearch.save(tmp_path / "saved", task, result, compressed)
    except RankSearchError as error:
        refused = str(error)
    assert state(made.model) == before
    assert generators() == drawn
    if refused is not None:
        assert refused
        assert "\n" not in refused
        return
    kept = result.budget
    measured = measure_cost(compressed.model, task.example, [*result.plan.cost.amounts])
    assert measured.of(kept.metric) <= kept.limit
    assert measured == result.plan.cost
    inputs = task.inputs("divergence")
    dense, found = task.outputs(task.model, inputs), task.outputs(compressed.model, inputs)
    assert found.shape == dense.shape
    assert bool(torch.isfinite(found[torch.isfinite(dense)]).all())
    loaded = ranksearch.load(tmp_path / "saved", network(seed).model)
    # A buffer that training gave another type is loaded as it was declared.
    held = loaded.state_dict()
    delivered = {name: value.to(held[name].dtype) for name, value in compressed.model.state_dict().items()}
    assert digest(held) == digest(delivered)
    # To rounding: sums depend on where in memory the numbers lie.
    rounding, finite = ROUNDING[found.dtype], found[torch.isfinite(found)].abs()
    largest = float(finite.max()) if finite.numel() else 0.0
    torch.testing.assert_close(
        task.outputs(loaded, inputs), found, rtol=rounding, atol=rounding * largest, equal_nan=True
    )
    assert state(made.model) == before
    assert generators() == drawn


def test_the_networks_have_all_kinds_of_parts() -> None:
    parts = {part for seed in range(300) for part in network(seed).parts}
    blocks = {f"[{name}]" for name in (*EVERYWHERE, *OF_IMAGES, *OF_SEQUENCES, *OF_VECTORS)}
    kinds = {"float32", "float64", "bfloat16", "float16", "tokens", "named", "spoilt", *INPUTS}
    odd = {
        "parametrised",
        "hook",
        "pre-hook",
        "lie",
        "scaled",
        "frozen",
        "partly frozen",
        "hooked",
        "backward hook",
    }
    assert blocks | kinds | odd | {"state hook", "training", "partly training"} <= parts
