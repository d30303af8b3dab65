"""torchvision's window attention (Swin), calling its linear layers where torchvision reads their weights."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranksearch.rewriting.base import Joined, Rewrite

_MODULE, _FIRST, _SECOND = (
    "torchvision.models.swin_transformer",
    "ShiftedWindowAttention",
    "ShiftedWindowAttentionV2",
)
"""By name, so that torchvision is not imported for models that have none of them."""


class WindowAttention(Joined):
    """Computes what `ShiftedWindowAttention`, or its second version, computes.

    It consists of the parts of that module, under their names.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        vars(self).update(vars(module))
        self.origin: Any = type(module)

    def joined(self) -> nn.Module | None:
        if not (type(self.qkv) is nn.Linear and type(self.proj) is nn.Linear):
            return None
        module = cast(nn.Module, self.origin.__new__(self.origin))
        vars(module).update({name: value for name, value in vars(self).items() if name != "origin"})
        return module

    def forward(self, x: Tensor) -> Tensor:
        """x: An (N, H, W, C) tensor; so is the result."""
        own = cast(Any, self)
        height, width = x.shape[1:3]
        (tall, wide), shift = own.window_size, list(own.shift_size)
        x = F.pad(x, (0, 0, 0, -width % wide, 0, -height % tall))
        padded = x.shape[1:3]
        shift = [
            0 if size >= whole else by for by, size, whole in zip(shift, (tall, wide), padded, strict=True)
        ]
        if any(shift):
            x = x.roll([-by for by in shift], dims=(1, 2))
        rows, columns = padded[0] // tall, padded[1] // wide
        windows = x.unflatten(1, (rows, tall)).unflatten(3, (columns, wide)).transpose(2, 3)
        tokens = windows.reshape(-1, tall * wide, x.shape[-1])
        mask = _mask(padded, (tall, wide), shift, x) if any(shift) else None
        tokens = F.dropout(own.proj(self._mixed(own.qkv(tokens), mask)), own.dropout, self.training)
        windows = tokens.reshape(-1, rows, columns, tall, wide, x.shape[-1]).transpose(2, 3)
        x = windows.flatten(3, 4).flatten(1, 2)
        if any(shift):
            x = x.roll(shift, dims=(1, 2))
        return x[:, :height, :width].contiguous()

    def _mixed(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        """(windows, L, 3 · C) → (windows, L, C); mask: (windows of an image, L, L), added to the scores."""
        own = cast(Any, self)
        q, k, v = qkv.unflatten(-1, (3, own.num_heads, -1)).permute(2, 0, 3, 1, 4)
        if self.origin.__name__ == _SECOND:
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
            scores = scores * own.logit_scale.clamp(max=math.log(100.0)).exp()
        else:
            scores = q * q.shape[-1] ** -0.5 @ k.mT
        scores = scores + self.origin.get_relative_position_bias(own)
        if mask is not None:
            scores = (scores.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        weights = F.dropout(scores.softmax(dim=-1), own.attention_dropout, self.training)
        mixed: Tensor = weights @ v
        return mixed.transpose(1, 2).flatten(2)


def _mask(padded: torch.Size, window: tuple[int, int], shift: list[int], like: Tensor) -> Tensor:
    """Keeps apart what the shift has brought together in a window: (windows, L, L) with -100 there, else 0."""
    regions = []
    for whole, size, by in zip(padded, window, shift, strict=True):
        place = torch.arange(whole, device=like.device)
        regions.append((place >= whole - size).int() + ((place >= whole - by) if by else 0))
    region = regions[0][:, None] * 3 + regions[1][None]
    by_window = region.unflatten(0, (-1, window[0])).unflatten(2, (-1, window[1])).transpose(1, 2)
    tokens = by_window.reshape(-1, window[0] * window[1])
    apart = tokens[:, None] != tokens[:, :, None]
    return torch.where(apart, -100.0, 0.0).to(like.dtype)


class WriteWindows(Rewrite):
    """The second version leaves the bias of the keys out; so it is zero here."""

    def applied(self, module: nn.Module) -> nn.Module | None:
        kind = type(module)
        if kind.__module__ != _MODULE or kind.__name__ not in (_FIRST, _SECOND):
            return None
        bias = cast(Any, module).qkv.bias
        if kind.__name__ == _SECOND and bias is not None:
            with torch.no_grad():
                bias.chunk(3)[1].zero_()
        return WindowAttention(module)
