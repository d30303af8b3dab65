"""Paths as a reader wants them."""

from __future__ import annotations

from pathlib import Path


def shown(path: Path) -> str:
    """A path as short as it can be from the working directory."""
    try:
        return str(path.relative_to(Path.cwd())) or "."
    except ValueError:
        return str(path)
