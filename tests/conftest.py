"""A place of its own for every test; a small network, calibrated in a fraction of a second, and its problem; a tiny
model with tiny data, as a user's own file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from ranksearch import testing
from ranksearch.costs import COSTS
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.exporting import EXPORTERS
from ranksearch.interchange import PLAN_EXPORTERS
from ranksearch.objectives import OBJECTIVES
from ranksearch.planning import Problem
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.searching.studies import SAMPLERS
from ranksearch.tasks import LOSSES, Task
from ranksearch.tracking import TRACKERS

OWN = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def model():
    torch.manual_seed(0)
    m = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
                      nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                      nn.Linear(12, 4))
    for _ in range(20):
        m(torch.randn(64, 3, 6, 6))
    with torch.no_grad():
        m[-1].weight *= 8
    return m

def data():
    g = torch.Generator().manual_seed(1)
    def part(n):
        return TensorDataset(torch.randn(n, 3, 6, 6, generator=g), torch.arange(n) % 4)
    return {"train": part(160), "validation": part(24), "test": part(40)}

def unlabelled():
    return {k: TensorDataset(d.tensors[0]) for k, d in data().items()}

def first(outputs, targets):
    return outputs[:, 0]

def broken(outputs, targets):
    if len(outputs) > 1:
        raise OSError("disk on fire")
    return outputs[:, 0]
"""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Imports and registrations leak from no test into another, and nothing goes to the user's cache."""
    for registry in (
        ALLOCATORS,
        COSTS,
        DECOMPOSITIONS,
        EXPORTERS,
        LOSSES,
        OBJECTIVES,
        PLAN_EXPORTERS,
        SAMPLERS,
        SEARCH_SPACES,
        TRACKERS,
    ):
        monkeypatch.setattr(registry, "_known", dict(registry._known))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    return testing.tiny_task()


@pytest.fixture(scope="session")
def tiny_problem(tiny_task: Task) -> Problem:
    return testing.tiny_problem(tiny_task)


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(OWN)
    return folder
