"""How a plan is applied."""

from __future__ import annotations

from dataclasses import dataclass, field

from ranksearch.compression.training import MATCHING, FinetuneConfig
from ranksearch.errors import InputError, expected
from ranksearch.keywords import checks_keywords

_ONE_ROUND = "Without training use `rounds=1`."


@checks_keywords
@dataclass(frozen=True)
class CompressConfig:
    """How a plan is applied.

    iterations: of each layer's refinement, unless they cost more than `fit_flops`. in_order: whether fits in order, to
    the inputs that the compressed network gives its layers, compete. match_epochs: epochs of feature matching on the
    moments images, before any fine-tuning, 0 for none. epochs: epochs of fine-tuning, two as on the command line, 0 for
    none; skipped if the task has no images for it. rounds: groups of layers that are factorised one after the other,
    the last ones first, with an equal share of the training after each; at most the number of layers that the plan
    factorises. seed: of all random numbers.
    """

    iterations: int = 300
    fit_flops: float = 2e12
    in_order: bool = True
    match_epochs: int = 0
    matching: FinetuneConfig = MATCHING
    epochs: int = 2
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    rounds: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.rounds, int) or self.rounds < 1:
            raise InputError(expected("rounds", "a whole number, 1 or more", self.rounds))
        if self.rounds > 1 and not (self.epochs or self.match_epochs):
            raise InputError(
                expected("rounds", "epochs of training to divide among the rounds", "`epochs=0`", _ONE_ROUND)
            )
