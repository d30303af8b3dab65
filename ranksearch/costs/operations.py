"""FLOPs of operations that torch's `FlopCounterMode` does not know: two per multiply-accumulate, as it counts."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import sdpa_flop_count

Shape = tuple[int, ...]


def counted_operations() -> dict[Any, Callable[..., int]]:
    """Formulas by operation, for `FlopCounterMode(custom_mapping=…)`; they get the shapes of the arguments.

    Fused attention on a CPU, LSTMs of oneDNN, the trilinear product of `nn.Bilinear`, matrices times vectors. GRUs and
    plain recurrent layers are matrix products, which the counter knows.
    """
    aten = torch.ops.aten
    found = {
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "mkldnn_rnn_layer": _recurrent,
        "_trilinear": _trilinear,
        "mv": _inner,
        "dot": _inner,
    }
    return {getattr(aten, name): formula for name, formula in found.items() if hasattr(aten, name)}


def _attention(query: Shape, key: Shape, value: Shape, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _recurrent(inputs: Shape, of_input: Shape, of_state: Shape, *args: Any, **kwargs: Any) -> int:
    """inputs: (T, N, I). of_input: (gates · H, I). of_state: (gates · H, H)."""
    return 2 * prod(inputs[:2]) * (prod(of_input) + prod(of_state))


def _trilinear(first: Shape, weight: Shape, second: Shape, *args: Any, **kwargs: Any) -> int:
    """Of `nn.Bilinear`, both products for each output; first: (N, I), weight: (O, I, J)."""
    outputs, left, right = weight
    return 2 * first[0] * outputs * (left * right + right)


def _inner(left: Shape, vector: Shape, *args: Any, **kwargs: Any) -> int:
    """A matrix or a vector times a vector: each entry on the left is used once."""
    return 2 * prod(left)
