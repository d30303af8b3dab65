"""Freed memory is reused; in processes of their own, since it is for good."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from ranksearch.memory import keep_freed_memory
kept = {call}
faults = []
for _ in range(24):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 << 18)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(kept, min(faults))
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def faults(call: str, **environment: str) -> tuple[str, int]:
    """What the call gives, and the fewest pages that any of 24 blocks of 64 MiB has to be given anew.

    Where the first blocks lie differs between processes: the next ones do not fit there, for their alignment, until
    freed ones have grown together.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS.format(call=call)],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = ran.stdout.split()
    return kept, int(count)


@glibc
def test_blocks_are_reused() -> None:
    kept, count = faults("keep_freed_memory()")
    assert kept == "True"
    assert count < faults("None")[1] / 10


@glibc
def test_settings_of_the_environment_go_before() -> None:
    assert faults("keep_freed_memory()", MALLOC_ARENA_MAX="2")[0] == "False"
