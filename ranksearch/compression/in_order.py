"""Refits in the order of the forward pass: each layer is fitted to the inputs that the compressed network gives it.

An independently fitted layer is optimal for the dense network's inputs x. After other compressed layers its input is x̂,
and the errors add up. W* is the kernel whose outputs for x̂ are closest to those of W for x, in the least-squares sense;
it corrects as much of the errors as a kernel can, and the chain is fitted to W* in the metric of x̂. This is the
asymmetric reconstruction of Zhang, Zou, He and Sun (2016, arXiv:1505.06798, section 3.3), without their non-linearity,
and with G as the metric of the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from ranksearch.calibration import (
    WIDE,
    Columns,
    Moments,
    add_square,
    drawn_columns,
    shrink,
    square_in_kernel_order,
    symmetric,
    unfold_chunks,
    whiten,
)
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError
from ranksearch.networks import (
    Batch,
    Layer,
    algebra_threads,
    call,
    cat,
    chain_module,
    copy_model,
    eval_mode,
    head,
    kernel_of,
    part,
    real_positions,
    replace_modules,
    run_recorded,
    size,
    to,
)
from ranksearch.planning import Effort, Plan, chain_of, fit_candidate
from ranksearch.progress import Ticks, no_ticks
from ranksearch.tasks import Task

_POSITIONS = 32
"""Patches used per image; 64 gain nothing."""

_BYTES = 2 * 2**30
"""Approximate limit on the memory for the activations of one forward pass."""

_SQUARE = 6144
"""Wide layers with at most this many inputs use n × n matrices for W*, if there are enough patches."""

_TARGET_FLOPS = 1e12
"""Approximate limit on the FLOPs for these matrices of a wide layer."""

_PART_BYTES = 2 * 2**20
"""Size of inputs and outputs processed at once: parts of a batch that fit into the processor's caches are faster."""

_LIVE = 3
"""Activations of the largest layer's size that are in memory at once, in addition to its own."""

Weights = Mapping[str, tuple[Tensor, ...]]
"""The factors of each layer's chain, by layer name."""


def refit_in_order(
    task: Task,
    layers: Sequence[Layer],
    plan: Plan,
    weights: Weights,
    moments: Mapping[str, Moments],
    effort: Effort,
    inputs: Batch,
    *,
    seed: int = 0,
    on_layer: Ticks = no_ticks,
) -> Weights | None:
    """New factors for the layers that a plan factorises, starting from `weights`; None if the model does not allow it.

    One forward pass of `inputs`, all of them twice in one batch: one half is what the dense network sees, the
    other what the compressed one sees, and each layer is fitted when the pass comes to it. As many inputs
    are used as 2 GiB of activations allow. G comes from `moments`. A layer that is called several times
    keeps its factors, and so does a lookup, whose inputs are the same in both networks. Groups of channels are fitted
    one by one; they keep their factors where one is wide, as layers do that are unused. `weights` contain at least one
    layer.

    None for a model that mixes the examples of a batch, whose batch dimension is not the first, or that does not run on
    such a batch, and where there is nothing to fit.
    """
    chosen = [layer for layer in layers if layer.name in weights and not plan.choices[layer.name].unused]
    if all(layer.traits.lookup for layer in chosen):
        return None
    inputs = to(head(inputs, _affordable(chosen)), task.device)
    shared = _shared(task, chosen, inputs)
    if shared is None:
        return None
    real = real_positions(task.output, inputs)
    found: dict[str, tuple[Tensor, ...]] = dict(weights)
    done, fitting = 0, False

    def make(layer: Layer, dense: Tensor, own: Tensor) -> nn.Module:
        nonlocal done, fitting
        fitting = True
        wide_groups = layer.groups > 1 and layer.fan_in > WIDE
        if len(layer.calls) == 1 and not wide_groups and not layer.traits.lookup:
            found[layer.name] = _fit(
                task.model,
                layer,
                plan,
                weights[layer.name],
                moments[layer.name],
                effort,
                dense,
                own,
                seed,
                real,
            )
        done += 1
        on_layer(done, len(chosen))
        made = chain(layer, own.dtype if own.is_floating_point() else None)
        fitting = False
        return made

    def chain(layer: Layer, dtype: torch.dtype | None) -> nn.Module:
        dense = task.model.get_submodule(layer.name)
        factors = chain_of(layer, plan.choices[layer.name])
        made = chain_module(layer, factors, found[layer.name], dense._parameters.get("bias"))
        return task.laid_out(made.to(dtype or dense.get_parameter("weight").dtype))

    model = copy_model(task.model)
    twins = {model.get_submodule(layer.name): layer for layer in chosen}
    model = replace_modules(
        model,
        {
            dense: chain(layer, None) if layer.name in shared else _Twin(layer, dense, make)
            for dense, layer in twins.items()
        },
    )
    try:
        with eval_mode(task.laid_out(model)):
            call(model, cat([inputs, inputs]))
    except InputError:
        if fitting:  # what goes wrong in a fit is no fault of the model's
            raise
        return None
    return found


