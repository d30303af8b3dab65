"""Recovery: a truncated network is retrained, with truncated kernels or as a chain of factors.

Projected: the kernels keep their shape, and each epoch (or step) ends with the SVD truncation across the cut, so that
the bond dimension does not grow. Factorised: each kernel becomes the two convolutions that correspond to the
cut, and these are trained. Both start from the same outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ranksearch.compression.training import FinetuneConfig, finetune, steps_per_epoch
from ranksearch.errors import InputError, expected
from ranksearch.networks import (
    Chain,
    Factor,
    Layer,
    chain_module,
    copy_model,
    kernel_of,
    named_layers,
    put_kernel,
    replace_modules,
)
from ranksearch.probing.cuts import Cut
from ranksearch.probing.rows import Row
from ranksearch.probing.scores import Judge, ProbeImages, Scores
from ranksearch.probing.spectra import LayerSpectra, layer_spectra
from ranksearch.progress import Ticks, no_ticks
from ranksearch.tasks import Task

Way = Literal["projected", "factorised"]
WAYS: tuple[Way, ...] = ("projected", "factorised")


@dataclass(frozen=True)
class Truncation:
    """One layer's cut and its bond dimension."""

    layer: Layer
    cut: Cut
    bond: int


@dataclass(frozen=True)
class Epoch:
    """Scores after an epoch of training; epoch 0 is before any. params: of the whole model in this form."""

    way: Way
    epoch: int
    params: int
    scores: Scores


def usual_cut(spectra: Mapping[str, LayerSpectra]) -> str:
    """The cut between the outputs and the rest, by its most frequent name; "" if no layer has such a cut."""
    names = [s.cut.name for x in spectra.values() for s in x.spectra if s.cut.left == (0,)]
    return max(sorted(set(names)), key=names.count, default="")


def plan_truncation(spectra: Mapping[str, LayerSpectra], norm: float, cut: str) -> tuple[Truncation, ...]:
    """Each layer that has this cut, at the smallest bond dimension that keeps `norm`. Raises InputError for none."""
    found = [
        Truncation(x.layer, spectrum.cut, spectrum.rank_for(norm))
        for x in spectra.values()
        for spectrum in x.spectra
        if spectrum.cut.name == cut
    ]
    if not found:
        known = sorted({s.cut.name for x in spectra.values() for s in x.spectra})
        raise InputError(expected("recovery_cut", " or ".join(known), repr(cut)))
    return tuple(found)


def telling_norm(rows: Sequence[Row], cut: str, dense: float, chance: float) -> float | None:
    """The largest norm kept in all layers at which half of the accuracy above chance is lost; else the smallest."""
    of_cut = [r for r in rows if r.scope == "all" and r.cut == cut and r.accuracy is not None]
    of_cut.sort(key=lambda r: -(r.target or 0.0))
    lost = [r for r in of_cut if (r.accuracy or 0.0) < (dense + chance) / 2]
    chosen = lost[0] if lost else of_cut[-1] if of_cut else None
    return chosen.target if chosen else None


def recover(
    task: Task,
    images: ProbeImages,
    judge: Judge,
    truncations: Sequence[Truncation],
    way: Way,
    *,
    epochs: int,
    every_step: bool = False,
    lr: float = FinetuneConfig.lr,
    seed: int = 0,
    progress: Ticks = no_ticks,
) -> tuple[Epoch, ...]:
    """Train one way for some epochs, distilled from the dense model; scores before, and after each epoch.

    `every_step` projects after each step instead of each epoch. Factorised, a cut with o and i on the same side
    raises InputError, since it does not correspond to two convolutions. Scores are always those of a network with
    the given bond dimensions.
    """
    model = task.laid_out(truncated_model(task.model, truncations))
    if way == "factorised":
        model = task.laid_out(factorised_model(model, truncations))
    params = sum(p.numel() for p in model.parameters())

    def scores() -> Scores:
        return judge.scores(task.outputs(model, images.inputs))

    found = [Epoch(way, 0, params, scores())]
    per_epoch = steps_per_epoch(task)
    steps = epochs * per_epoch

    def after_epoch(step: int, trained: nn.Module) -> None:
        if way == "projected":
            project(trained, truncations)
        found.append(Epoch(way, step // per_epoch, params, scores()))

    def after_step(step: int, loss: float) -> None:
        if way == "projected" and every_step:
            project(model, truncations)
        progress(step, steps)

    if steps:
        finetune(
            model,
            task.model,
            task,
            steps=steps,
            seed=seed,
            config=FinetuneConfig(lr=lr),
            checkpoints=range(per_epoch, steps + 1, per_epoch),
            on_checkpoint=after_epoch,
            on_step=after_step,
        )
    return tuple(found)


def truncated_model(model: nn.Module, truncations: Sequence[Truncation]) -> nn.Module:
    """A copy in evaluation mode whose kernels are truncated, in their full shapes."""
    copied = copy_model(model).eval()
    project(copied, truncations)
    return copied


def project(model: nn.Module, truncations: Sequence[Truncation]) -> None:
    """Truncate a model's kernels in place, by their own SVD."""
    with torch.no_grad():
        for t in truncations:
            kernel = kernel_of(model, t.layer.name)
            put_kernel(model, t.layer.name, _truncated(t, kernel))


def _truncated(t: Truncation, kernel: Tensor) -> Tensor:
    found = layer_spectra(t.layer, kernel, (t.cut,))
    return found.bases[0].truncate(kernel, t.bond)


def factorised_model(model: nn.Module, truncations: Sequence[Truncation]) -> nn.Module:
    """A copy in which each layer is the chain of its cut; the same outputs, for a model that is truncated already."""
    copied = copy_model(model)
    modules = named_layers(copied)
    replacements: dict[nn.Module, nn.Module] = {}
    for t in truncations:
        dense = modules[t.layer.name]
        chain, factors = two_factors(t, kernel_of(copied, t.layer.name))
        replacements[dense] = chain_module(t.layer, chain, factors, dense._parameters.get("bias"))
    return replace_modules(copied, replacements)


def is_chain(cut: Cut) -> bool:
    """Whether truncation across a cut is a chain of two convolutions: o and i on different sides."""
    return (0 in cut.left) != (1 in cut.left)


def two_factors(t: Truncation, kernel: Tensor) -> tuple[Chain, tuple[Tensor, Tensor]]:
    """The chain of a cut with o and i on different sides: the spatial axes on the side of i, then those of o."""
    if not is_chain(t.cut):
        wanted = "a cut with o and i on different sides, where the network is to be factorised"
        raise InputError(expected("recovery_cut", wanted, repr(t.cut.name)))
    inputs = t.cut.left if 1 in t.cut.left else t.cut.right
    taps_in = tuple(k - 2 for k in inputs if k > 1)
    taps_out = tuple(axis for axis in range(kernel.dim() - 2) if axis not in taps_in)
    matrix = Cut((0, *(2 + a for a in taps_out)), (1, *(2 + a for a in taps_in))).matrix(kernel.double())
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[: t.bond].sqrt()
    sizes = kernel.shape[2:]
    first = (root[:, None] * right[: t.bond]).reshape(t.bond, kernel.shape[1], *(sizes[a] for a in taps_in))
    last = (left[:, : t.bond] * root).reshape(kernel.shape[0], *(sizes[a] for a in taps_out), t.bond)
    chain = (Factor(kernel.shape[1], t.bond, taps_in), Factor(t.bond, kernel.shape[0], taps_out))
    return chain, (first.to(kernel.dtype), last.movedim(-1, 1).to(kernel.dtype))
