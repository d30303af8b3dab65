"""An exported file held against the model that it was made of."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, inf, isnan
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.errors import InputError, expected, is_of_the_system, told
from ranksearch.exporting.base import Exporter
from ranksearch.exporting.folding import folded
from ranksearch.networks import (
    Batch,
    Output,
    blank,
    call_once,
    cat,
    copy_model,
    eval_mode,
    head,
    made_one,
    one_tensor,
    refilled,
    size,
    tensors,
    to,
)

BATCH_SIZES = (1, 5)
"""Sizes of the batches that are compared."""

TOLERANCE = 1e-3
"""The largest difference that is accepted, relative to the largest output."""

_EXACT = 1e-5
"""The largest difference, relative to the largest output, that BatchNorm may make when it is folded."""

_TRACED = 2


def example_of(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Random numbers as an input to compare on, where there is no data.

    shape: of a batch of one. returns: as many examples as are compared, alike for the same seed.
    """
    return torch.randn(max(BATCH_SIZES), *shape[1:], generator=torch.Generator().manual_seed(seed))


@contextmanager
def exported(
    exporter: Exporter, model: nn.Module, examples: Batch, output: Output = one_tensor
) -> Iterator[tuple[Path, float]]:
    """A model's exported file in a temporary folder, and how far its outputs are from the model's (see `deviation`).

    Raises InputError where the model cannot be exported, or where they are further apart than `TOLERANCE`.
    """
    what = f"export {exporter.name}"
    batches = [_of_size(to(examples, "cpu"), count) for count in BATCH_SIZES]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, exporter.file)
        plain = _plain(model)
        with _quiet(), eval_mode(plain):
            wanted = [call_once(plain, batch) for batch in batches]
            if not exporter.folds_batchnorm:
                plain = _folded(plain, batches, wanted, output)
            with _blaming(what, "a model that it can export"):
                exporter.export(plain, blank(_of_size(batches[-1], _TRACED)), path)
            _check_files(what, path)
        worst = _furthest(exporter, path, batches, wanted, output)
        if not worst <= TOLERANCE:
            got = f"a difference of {worst:.2g} of the largest output"
            raise InputError(expected(what, f"the model's own outputs, to {TOLERANCE:g}", got))
        yield path, worst


def difference(
    exporter: Exporter, path: Path, model: nn.Module, examples: Batch, output: Output = one_tensor
) -> float:
    """How far a file's outputs are from a model's on batches of all `BATCH_SIZES` (see `deviation`), however far."""
    batches = [_of_size(to(examples, "cpu"), count) for count in BATCH_SIZES]
    plain = _plain(model)
    with eval_mode(plain):
        wanted = [call_once(plain, batch) for batch in batches]
    return _furthest(exporter, path, batches, wanted, output)


def _furthest(
    exporter: Exporter, path: Path, batches: Sequence[Batch], wanted: Sequence[Any], output: Output
) -> float:
    sizes = " and ".join(map(str, BATCH_SIZES))
    with _quiet(), _blaming(f"export {exporter.name}", f"a file that runs on batches of {sizes}"):
        found = [exporter.run(path, batch) for batch in batches]
    return max(deviation(a, b, output) for a, b in zip(wanted, found, strict=True))


def deviation(wanted: Any, found: Any, output: Output = one_tensor) -> float:
    """The largest difference between what a file and the model return, relative to the model's largest output.

    Infinite where something is not finite. Raises InputError where they are of different forms.
    """
    own, others = tensors(wanted), tensors(found)
    if len(own) != len(others):
        raise InputError(expected("exported outputs", f"{len(own)} tensors", len(others)))
    a = made_one(wanted, output).double()
    b = made_one(refilled(wanted, others), output).double()
    if a.shape != b.shape:
        raise InputError(expected("exported outputs", f"the shape {tuple(a.shape)}", tuple(b.shape)))
    apart, largest = (a - b).abs().max().item(), a.abs().max().item()
    if apart == 0:
        return 0.0
    relative = apart / largest if largest else inf
    return inf if isnan(relative) else relative


def _folded(model: nn.Module, batches: Sequence[Batch], wanted: Sequence[Any], output: Output) -> nn.Module:
    """The model with BatchNorm folded where that changes nothing; as it is where that cannot be told."""

    def exact(other: nn.Module) -> bool:
        with eval_mode(other):
            returned = [call_once(other, batch) for batch in batches]
        return all(deviation(a, b, output) <= _EXACT for a, b in zip(wanted, returned, strict=True))

    try:
        return folded(model, batches[-1], exact)
    except Exception as error:  # models can fail in any way
        if is_of_the_system(error):
            raise
        return model


def _plain(model: nn.Module) -> nn.Module:
    """A copy on the CPU, in the usual order of memory."""
    plain = copy_model(model).to("cpu").requires_grad_(False)
    return plain.to(memory_format=torch.contiguous_format)


def _of_size(batch: Batch, count: int) -> Batch:
    """The first examples, repeated where there are too few."""
    return head(cat([batch] * ceil(count / size(batch))), count)


def _check_files(what: str, path: Path) -> None:
    found = sorted(file.name for file in path.parent.iterdir())
    if found != [path.name] or not path.is_file():
        raise InputError(expected(what, f"the one file {path.name}", ", ".join(found) or "none"))


@contextmanager
def _blaming(what: str, wanted: str) -> Iterator[None]:
    """Formats and models can fail in any way. A full disk and a lack of memory are not their fault."""
    try:
        yield
    except Exception as error:
        if is_of_the_system(error):
            raise
        raise InputError(expected(what, wanted, told(error))) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of the packages that export: what matters is whether the outputs are the same."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
