"""How long a network's parts take, in context, on the machine and the runtime at hand."""

from __future__ import annotations

import lazy_loader

# On demand, so that names are known before torch is loaded; what is offered is in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
