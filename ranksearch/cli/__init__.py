"""The command line; the commands' own imports wait until they are called, so that help is instant."""

from __future__ import annotations

from ranksearch.cli.app import app
from ranksearch.memory import keep_freed_memory


def main() -> None:
    """Entry point of `ranksearch`."""
    keep_freed_memory()
    app()
