"""Networks by chance, from search to compression: what is not refused keeps its promises.

RANKSEARCH_FUZZ says how many, RANKSEARCH_FUZZ_FROM from which seed on.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from networks import network
from torch import Tensor, nn

import ranksearch
from ranksearch.cache import digest
from ranksearch.compression import CompressConfig
from ranksearch.costs import measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import BudgetError, RankSearchError
from ranksearch.searching import SearchResult
from ranksearch.tasks import Task

COUNT = int(os.environ.get("RANKSEARCH_FUZZ", "24"))
FIRST = int(os.environ.get("RANKSEARCH_FUZZ_FROM", "0"))


def state(model: nn.Module) -> str:
    """What has to stay as it is of a model that is compressed."""
    tensors: dict[str, Tensor] = dict(model.state_dict()) | dict(model.named_buffers())
    flags = [(name, module.training) for name, module in model.named_modules()]
    return digest(tensors, flags, [p.requires_grad for p in model.parameters()])


def searched(task: Task, budget: float, metric: str, options: Mapping[str, Any]) -> SearchResult:
    """The plan within a budget, or, where that is too small, within the least one that the error names."""
    try:
        return ranksearch.search(task, budget, metric=metric, **options)
    except BudgetError as error:
        least = re.findall(r"expected at least ([0-9.]+)", str(error))
    return ranksearch.search(task, float(least[0]), metric=metric, **options)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_what_is_not_refused_keeps_its_promises(seed: int) -> None:
    made = network(seed)
    rng = random.Random(seed)
    budget = rng.uniform(0.3, 0.9)
    before = state(made.model)
    task = Task(made.model, made.data, calibration_size=12, batch_size=rng.choice([4, 5, 16]), seed=seed)
    metric = rng.choice(["params", "params", "flops"])
    options = {
        "decompositions": rng.sample(DECOMPOSITIONS.names(), 2),
        "allocator": rng.choice(["knapsack"] * 6 + ["energy", "fwsvd", "alds", "uniform"]),
    }
    training = rng.choice([{}, {}, {}, {"epochs": 1}, {"match_epochs": 1}, {"epochs": 1, "rounds": 2}])
    try:
        result = searched(task, budget, metric, options)
        config = CompressConfig(**{"iterations": 3, "epochs": 0} | training)
        compressed = ranksearch.compress(task, result.plan, config=config)
    except RankSearchError as error:
        refused = str(error)
    else:
        refused = ""
    assert state(made.model) == before
    if refused:
        assert "\n" not in refused
        return
    measured = measure_cost(compressed.model, task.example)
    kept = result.budget
    assert measured.of(kept.metric) <= kept.limit
    assert measured == result.plan.cost
    inputs = task.inputs("divergence")
    dense, found = task.outputs(task.model, inputs), task.outputs(compressed.model, inputs)
    assert found.shape == dense.shape
    assert bool(torch.isfinite(found[torch.isfinite(dense)]).all())
