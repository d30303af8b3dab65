"""The runtimes, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.timing.runtime import Runtime


def _is_one(thing: Any) -> bool:
    from ranksearch.timing.runtime import Runtime

    return isinstance(thing, Runtime)


RUNTIMES: Registry[Runtime] = Registry("runtime", "ranksearch.runtimes", _is_one, "a Runtime")
RUNTIMES.offer("torch", "ranksearch.timing.eager:Eager", "as PyTorch runs it")
RUNTIMES.offer("onnxruntime", "ranksearch.timing.onnx:OnnxRuntime", "exported to ONNX, on a CPU")
RUNTIMES.offer("compile", "ranksearch.timing.compiled:Compiled", "compiled by torch.compile, on a CPU")
