"""How many threads torch's work on a CPU takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

_NARROW = 1024


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Torch's CPU threads set for a while; None leaves them."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def algebra_threads(width: int) -> AbstractContextManager[None]:
    """One thread for the algebra of narrow layers, `width` = I·kh·kw: more threads wait for each other there, and
    on a busy machine they wait long."""
    return threads(1 if width <= _NARROW else None)
