"""The truncation sweep: each layer across each cut at falling bond dimensions, with the rest of the network unchanged.

After arXiv:2403.14379: the kernel is truncated by SVD across the cut and put back in its full shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ranksearch.calibration import Moments, kernel_error
from ranksearch.probing.bench import Bench
from ranksearch.probing.rows import Row, SweepFile, scored, scores_of
from ranksearch.probing.scores import Judge
from ranksearch.probing.spectra import Basis, CutSpectrum, LayerSpectra
from ranksearch.progress import Ticks, no_ticks

MOST = 8
"""Bond dimensions on the grid of a row."""


def bond_grid(full: int, most: int = MOST) -> tuple[int, ...]:
    """At most `most` distinct bond dimensions from the full one down to 1, geometrically spaced."""
    return tuple(sorted({round(float(x)) for x in np.geomspace(1, full, most)}, reverse=True))


@dataclass(frozen=True)
class Subject:
    """A network to truncate: how it is run and scored, and by layer the spectra, the dense kernels and, if available,
    the moments."""

    bench: Bench
    judge: Judge
    spectra: Mapping[str, LayerSpectra]
    kernels: Mapping[str, Tensor]
    moments: Mapping[str, Moments]

    def epsilon(self, truncated: Mapping[str, Tensor]) -> float | None:
        """The analytic estimate of KL(dense ‖ truncated), from raw moments, in units of the loss; None without."""
        if not self.moments.keys() >= truncated.keys():
            return None
        moments = self.moments
        return sum(kernel_error(self.kernels[n], t, moments[n].A, moments[n].G) for n, t in truncated.items())


def sweep_layers(
    subject: Subject,
    file: SweepFile,
    *,
    most: int = MOST,
    progress: Ticks = no_ticks,
) -> None:
    """Measure every layer × cut × bond dimension that is not in the file yet, and append it there.

    A row (layer, cut) goes down from the full bond dimension and ends when the network is at chance.
    """
    spectra = subject.spectra.values()
    total = sum(len(bond_grid(s.full_rank, most)) for found in spectra for s in found.spectra)
    done = 0
    for found in spectra:
        for done_here in _sweep_layer(subject, found, file, most):
            progress(done + done_here, total)
        done += sum(len(bond_grid(s.full_rank, most)) for s in found.spectra)
    progress(total, total)


def _sweep_layer(subject: Subject, found: LayerSpectra, file: SweepFile, most: int) -> Iterator[int]:
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
            file.append(_measure(subject, new))
        for spectrum, basis, bond in here:
            row = file.get("layer", name, spectrum.cut.name, None, bond)
            settled += 1
            assert row is not None
            if subject.judge.at_chance(scores_of(row, 0)):
                alive.remove((spectrum, basis))
                settled += len(grids[spectrum.cut.name]) - level - 1
        if here:
            yield settled


def _measure(subject: Subject, points: Sequence[tuple[CutSpectrum, Basis, int]]) -> list[Row]:
    name = points[0][0].layer
    truncated = [{name: basis.truncate(subject.kernels[name], bond)} for _, basis, bond in points]
    # At the full bond dimension the kernel is unchanged, and the dense outputs are known already.
    changed = [t for t, (s, _, bond) in zip(truncated, points, strict=True) if bond < s.full_rank]
    outputs = iter(subject.bench.outputs(changed))
    rows = []
    for (spectrum, _, bond), kernels in zip(points, truncated, strict=True):
        output = next(outputs) if bond < spectrum.full_rank else subject.bench.dense
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
                epsilon=subject.epsilon(kernels),
                **scored(subject.judge.scores(output)),  # type: ignore[arg-type]
            )
        )
    return rows
