"""Find which layer to factorise how, at which ranks, and deliver the compressed model.

task = ranksearch.Task(model, train, test=test)
result = ranksearch.search(task, budget=0.2)
compressed = ranksearch.compress(task, result.plan)
ranksearch.save("small", task, result, compressed)
model = ranksearch.load("small", model)
ranksearch.export("small", model, task.example, to="onnx")
"""

from __future__ import annotations

import lazy_loader

# On demand, so that the command line's help need not wait for torch; the names are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
