"""A valid file of every kind, and a finished run of a user's own model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ranksearch.planning import Problem

# What the tests share is imported by its bare name.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory, tiny_problem: Problem) -> object:
    from valid import valid_files

    return valid_files(tmp_path_factory.mktemp("valid"), tiny_problem)
