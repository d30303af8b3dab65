"""`onnxruntime`: the model exported to ONNX, as onnxruntime runs it on a CPU."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.errors import InputError, expected, told
from ranksearch.networks import Batch, arguments, copy_model, tensors, to
from ranksearch.timing.onnx_graph import Graph, find_layers, with_chains
from ranksearch.timing.runtime import Chains, Part, Prepared, Profile, Profiled, Runtime, Session, Workload


class OnnxRuntime(Runtime):
    """Parts are timed by onnxruntime's own profiler, after its optimisations."""

    name = "onnxruntime"
    cpu_only = True

    def version(self) -> str:
        return f"{_package('onnxruntime').__version__}"

    def prepare(self, workload: Workload) -> Prepared:
        _package("onnxruntime")
        exported = exported_graph(workload.model, workload.batch)
        return _Prepared(workload, find_layers(exported, workload.model, workload.layers))


def exported_graph(model: nn.Module, batch: Batch) -> Any:
    """The ONNX graph of a model in evaluation mode, BatchNorm folded in. Raises InputError."""
    for name in ("onnx", "onnxscript"):
        _package(name)
    copied, batch = copy_model(model).eval().cpu(), to(batch, "cpu")
    args, kwargs = arguments(batch)
    for talkative in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                copied, args, kwargs=kwargs, dynamo=True, optimize=True, verbose=False
            )
    except Exception as error:
        way_out = "Choose the runtime torch."
        raise InputError(expected("model", "one that torch.onnx can export", told(error), way_out)) from error
    assert program is not None
    return program.model_proto


def _package(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        way_out = "pip install 'ranksearch[onnx]'"
        raise InputError(expected("runtime", f"the package {name}", "none", way_out)) from error


def _middle(values: Sequence[int]) -> float:
    """The mean of the middle half: the profiler counts whole microseconds, too coarse for a median."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


@dataclass(frozen=True)
class _Prepared(Prepared):
    workload: Workload
    graph: Graph

    def session(self, chains: Chains) -> Session:
        return self.profiled(chains)

    def profiled(self, chains: Chains) -> Profiled:
        built, parts = with_chains(self.graph, self.workload.layers, chains)
        arrays = [tensor.detach().cpu().numpy() for tensor in tensors(self.workload.batch)]
        return OnnxSession(built.SerializeToString(), parts, arrays, self.workload.threads)


class OnnxSession(Profiled):
    """An ONNX graph, serialised, on the arrays of one batch."""

    def __init__(self, model: bytes, parts: Mapping[str, Part], arrays: Sequence[Any], threads: int) -> None:
        self._model, self._parts, self._threads = model, parts, threads
        self._session = self._started()
        self._inputs = dict(zip((x.name for x in self._session.get_inputs()), arrays, strict=True))

    def _started(self, profile: str = "") -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        return onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])

    def run(self) -> None:
        self._session.run(None, self._inputs)

    def profile(self, passes: int) -> Profile:
        with tempfile.TemporaryDirectory() as folder:
            session = self._started(str(Path(folder) / "profile"))
            for _ in range(passes + 1):
                session.run(None, self._inputs)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        nodes: dict[str, list[int]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                nodes.setdefault(event["name"], []).append(event["dur"])
        # A node that runs several times in a pass has as many events.
        seconds = {
            name: _middle(own) * 1e-6 * max(1, round(len(own) / (passes + 1))) for name, own in nodes.items()
        }
        parts = dict.fromkeys(self._parts.values(), 0.0)
        for name, own in seconds.items():
            found = re.fullmatch(r"(?:fused )?(.*?)(?:_nchwc)?(?:_token_\d+)?_kernel_time", name)
            if found and found[1] in self._parts:
                parts[self._parts[found[1]]] += own
        return Profile(parts, sum(seconds.values()))
