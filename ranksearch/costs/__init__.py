"""Costs: what a budget counts, and budgets."""

from __future__ import annotations

import lazy_loader

# On demand, since the command line checks budgets before torch is loaded; the names are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
