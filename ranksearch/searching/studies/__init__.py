"""Optuna studies: storage, samplers, trials."""

from __future__ import annotations

import lazy_loader

# Lazy, so that names are known before torch is loaded; __init__.pyi lists the exports.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
