from .base import TrackedRun, Tracker
from .registry import TRACKERS, trackers
from .session import Tracking

__all__ = ["TRACKERS", "TrackedRun", "Tracker", "Tracking", "trackers"]
