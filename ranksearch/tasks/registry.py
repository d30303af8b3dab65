"""The losses, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.tasks.losses import Loss


def _is_one(thing: Any) -> bool:
    from ranksearch.tasks.losses import Loss

    return isinstance(thing, Loss)


LOSSES: Registry[Loss] = Registry("loss", "", _is_one, "a ranksearch.Loss")

_HERE = "ranksearch.tasks.losses"
LOSSES.offer("cross_entropy", f"{_HERE}:CROSS_ENTROPY", "classification, classes on axis 1")
LOSSES.offer("binary_cross_entropy", f"{_HERE}:BINARY_CROSS_ENTROPY", "logits of yes and no")
LOSSES.offer("squared_error", f"{_HERE}:SQUARED_ERROR", "regression")
