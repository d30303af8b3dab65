"""What the random networks are made of: data by a seed, blocks of modules and a function, a whole with a head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

EXAMPLES = 26
CLASSES = 3
TOKENS = 20
"""Of the vocabulary where inputs are tokens."""


class Data(Dataset[Any]):
    """Images (C, H, W), sequences (T, C), vectors (C,) or tokens (T,), with a scale beside them where the network takes
    two. spoilt: one of the numbers is NaN."""

    def __init__(
        self, shape: tuple[int, ...], kind: str, dtype: torch.dtype, seed: int, *, spoilt: bool = False
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(EXAMPLES, *shape, generator=generator).to(dtype)
        self.scales = torch.rand(EXAMPLES, 1, generator=generator).to(dtype)
        if spoilt:
            self.inputs.flatten()[seed % self.inputs.numel()] = float("nan")
        self.kind = kind

    def __len__(self) -> int:
        return EXAMPLES

    def __getitem__(self, k: int) -> Any:
        pair = {"x": self.inputs[k], "scale": self.scales[k]}
        label = k % CLASSES
        match self.kind:
            case "tokens":
                return (self.inputs[k].float().abs() * 7).long().clamp(max=TOKENS - 1), label
            case "dict":
                return pair, label
            case "labelled dict":
                return {**pair, "labels": label}
            case "tuple":
                return tuple(pair.values()), label
        return self.inputs[k], label


class Whole(nn.Module):
    """Blocks one after the other and a head; takes a scale as well where it is given one. named: returns a dict."""

    def __init__(self, blocks: list[nn.Module], head: nn.Module, *, named: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        self.named = named

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        if scale is not None:
            x = x * scale.reshape(-1, *[1] * (x.dim() - 1))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x.mean((2, 3)) if x.dim() == 4 else x.mean(1) if x.dim() == 3 else x)
        return {"features": x, "logits": logits} if self.named else logits


class Block(nn.Module):
    """Some modules, and a function of them and the input."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)
