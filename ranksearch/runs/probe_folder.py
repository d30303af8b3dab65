"""The folder of a probe, opened for one probe at a time, and going on with one that was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksearch.files import write_text
from ranksearch.folders import held
from ranksearch.probing import PROBE_CONFIG, ProbeFolder
from ranksearch.runs.config import absolute, check_same, parse, read_toml, write_toml
from ranksearch.runs.options import RunOptions
from ranksearch.runs.probe_options import (
    FREE,
    RECOVERY,
    ProbeOptions,
    parse_probe,
    read_probe_options,
    write_probe_options,
)
from ranksearch.runs.run_folder import default_path

WRITTEN = ("*.json", "*.csv", "*.toml", "*.txt", "*.html", "figures", "figures/*")
"""Patterns of what a probe writes in its folder."""


def stored_probe_options(out: Path | None) -> dict[str, object]:
    """A probe's own options as they were when it was started; none where it has not been."""
    path = None if out is None else out / PROBE_CONFIG
    return read_probe_options(path) if path is not None and path.is_file() else {}


@contextmanager
def open_probe(options: RunOptions, wanted: ProbeOptions) -> Iterator[ProbeFolder]:
    """The folder of the probe, made or gone on with, for this process alone.

    Raises InputError where it holds something already and `resume` is off, or another process is using it, and
    MismatchError where a probe to resume was started with other options. A probe that ends in an InputError before
    it measured anything leaves nothing behind.
    """
    folder = ProbeFolder(options.out or default_path(f"probe-{options.model}"))
    # A probe may be killed before it has written its options in full.
    with held(
        folder.path,
        folder.probe_config,
        "a probe",
        resume=options.resume,
        preliminary=(folder.config, folder.log),
        written=WRITTEN,
        found=folder.spectra.is_file,
    ) as resumed:
        if resumed:
            check_same(parse(absolute(read_toml(folder.config), folder.path)), options, folder.path)
            stored = parse_probe(read_probe_options(folder.probe_config))
            check_same(stored, wanted, folder.path, FREE if folder.recovery.is_file() else FREE | RECOVERY)
        else:
            write_text(folder.config, write_toml(options.model_copy(update={"resume": False})))
        write_probe_options(folder.probe_config, wanted)
        yield folder
