"""Refits: the chains of a plan fitted again, thoroughly and independently, with all the calibration images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ranksearch.calibration import Moments
from ranksearch.costs import Cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import MismatchError, expected
from ranksearch.networks import UNCALLED, Layer, algebra_threads, kernel_of
from ranksearch.planning import Candidate, Effort, Plan, fit_candidate, zeros_of
from ranksearch.progress import Progress, no_progress
from ranksearch.tasks import Task

_KEPT_BYTES = 2**30
"""Whitened kernels are kept for further plans up to this size in all: those of a large network would take several times
its memory."""


def planned_layers(layers: Sequence[Layer], plans: Iterable[Plan]) -> tuple[Layer, ...]:
    """The layers of a model that any of the plans factorises.

    Raises MismatchError if one is missing or has to stay dense.
    """
    plans = tuple(plans)
    unused = {name for plan in plans for name, candidate in plan.choices.items() if candidate.unused}
    known = {
        x.name: replace(x, reason=None) if x.reason == UNCALLED and x.name in unused else x for x in layers
    }
    names = {name for plan in plans for name, candidate in plan.choices.items() if not candidate.is_dense}
    for name in sorted(names):
        if name not in known:
            raise MismatchError(expected(f"layer {name}", "a layer of the model", "none of that name"))
        if (reason := known[name].reason) is not None:
            raise MismatchError(expected(f"layer {name}", "one that can be factorised", reason))
    return tuple(layer for name, layer in known.items() if name in names)


def fitted_layers(layers: Sequence[Layer], plans: Iterable[Plan]) -> tuple[Layer, ...]:
    """Those that some plan fits to something: not what is unused."""
    plans = tuple(plans)
    unused = {name for plan in plans for name, candidate in plan.choices.items() if candidate.unused}
    return tuple(layer for layer in planned_layers(layers, plans) if layer.name not in unused)


@dataclass(frozen=True)
class Fitted:
    """Weights of a plan's chains, by layer name."""

    weights: Mapping[str, tuple[Tensor, ...]]

    def factors(self, layer: Layer, candidate: Candidate) -> tuple[Tensor, ...]:
        return self.weights[layer.name]


def refit(
    task: Task,
    layers: Sequence[Layer],
    plan: Plan,
    moments: Mapping[str, Moments],
    effort: Effort,
    progress: Progress = no_progress,
) -> tuple[Fitted, Plan]:
    """Fit each chain of a plan again, thoroughly; returns the weights, and the plan with the ε that they reach."""
    chosen = [layer for layer in layers if not plan.choices.get(layer.name, _DENSE).is_dense]
    weights: dict[str, tuple[Tensor, ...]] = {}
    choices = dict(plan.choices)
    kept = 0
    for done, layer in enumerate(chosen):
        progress("refitting", done, len(chosen))
        candidate = choices[layer.name]
        if candidate.unused:
            weights[layer.name] = zeros_of(layer, candidate)
            continue
        decomposition = DECOMPOSITIONS.get(candidate.decomposition)
        kernel = kernel_of(task.model, layer.name).to(task.device)
        form, ranks = candidate.form, candidate.ranks
        with algebra_threads(layer.fan_in):
            whitened = moments[layer.name].whitened(kernel, keep=kept < _KEPT_BYTES)
            kept += whitened.nbytes
            fit = fit_candidate(whitened, layer, decomposition, form, ranks, config=effort)
            whitened.forget()
        weights[layer.name] = fit.weights(whitened)
        choices[layer.name] = replace(candidate, error=fit.error)
    progress("refitting", len(chosen), len(chosen))
    return Fitted(weights), Plan(choices, plan.cost)


_DENSE = Candidate("dense", "", (), Cost(params=0, flops=0), 0.0)
