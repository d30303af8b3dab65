"""Figures of a probe, PNG and SVG, from its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from ranksearch.drawing import new_figure, save_figure
from ranksearch.probing.folder import ProbeFolder
from ranksearch.probing.joint import PARTIAL_NORM, equal_norm
from ranksearch.probing.record import ProbeRecord, read_probe
from ranksearch.probing.rows import Row, read_rows
from ranksearch.probing.spectra import CutSpectrum
from ranksearch.probing.spectrafile import read_spectra
from ranksearch.visible import visible

EQUAL_NORM = 0.9
"""Norm kept at which the heat map compares."""

_MARKERS = "osv^DPX<>p*hd8H"


@dataclass(frozen=True)
class Material:
    """The data for the figures. depth: position of a layer among those with spectra, 0 (early) to 1 (deep)."""

    record: ProbeRecord
    rows: tuple[Row, ...]
    spectra: tuple[CutSpectrum, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(s.layer for s in self.spectra))

    @property
    def cuts(self) -> tuple[str, ...]:
        """Names of the cuts, those of the most layers first."""
        names = [s.cut.name for s in self.spectra if s.coordinates == "plain"]
        return tuple(sorted(dict.fromkeys(names), key=lambda n: -names.count(n)))

    def column(self, cut: str) -> str:
        """The cut under which a cut is shown: that of a Linear layer is shown under the outputs cut of convolutions."""
        return next((name for name in self.cuts if name.startswith("o|")), cut) if cut == "o|i" else cut

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(self.column, self.cuts)))

    def depth(self, layer: str) -> float:
        return self.layers.index(layer) / max(1, len(self.layers) - 1)


def draw_figures(folder: ProbeFolder) -> None:
    """Draw all figures that the files have data for."""
    rows = read_rows(folder.sweep) if folder.sweep.is_file() else ()
    material = Material(read_probe(folder.record), rows, read_spectra(folder.spectra))
    for name, figure in drawings(material).items():
        for suffix in ("png", "svg"):
            save_figure(figure, folder.figures / f"{name}.{suffix}")


def drawings(material: Material) -> dict[str, Any]:
    """matplotlib figures by name; without accuracies only those that need none."""
    found = {"spectra": spectra_figure(material), "entropy": entropy_figure(material)}
    labelled = [r for r in material.rows if r.accuracy is not None]
    if any(r.scope == "layer" for r in labelled):
        found |= {"heatmap": heatmap_figure(material), "norm": norm_figure(material)}
    if any(r.scope in ("prefix", "suffix") for r in labelled):
        found["depth"] = depth_figure(material)
    recovery = material.record.recovery
    if recovery and recovery.epochs and recovery.epochs[0].accuracy:
        found["recovery"] = recovery_figure(material)
    return found


def _colours() -> Callable[[float], Any]:
    import matplotlib

    found: Callable[[float], Any] = matplotlib.colormaps["viridis"]
    return found


def _depth_bar(figure: Any, axes: Sequence[Any]) -> None:
    """The colour scale from the first to the last layer."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "viridis"), ax=list(axes), ticks=[0, 1], aspect=40)
    bar.ax.set_yticklabels(["first\nlayer", "last\nlayer"])


