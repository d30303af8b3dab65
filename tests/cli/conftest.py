"""A tiny model with tiny data, as a user's own file, and a finished run on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ranksearch.cli.app import app

Invoke = Callable[..., Result]

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

QUICK = ("--decompositions", "svd,spatial_svd", "--n-trials", "3", "--finetune-trials", "1",
         "--finetune-steps", "2", "--epochs", "1", "--batch-size", "32")  # fmt: skip


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def invoke() -> Invoke:
    """Runs `ranksearch` with some arguments, in this process."""
    return _invoke


@pytest.fixture(scope="session")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own.py").write_text(OWN)
    return folder


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
