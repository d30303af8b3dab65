"""The int8 file of a delivered model, beside the float one, and the figures that are kept of it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, expected
from ranksearch.exporting import (
    BATCH_SIZES,
    Exporter,
    ExportRecord,
    FileTime,
    QuantizedRecord,
    current_exports,
    difference,
    export_file,
    keep_file,
)
from ranksearch.networks import Batch, call_once, copy_model, eval_mode, head, repeated, split, to
from ranksearch.quantization.choice import TOLERANCE, as_planned, choose_float
from ranksearch.quantization.graph import calibrated
from ranksearch.quantization.needs import check_quantizer
from ranksearch.quantization.session import OnnxModule
from ranksearch.tasks import Estimate, Role, Task, divergence, evaluate
from ranksearch.timing import file_ratio

INT8_FILE = "model.int8.onnx"


def quantize_file(
    folder: Path,
    model: nn.Module,
    task: Task,
    *,
    planned: Collection[str] = (),
    tolerance: float = TOLERANCE,
    batch: int = 1,
) -> ExportRecord:
    """Write the int8 file of a folder's model, and its float file where that is not there; both are written down.

    Ranges come from the moments images. planned: the layers that a plan has in int8; without them those that stay float
    are chosen on the divergence images. batch: examples in the batch that is timed. Raises InputError, and writes no
    int8 file, where no layer can be quantised, or the graph of the file lacks one that is planned.
    """
    onnx = check_quantizer()
    held_out = task.inputs("divergence")
    examples = head(held_out, max(BATCH_SIZES))
    float_file = _float_file(folder, onnx, model, examples, task)
    own = copy_model(model).to(task.device)
    with eval_mode(own):
        returned = call_once(own, to(head(examples, 1), task.device))
    wanted = task.outputs(own, held_out)
    threads = torch.get_num_threads()
    found = calibrated(float_file, split(task.inputs("moments"), task.batch_size), model)

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, INT8_FILE)

        estimates: dict[frozenset[int], Estimate] = {}

        def measured(kept: frozenset[int]) -> float:
            found.write(path, kept)
            outputs = task.outputs(OnnxModule(path, returned, threads), held_out)
            estimates[kept] = divergence(wanted, outputs, task.loss)
            return estimates[kept].mean

        if planned:
            limit, choice = None, as_planned([layer.name for layer in found.layers], planned)
            measured(choice.kept)
        else:
            limit = tolerance * constant_divergence(wanted, task)
            choice = choose_float(len(found.layers), measured, limit)
        if choice.kept not in estimates:  # all of them
            wanted_layers = f"a layer that can be int8 within a divergence of {limit:.2g}"
            raise InputError(expected("quantize", wanted_layers, "none", "Raise `quantize_tolerance`."))
        found.write(path, choice.kept)
        reached = estimates[choice.kept]
        apart = difference(onnx, path, model, examples, task.output)
        ratio = file_ratio(path, float_file, repeated(examples, batch), threads)
        quantized = QuantizedRecord(
            bits="int8",
            layers=len(found.layers),
            float_layers=tuple(found.layers[k].name for k in sorted(choice.kept)),
            tolerance=None if planned else tolerance,
            limit=limit,
            divergence=reached.mean,
            divergence_stderr=reached.stderr,
            evaluations=choice.evaluations,
            scores=_scores(OnnxModule(path, returned, threads), task),
            bytes=path.stat().st_size,
            float_bytes=float_file.stat().st_size,
            time=FileTime(ratio=ratio.median, low=ratio.low, high=ratio.high, batch=batch, threads=threads),
        )
        return keep_file(folder, INT8_FILE, path, onnx, apart, quantized)


def constant_divergence(outputs: Tensor, task: Task) -> float:
    """How far a model that always returns the mean output is from one with these outputs.

    outputs: An (N, …) tensor.
    """
    constant = outputs.mean(dim=0, keepdim=True).expand_as(outputs)
    return divergence(outputs, constant, task.loss).mean


def _float_file(folder: Path, onnx: Exporter, model: nn.Module, examples: Batch, task: Task) -> Path:
    if onnx.file not in {record.file for record in current_exports(folder)}:
        export_file(folder, onnx, model, examples, task.output)
    return folder / onnx.file


def _scores(model: nn.Module, task: Task) -> dict[str, float]:
    roles: tuple[Role, ...] = ("validation", "test")
    found = {role: evaluate(model, task, role) for role in roles}
    measured = {role: one for role, one in found.items() if one is not None}
    return {
        key: v for role, e in measured.items() for key, v in ((role, e.mean), (f"{role}_stderr", e.stderr))
    }
