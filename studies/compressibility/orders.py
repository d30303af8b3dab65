"""Tensor trains in all orders of a kernel's four indices: what the order decides, and what the deployed orders miss.

A train over the indices in some order has as ranks those of the cuts along it; an order and its reversal are the
same train. The squared error of TT-SVD is at most the sum of what its cuts discard (Oseledets 2011, theorem 2.2), so
that the seven spectra of a kernel say for every order and all ranks at once what they cost and what error they promise.

python studies/compressibility/orders.py MODEL WEIGHTS [ERROR]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from math import inf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ranksearch.probing import CutSpectrum
from ranksearch.probing.cuts import Cut
from ranksearch.probing.spectra import singular_values
from ranksearch.tasks.sources.models import load_model

Order = tuple[int, ...]
"""Positions of the indices (o, i, h, w)."""

ORDERS: tuple[Order, ...] = tuple(p for p in permutations(range(4)) if p < p[::-1])
"""All twelve, up to reversal."""


@dataclass(frozen=True)
class Train:
    """The cheapest train of an order within a relative error: its ranks, the numbers that it stores, and the bound on
    ‖W − Ŵ‖ / ‖W‖ that its cuts promise."""

    order: Order
    ranks: tuple[int, int, int]
    params: int
    error: float


def name(order: Order) -> str:
    """Such as `i-h-w-o`: from the inputs where it has an end there, else as it is."""
    letters = "".join("oihw"[k] for k in order)
    return "-".join(letters[::-1] if letters.endswith("i") else letters)


def is_plain(order: Order) -> bool:
    """Whether the train becomes plain convolutions at its own cost: i at one end and o at the other."""
    return {order[0], order[-1]} == {0, 1}


Spectra = Mapping[frozenset[int], CutSpectrum]
"""The seven spectra of a kernel, by the indices on either side of the cut."""


def spectra_of(kernel: Tensor) -> dict[frozenset[int], CutSpectrum]:
    """Spectra of a kernel (O, I, kh, kw) across its seven cuts; one for each side of each cut."""
    found: dict[frozenset[int], CutSpectrum] = {}
    for left in [(0,), (1,), (2,), (3,), (0, 1), (0, 2), (0, 3)]:
        cut = Cut(left, tuple(k for k in range(4) if k not in left))
        spectrum = CutSpectrum("", cut, "plain", tuple(singular_values(cut.matrix(kernel)).tolist()))
        found |= {frozenset(cut.left): spectrum, frozenset(cut.right): spectrum}
    return found


def along(spectra: Spectra, order: Order) -> tuple[CutSpectrum, CutSpectrum, CutSpectrum]:
    """The spectra across the three cuts of a train."""
    return spectra[frozenset(order[:1])], spectra[frozenset(order[:2])], spectra[frozenset(order[:3])]


def cheapest(spectra: Spectra, shape: tuple[int, ...], order: Order, error: float) -> Train:
    """The train of an order that stores least among those that promise a relative error of at most `error`."""
    n1, n2, n3, n4 = (shape[k] for k in order)
    first, middle, last = (_tails(s) for s in along(spectra, order))
    lost = first[:, None] + last[None, :]  # (r1, r3), relative squared error
    left = error**2 * (1 + 1e-12) - lost
    # The least middle rank whose tail fits into what the ends leave: the tails fall.
    r2 = len(middle) - np.searchsorted(middle[::-1], left, side="right") + 1
    r1, r3 = np.arange(1, len(first) + 1)[:, None], np.arange(1, len(last) + 1)[None, :]
    params = np.where(left >= 0, n1 * r1 + r1 * n2 * r2 + r2 * n3 * r3 + r3 * n4, inf)
    a, c = np.unravel_index(int(np.argmin(params)), params.shape)
    ranks = (int(a) + 1, int(r2[a, c]), int(c) + 1)
    bound = sqrt(max(0.0, float(lost[a, c] + middle[ranks[1] - 1])))
    return Train(order, ranks, int(params[a, c]), bound)


def _tails(spectrum: CutSpectrum) -> NDArray[np.float64]:
    """Relative squared norm discarded at the ranks 1, 2, …, the last of them 0."""
    p = spectrum.probabilities.numpy()
    return np.append(p[::-1].cumsum()[::-1][1:], 0.0)


def compare(kernels: Mapping[str, Tensor], error: float) -> dict[str, Any]:
    """Over all kernels (O, I, kh, kw), per order: the mean of the entropies summed along the train, the numbers stored
    within the error, and for how many kernels no order stores less; and what the best order of each kernel gains
    over the better of its two plain ones. Orders come by the numbers stored."""
    spectra = {n: spectra_of(kernel) for n, kernel in kernels.items()}
    trains = {
        order: {n: cheapest(spectra[n], tuple(kernels[n].shape), order, error) for n in kernels}
        for order in ORDERS
    }
    least = {n: min(found[n].params for found in trains.values()) for n in kernels}
    plain = {n: min(found[n].params for order, found in trains.items() if is_plain(order)) for n in kernels}
    rows = [
        {
            "order": name(order),
            "plain": is_plain(order),
            "entropy": sum(s.entropy for n in kernels for s in along(spectra[n], order)) / len(kernels),
            "params": sum(train.params for train in found.values()),
            "cheapest": sum(found[n].params == least[n] for n in kernels),
        }
        for order, found in trains.items()
    ]
    return {
        "error": error,
        "kernels": len(kernels),
        "dense": sum(kernel.numel() for kernel in kernels.values()),
        "best": sum(least.values()),
        "best_plain": sum(plain.values()),
        "orders": sorted(rows, key=lambda row: (row["params"], row["order"])),
    }


def four_index_kernels(model: Any) -> dict[str, Tensor]:
    """The kernels of a model that are wide along all four indices."""
    return {n: p.detach() for n, p in model.named_parameters() if p.dim() == 4 and min(p.shape) > 1}


def main() -> None:
    """Print the comparison for one model."""
    model = load_model(sys.argv[1], weights=Path(sys.argv[2]))
    found = compare(four_index_kernels(model), float(sys.argv[3]) if len(sys.argv) > 3 else 0.3)
    for row in found.pop("orders"):
        print(row)
    print(found)


if __name__ == "__main__":
    main()
