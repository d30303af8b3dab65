"""Tracking: what happens in a run, told to the tools in which people follow their experiments."""

from __future__ import annotations

import lazy_loader

# Lazy, since the command line checks names before torch is loaded; __init__.pyi lists the exports.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
