"""spectra.csv: a row per layer, cut and coordinates, with everything derived from the spectrum."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from ranksearch.files import write_text
from ranksearch.probing.cuts import Cut, meaning
from ranksearch.probing.spectra import Coordinates, CutSpectrum

COLUMNS = (
    "layer", "cut", "coordinates", "full_rank", "entropy", "effective_rank",
    "rank_90", "rank_99", "rank_99.9", "meaning", "singular_values",
)  # fmt: skip
"""rank_…: the smallest bond dimension that keeps this percentage of the norm. singular_values: all of them."""


def write_spectra(path: Path, spectra: Iterable[CutSpectrum]) -> None:
    """Write spectra.csv; singular values to seven digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for s in spectra:
        ranks = [s.rank_for(norm) for norm in (0.9, 0.99, 0.999)]
        stated = [
            s.layer,
            s.cut.name,
            s.coordinates,
            s.full_rank,
            f"{s.entropy:.7g}",
            f"{s.effective_rank:.7g}",
        ]
        writer.writerow([*stated, *ranks, meaning(s.cut), " ".join(f"{v:.7g}" for v in s.values)])
    write_text(path, text.getvalue())


def read_spectra(path: Path) -> tuple[CutSpectrum, ...]:
    """The spectra in a spectra.csv, to the stored precision."""
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            coordinates: Coordinates = row["coordinates"]  # type: ignore[assignment]
            values = tuple(map(float, row["singular_values"].split()))
            found.append(CutSpectrum(row["layer"], Cut.named(row["cut"]), coordinates, values))
    return tuple(found)
