"""Second moments of each layer's inputs and output gradients, from one streamed pass over calibration images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from ranksearch.calibration.finite import images_not_finite, layer_not_finite, outputs_not_finite
from ranksearch.calibration.whitening import Columns, Whitened, whiten
from ranksearch.calibration.windows import padded, windows_of
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
    size,
    to,
)
from ranksearch.tasks import Loss

_CHUNK_BYTES = 4 * 2**20
"""Unfolded patches are formed in pieces of at most this size, so that they fit into the processor's caches."""

POSITIONS = 64
"""Patches per image used for A: neighbouring patches overlap, so more of them take time and add little."""

WIDE = 1536
"""Layers with more entries per patch than this are wide: A itself would need n² memory and n³ time."""

COLUMNS = 1024
"""Number of patches, over all images, that represent A of a wide layer."""

TEMPERATURE = 4.0
"""Of the softmax whose Fisher information G is, as in distillation (Hinton et al. 2015).

At temperature 1 it nearly vanishes where a network is confident, as on most training images, and does not show which
changes would alter its decision.
"""

_LOSS = "Is it the loss that the model was trained with?"


@dataclass(frozen=True)
class Moments:
    """Raw second moments of one layer.

    A: An (n, n) float64 tensor with n = I·prod(kernel_size): the mean of x xᵀ over samples and positions of the
        unfolded inputs x; if an image has more than 64 positions, over 64 random ones, drawn anew for each batch. For a
        layer with n > 1536, about 1,024 `Columns` represent it.
    G: An (O, O) float64 tensor: the mean over samples of the sum over positions of g gᵀ, g being the loss's gradient
        at the output.
    samples, patches: how many images, and how many columns x, they were estimated from.
    """

    A: Tensor | Columns
    G: Tensor
    samples: int
    patches: int

    def shrunk(self) -> tuple[Tensor | Columns, Tensor]:
        """(A, G) shrunk by sample count towards their diagonals, columns towards the modes' moments.

        A is singular where there are fewer patches than entries or dead channels, G where outputs are
        redundant. Without shrinkage such directions would seem free of error.
        """
        if isinstance(self.A, Columns):
            n, r = self.A.X.shape
            return Columns(self.A.X, n / (n + r)), shrink(self.G, self.samples)
        return shrink(self.A, self.patches), shrink(self.G, self.samples)

    def whitened(self, kernel: Tensor) -> Whitened:
        """The kernel in coordinates that are white by these moments; kept, since plans of several budgets share it.

        kernel: An (O, I, *kernel_size) tensor.
        """
        known: tuple[Tensor, Whitened] | None = vars(self).get("_whitened")
        if known is None or not torch.equal(known[0], kernel):
            known = (kernel.detach().clone(), whiten(kernel, *self.shrunk()))
            object.__setattr__(self, "_whitened", known)
        return known[1]

    def merged(self, other: Moments) -> Moments:
        """Moments over the images of both."""
        samples, patches = self.samples + other.samples, self.patches + other.patches
        G = (self.samples * self.G + other.samples * other.G) / samples
        a, b = self.patches / patches, other.patches / patches
        if isinstance(self.A, Columns) and isinstance(other.A, Columns):
            return Moments(
                Columns(torch.cat([a**0.5 * self.A.X, b**0.5 * other.A.X], dim=1), 0.0), G, samples, patches
            )
        assert isinstance(self.A, Tensor)
        assert isinstance(other.A, Tensor)
        return Moments(a * self.A + b * other.A, G, samples, patches)


def shrink(matrix: Tensor, count: int) -> Tensor:
    """Second moments shrunk towards their diagonal, with a floor.

    matrix: An (n, n) tensor, the moments of `count` samples.
    returns: An (n, n) tensor.
    """
    weight = len(matrix) / (len(matrix) + count)
    diagonal = matrix.diagonal()
    mean = float(diagonal.mean())
    floor = 1e-4 * mean if mean > 0 else 1.0
    return (1 - weight) * matrix + torch.diag(weight * diagonal + floor)


@dataclass
class _Sums:
    """Of one layer; `columns` of a wide one, `A` of the others."""

    G: Tensor
    A: Tensor | None
    columns: list[Tensor] = field(default_factory=list)
    patches: int = 0

    def add(self, rows: Tensor) -> None:
        """Add patches (n, P)."""
        if self.A is None:
            self.columns.append(rows)
        else:
            self.A += (rows @ rows.T).double()
        self.patches += rows.shape[1]

    def moments(self, samples: int) -> Moments:
        count = max(1, self.patches)
        A = Columns(torch.cat(self.columns, dim=1) / count**0.5, 0.0) if self.A is None else self.A / count
        return Moments(A, self.G / max(1, samples), samples, self.patches)

    def finite(self) -> tuple[bool, bool]:
        """Whether the sums over the inputs, and over the gradients, are finite."""
        inputs = self.columns if self.A is None else [self.A]
        return all(bool(torch.isfinite(x).all()) for x in inputs), bool(torch.isfinite(self.G).all())


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
    sums = {layer.name: _empty(layer, device) for layer in layers}
    total = sum(map(size, batches))
    for layer in layers:
        generator = torch.Generator().manual_seed(seed)
        _attach(model.get_submodule(layer.name), layer, sums[layer.name], generator, total)
    generator = torch.Generator().manual_seed(seed)
    samples, differ = 0, False
    first: Tensor | None = None
    for batch in batches:
        outputs = forward(model, to(batch, device), output)
        if not bool(torch.isfinite(outputs).all()):
            blamed = images_not_finite(batches, images) or outputs_not_finite(outputs, samples, images)
            raise blamed or _layer_to_blame(layers, sums) or layer_not_finite("model", "outputs")
        first = outputs[:1].detach() if first is None else first
        differ = differ or bool((outputs != first).any())
        softened = outputs / temperature
        with blaming(f"loss {loss.name}", "one that takes the model's outputs", _LOSS):
            targets = loss.sample(softened, generator)
            value = temperature * loss.value(softened, targets).sum()
        if value.requires_grad:  # a forward pass may block the gradient
            backward(value)
        samples += size(batch)
        on_batch(samples)
    if (broken := _layer_to_blame(layers, sums)) is not None:
        raise images_not_finite(batches, images) or broken
    if samples > 1 and not differ:
        way_out = "A last layer that is initialised to zero does this: pass trained `weights`."
        got = f"the same ones for all {samples}"
        raise InputError(
            expected("model", "outputs that differ between the calibration images", got, way_out)
        )
    return {name: found.moments(samples) for name, found in sums.items()}


