"""A place of its own for every test; a small network, calibrated in a fraction of a second, and its problem."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ranksearch.costs import COSTS
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.objectives import OBJECTIVES
from ranksearch.planning import CandidateConfig, Problem, prepare
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.searching.studies import SAMPLERS
from ranksearch.tasks import LOSSES, Task


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Imports and registrations leak from no test into another, and nothing goes to the user's cache."""
    for registry in (ALLOCATORS, COSTS, DECOMPOSITIONS, LOSSES, OBJECTIVES, SAMPLERS, SEARCH_SPACES):
        monkeypatch.setattr(registry, "_known", dict(registry._known))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    """Two convolutions with BatchNorm and a Linear layer, on random images of five classes."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    for _ in range(60):
        model(torch.randn(64, 3, 8, 8))  # running statistics that fit the data
    with torch.no_grad():
        # Outputs that differ between images, so that divergences are not all but zero.
        model[-1].weight *= 8
    data = TensorDataset(torch.randn(160, 3, 8, 8), torch.randint(0, 5, (160,)))
    return Task(model.eval(), data, calibration_size=96, batch_size=32)


@pytest.fixture(scope="session")
def tiny_problem(tiny_task: Task) -> Problem:
    config = CandidateConfig(decompositions=("svd", "spatial_svd"), fits_per_form=3, iterations=3)
    return prepare(tiny_task, config=config)
