"""Second moments of each layer's inputs and output gradients, from one streamed pass over calibration images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, nn

from ranksearch.calibration.finite import images_not_finite, layer_not_finite, outputs_not_finite
from ranksearch.calibration.patches import (
    add_square,
    drawn_columns,
    drawn_gradients,
    gradient_rows,
    lookups,
    square_in_kernel_order,
    symmetric,
    unfold_chunks,
)
from ranksearch.calibration.roots import Columns, diagonal_floor
from ranksearch.calibration.whitening import Whitened, whiten
from ranksearch.errors import InputError, NonFiniteError, blaming, expected
from ranksearch.networks import (
    Batch,
    Layer,
    Output,
    backward,
    copy_model,
    forward,
    input_of,
    one_tensor,
    real_positions,
    size,
    to,
)
from ranksearch.tasks import Loss

WIDE = 1536
"""Layers with more entries per patch than this are wide: A itself would need n² memory and n³ time."""

WIDE_OUTPUTS = 2048
"""Layers with more outputs than this have a G of columns, for the same reasons."""

TEMPERATURE = 4.0
"""Of the softmax whose Fisher information G is, as in distillation (Hinton et al. 2015).

At temperature 1 it nearly vanishes where a network is confident, as on most training images, and does not show which
changes would alter its decision.
"""

_LOSS = "Is it the loss that the model was trained with?"


@dataclass(frozen=True)
class Moments:
    """Raw second moments of one layer.

    A: An (n, …) float64 tensor, (n, n) with n = I·prod(kernel_size): the mean of x xᵀ over samples and positions of the
        unfolded inputs x; if an image has more than 64 positions, over 64 random ones, drawn anew for each batch. For a
        layer with n > 1536, about 1,024 `Columns` represent it. Of a lookup, whose x are one-hot, the diagonal, (n,):
        the share of each index. Positions that a mask says are padding are left out.
    G: An (O, O) float64 tensor: the mean over samples of the sum over positions of g gᵀ, g being the loss's gradient
        at the output. For a layer with O > 2048, about 1,024 `Columns` represent it.
    Of a grouped convolution both have one more axis in front, for the groups; what connects groups is left out.
    samples, patches: how many images, and how many columns x, they were estimated from.
    """

    A: Tensor | Columns
    G: Tensor | Columns
    samples: int
    patches: int

    def shrunk(self) -> tuple[Tensor | Columns, Tensor | Columns]:
        """(A, G) shrunk by sample count towards their diagonals, columns towards the modes' moments, those of a lookup
        towards equal ones.

        A is singular where there are fewer patches than entries or dead channels, G where outputs are
        redundant. Without shrinkage such directions would seem free of error.
        """
        A, G = self.A, self.G
        return (
            Columns(A.X, _weight(*A.X.shape)) if isinstance(A, Columns) else _shrunk(A, self.patches),
            Columns(G.X, _weight(len(G.X), self.samples))
            if isinstance(G, Columns)
            else _shrunk(G, self.samples),
        )

    @property
    def reached(self) -> bool:
        """Whether any gradient comes to the layer."""
        return bool((self.G.X if isinstance(self.G, Columns) else self.G).any())

    def whitened(self, kernel: Tensor, *, keep: bool = True) -> Whitened:
        """The kernel in coordinates that are white by these moments; kept, since plans of several budgets share it,
        unless there is no room for it.

        kernel: An (O, I, *kernel_size) tensor.
        """
        known: tuple[Tensor, Whitened] | None = vars(self).get("_whitened")
        if known is None or not torch.equal(known[0], kernel):
            groups = len(self.A) if isinstance(self.A, Tensor) and self.A.dim() == 3 else 1
            known = (kernel.detach().clone(), whiten(kernel, *self.shrunk(), groups))
            if keep:
                object.__setattr__(self, "_whitened", known)
        return known[1]

    def merged(self, other: Moments) -> Moments:
        """Moments over the images of both."""
        samples, patches = self.samples + other.samples, self.patches + other.patches
        A = _merged(self.A, self.patches / patches, other.A, other.patches / patches)
        G = _merged(self.G, self.samples / samples, other.G, other.samples / samples)
        return Moments(A, G, samples, patches)


def _merged(one: Tensor | Columns, a: float, other: Tensor | Columns, b: float) -> Tensor | Columns:
    if isinstance(one, Columns) and isinstance(other, Columns):
        return Columns(torch.cat([a**0.5 * one.X, b**0.5 * other.X], dim=1), 0.0)
    assert isinstance(one, Tensor)
    assert isinstance(other, Tensor)
    return a * one + b * other


def _weight(size: int, count: int) -> float:
    """Of what moments are shrunk towards."""
    return size / (size + count)


def _shrunk(moments: Tensor, count: int) -> Tensor:
    """Moments of `count` samples: a vector of shares, a matrix, or one for each group."""
    if moments.dim() == 1:
        return smoothed(moments, count)
    if moments.dim() == 3:
        return torch.stack([shrink(matrix, count) for matrix in moments])
    return shrink(moments, count)


def shrink(matrix: Tensor, count: int) -> Tensor:
    """Second moments shrunk towards their diagonal, with a floor.

    matrix: An (n, n) tensor, the moments of `count` samples.
    returns: An (n, n) tensor.
    """
    weight = _weight(len(matrix), count)
    diagonal = matrix.diagonal()
    return (1 - weight) * matrix + torch.diag(weight * diagonal + diagonal_floor(diagonal))


def smoothed(shares: Tensor, count: int) -> Tensor:
    """Shares of indices, some of which never occurred, shrunk towards equal ones.

    All alike get the probability that the next index is a new one, as Witten and Bell (1991, method C) estimate it: of
    d distinct ones among `count`, d / (d + count).

    shares: An (n,) tensor.
    returns: An (n,) tensor.
    """
    weight = _weight(int(shares.count_nonzero()) or 1, count)
    return (1 - weight) * shares + weight / len(shares)


@dataclass
class _Lookups:
    """How often each of n indices was looked up, (n,)."""

    times: Tensor
    count: int = 0

    @classmethod
    def of(cls, size: int, device: torch.device) -> _Lookups:
        return cls(torch.zeros(size, dtype=torch.float64, device=device))

    def add(self, indices: Tensor) -> None:
        """indices: (p,)."""
        self.times += torch.bincount(indices, minlength=len(self.times))
        self.count += len(indices)

    def over(self, count: int) -> Tensor:
        """The share of each."""
        return self.times / max(1, count)

    @property
    def finite(self) -> bool:
        return True


@dataclass
class _Sums:
    """Second moments of rows (p, n) that come one after the other: their square, or for a wide layer the rows."""

    square: Tensor | None
    rows: list[Tensor] = field(default_factory=list)
    count: int = 0

    @classmethod
    def of(cls, size: int, wide: bool, device: torch.device) -> _Sums:
        return cls(None if wide else torch.zeros(size, size, dtype=torch.float64, device=device))

    def add(self, rows: Tensor) -> None:
        if self.square is None:
            self.rows.append(rows)
        else:
            add_square(self.square, rows)
        self.count += len(rows)

    def over(self, count: int) -> Tensor | Columns:
        """The moments, divided by a number of samples."""
        count = max(1, count)
        if self.square is None:
            return Columns(torch.cat(self.rows).T.contiguous() / count**0.5, 0.0)
        return symmetric(self.square) / count

    @property
    def finite(self) -> bool:
        parts = self.rows if self.square is None else [self.square]
        return all(bool(torch.isfinite(part).all()) for part in parts)


@dataclass
class _Seen:
    """What is summed up of one layer, or of one group of its channels: its inputs, ordered as patches are, and the
    gradients at its outputs."""

    layer: Layer
    inputs: _Sums | _Lookups
    gradients: _Sums

    @classmethod
    def of(cls, layer: Layer, device: torch.device) -> list[_Seen]:
        """One for each group of a layer. Those of several are never wide, so that they can be stacked."""
        one, several = layer.group, layer.groups > 1

        def sums() -> _Sums | _Lookups:
            n = one.fan_in
            return (
                _Lookups.of(n, device) if one.traits.lookup else _Sums.of(n, n > WIDE and not several, device)
            )

        o = one.out_channels
        return [
            cls(one, sums(), _Sums.of(o, o > WIDE_OUTPUTS and not several, device))
            for _ in range(layer.groups)
        ]

    def moments(self, samples: int) -> Moments:
        A = self.inputs.over(self.inputs.count)
        if isinstance(A, Tensor) and A.dim() == 2:
            A = square_in_kernel_order(A, self.layer)
        return Moments(A, self.gradients.over(samples), samples, self.inputs.count)


def _joined(groups: Sequence[Moments]) -> Moments:
    """Moments of a layer from those of its groups."""
    first, *others = groups
    if not others:
        return first
    A, G = (
        torch.stack([cast(Tensor, part) for part in parts])
        for parts in zip(*((m.A, m.G) for m in groups), strict=True)
    )
    return replace(first, A=A, G=G)


def collect_moments(
    model: nn.Module,
    layers: Sequence[Layer],
    batches: Sequence[Batch],
    loss: Loss,
    *,
    seed: int,
    device: torch.device,
    temperature: float = TEMPERATURE,
    output: Output = one_tensor,
    images: Sequence[int] = (),
    on_batch: Callable[[int], None] = lambda samples: None,
) -> dict[str, Moments]:
    """Moments of the given layers, by name, in evaluation mode, at targets sampled from the model's own output.

    G is the Fisher information of the outputs divided by `temperature`, times its square, so that ε estimates the
    divergence that distillation at this temperature minimises.

    Without layers nothing is run. `batches` holds inputs; `output` selects one tensor from what the model returns.
    `images`: the index of each example in the training data, for messages. Memory is bounded by one batch's activations
    and one chunk of unfolded patches. A copy of the model is run; the model itself is not changed. Raises
    NonFiniteError, naming the images whose inputs, or whose outputs alone, are not finite, or else the first layer in
    the given order whose inputs or gradients are not, and InputError if all examples have the same outputs, since no
    error is defined then.
    """
    if not layers:
        return {}
    model = copy_model(model).to(device).eval().requires_grad_(False)
    seen = {layer.name: _Seen.of(layer, device) for layer in layers}
    padding = _Padding()
    total = sum(map(size, batches))
    for layer in layers:
        generator = torch.Generator().manual_seed(seed)
        _attach(model.get_submodule(layer.name), seen[layer.name], generator, total, padding)
    generator = torch.Generator().manual_seed(seed)
    samples, differ = 0, False
    first: Tensor | None = None
    temperature = temperature if loss.softens else 1.0
    for batch in batches:
        placed = to(batch, device)
        padding.real = real_positions(output, placed)
        outputs = forward(model, placed, output)
        if not bool(torch.isfinite(outputs).all()):
            blamed = images_not_finite(batches, images) or outputs_not_finite(outputs, samples, images)
            raise blamed or _layer_to_blame(layers, seen) or layer_not_finite("model", "outputs")
        first = outputs[:1].detach() if first is None else first
        differ = differ or bool((outputs != first).any())
        softened = outputs / temperature
        with blaming(f"loss {loss.name}", "one that takes the model's outputs", _LOSS):
            targets = loss.sample(softened, generator)
            value = temperature * (loss.of_samples or loss.value)(softened, targets).sum()
        if value.requires_grad:  # a forward pass may block the gradient
            backward(value)
        samples += size(batch)
        on_batch(samples)
    if (broken := _layer_to_blame(layers, seen)) is not None:
        raise images_not_finite(batches, images) or broken
    if samples > 1 and not differ:
        way_out = "A last layer that is initialised to zero does this: pass trained `weights`."
        got = f"the same ones for all {samples}"
        raise InputError(
            expected("model", "outputs that differ between the calibration images", got, way_out)
        )
    return {name: _joined([each.moments(samples) for each in seen.pop(name)]) for name in list(seen)}


@dataclass
class _Padding:
    """Which positions of the batch that is being run are real; None where all are."""

    real: Tensor | None = None


def _attach(
    module: nn.Module, seen: Sequence[_Seen], generator: torch.Generator, total: int, padding: _Padding
) -> None:
    """Accumulate on every call. The first layers' outputs become leaves, as the model's parameters need no gradient."""
    layer, signs = seen[0].layer, torch.Generator().manual_seed(generator.initial_seed())

    def accumulate_gradient(gradient: Tensor | None) -> None:
        if gradient is None:  # what follows is differentiable by name alone, as quantised layers are
            return
        for own, part in zip(seen, _by_group(gradient, layer, len(seen)), strict=True):
            if own.gradients.square is None:
                own.gradients.add(drawn_gradients(part, layer, signs, total))
            else:
                own.gradients.add(gradient_rows(part, layer))

    def hook(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
        inputs = input_of(args, kwargs).detach()
        for own, part in zip(seen, _by_group(inputs, layer, len(seen)), strict=True):
            if isinstance(own.inputs, _Lookups):
                own.inputs.add(lookups(part, layer, padding.real))
            elif own.inputs.square is None:
                own.inputs.add(drawn_columns(part, layer, generator, total, padding.real).T)
            else:
                for rows in unfold_chunks(part, layer, generator, real=padding.real):
                    own.inputs.add(rows)
        if not output.requires_grad:
            output = output.detach().requires_grad_().clone()
        if output.requires_grad:
            output.register_hook(accumulate_gradient)
        return output

    module.register_forward_hook(hook, with_kwargs=True)


def _by_group(tensor: Tensor, layer: Layer, groups: int) -> Sequence[Tensor]:
    """The channels of a convolution's input or output by group."""
    return tensor.chunk(groups, dim=tensor.dim() - layer.spatial_dims - 1) if groups > 1 else (tensor,)


def _layer_to_blame(layers: Sequence[Layer], seen: Mapping[str, Sequence[_Seen]]) -> NonFiniteError | None:
    for layer in layers:
        own = seen[layer.name]
        for what, sums in (
            ("inputs", [each.inputs for each in own]),
            ("output gradients", [each.gradients for each in own]),
        ):
            if not all(each.finite for each in sums):
                return layer_not_finite(f"layer {layer.name}", what)
    return None
