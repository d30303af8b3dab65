from .conditions import Conditions
from .correction import AIM, TimedOn, Times, interpolated
from .files import file_ratio
from .levels import Form
from .measure import compare, dense_seconds, measure_prices
from .prices import Curve, Prices, Shape, shape_of
from .registry import RUNTIMES
from .runtime import Chains, Part, Prepared, Profile, Profiled, Runtime, Session, Workload
from .timer import Ratio, Timer, TimingSettings, nanoseconds

__all__ = [
    "AIM",
    "RUNTIMES",
    "Chains",
    "Conditions",
    "Curve",
    "Form",
    "Part",
    "Prepared",
    "Prices",
    "Profile",
    "Profiled",
    "Ratio",
    "Runtime",
    "Session",
    "Shape",
    "TimedOn",
    "Timer",
    "Times",
    "TimingSettings",
    "Workload",
    "compare",
    "dense_seconds",
    "file_ratio",
    "interpolated",
    "measure_prices",
    "nanoseconds",
    "shape_of",
]
