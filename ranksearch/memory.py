"""Memory that a pass over images frees is kept for the next one, not handed back to the system."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Of mallopt(3)."""

_KEPT = 1 << 30
"""Bytes: blocks below it are reused, and as much stays at the end of the heap."""


def keep_freed_memory() -> bool:
    """Have the C library reuse large blocks, for the rest of the process; whether it does.

    By default glibc maps every block of more than 32 MiB anew, and gives the end of the heap back as soon as it is
    free. The activations of each batch then are pages that the system has to clear first, at each layer again: a third
    of the time of a pass through a thin network. Elsewhere than with glibc, and where the environment sets MALLOC_…
    or GLIBC_TUNABLES, nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    # Older releases refuse thresholds above 32 MiB; that no block is mapped they take.
    reused = mallopt(_MMAP_THRESHOLD, _KEPT) or mallopt(_MMAP_MAX, 0)
    return bool(reused and mallopt(_TRIM_THRESHOLD, _KEPT))
