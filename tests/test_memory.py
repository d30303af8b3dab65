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
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 << 18)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(kept, faults)
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


def faults(call: str, **environment: str) -> tuple[str, int]:
    """What the call gives, and the pages that the last of eight blocks of 64 MiB has to be given anew."""
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