def _empty(layer: Layer, device: torch.device) -> _Sums:
    n, o = layer.fan_in, layer.out_channels
    G = torch.zeros(o, o, dtype=torch.float64, device=device)
    return _Sums(G, None if n > WIDE else torch.zeros(n, n, dtype=torch.float64, device=device))


def _attach(module: nn.Module, layer: Layer, sums: _Sums, generator: torch.Generator, total: int) -> None:
    """Accumulate on every call. The first layers' outputs become leaves, as the model's parameters need no gradient."""

    def accumulate_gradient(gradient: Tensor | None) -> None:
        if gradient is None:  # what follows is differentiable by name alone, as quantised layers are
            return
        rows = _channels_first(gradient, layer).float()
        sums.G += (rows @ rows.T).double()

    def hook(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
        inputs = input_of(args, kwargs).detach()
        if sums.A is None:
            sums.add(drawn_columns(inputs, layer, generator, total))
        else:
            for rows in unfold_chunks(inputs, layer, generator):
                sums.add(rows)
        if not output.requires_grad:
            output = output.detach().requires_grad_().clone()
        if output.requires_grad:
            output.register_hook(accumulate_gradient)
        return output

    module.register_forward_hook(hook, with_kwargs=True)


def drawn_columns(inputs: Tensor, layer: Layer, generator: torch.Generator, total: int) -> Tensor:
    """A batch's share of the columns of a wide layer, drawn from all images and positions.

    inputs: An (N, …) tensor, the layer's input. total: the number of examples in all batches.
    returns: An (n, r) float32 tensor with n = I·prod(kernel_size).
    """
    share = -(-COLUMNS * len(inputs) // total)
    places = max(1, share // len(inputs))
    rows = torch.cat(list(unfold_chunks(inputs, layer, generator, places)), dim=1)
    picked = torch.randperm(rows.shape[1], generator=generator)[:share].sort().values
    return rows[:, picked.to(rows.device)].clone()


def _channels_first(tensor: Tensor, layer: Layer) -> Tensor:
    """A layer's output or gradient as (O, samples · positions)."""
    if tensor.dim() == 1:  # of a linear layer, for one example by itself
        return tensor[:, None]
    channel = -1 if layer.kind == "linear" else tensor.dim() - layer.spatial_dims - 1
    return tensor.movedim(channel, 0).flatten(1)


def unfold_chunks(
    inputs: Tensor, layer: Layer, generator: torch.Generator, positions: int = POSITIONS
) -> Iterable[Tensor]:
    """A layer's inputs as columns, a bounded number of samples at a time.

    inputs: An (N, …) tensor, the layer's input.
    returns: (n, p) float32 tensors with n = I·prod(kernel_size), one column for each of p patches.

    The layer's own padding, including its padding mode, is applied before unfolding. At most `positions` patches
    per sample are used, at random places drawn from `generator`; for a Linear layer, all of them.
    """
    if layer.kind == "linear":
        yield from (
            inputs.reshape(-1, inputs.shape[-1])
            .float()
            .T.split(max(1, _CHUNK_BYTES // (4 * layer.fan_in)), dim=1)
        )
        return
    if inputs.dim() == layer.spatial_dims + 1:
        inputs = inputs.unsqueeze(0)
    windows = windows_of(padded(inputs.float(), layer), layer)  # (N, I, *positions, *taps)
    dims = layer.spatial_dims
    sizes = windows.shape[2 : 2 + dims]
    count = prod(sizes)
    places = torch.arange(count)
    if count > positions:
        places = torch.randperm(count, generator=generator)[:positions].sort().values
    index = torch.unravel_index(places.to(inputs.device), sizes)
    step = max(1, _CHUNK_BYTES // (4 * layer.fan_in * len(places)))
    for chunk in windows.split(step):
        patches = chunk[(slice(None), slice(None), *index)]  # (N, I, places, *taps)
        yield patches.permute(1, *range(3, 3 + dims), 0, 2).reshape(layer.fan_in, -1)


def _layer_to_blame(layers: Sequence[Layer], sums: Mapping[str, _Sums]) -> NonFiniteError | None:
    for layer in layers:
        for what, finite in zip(("inputs", "output gradients"), sums[layer.name].finite(), strict=True):
            if not finite:
                return layer_not_finite(f"layer {layer.name}", what)
    return None
