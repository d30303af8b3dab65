"""Find which layer to factorise how, at which ranks, and deliver the compressed model.

task = ranksearch.Task(model, train, test=test)
result = ranksearch.search(task, budget=0.2)
compressed = ranksearch.compress(task, result.plan)
ranksearch.save("small", task, result, compressed)
model = ranksearch.load("small", model)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranksearch.api import save, search
    from ranksearch.compression import CompressConfig, compress
    from ranksearch.errors import RankSearchError
    from ranksearch.plan import Plan
    from ranksearch.task import Task
    from ranksearch.weights import load

__all__ = ["CompressConfig", "Plan", "RankSearchError", "Task", "compress", "load", "save", "search"]

_HOME = {
    "CompressConfig": "compression",
    "Plan": "plan",
    "RankSearchError": "errors",
    "Task": "task",
    "compress": "compression",
    "load": "weights",
    "save": "api",
    "search": "api",
}


def __getattr__(name: str) -> Any:
    # On demand, so that the command line's help need not wait for torch.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
