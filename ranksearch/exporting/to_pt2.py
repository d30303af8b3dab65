"""`pt2`: a program of torch.export, which PyTorch alone can load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.exporting.axes import batch_axes
from ranksearch.exporting.base import Exporter
from ranksearch.networks import Batch, arguments, call


class PT2(Exporter):
    """A torch.export program in one file."""

    name = "pt2"
    file = "model.pt2"

    def export(self, model: nn.Module, example: Batch, path: Path) -> None:
        args, kwargs = arguments(example)
        axes = batch_axes(model, example)
        program = torch.export.export(model, args, kwargs, dynamic_shapes=axes, strict=False)
        program.example_inputs = None
        for graph in program.graph_module.modules():
            for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
                # It names files of this machine.
                node.meta.pop("stack_trace", None)
        torch.export.save(program, path)

    def run(self, path: Path, example: Batch) -> Any:
        return call(torch.export.load(path).module(), example)

    def usage(self, path: str) -> str:
        return f"import torch\ntorch.export.load({path!r}).module()(x)"
