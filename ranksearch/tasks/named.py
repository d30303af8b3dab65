"""Losses and metrics by what people call them: by name, or as torch's own."""

from __future__ import annotations

import inspect
from typing import Any, cast

from torch import nn

from ranksearch.errors import InputError, expected
from ranksearch.objects import load_object
from ranksearch.tasks.losses import Loss, MetricFn
from ranksearch.tasks.registry import LOSSES, METRICS, OF_TORCH

_ADVICE = {
    "L1Loss": "squared_error is the nearest one.",
    "SmoothL1Loss": "squared_error is the nearest one.",
    "HuberLoss": "squared_error is the nearest one.",
    "BCELoss": "Let the model return logits, and use binary_cross_entropy.",
}


def loss_of(spec: Any) -> Loss:
    """A loss by its name, `squared_error`, `mse` or `file.py:LOSS`, as torch's own, `nn.MSELoss()`, or as it is.

    Raises InputError, with the names that there are, for any other; also where weights or smoothing would be lost.
    """
    if isinstance(spec, Loss):
        return spec
    if isinstance(spec, str):
        return LOSSES.resolve(spec)
    kind = type(spec).__name__ if isinstance(spec, nn.Module) else getattr(spec, "__name__", "")
    if kind not in OF_TORCH or not _is_of_torch(spec):
        wanted = f"a ranksearch.Loss, or one of {', '.join(LOSSES.names())}"
        got = kind or type(spec).__name__
        raise InputError(expected("loss", wanted, got, _ADVICE.get(kind, "")))
    changed = [name for name in ("weight", "pos_weight") if getattr(spec, name, None) is not None]
    changed += ["label_smoothing"] * bool(getattr(spec, "label_smoothing", 0))
    if changed and isinstance(spec, nn.Module):
        way_out = "Leave it out: what is matched is the dense model, which was trained with it."
        raise InputError(expected("loss", f"{kind} without {' and '.join(changed)}", "one with", way_out))
    return LOSSES.get(OF_TORCH[kind])


def losses_of(spec: Any) -> tuple[Loss, ...]:
    """One loss, or those of several outputs: names with commas between them, or a tuple or list. Raises InputError."""
    if isinstance(spec, str):
        spec = [part.strip() for part in spec.split(",") if part.strip()] or [spec]
    return tuple(map(loss_of, spec)) if isinstance(spec, tuple | list) else (loss_of(spec),)


def metric_of(spec: Any) -> MetricFn:
    """A metric by its name, `miou`, by that of a function, `file.py:fn`, or as it is. Raises InputError."""
    if isinstance(spec, str):
        spec = load_object(spec, option="metric_fn") if ":" in spec else METRICS.get(spec)
    if not callable(spec):
        wanted = f"a function, or one of {', '.join(METRICS.names())}"
        raise InputError(expected("metric_fn", wanted, type(spec).__name__))
    return cast(MetricFn, spec)


def ignored_by(spec: Any) -> int | None:
    """The label that a loss of torch's leaves out, beside the usual one."""
    found = getattr(spec, "ignore_index", None) if isinstance(spec, nn.Module) else None
    return found if isinstance(found, int) and found != -100 else None


def _is_of_torch(spec: Any) -> bool:
    module = type(spec).__module__ if isinstance(spec, nn.Module) else getattr(spec, "__module__", "")
    return inspect.isroutine(spec) or str(module).startswith("torch.nn")
