from .levels import Form
from .measure import compare, dense_seconds, measure_prices
from .prices import Curve, Prices
from .registry import RUNTIMES
from .runtime import Chains, Part, Prepared, Profile, Runtime, Session, Workload
from .timer import Ratio, Timer, TimingSettings, nanoseconds

__all__ = [
    "RUNTIMES",
    "Chains",
    "Curve",
    "Form",
    "Part",
    "Prepared",
    "Prices",
    "Profile",
    "Ratio",
    "Runtime",
    "Session",
    "Timer",
    "TimingSettings",
    "Workload",
    "compare",
    "dense_seconds",
    "measure_prices",
    "nanoseconds",
]
