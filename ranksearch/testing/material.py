"""For contract suites: a network that is calibrated in a fraction of a second, and problems on paper."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn
from torch.utils.data import TensorDataset

from ranksearch.calibration import ErrorKind, simplify, whiten
from ranksearch.costs import Cost
from ranksearch.networks import Call, Layer, call
from ranksearch.planning import CandidateConfig, Fits, Problem, layer_candidates, prepare
from ranksearch.tasks import Task

SHAPES = ((12, 6, 3), (16, 12, 3), (16, 16, 1), (20, 16, 3), (10, 20, 0))
"""(O, I, kernel width); width 0 stands for a Linear layer."""


def tiny_task() -> Task:
    """Two convolutions with BatchNorm and a Linear layer, on random images of five classes."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    for _ in range(60):
        call(model, torch.randn(64, 3, 8, 8))  # running statistics that fit the data
    with torch.no_grad():
        # Outputs have to differ between images, or divergences would be almost zero.
        model[-1].get_parameter("weight").mul_(8)
    data = TensorDataset(torch.randn(160, 3, 8, 8), torch.randint(0, 5, (160,)))
    return Task(model.eval(), data, calibration_size=96, batch_size=32)


def tiny_problem(task: Task) -> Problem:
    """The prepared problem of a small task: two decompositions, few and quick fits."""
    config = CandidateConfig(decompositions=("svd", "spatial_svd"), fits_per_form=3, iterations=3)
    return prepare(task, config=config)


def make_layer(name: str, o: int, i: int, width: int, size: int = 8) -> Layer:
    call = Call((size, size), (size, size)) if width else Call((), ())
    taps = (width, width) if width else ()
    ones = tuple(1 for _ in taps)
    return Layer(
        name=name,
        kind="conv2d" if width else "linear",
        in_channels=i,
        out_channels=o,
        kernel_size=taps,
        stride=ones,
        padding=tuple(width // 2 for _ in taps),
        dilation=ones,
        padding_mode="zeros",
        groups=1,
        bias=False,
        calls=(call,),
    )


def paper_problem(base: Problem, error: ErrorKind, names: tuple[str, ...]) -> Problem:
    """A problem of `SHAPES` with these decompositions, compared by this error."""
    generator = torch.Generator().manual_seed(0)
    tables, whitened = [], {}
    for k, (o, i, width) in enumerate(SHAPES):
        layer = make_layer(f"layer{k}", o, i, width)
        n = layer.fan_in
        left, right = (torch.randn(m, m, generator=generator).double() for m in (o, n))
        values = torch.diag_embed(0.8 ** torch.arange(min(o, n)).double())
        kernel = (
            torch.linalg.qr(left)[0][:, : len(values)] @ values @ torch.linalg.qr(right)[0][: len(values)]
        )
        rows = torch.randn(n, 3 * n, generator=generator).double()
        gradients = torch.randn(o, 3 * o, generator=generator).double() * (k + 1)
        A, G = rows @ rows.T / (3 * n), gradients @ gradients.T / (3 * o)
        white = whiten(kernel.reshape(o, i, *layer.kernel_size), *simplify(A, G, error))
        config = CandidateConfig(decompositions=names, fits_per_form=3, iterations=2, error=error)
        table = layer_candidates(layer, white, config)
        tables.append(table)
        whitened[layer.name] = white
    dense = sum((table.dense for table in tables), Cost(params=300, flops=0))
    return replace(
        base,
        layers=tuple(table.layer for table in tables),
        tables=tuple(tables),
        dense=dense,
        fits=Fits(whitened.__getitem__, config),
    )
