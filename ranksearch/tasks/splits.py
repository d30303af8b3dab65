"""Which training images serve what: decided once, disjoint, by seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from ranksearch.errors import InputError, expected


@dataclass(frozen=True)
class Splits:
    """Indices into the training data.

    `moments` and `divergence` are the calibration images, used without labels: trials have their second moments
    and BatchNorm statistics from the former and held-out scores from the latter; what is delivered, or scored as it
    would be, is fitted to both, and chosen on the latter. `validation` is empty where the data has a validation set
    of its own.
    """

    seed: int
    moments: tuple[int, ...]
    divergence: tuple[int, ...]
    finetune: tuple[int, ...]
    validation: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def make_splits(size: int, *, calibration_size: int, val_split: float, seed: int) -> Splits:
    """Cut `size` training images into the four roles.

    The permutation is `torch.randperm(size)` of a generator seeded by `seed`; its head is the validation
    split (`round(val_split · size)` images), then come the calibration images, two thirds for the moments,
    one third for the divergence; what is left serves fine-tuning. Where data is scarce the calibration
    images are at most half of what validation leaves.
    """
    if not 0 <= val_split < 1:
        raise InputError(expected("val_split", "a fraction from 0 up to 1", val_split))
    if calibration_size < 3:
        raise InputError(expected("calibration_size", "at least 3 images", calibration_size))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist()
    n_validation = round(val_split * size)
    n_calibration = min(calibration_size, (size - n_validation) // 2)
    if n_calibration < 3:
        got = f"{size} images, {n_validation} of them for validation"
        raise InputError(
            expected(
                "training data", "enough images to calibrate on (6 or more in addition to validation)", got
            )
        )
    n_moments = n_calibration - n_calibration // 3
    bounds = (n_validation, n_validation + n_moments, n_validation + n_calibration)
    return Splits(
        seed=seed,
        validation=tuple(order[: bounds[0]]),
        moments=tuple(order[bounds[0] : bounds[1]]),
        divergence=tuple(order[bounds[1] : bounds[2]]),
        finetune=tuple(order[bounds[2] :]),
    )
