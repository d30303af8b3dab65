from .api import export, load, save, search
from .compression import CompressConfig, compress
from .errors import RankSearchError
from .memory import keep_freed_memory
from .planning import Plan
from .tasks import Loss, Task

__all__ = [
    "CompressConfig",
    "Loss",
    "Plan",
    "RankSearchError",
    "Task",
    "compress",
    "export",
    "keep_freed_memory",
    "load",
    "save",
    "search",
]
