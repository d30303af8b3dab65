"""Tensor trains in all orders of a kernel's indices: what the order decides, and what the deployed orders miss.

A train over the indices in some order has as ranks those of the cuts along it; an order and its reversal are the
same train. Truncation is TT-SVD (Oseledets 2011), which at a relative error of ε/√(d−1) per cut stays within ε.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import prod, sqrt

import torch
from torch import Tensor

from ranksearch.probing.cuts import LETTERS

Order = tuple[int, ...]


@dataclass(frozen=True)
class Train:
    """A truncated train: its order, ranks, numbers stored, and the relative error ‖W − Ŵ‖ / ‖W‖ that it has."""

    order: Order
    ranks: tuple[int, ...]
    params: int
    error: float


def orders(indices: int) -> tuple[Order, ...]:
    """All orders of so many indices up to reversal: twelve of four."""
    return tuple(p for p in permutations(range(indices)) if p < p[::-1])


def name(order: Order) -> str:
    """Such as `i-h-w-o`: from the inputs where it has an end there, else as it is."""
    letters = LETTERS[len(order)]
    text = "".join(letters[k] for k in order)
    return "-".join(text[::-1] if text.endswith("i") else text)


def is_plain(order: Order) -> bool:
    """Whether the train becomes plain convolutions at its own cost: i at one end and o at the other."""
    return {order[0], order[-1]} == {0, 1}


def entropies(kernel: Tensor, order: Order) -> tuple[float, ...]:
    """Entanglement entropies across the cuts along an order, in nats."""
    found = []
    train = kernel.double().permute(order)
    for cut in range(1, train.dim()):
        values = torch.linalg.svdvals(train.reshape(prod(train.shape[:cut]), -1))
        p = values.square() / values.square().sum()
        found.append(float(-torch.special.xlogy(p, p).sum()))
    return tuple(found)


def truncate(kernel: Tensor, order: Order, error: float) -> Train:
    """The train of the least ranks that TT-SVD finds within a relative error: kernel (O, I, …)."""
    train = kernel.double().permute(order)
    sizes, allowed = train.shape, (error * float(train.norm())) ** 2 / (train.dim() - 1)
    rest, rank = train.reshape(1, -1), 1
    cores: list[Tensor] = []
    for size in sizes[:-1]:
        left, values, right = torch.linalg.svd(rest.reshape(rank * size, -1), full_matrices=False)
        tails = values.square().flip(0).cumsum(0).flip(0)
        kept = max(1, int((tails > allowed).sum()))
        cores.append(left[:, :kept].reshape(rank, size, kept))
        rest, rank = values[:kept, None] * right[:kept], kept
    cores.append(rest.reshape(rank, sizes[-1], 1))
    full = cores[0]
    for core in cores[1:]:
        full = torch.tensordot(full, core, dims=1)
    lost = float((full.reshape(sizes) - train).norm() / train.norm())
    ranks = tuple(core.shape[2] for core in cores[:-1])
    return Train(order, ranks, sum(core.numel() for core in cores), lost)


def compare(kernels: dict[str, Tensor], error: float) -> list[dict[str, object]]:
    """Per order, over all kernels of one number of indices: entropy, stored numbers at an error, and how often the
    order is the cheapest. Sorted by the numbers stored."""
    dims = next(iter(kernels.values())).dim()
    rows: list[dict[str, object]] = []
    trains = {order: {n: truncate(k, order, error) for n, k in kernels.items()} for order in orders(dims)}
    for order, found in trains.items():
        best = sum(all(found[n].params <= other[n].params for other in trains.values()) for n in kernels)
        rows.append(
            {
                "order": name(order),
                "plain": is_plain(order),
                "entropy": sum(sum(entropies(k, order)) for k in kernels.values()) / len(kernels),
                "params": sum(t.params for t in found.values()),
                "dense": sum(k.numel() for k in kernels.values()),
                "cheapest": best,
                "error": sqrt(sum(t.error**2 for t in found.values()) / len(found)),
            }
        )
    return sorted(rows, key=lambda row: (row["params"], row["order"]))  # type: ignore[arg-type, return-value]


def gain(kernels: dict[str, Tensor], error: float) -> float:
    """Numbers stored by the best plain order of each kernel over those of its best order at all: 1 is no gain."""
    best = deployed = 0
    for kernel in kernels.values():
        found = {order: truncate(kernel, order, error).params for order in orders(kernel.dim())}
        best += min(found.values())
        deployed += min(params for order, params in found.items() if is_plain(order))
    return deployed / best


def main() -> None:
    """Print the table for the 3×3 convolutions of a model: `orders.py MODEL WEIGHTS [ERROR]`."""
    import sys

    from ranksearch.sources.models import load_model

    model = load_model(sys.argv[1], weights=__import__("pathlib").Path(sys.argv[2]))
    error = float(sys.argv[3]) if len(sys.argv) > 3 else 0.3
    kernels = {n: p.detach() for n, p in model.named_parameters() if p.dim() == 4 and p[0, 0].numel() > 1}
    for row in compare(kernels, error):
        print(row)
    print(f"best plain order over best order, per kernel: {gain(kernels, error):.3f}")


if __name__ == "__main__":
    main()
