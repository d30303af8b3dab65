"""`python -m ranksearch`."""

from __future__ import annotations

from ranksearch.cli import main

if __name__ == "__main__":
    main()
