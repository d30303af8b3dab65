"""A place of its own for every test; a small network, calibrated in a fraction of a second, and its problem."""

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
