"""What several calls take: one name, or a sequence of them."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: str | Sequence[str]) -> Sequence[str]:
    """The names; a single one is a text."""
    return (names,) if isinstance(names, str) else names
