"""The studies' scripts import one another by bare names, as they do when they are run; a network for them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

for study in (
    "shootout",
    "search",
    "finetune",
    "scale",
    "combinations",
    "promise",
    "speed",
    "resnet20_cifar10",
):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "studies" / study))

OWN = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def model():
    torch.manual_seed(0)
    found = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    )
    for _ in range(20):
        found(torch.randn(64, 3, 6, 6))
    with torch.no_grad():
        # Outputs that differ between images.
        found[-1].weight *= 8
        found[-1].bias.zero_()
    return found


def data():
    generator = torch.Generator().manual_seed(0)

    def part(n):
        return TensorDataset(torch.randn(n, 3, 6, 6, generator=generator), torch.arange(n) % 4)

    return {"train": part(96), "validation": part(16), "test": part(40)}
"""


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """Options that name a network of two convolutions, its weights and its data."""
    (tmp_path / "own.py").write_text(OWN)
    spec = f"{tmp_path / 'own.py'}"
    namespace: dict[str, Callable[[], torch.nn.Module]] = {}
    exec(OWN, namespace)
    weights = tmp_path / "w.safetensors"
    save_file(namespace["model"]().state_dict(), weights)
    return ["--data", f"{spec}:data", "--model", f"{spec}:model", "--weights", str(weights)]
