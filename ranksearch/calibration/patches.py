"""What a layer meets: patches of its inputs, and the gradients at its outputs, as rows of matrices."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import torch
from torch import Tensor

from ranksearch.calibration.windows import padded, patches_along, places_of
from ranksearch.networks import Layer

_CHUNK_BYTES = 4 * 2**20
"""Patches are formed in pieces of at most this size, so that they fit into the processor's caches."""

POSITIONS = 64
"""Patches per image used for A: neighbouring patches overlap, so more of them take time and add little."""

COLUMNS = 1024
"""Number of patches, over all images, that represent A of a wide layer, and of gradients that represent G."""


def unfold_chunks(
    inputs: Tensor,
    layer: Layer,
    generator: torch.Generator,
    positions: int = POSITIONS,
    real: Tensor | None = None,
) -> Iterable[Tensor]:
    """A layer's inputs as rows, a bounded number of samples at a time.

    inputs: An (N, …) tensor, the layer's input.
    real: An (N, …) tensor of bool, which positions are not padding; None where none is. It matters where the layer's
        positions are those.
    returns: (p, n) float32 tensors with n = I·prod(kernel_size), one row for each of p patches; the entries of a row
        are ordered by tap, then by channel, which takes a fraction of the time. See `kernel_order`.

    The layer's own padding, including its padding mode, is applied before unfolding. At most `positions` patches
    per sample are used, at random places drawn from `generator`; for a Linear layer, all of them.
    """
    if not layer.spatial_dims:
        rows = inputs.reshape(-1, inputs.shape[-1])
        if (kept := _kept(real, inputs.shape[:-1], layer)) is not None:
            rows = rows[kept]
        yield from rows.float().split(max(1, _CHUNK_BYTES // (4 * layer.fan_in)))
        return
    if inputs.dim() == layer.spatial_dims + 1:
        inputs = inputs.unsqueeze(0)
    pixels = padded(inputs.float(), layer).movedim(1, -1)
    sizes = patches_along(pixels.shape[1:-1], layer)
    pick = torch.arange(prod(sizes))
    if len(pick) > positions:
        pick = torch.randperm(len(pick), generator=generator)[:positions].sort().values
    index = places_of(pixels.shape[1:-1], layer)[pick].flatten().to(inputs.device)
    per_position = real is not None and real.shape == (len(pixels), *sizes)
    pixels = pixels.contiguous().flatten(1, -2)  # (N, pixels, I)
    step = max(1, _CHUNK_BYTES // (4 * layer.fan_in * len(pick)))
    for start in range(0, len(pixels), step):
        rows = pixels[start : start + step].index_select(1, index).reshape(-1, layer.fan_in)
        if per_position and real is not None:
            some = real[start : start + step].flatten(1)
            rows = rows[some[:, pick.to(some.device)].flatten()]
        yield rows


def lookups(inputs: Tensor, layer: Layer, real: Tensor | None = None) -> Tensor:
    """What a lookup is asked for at all positions that are real.

    inputs: An (N, …) tensor of indices, the layer's input. real: as for `unfold_chunks`.
    returns: A (p,) tensor of indices.
    """
    kept = _kept(real, inputs.shape, layer)
    return inputs.flatten() if kept is None else inputs.flatten()[kept]


def _kept(real: Tensor | None, shape: tuple[int, ...], layer: Layer) -> Tensor | None:
    """Which rows of a layer's input are real, where it is per position of the mask: (N, T, …) or all positions in one
    axis; None where it is not.

    shape: of the input, without its last axis.
    """
    if real is None or real.dim() < 2:
        return None
    if tuple(shape) == (real.numel(),):
        return real.flatten()
    # What the layer gets for one example shows whether examples come first: (1, T, I), not (T, 1, I).
    if any(len(call.in_size) != len(shape) - 1 for call in layer.calls):
        return None
    if len(shape) < real.dim() or tuple(shape[: real.dim()]) != tuple(real.shape):
        return None
    return real.reshape(*real.shape, *[1] * (len(shape) - real.dim())).expand(shape).flatten()


def kernel_order(rows: Tensor, layer: Layer) -> Tensor:
    """Rows of patches with their entries ordered as those of a kernel: by channel, then by tap.

    rows: A (p, n) tensor with n = I·prod(kernel_size), ordered as `unfold_chunks` does.
    returns: A (p, n) tensor.
    """
    taps = prod(layer.kernel_size)
    return rows.unflatten(1, (taps, -1)).transpose(1, 2).flatten(1) if taps > 1 else rows


def square_in_kernel_order(moments: Tensor, layer: Layer) -> Tensor:
    """Sums of products of rows of patches, both axes ordered as the entries of a kernel.

    moments: An (n, n) tensor with n = I·prod(kernel_size).
    returns: An (n, n) tensor.
    """
    return kernel_order(kernel_order(moments, layer).T, layer).T.contiguous()


def drawn_columns(
    inputs: Tensor, layer: Layer, generator: torch.Generator, total: int, real: Tensor | None = None
) -> Tensor:
    """A batch's share of the columns of a wide layer, drawn from all images and positions.

    inputs: An (N, …) tensor, the layer's input. total: the number of examples in all batches.
    real: An (N, …) tensor of bool, as for `unfold_chunks`; None where all positions are.
    returns: An (n, r) float32 tensor with n = I·prod(kernel_size).
    """
    share = -(-COLUMNS * len(inputs) // total)
    places = max(1, share // len(inputs))
    rows = torch.cat(list(unfold_chunks(inputs, layer, generator, places, real)))
    picked = torch.randperm(len(rows), generator=generator)[:share].sort().values
    return kernel_order(rows[picked.to(rows.device)], layer).T.contiguous()


def gradient_rows(gradient: Tensor, layer: Layer) -> Tensor:
    """The gradients at a layer's output, one row for each sample and position: (samples · positions, O)."""
    channel = gradient.dim() - layer.spatial_dims - 1
    return gradient.float().movedim(channel, -1).reshape(-1, layer.out_channels)


def drawn_gradients(gradient: Tensor, layer: Layer, generator: torch.Generator, total: int) -> Tensor:
    """A batch's share of the columns that represent G; their second moments are those of all rows in expectation.

    gradient: An (N, …) tensor, at the layer's output. total: the number of examples in all batches.
    returns: A (p, O) float32 tensor.

    Where there are more positions than columns, neighbouring ones are added up with random signs, so that their
    products cancel on average, as in feature hashing (Weinberger et al. 2009).
    """
    rows = gradient_rows(gradient, layer)
    share = -(-COLUMNS * len(gradient) // total)
    together = -(-len(rows) // share)
    if together == 1:
        return rows
    signs = 2 * torch.randint(2, (len(rows), 1), generator=generator) - 1
    signed = signs.to(rows) * rows
    return torch.stack([neighbours.sum(0) for neighbours in signed.split(together)])


_STRIP = 144
"""Rows of a block: narrower ones save more of the upper triangle, but their products run at a lower speed."""


def add_square(sums: Tensor, rows: Tensor) -> None:
    """Add rowsᵀ rows to sums, as far as `symmetric` needs it: the blocks on and below the diagonal.

    sums: An (n, n) tensor, changed in place.
    rows: A (p, n) tensor.
    """
    for start in range(0, len(sums), _STRIP):
        end = start + _STRIP
        sums[start:end, :end] += rows[:, start:end].T @ rows[:, :end]


def symmetric(sums: Tensor) -> Tensor:
    """The matrix whose lower triangle `add_square` has added up.

    sums: An (n, n) tensor.
    returns: An (n, n) tensor.
    """
    return sums.tril() + sums.tril(-1).T
