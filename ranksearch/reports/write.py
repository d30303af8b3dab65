"""The page of a run, of a probe, or of several runs side by side, as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranksearch.errors import InputError, expected
from ranksearch.files import write_text
from ranksearch.reports.content import read_run
from ranksearch.reports.page import REPORT_FILE, comparison_text, probe_text, report_text
from ranksearch.reports.probe_content import PROBE, read_probe_folder
from ranksearch.reports.texts import texts_in


def write_report(runs: Sequence[Path], out: Path | None = None, language: str = "en") -> Path:
    """Write the page of one run or probe, report.html in its folder unless `out` says otherwise; of several runs a
    comparison, at `out`. Raises InputError where a folder holds nothing that can be read."""
    texts = texts_in(language)
    if not runs:
        raise InputError(expected("RUN", "the folder of a run", "none"))
    if len(runs) > 1 and out is None:
        raise InputError(
            expected("out", "a file for the comparison", "none", "Name one, such as comparison.html.")
        )
    if out is not None and out.is_dir():
        out = out / REPORT_FILE
    path = out or runs[0] / REPORT_FILE
    if len(runs) > 1:
        text = comparison_text([read_run(run) for run in runs], path, texts)
    elif (runs[0] / PROBE).is_file():
        text = probe_text(read_probe_folder(runs[0]), path, texts)
    else:
        text = report_text(read_run(runs[0]), path, texts)
    write_text(path, text)
    return path
