from .api import (
    behaviour,
    compress,
    export,
    export_plan,
    footprint,
    load,
    plan,
    quantize,
    read_ranks,
    report,
    save,
    search,
    smallest,
    track,
    work,
)
from .compression import CompressConfig
from .errors import RankSearchError
from .memory import keep_freed_memory
from .networks import load_weights
from .planning import Plan
from .tasks import Loss, Metric, Task

__version__: str

__all__ = [
    "CompressConfig",
    "Loss",
    "Metric",
    "Plan",
    "RankSearchError",
    "Task",
    "behaviour",
    "compress",
    "export",
    "export_plan",
    "footprint",
    "keep_freed_memory",
    "load",
    "load_weights",
    "plan",
    "quantize",
    "read_ranks",
    "report",
    "save",
    "search",
    "smallest",
    "track",
    "work",
]
