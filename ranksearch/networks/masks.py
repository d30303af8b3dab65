"""Positions of inputs that are padding: they count neither in moments nor in divergences nor in metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ranksearch.errors import InputError, expected
from ranksearch.networks.outputs import Output, child, one_tensor, paths
from ranksearch.objects import load_object

Mask = Callable[[Any], Tensor | None]
"""Says which positions of a batch of inputs are real, (N, …), and which are padding; None where all are."""

MASK_KEY = "attention_mask"
"""Where tokenisers put the mask."""


POOLS = ("mean", "first")
"""How one vector is made of those of an example's positions: their mean, without padding, or the first one."""


@dataclass(frozen=True)
class MaskAt:
    """The mask at a path of the inputs: `attention_mask`, `1`, `encoder.mask`.

    asked: whether someone named it, so that there has to be one.
    """

    path: str = MASK_KEY
    asked: bool = False

    def __call__(self, inputs: Any) -> Tensor | None:
        found = inputs
        for part in self.path.split("."):
            found = child(found, part)
        if isinstance(found, Tensor) and found.dim():
            return found
        if self.asked:
            known = paths(inputs) if not isinstance(inputs, Tensor) else []
            wanted = f"the path of a tensor of the inputs ({', '.join(known) or 'which are one tensor'})"
            raise InputError(expected("mask", wanted, repr(self.path)))
        return None


def mask_of(spec: Mask | str | int | None) -> Mask:
    """A mask by its path among the inputs, by the name of a function, `file.py:fn`, or as it is; where none is named,
    what the inputs hold as `attention_mask`."""
    if spec is None:
        return MaskAt()
    if isinstance(spec, int | str) and not isinstance(spec, bool):
        if ":" not in str(spec):
            return MaskAt(str(spec), asked=True)
        spec = load_object(str(spec), option="mask")
    if not callable(spec):
        raise InputError(expected("mask", "a path such as 'attention_mask', or a function", f"{spec!r:.80}"))
    return spec


@dataclass(frozen=True)
class Reading:
    """An output, and the mask that says which of its positions are real.

    second: whether axis 1 of outputs (N, C, …) holds classes, so that positions come after it. pool: what makes one
    vector of an example's positions, of `POOLS`, where that is what counts; None where every position does.
    """

    output: Output = one_tensor
    mask: Mask = MaskAt()
    second: bool = False
    pool: str | None = None

    def __call__(self, returned: Any) -> Tensor:
        return self.output(returned)

    def real(self, inputs: Any) -> Tensor | None:
        """Which positions of some inputs are real.

        returns: An (N, …) tensor of bool; None where there is no mask.
        """
        found = self.mask(inputs)
        return None if found is None else found.to(torch.bool)

    def without_padding(self, outputs: Tensor, inputs: Any) -> Tensor:
        """Outputs with zeros at positions that are padding, in which any two models agree; as they are where there is
        no mask, or where they are not per position.

        outputs: An (N, …) tensor.
        returns: An (N, …) tensor.
        """
        real = self.real(inputs)
        if real is None:
            return outputs
        count = real.dim()
        if 1 < count < outputs.dim():
            for second in (True, False) if self.second else (False, True):
                shape = (len(outputs), *outputs.shape[2 : 1 + count]) if second else outputs.shape[:count]
                if tuple(shape) == tuple(real.shape):
                    real = real.unsqueeze(1) if second else real
                    return outputs.where(real.reshape(*real.shape, *[1] * (outputs.dim() - real.dim())), 0.0)
        return outputs

    def counted(self, outputs: Tensor, inputs: Any) -> Tensor:
        """Outputs without padding, and pooled where that is asked for; those that have no positions stay as they are.

        outputs: An (N, …) tensor.
        returns: An (N, …) tensor.
        """
        outputs = self.without_padding(outputs, inputs)
        if self.pool is None or outputs.dim() < 3:
            return outputs
        if self.pool == "first":
            return outputs[:, 0]
        real = self.real(inputs)
        if real is None or tuple(real.shape) != tuple(outputs.shape[: real.dim()]):
            return outputs.flatten(1, -2).mean(dim=1)
        counts = real.flatten(1).sum(dim=1).clamp_min(1)
        return outputs.flatten(1, -2).sum(dim=1) / counts[:, None].to(outputs.dtype)


def real_positions(output: Output, inputs: Any) -> Tensor | None:
    """Which positions of some inputs are real.

    returns: An (N, …) tensor of bool; None where nobody says.
    """
    return output.real(inputs) if isinstance(output, Reading) else None