def spectra_figure(material: Material) -> Any:
    """A panel per cut, a line per layer: singular values relative to the largest one, against the relative rank."""
    cuts = material.columns[:16]
    columns = min(4, len(cuts))
    rows = -(-len(cuts) // columns)
    figure, axes = new_figure(columns, rows, 2.6 * columns + 1.2, 2.5 * rows + 0.5)
    colours = _colours()
    for axis, cut in zip(axes, cuts, strict=False):
        for s in material.spectra:
            if material.column(s.cut.name) == cut and s.coordinates == "plain" and s.values[0] > 0:
                x = [(k + 1) / s.full_rank for k in range(s.full_rank)]
                y = [max(v / s.values[0], 1e-9) for v in s.values]
                marker = "." if s.full_rank < 12 else ""
                axis.plot(x, y, color=colours(material.depth(s.layer)), lw=1.1, marker=marker)
        axis.set(title=cut, yscale="log", xlim=(0, 1.02), ylim=(0.01, 1.2))
        axis.grid(alpha=0.3)
    for axis in axes[len(cuts) :]:
        axis.set_visible(False)
    figure.supxlabel("index of the singular value / full bond dimension", fontsize=10)
    figure.supylabel("singular value / largest", fontsize=10)
    _depth_bar(figure, axes)
    return figure


def entropy_figure(material: Material) -> Any:
    """Entanglement entropy by depth, relative to its largest possible value, one line per cut."""
    figure, (axis,) = new_figure(1, 1, max(7.0, 0.24 * len(material.layers) + 3.5), 4.6)
    for k, cut in enumerate(material.columns):
        found = [
            (material.layers.index(s.layer), s.entropy / log(s.full_rank))
            for s in material.spectra
            if material.column(s.cut.name) == cut and s.coordinates == "plain" and s.full_rank > 1
        ]
        xs, ys = [x for x, _ in found], [y for _, y in found]
        axis.plot(xs, ys, marker=_MARKERS[k % len(_MARKERS)], ms=5, lw=1.2, label=cut)
    axis.set(ylabel="entropy / log(full bond dimension)", ylim=(0, 1.03))
    _layer_ticks(axis.xaxis, material.layers, rotation=90)
    axis.grid(alpha=0.3)
    axis.legend(title="cut", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _layer_ticks(axis: Any, layers: Sequence[str], rotation: int = 0) -> None:
    axis.set_ticks(range(len(layers)), list(map(visible, layers)), parse_math=False)
    axis.set_tick_params(labelsize=8 if len(layers) <= 30 else 6, rotation=rotation)


def heatmap_figure(material: Material) -> Any:
    """Layer × cut: the metric with one layer truncated across one cut to 0.9 of the norm."""
    found = {(x, material.column(cut)): y for (x, cut), y in equal_norm(material.rows, EQUAL_NORM).items()}
    layers = [x for x in material.layers if any(key[0] == x for key in found)]
    cuts = [c for c in material.columns if any(key[1] == c for key in found)]
    grid = [[found.get((layer, cut), float("nan")) for cut in cuts] for layer in layers]
    figure, (axis,) = new_figure(1, 1, 0.75 * len(cuts) + 3.4, 0.26 * len(layers) + 1.6)
    dense = material.record.dense.accuracy
    top = dense.mean if dense and dense.mean is not None else None
    # The scale starts at the lowest value, since colours between chance and that value would be unused.
    image = axis.imshow(grid, aspect="auto", cmap="magma", vmin=min(found.values()), vmax=top)
    axis.set_xticks(range(len(cuts)), cuts)
    _layer_ticks(axis.yaxis, layers)
    low, high = image.get_clim()
    for i, row in enumerate(grid):
        for j, value in enumerate(row):
            if value == value:
                colour = "white" if value < (low + high) / 2 else "black"
                axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axis.set_title(f"{material.record.task_metric} at {EQUAL_NORM:.0%} of the kernel's norm", fontsize=10)
    figure.colorbar(image, ax=axis, label=material.record.task_metric)
    return figure


def norm_figure(material: Material) -> Any:
    """All single-layer truncations: norm kept against the metric, with depth as colour."""
    figure, (axis,) = new_figure(1, 1, 7.2, 4.4)
    rows = [r for r in material.rows if r.scope == "layer" and r.accuracy is not None]
    xs, ys = [r.norm_kept for r in rows], [r.accuracy for r in rows]
    axis.scatter(xs, ys, c=[material.depth(r.layer) for r in rows], cmap="viridis", s=16, vmin=0, vmax=1)
    _levels(axis, material)
    axis.set(xlabel="norm kept by the truncated kernel", ylabel=material.record.task_metric)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    _depth_bar(figure, [axis])
    return figure


def _levels(axis: Any, material: Material) -> None:
    dense = material.record.dense
    if dense.accuracy and dense.accuracy.mean is not None:
        axis.axhline(dense.accuracy.mean, color="0.3", lw=1, ls="--", label="dense")
    axis.axhline(dense.chance, color="0.6", lw=1, ls=":", label="a guess")


def depth_figure(material: Material) -> Any:
    """The metric against the number of first, and of last, layers truncated together, one line per cut."""
    figure, axes = new_figure(2, 1, 9.6, 3.9)
    for axis, scope, words in zip(axes, ("prefix", "suffix"), ("first", "last"), strict=True):
        for k, cut in enumerate(material.columns):
            rows = [r for r in material.rows if r.scope == scope and r.cut == cut and r.accuracy is not None]
            rows.sort(key=lambda r: r.layers)
            axis.plot(
                [r.layers for r in rows],
                [r.accuracy for r in rows],
                marker=_MARKERS[k % len(_MARKERS)],
                label=cut,
            )
        axis.xaxis.get_major_locator().set_params(integer=True)
        _levels(axis, material)
        axis.set_xlabel(f"the {words} so many layers at {PARTIAL_NORM:.0%} of the norm or more")
        axis.grid(alpha=0.3)
    axes[1].sharey(axes[0])
    axes[0].set_ylabel(material.record.task_metric)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def recovery_figure(material: Material) -> Any:
    """The metric by epoch of retraining, one line for each way, with standard errors."""
    recovery = material.record.recovery
    assert recovery is not None
    figure, (axis,) = new_figure(1, 1, 8.8, 4.0)
    for way in dict.fromkeys(e.way for e in recovery.epochs):
        epochs = [e for e in recovery.epochs if e.way == way]
        means = [e.accuracy.mean if e.accuracy else None for e in epochs]
        errors = [(e.accuracy.stderr if e.accuracy else None) or 0.0 for e in epochs]
        label = f"{way} ({epochs[0].params:,} parameters)"
        axis.errorbar([e.epoch for e in epochs], means, errors, marker="o", capsize=3, label=label)
    _levels(axis, material)
    axis.set(xlabel="epochs of retraining", ylabel=material.record.task_metric)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_title(
        f"{recovery.layers} layers across {recovery.cut} at {recovery.norm:.0%} of the norm", fontsize=10
    )
    axis.grid(alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure
