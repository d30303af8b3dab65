"""What times hold for: the runtime, the processor, its threads, and the batch."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from ranksearch.cache import digest
from ranksearch.timing.runtime import Runtime


@dataclass(frozen=True)
class Conditions:
    """What times hold for. version: of the runtime. device: `cpu`, `cuda` and so on. processor: its name. threads: of
    the CPU. batch: examples in it. key: digest of all this and of the processor's features."""

    runtime: str
    version: str
    device: str
    processor: str
    threads: int
    batch: int
    key: str

    @classmethod
    def here(cls, runtime: Runtime, device: torch.device, threads: int, batch: int) -> Conditions:
        """Those of this machine."""
        on = torch.device("cpu") if runtime.cpu_only else device
        found = (runtime.name, runtime.version(), on.type, _name(on), threads, batch)
        return cls(*found, key=digest(*found, *_features()))


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    named = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return next(filter(None, named), "") or platform.processor() or platform.machine()


def _features() -> list[str]:
    telling = [line for line in _cpuinfo() if line.startswith(("model name", "flags", "Features"))]
    return [platform.machine(), platform.processor(), *telling[:2]]


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
