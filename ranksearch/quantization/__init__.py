"""Quantisation: delivered models as int8 files, in which layers that lose too much stay float."""

from __future__ import annotations

import lazy_loader

# Lazy, since the command line checks options before torch is loaded; __init__.pyi lists the exports.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
