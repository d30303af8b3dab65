"""The command line; the commands' own imports wait until they are called, so that help is instant."""

from __future__ import annotations

from ranksearch.cli.app import app


def main() -> None:
    """Entry point of `ranksearch`."""
    app()
