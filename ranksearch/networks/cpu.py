"""The number of threads that torch uses on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

_NARROW = 1024


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Sets torch's number of CPU threads temporarily; None leaves it unchanged."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def algebra_threads(width: int) -> AbstractContextManager[None]:
    """One thread for the algebra of narrow layers, `width` = I·kh·kw: more threads would wait for each other,
    on a busy machine for a long time."""
    return threads(1 if width <= _NARROW else None)
