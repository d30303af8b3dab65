"""The folder of a probe: the paths of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ranksearch.folders import CONFIG

PROBE_CONFIG = "probe.toml"
"""Name of a probe's own options in its folder."""


@dataclass(frozen=True)
class ProbeFolder:
    """Paths of a probe's files."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def probe_config(self) -> Path:
        return self.path / PROBE_CONFIG

    @property
    def spectra(self) -> Path:
        return self.path / "spectra.csv"

    @property
    def sweep(self) -> Path:
        return self.path / "sweep.csv"

    @property
    def recovery(self) -> Path:
        return self.path / "recovery.json"

    @property
    def record(self) -> Path:
        return self.path / "probe.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"
