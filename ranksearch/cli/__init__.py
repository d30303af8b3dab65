"""The command line; the commands' own imports wait until they are called, so that help is instant."""

from __future__ import annotations

import sys

from ranksearch.cli.app import app
from ranksearch.cli.endings import FAILURE
from ranksearch.cli.guard import tell
from ranksearch.cli.text import close_streams, prepare_streams, print_traceback
from ranksearch.memory import keep_freed_memory

__all__ = ["main"]


def main() -> None:
    """Entry point of `ranksearch`."""
    keep_freed_memory()
    prepare_streams()
    try:
        app()
    except Exception as error:
        code = tell(error)
        if code is None:
            print_traceback(error)
            code = FAILURE
        sys.exit(code)
    finally:
        close_streams()
