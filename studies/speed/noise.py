"""Random images of the size that ImageNet's networks take: enough to time a network, not to judge it."""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset


def images() -> dict[str, TensorDataset]:
    """A few, with random labels."""
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> TensorDataset:
        labels = torch.randint(0, 1000, (count,), generator=generator)
        return TensorDataset(torch.randn(count, 3, 224, 224, generator=generator), labels)

    return {"train": part(48), "validation": part(4), "test": part(4)}
