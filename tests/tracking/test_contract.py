"""Every registered tracker keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ranksearch.testing import Held, TrackerContract
from ranksearch.tracking import TRACKERS, Tracker

pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # MLflow's own, of SQLAlchemy


class TestEveryTracker(TrackerContract):
    @pytest.fixture(params=TRACKERS.names())
    def tracker(self, request: pytest.FixtureRequest) -> Tracker:
        pytest.importorskip(request.param)
        return TRACKERS.get(request.param)

    @pytest.fixture
    def read(self, tracker: Tracker, readers: dict[str, Callable[[Path], Held]]) -> Callable[[Path], Held]:
        return readers[tracker.name]
