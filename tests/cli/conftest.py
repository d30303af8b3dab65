"""Commands in this process, and a finished run of the user's own model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ranksearch.cli.app import app

Invoke = Callable[..., Result]

QUICK = ("--decompositions", "svd,spatial_svd", "--n-trials", "3", "--finetune-trials", "1",
         "--finetune-steps", "2", "--epochs", "1", "--batch-size", "32")  # fmt: skip


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def invoke() -> Invoke:
    """Runs `ranksearch` with some arguments, in this process."""
    return _invoke


@pytest.fixture(scope="session")
def run(own_folder: Path) -> Invoke:
    """Runs `ranksearch run` on the user's own model and data, quickly, with more arguments; without exports, unless
    they say something about them."""
    own = own_folder / "own.py"

    def run(*more: object) -> Result:
        quick = QUICK if "--export" in more else (*QUICK, "--export", "none")
        return _invoke("run", "--model", f"{own}:model", "--data", f"{own}:data", *quick, *more)

    return run


@pytest.fixture(scope="session")
def finished_run(own_folder: Path, run: Invoke) -> tuple[Path, Result]:
    """The folder of a run for two budgets, and what it printed."""
    folder = own_folder / "run"
    return folder, run("--budget", "0.6,0.4", "--out", folder, "--seed", "1")
