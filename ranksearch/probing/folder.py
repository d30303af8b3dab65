"""The folder of a probe: what lies where in it, one probe at a time, and going on with one that was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ranksearch.config import RUN_CONFIG, absolute, check_same, parse, read_toml, write_toml
from ranksearch.errors import InputError
from ranksearch.files import make_folder, write_text
from ranksearch.options import RunOptions
from ranksearch.probing.options import (
    FREE,
    RECOVERY,
    ProbeOptions,
    parse_probe,
    read_probe_options,
    write_probe_options,
)
from ranksearch.runfolder import check_content, default_path, locked

PROBE_CONFIG = "probe.toml"
"""Name of a probe's own options in its folder."""


@dataclass(frozen=True)
class ProbeFolder:
    """Paths of a probe's files."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / RUN_CONFIG

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


def stored_probe_options(out: Path | None) -> dict[str, object]:
    """A probe's own options as they were when it was started; none where it has not been."""
    path = None if out is None else out / PROBE_CONFIG
    return read_probe_options(path) if path is not None and path.is_file() else {}


@contextmanager
def open_probe(options: RunOptions, wanted: ProbeOptions) -> Iterator[ProbeFolder]:
    """The folder of the probe, made or gone on with, for this process alone.

    Raises InputError where it holds something already and `resume` is off, or another process is at work in it, and
    MismatchError where a probe to resume was started with other options. A probe that ends in an InputError before
    it measured anything leaves nothing behind.
    """
    folder = ProbeFolder(options.out or default_path(f"probe-{options.model}"))
    # A probe may be killed before it has written its options in full.
    preliminary = (folder.config, folder.log)
    check_content(folder.path, folder.probe_config, "a probe", resume=options.resume, preliminary=preliminary)
    existed = folder.path.is_dir()
    make_folder(folder.path)
    with locked(folder.path):
        for left_over in folder.path.rglob(".*.tmp"):
            left_over.unlink(missing_ok=True)
        resumed = folder.probe_config.is_file()
        if resumed:
            check_same(parse(absolute(read_toml(folder.config), folder.path)), options, folder.path)
            stored = parse_probe(read_probe_options(folder.probe_config))
            check_same(stored, wanted, folder.path, FREE if folder.recovery.is_file() else FREE | RECOVERY)
        else:
            write_text(folder.config, write_toml(options.model_copy(update={"resume": False})))
        write_probe_options(folder.probe_config, wanted)
        try:
            yield folder
        except InputError:
            if not resumed and not folder.spectra.is_file():
                for path in (folder.config, folder.probe_config, folder.log, folder.path / ".lock"):
                    path.unlink(missing_ok=True)
                if not existed:
                    folder.path.rmdir()
            raise
