"""Many layers truncated at once, at equal norm kept: all of them, and those at the beginning or end of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ranksearch.probing.rows import Row, Scope, SweepFile, scored, scores_of
from ranksearch.probing.spectra import LayerSpectra
from ranksearch.probing.sweep import MOST, Subject
from ranksearch.progress import Ticks, no_ticks

NORMS = (0.99, 0.95, 0.9, 0.8, 0.7, 0.6)
"""Norms to keep in all layers at once."""

PARTIAL_NORM = 0.8
"""Norm to keep in the layers of a prefix or suffix."""


@dataclass(frozen=True)
class Joint:
    """Layers to truncate together, each across the cut of the same name, to the smallest bond dimension that
    keeps at least `norm`."""

    scope: Scope
    layer: str
    names: tuple[str, ...]
    cut: str
    norm: float


def joint_truncations(spectra: Mapping[str, LayerSpectra]) -> list[list[Joint]]:
    """Rows of truncations, each row from mild to severe: falling norms in all layers, growing prefixes, growing
    suffixes; for every cut that at least two layers have. At most eight prefixes and suffixes each."""
    owners: dict[str, list[str]] = {}
    for name, found in spectra.items():
        for spectrum in found.spectra:
            owners.setdefault(spectrum.cut.name, []).append(name)
    rows: list[list[Joint]] = []
    for cut, names in owners.items():
        count = len(names)
        if count < 2:
            continue
        rows.append([Joint("all", "", tuple(names), cut, norm) for norm in NORMS])
        sizes = sorted({round(float(x)) for x in np.linspace(1, count, min(MOST, count))})
        rows.append(
            [Joint("prefix", names[k - 1], tuple(names[:k]), cut, PARTIAL_NORM) for k in sizes if k < count]
        )
        rows.append(
            [Joint("suffix", names[-k], tuple(names[-k:]), cut, PARTIAL_NORM) for k in sizes if k < count]
        )
    return rows


def truncated_kernels(subject: Subject, joint: Joint) -> tuple[dict[str, Tensor], float]:
    """The kernels by layer, and the mean of the norms that they keep."""
    found, norms = {}, []
    for name in joint.names:
        known = subject.spectra[name]
        for spectrum, basis in zip(known.spectra, known.bases, strict=True):
            if spectrum.cut.name == joint.cut:
                bond = spectrum.rank_for(joint.norm)
                found[name] = basis.truncate(subject.kernels[name], bond)
                norms.append(spectrum.norm_kept(bond))
    return found, sum(norms) / len(norms)


def sweep_joint(subject: Subject, file: SweepFile, *, progress: Ticks = no_ticks) -> None:
    """Measure the joint truncations that are not in the file yet; a row ends when the network is at
    chance."""
    rows = joint_truncations(subject.spectra)
    total, done = sum(map(len, rows)), 0
    for row in rows:
        for k, joint in enumerate(row):
            progress(done + k, total)
            if file.get(joint.scope, joint.layer, joint.cut, joint.norm, None) is None:
                file.append([_measure(subject, joint)])
            found = file.get(joint.scope, joint.layer, joint.cut, joint.norm, None)
            assert found is not None
            if subject.judge.at_chance(scores_of(found, 0)):
                break
        done += len(row)
    progress(total, total)


def _measure(subject: Subject, joint: Joint) -> Row:
    truncated, norm = truncated_kernels(subject, joint)
    (outputs,) = subject.bench.outputs([truncated])
    return Row(
        scope=joint.scope,
        layer=joint.layer,
        layers=len(joint.names),
        cut=joint.cut,
        target=joint.norm,
        bond=None,
        full=None,
        norm_kept=norm,
        epsilon=subject.epsilon(truncated),
        **scored(subject.judge.scores(outputs)),  # type: ignore[arg-type]
    )


def equal_norm(rows: Sequence[Row], norm: float) -> dict[tuple[str, str], float]:
    """Per (layer, cut) the accuracy at the given norm kept, interpolated between the rows of the layer sweep.

    If a row, or its grid, ends before that norm, the accuracy of its last point is used.
    """
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        if row.scope == "layer" and row.accuracy is not None and row.norm_kept is not None:
            curves.setdefault((row.layer, row.cut), []).append((row.norm_kept, row.accuracy))
    found = {}
    for key, points in curves.items():
        points.sort()
        found[key] = float(np.interp(norm, [x for x, _ in points], [y for _, y in points]))
    return found
