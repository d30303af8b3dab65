"""Where the time of a run went: the stages that its log names, and how long each took."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ranksearch.reading import read_text

LOG = "log.txt"

_ENTRY = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) ([A-Z]+) ([\w.]+): (.*)")
_STAGE = re.compile(r"(?P<stage>.+): \d+ of \d+, (?P<seconds>\d{1,9}\.\d) s(, best \S+)?")
_BEGIN = "options:"
_RESULTS = ""
"""The first line of what a run prints when it is done, which begins on a line of its own."""


@dataclass(frozen=True)
class Stages:
    """seconds: by stage, in the order in which they first ended. total: from beginning to end, of all starts of the
    run together, up to its results."""

    seconds: dict[str, float]
    total: float

    @property
    def rest(self) -> float:
        """What no stage counts: loading, evaluation, timing, exports."""
        return max(0.0, self.total - sum(self.seconds.values()))


def read_stages(path: Path) -> Stages | None:
    """The stages of a log; None where it names none."""
    seconds: dict[str, float] = {}
    spans: list[tuple[datetime, datetime]] = []
    open_ = False
    for line in read_text(path).splitlines():
        if (entry := _ENTRY.fullmatch(line)) is None:
            continue
        level, message = entry[2], entry[4]
        try:
            when = datetime.strptime(entry[1], "%Y-%m-%d %H:%M:%S,%f")
        except ValueError:  # the 31st of February
            continue
        if level == "DEBUG" and message == _BEGIN:
            spans.append((when, when))
            open_ = True
        elif message == _RESULTS:
            open_ = False
        if not open_:
            continue
        spans[-1] = (spans[-1][0], max(when, spans[-1][1]))
        if level == "INFO" and (stage := _STAGE.fullmatch(message)) is not None:
            name = stage["stage"]
            seconds[name] = seconds.get(name, 0.0) + float(stage["seconds"])
    total = sum((end - begin).total_seconds() for begin, end in spans)
    return Stages(seconds, round(total, 1)) if seconds else None
