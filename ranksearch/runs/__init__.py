"""Runs: from options to results in a folder."""

from __future__ import annotations

import lazy_loader

# On demand, since options need no torch; the names are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
