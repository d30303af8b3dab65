"""What a probe folder holds, as far as its page tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ranksearch.probing import ProbeRecord, read_probe
from ranksearch.reading import read_bytes

PROBE = "probe.json"
MOST_OF_A_FIGURE = 300_000
"""Bytes of a figure that is put into the page; larger ones are linked to."""


@dataclass(frozen=True)
class ProbeContent:
    """figures: by name, the bytes of each drawing."""

    folder: Path
    record: ProbeRecord
    figures: dict[str, bytes]
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.folder.resolve().name


def read_probe_folder(folder: Path) -> ProbeContent:
    """Read a probe folder. Raises InputError."""
    record = read_probe(folder / PROBE)
    figures, left = {}, 4 * MOST_OF_A_FIGURE
    for path in sorted(folder.glob("figures/*.png")):
        if path.is_file() and path.stat().st_size <= min(MOST_OF_A_FIGURE, left):
            figures[path.stem] = read_bytes(path, MOST_OF_A_FIGURE)
            left -= len(figures[path.stem])
    found = {
        path
        for pattern in ("*.json", "*.csv", "*.toml", "*.txt", "figures/*")
        for path in folder.glob(pattern)
    }
    files = sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
    return ProbeContent(folder, record, figures, tuple(files))