class _Twin(nn.Module):
    """A layer for the first half of a batch, and the chain that takes its place for the second.

    On the first call `make` creates the chain from the layer's inputs in the two halves. Both then run in parts.
    """

    def __init__(
        self, layer: Layer, dense: nn.Module, make: Callable[[Layer, Tensor, Tensor], nn.Module]
    ) -> None:
        super().__init__()
        self.layer, self.dense, self.make = layer, dense, make
        self.chain: nn.Module | None = None
        self.part = max(1, _PART_BYTES // (4 * _entries(layer)))

    def forward(self, input: Tensor) -> Tensor:
        dense, own = input.chunk(2)
        if self.chain is None:
            self.chain = self.make(self.layer, dense, own)
        return torch.cat([*map(self.dense, dense.split(self.part)), *map(self.chain, own.split(self.part))])


def _affordable(layers: Sequence[Layer]) -> int:
    """The number of examples that fit into memory twice."""
    return max(1, int(_BYTES / (2 * 4 * _LIVE * max(map(_entries, layers)))))


def _entries(layer: Layer) -> int:
    """The number of entries of an example's inputs and outputs together, in the largest call."""
    return max(
        (1 if layer.traits.lookup else layer.in_channels) * prod(call.in_size)
        + layer.out_channels * prod(call.out_size)
        for call in layer.calls
    )


def _shared(task: Task, layers: Sequence[Layer], inputs: Batch) -> set[str] | None:
    """Lookups that are made once for a whole batch, as those of positions are; None unless each other layer gets the
    same inputs from a batch of two examples as from the two separately."""
    copied = copy_model(task.model).to(task.device).eval()
    modules = {layer.name: copied.get_submodule(layer.name) for layer in layers}
    last = size(inputs) - 1
    first, second = head(inputs, 1), part(inputs, last, last + 1)
    batches = (first, second, cat([first, second]))
    try:  # cloned, since the model may overwrite them
        seen = [
            run_recorded(copied, modules, batch, lambda given, _: given.clone(), task.output)[0]
            for batch in batches
        ]
    except InputError:
        return None
    shared: set[str] = set()
    for layer in layers:
        a, b, both = (found.get(layer.name, []) for found in seen)
        if not len(a) == len(b) == len(both):
            return None
        if layer.traits.lookup and all(
            torch.equal(x, z) and torch.equal(y, z) for x, y, z in zip(a, b, both, strict=True)
        ):
            shared.add(layer.name)
        elif not all(map(_joined, a, b, both)):
            return None
    return shared


def _joined(first: Tensor, second: Tensor, both: Tensor) -> bool:
    """Whether some inputs are two others, one after the other."""
    if not first.dim() or not both.numel() or first.shape[1:] != second.shape[1:]:
        return False
    together = torch.cat([first, second])
    return together.shape == both.shape and torch.allclose(
        together, both, rtol=1e-3, atol=1e-4 * float(both.abs().amax())
    )


def _fit(
    model: nn.Module,
    layer: Layer,
    plan: Plan,
    weights: tuple[Tensor, ...],
    moments: Moments,
    effort: Effort,
    dense: Tensor,
    own: Tensor,
    seed: int,
    real: Tensor | None,
) -> tuple[Tensor, ...]:
    """Factors for inputs `own` that give the outputs of the layer itself for `dense`, at positions that are real."""
    kernel = kernel_of(model, layer.name).to(own.device).double()
    candidate = plan.choices[layer.name]
    with algebra_threads(layer.fan_in):
        A, target = _targets(kernel.flatten(1), layer, dense, own, seed, real)
        whitened = whiten(target.reshape(kernel.shape), A, moments.shrunk()[1], layer.groups)
        start = whitened.from_layer(chain_of(layer, candidate), weights)
        decomposition = DECOMPOSITIONS.get(candidate.decomposition)
        fit = fit_candidate(
            whitened, layer, decomposition, candidate.form, candidate.ranks, config=effort, start=start
        )
        return fit.weights(whitened)


def _targets(
    kernel: Tensor, layer: Layer, dense: Tensor, own: Tensor, seed: int, real: Tensor | None
) -> tuple[Tensor | Columns, Tensor]:
    """`_target` of a layer, or of each of its groups of channels: then A has one more axis in front."""
    if layer.groups == 1:
        return _target(kernel, layer, dense, own, seed, real)
    channels = own.dim() - layer.spatial_dims - 1
    parts = zip(
        *(x.chunk(layer.groups, dim=d) for x, d in ((kernel, 0), (dense, channels), (own, channels))),
        strict=True,
    )
    found = [_target(k, layer.group, p, q, seed, real) for k, p, q in parts]
    return torch.stack([cast(Tensor, A) for A, _ in found]), torch.cat([target for _, target in found])


def _target(
    kernel: Tensor, layer: Layer, dense: Tensor, own: Tensor, seed: int, real: Tensor | None
) -> tuple[Tensor | Columns, Tensor]:
    """(A, W*): second moments of the inputs that a layer gets, and the kernel for them closest to W.

    With P and Q the columns of both inputs, W* = W + W (P − Q) Qᵀ (Q Qᵀ)⁻¹, shrunk towards W as Q Qᵀ is shrunk.
    The columns that represent A of a wide layer are too few for W*, which uses as many patches as it can afford.
    """
    if layer.fan_in <= WIDE:
        return _from_patches(kernel, layer, dense, own, seed, _POSITIONS, real)
    P, Q = (
        drawn_columns(x, layer, torch.Generator().manual_seed(seed), len(x), real).double()
        for x in (dense, own)
    )
    n, r = Q.shape
    metric = Columns((Q / r**0.5).float(), n / (n + r))
    positions = _affordable_positions(layer, len(own))
    if n > _SQUARE or len(own) * positions < 2 * r:
        return metric, _from_columns(kernel, P, Q)
    return metric, _from_patches(kernel, layer, dense, own, seed, positions, real)[1]


def _affordable_positions(layer: Layer, examples: int) -> int:
    """Patches per example that `_TARGET_FLOPS` allow; for a Linear layer all or none."""
    places = sum(prod(call.out_size) for call in layer.calls)
    affordable = int(_TARGET_FLOPS / (4 * layer.fan_in**2 * examples))
    if not layer.spatial_dims:
        return places if places <= affordable else 0
    return min(_POSITIONS, places, affordable)


def _from_patches(
    kernel: Tensor,
    layer: Layer,
    dense: Tensor,
    own: Tensor,
    seed: int,
    positions: int,
    real: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """(A, W*) from `positions` patches of each example, using n × n matrices."""
    n = layer.fan_in
    exact = torch.float64 if n <= WIDE else torch.float32
    second = torch.zeros(n, n, dtype=exact, device=own.device)
    cross, count = torch.zeros_like(second), 0
    draws = (
        unfold_chunks(x, layer, torch.Generator().manual_seed(seed), positions, real) for x in (dense, own)
    )
    for P, Q in zip(*draws, strict=True):
        add_square(second, Q)
        cross += (P - Q).T @ Q
        count += len(Q)
    second, cross = (
        square_in_kernel_order(sums, layer).double() / count for sums in (symmetric(second), cross)
    )
    A = shrink(second, count)
    return A, kernel + torch.linalg.solve(A, (kernel @ cross).T).T


def _from_columns(kernel: Tensor, P: Tensor, Q: Tensor) -> Tensor:
    """W* from columns (n, r): (Q Qᵀ + D)⁻¹ computed from the smaller r × r matrix (Woodbury)."""
    n, r = Q.shape
    ridge = (n / r * Q.square().sum(1)).clamp_min(1e-12 * float(Q.square().sum()))
    scaled = Q / ridge[:, None]
    inner = torch.eye(r, dtype=Q.dtype, device=Q.device) + Q.T @ scaled
    pull: Tensor = torch.linalg.solve(inner, (kernel @ (P - Q)).T).T
    return kernel + pull @ scaled.T
