"""Find which layer to factorise how, at which ranks, and deliver the compressed model.

task = ranksearch.Task(model, train, test=test)
result = ranksearch.search(task, budget=0.2)
compressed = ranksearch.compress(task, result)
ranksearch.save("small", task, result, compressed)
model = ranksearch.load("small", model)
ranksearch.export("small", model, task.example, to="onnx")
"""

from __future__ import annotations

from typing import Any as _Any

import lazy_loader as _lazy_loader

# On demand, so that the command line's help need not wait for torch; the names are in __init__.pyi.
_on_demand, __dir__, __all__ = _lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ranksearch")
    if name in __all__ or name.startswith("_"):
        return _on_demand(name)
    from ranksearch.objects import nearest

    found = nearest(name, __all__)
    hint = f" Did you mean {found!r}?" if found else ""
    raise AttributeError(f"module 'ranksearch' has no attribute {name!r}.{hint}")
