"""The truncation sweep: each layer across each cut at falling bond dimensions, the rest of the network untouched.

After arXiv:2403.14379: the kernel is truncated by SVD across the cut and put back in its full shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from ranksearch.metric import kernel_error
from ranksearch.moments import Moments
from ranksearch.probing.bench import Bench
from ranksearch.probing.rows import Row, SweepFile, scored, scores_of
from ranksearch.probing.scores import Judge
from ranksearch.probing.spectra import Basis, LayerSpectra, Spectrum

MOST = 8
"""Bond dimensions on the grid of a row."""

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is."""


def bond_grid(full: int, most: int = MOST) -> tuple[int, ...]:
    """At most so many bond dimensions from the full one down to 1, geometrically spaced, no value twice."""
    return tuple(sorted({round(float(x)) for x in np.geomspace(1, full, most)}, reverse=True))


def sweep_layers(
    bench: Bench,
    judge: Judge,
    spectra: Mapping[str, LayerSpectra],
    kernels: Mapping[str, Tensor],
    moments: Mapping[str, Moments],
    file: SweepFile,
    *,
    most: int = MOST,
    progress: Progress = lambda done, total: None,
) -> None:
    """Measure every layer × cut × bond dimension that is not in the file yet, and append it there.

    A row (layer, cut) goes down from the full bond dimension and ends where the network has come down to a guess.
    """
    total = sum(len(bond_grid(s.full_rank, most)) for found in spectra.values() for s in found.spectra)
    done = 0
    for name, found in spectra.items():
        for done_here in _sweep_layer(bench, judge, found, kernels[name], moments.get(name), file, most):
            progress(done + done_here, total)
        done += sum(len(bond_grid(s.full_rank, most)) for s in found.spectra)
    progress(total, total)


def _sweep_layer(
    bench: Bench,
    judge: Judge,
    found: LayerSpectra,
    kernel: Tensor,
    moments: Moments | None,
    file: SweepFile,
    most: int,
) -> Iterator[int]:
    """Yields how many of the layer's bond dimensions are settled, after each level of its grids.

    All cuts of a level are measured together, since they share the prefix of the network.
    """
    name = found.layer.name
    alive = list(zip(found.spectra, found.bases, strict=True))
    grids = {spectrum.cut.name: bond_grid(spectrum.full_rank, most) for spectrum in found.spectra}
    settled = 0
    for level in range(most):
        here = [(s, b, grids[s.cut.name][level]) for s, b in alive if level < len(grids[s.cut.name])]
        new = [x for x in here if file.get("layer", name, x[0].cut.name, None, x[2]) is None]
        if new:
            truncated = [basis.truncate(kernel, bond) for _, basis, bond in new]
            file.append(_measure(bench, judge, new, truncated, kernel, moments))
        for spectrum, basis, bond in here:
            row = file.get("layer", name, spectrum.cut.name, None, bond)
            settled += 1
            assert row is not None
            if judge.at_chance(scores_of(row, 0)):
                alive.remove((spectrum, basis))
                settled += len(grids[spectrum.cut.name]) - level - 1
        if here:
            yield settled


def _measure(
    bench: Bench,
    judge: Judge,
    points: Sequence[tuple[Spectrum, Basis, int]],
    truncated: Sequence[Tensor],
    kernel: Tensor,
    moments: Moments | None,
) -> list[Row]:
    name = points[0][0].layer
    # At its full bond dimension a kernel is itself, and the dense outputs are there already.
    changed = [{name: t} for t, (s, _, bond) in zip(truncated, points, strict=True) if bond < s.full_rank]
    outputs = iter(bench.outputs(changed))
    rows = []
    for (spectrum, _, bond), approximation in zip(points, truncated, strict=True):
        output = next(outputs) if bond < spectrum.full_rank else bench.dense
        rows.append(
            Row(
                scope="layer",
                layer=name,
                layers=1,
                cut=spectrum.cut.name,
                target=None,
                bond=bond,
                full=spectrum.full_rank,
                norm_kept=spectrum.norm_kept(bond),
                epsilon=None if moments is None else epsilon(kernel, approximation, moments),
                **scored(judge.scores(output)),  # type: ignore[arg-type]
            )
        )
    return rows


def epsilon(kernel: Tensor, approximation: Tensor, moments: Moments) -> float:
    """The analytic estimate of KL(dense ‖ truncated), from raw moments, in units of the loss."""
    return kernel_error(kernel, approximation, moments.A, moments.G)
