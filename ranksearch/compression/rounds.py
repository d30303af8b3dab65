"""Rounds of compression: a plan is applied to one group of layers at a time, from the last ones to the first.

A group is factorised in the network that the earlier rounds have trained, so their training is kept, and the
damage of each group is repaired before the next one follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

from ranksearch.costs import computed, layer_cost
from ranksearch.networks import Layer
from ranksearch.planning import Plan


@dataclass(frozen=True)
class Round:
    """One of `count` rounds, `number` from 0. plan: the candidates of its own layers, and the cost of the whole model
    after it."""

    number: int
    count: int
    plan: Plan

    def share(self, steps: int) -> int:
        """Its share of the training steps; the shares of all rounds add up to `steps`."""
        return steps * (self.number + 1) // self.count - steps * self.number // self.count

    def named(self, stage: str) -> str:
        """A name for a stage of this round that is unique among the rounds."""
        return stage if self.count == 1 else f"{stage}, round {self.number + 1} of {self.count}"


def rounds_of(layers: Sequence[Layer], plan: Plan, count: int) -> tuple[Round, ...]:
    """The rounds of a plan, the last layers first; at least one, and at most one per factorised layer.

    `layers`, in the order of the forward pass, include those that the plan factorises. A single round is the plan.
    """
    chosen = [
        layer for layer in layers if layer.name in plan.choices and not plan.choices[layer.name].is_dense
    ]
    count = min(count, max(1, len(chosen)))
    if count == 1:
        return (Round(0, 1, plan),)
    found: list[Round] = []
    cost = plan.cost
    # Backwards from the last round, after which the whole plan has been applied.
    for number, group in enumerate(grouped(chosen, count)):
        found.append(
            Round(count - 1 - number, count, Plan({x.name: plan.choices[x.name] for x in group}, cost))
        )
        for layer in group:
            metrics = computed(tuple(cost.amounts))
            own = plan.choices[layer.name].cost.only(metrics)
            cost = cost.only(metrics) - own + layer_cost(layer, metrics)
    return tuple(reversed(found))


def grouped(layers: Sequence[Layer], count: int) -> list[list[Layer]]:
    """`count` groups of adjacent layers, in the given order; `count` is at most the number of layers.

    These are the network's stages, by a prefix of the layers' dotted names, if there are as many; else runs of about
    equal numbers of parameters.
    """
    for depth in range(1, 1 + max(layer.name.count(".") + 1 for layer in layers)):
        labels = {layer.name: ".".join(layer.name.split(".")[:depth]) for layer in layers}
        runs = [(label, list(run)) for label, run in groupby(layers, key=lambda x: labels[x.name])]
        if len(runs) == len({label for label, _ in runs}) == count:
            return [run for _, run in runs]
    sums = list(accumulate(layer_cost(layer).params for layer in layers))
    ends = [0]
    for k in range(1, count):
        wanted = sums[-1] * k / count
        possible = range(ends[-1] + 1, len(layers) - (count - k) + 1)
        ends.append(min(possible, key=lambda end: abs(sums[end - 1] - wanted)))
    ends.append(len(layers))
    return [list(layers[a:b]) for a, b in pairwise(ends)]
