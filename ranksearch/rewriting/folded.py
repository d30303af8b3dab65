"""Layers whose weight is computed from other parameters: the weight that they compute in evaluation mode."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ranksearch.networks import LAYER_TYPES
from ranksearch.rewriting.alike import plain_layer
from ranksearch.rewriting.base import Rewrite


class Fold(Rewrite):
    """`torch.nn.utils.parametrize`, and the older `weight_norm` and `spectral_norm`."""

    def applied(self, module: nn.Module) -> nn.Module | None:
        if parametrize.is_parametrized(module):
            # Its class has properties that copies of the module share, so that removing them would break those.
            kind = type(module).__bases__[0]
            return plain_layer(kind, module, cast(Any, module).weight) if kind in LAYER_TYPES else None
        if type(module) not in LAYER_TYPES:
            return None
        removers: dict[type, Any] = {WeightNorm: remove_weight_norm, SpectralNorm: remove_spectral_norm}
        hooks = [hook for hook in module._forward_pre_hooks.values() if type(hook) in removers]
        for hook in cast("list[Any]", hooks):
            removers[type(hook)](module, hook.name)
        return module if hooks else None
