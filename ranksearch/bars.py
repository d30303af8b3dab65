"""Progress of calls from Python: bars in a terminal or a notebook, entries of the log elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from ranksearch.progress import Progress, no_progress

log = logging.getLogger(__name__)


@contextmanager
def showing(wanted: Progress | bool | None) -> Iterator[Progress]:
    """Whom to tell of progress: where True, bars if there is somebody to see them, else the log, at the level INFO;
    nobody where None or False."""
    if wanted is True:
        if not (sys.stderr is not None and sys.stderr.isatty()) and "ipykernel" not in sys.modules:
            yield _Logged()
            return
        bars = _Bars()
        try:
            yield bars
        finally:
            bars.close()
    else:
        yield wanted or no_progress


class _Logged:
    """An entry for each stage that is done."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._done: set[str] = set()

    def __call__(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        since = self._begun.setdefault(stage, monotonic())
        if done >= total and stage not in self._done:
            told = "" if best is None else f", best {best:.4g}"
            log.info("%s: %d of %d, %.0f s%s", stage, done, total, monotonic() - since, told)
            self._done.add(stage)


class _Bars:
    """One bar per stage that is under way; it goes when its stage is done."""

    def __init__(self) -> None:
        self._open: dict[str, Any] = {}
        self._done: set[str] = set()

    def __call__(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        if stage in self._done:
            return
        if stage not in self._open:
            from tqdm.auto import tqdm  # looks for a notebook when it is imported

            self._open[stage] = tqdm(total=total, desc=stage, leave=False)
        bar = self._open[stage]
        bar.total = total
        if best is not None:
            bar.set_postfix_str(f"best {best:.4g}", refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            self._open.pop(stage).close()
            self._done.add(stage)

    def close(self) -> None:
        for bar in self._open.values():
            bar.close()
