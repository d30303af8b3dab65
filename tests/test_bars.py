"""Progress of calls from Python, where nobody sees bars: tests have no terminal."""

from __future__ import annotations

import logging

import pytest

from ranksearch.bars import showing
from ranksearch.progress import no_progress


def test_stages_that_are_done_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), showing(True) as told:
        told("candidates", 0, 2)
        told("trials", 1, 8, 0.25)
        assert caplog.messages == []
        told("candidates", 2, 2)
        told("candidates", 2, 2)
        told("trials", 8, 8, 0.125)
    assert caplog.messages == ["candidates: 2 of 2, 0 s", "trials: 8 of 8, 0 s, best 0.125"]


@pytest.mark.parametrize("wanted", [False, None])
def test_nobody_is_told_where_that_is_wanted(wanted: bool | None) -> None:
    with showing(wanted) as told:
        assert told is no_progress
