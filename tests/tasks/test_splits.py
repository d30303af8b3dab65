"""Which images serve what."""

from __future__ import annotations

import pytest
import torch

from ranksearch.errors import InputError
from ranksearch.tasks import make_splits


@pytest.mark.parametrize(("size", "calibration", "val"), [(1000, 300, 0.1), (97, 1536, 0.3), (20, 3, 0.0)])
def test_roles_are_disjoint_and_leave_nothing_out(size: int, calibration: int, val: float) -> None:
    s = make_splits(size, calibration_size=calibration, val_split=val, seed=4)
    parts = [s.validation, s.moments, s.divergence, s.finetune]
    assert sorted(i for part in parts for i in part) == list(range(size))
    assert len(s.validation) == round(val * size)
    assert len(s.moments) + len(s.divergence) <= calibration
    assert len(s.finetune) >= len(s.moments) + len(s.divergence) or calibration < size // 2


def test_sizes_by_hand() -> None:
    s = make_splits(50_000, calibration_size=1536, val_split=0.1, seed=42)
    assert [len(p) for p in (s.validation, s.moments, s.divergence, s.finetune)] == [5000, 1024, 512, 43_464]
    order = torch.randperm(50_000, generator=torch.Generator().manual_seed(42)).tolist()
    assert list(s.validation) == order[:5000]
    assert s == make_splits(50_000, calibration_size=1536, val_split=0.1, seed=42)
    assert s != make_splits(50_000, calibration_size=1536, val_split=0.1, seed=43)


def test_more_calibration_images_keep_the_validation_split() -> None:
    small, large = (make_splits(900, calibration_size=n, val_split=0.2, seed=0) for n in (30, 300))
    assert small.validation == large.validation


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_split": 1.0}, "val_split: expected a fraction"),
        ({"calibration_size": 2}, "calibration_size: expected at least 3"),
        ({"size": 5}, "training data: expected enough images"),
    ],
)
def test_mistakes(options: dict[str, float], message: str) -> None:
    given = {"size": 100, "calibration_size": 30, "val_split": 0.1, "seed": 0} | options
    with pytest.raises(InputError, match=message):
        make_splits(given.pop("size"), **given)  # type: ignore[arg-type]
