"""spectra.csv: a row per layer, cut and coordinates, with everything derived from the spectrum."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path
from typing import get_args

from ranksearch.errors import InputError, expected
from ranksearch.files import write_text
from ranksearch.probing.cuts import Cut, meaning
from ranksearch.probing.spectra import Coordinates, CutSpectrum
from ranksearch.reading import parse_table, read_text

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
    """The spectra of a spectra.csv, to the digits that it holds. Raises InputError."""
    try:
        return tuple(map(_spectrum, parse_table(read_text(path), COLUMNS)))
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise InputError(expected(str(path), f"spectra ({', '.join(COLUMNS)})", got, _WAY_OUT)) from error


_WAY_OUT = "Resume the probe: it writes them anew."


def _spectrum(row: Mapping[str, str]) -> CutSpectrum:
    coordinates: Coordinates = row["coordinates"]  # type: ignore[assignment]
    if coordinates not in get_args(Coordinates):
        raise ValueError(f"the coordinates {coordinates!r}")
    values = tuple(map(float, row["singular_values"].split()))
    if not values or not all(0 <= value < inf for value in values):
        raise ValueError(f"the singular values of layer {row['layer']!r}")
    return CutSpectrum(row["layer"], Cut.named(row["cut"]), coordinates, values)
