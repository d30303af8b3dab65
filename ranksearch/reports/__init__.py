"""Reports: what a run or a probe found, as one page of HTML that needs nothing but its own file."""

from __future__ import annotations

from ranksearch.reports.content import RunContent, read_run
from ranksearch.reports.page import REPORT_FILE, comparison_text, probe_text, report_text
from ranksearch.reports.texts import LANGUAGES
from ranksearch.reports.write import write_report

__all__ = [
    "LANGUAGES",
    "REPORT_FILE",
    "RunContent",
    "comparison_text",
    "probe_text",
    "read_run",
    "report_text",
    "write_report",
]
