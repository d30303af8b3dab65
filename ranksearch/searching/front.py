"""The front: every plan that was evaluated, and the Pareto set of cost against score among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ranksearch.costs import Budget
from ranksearch.planning import Plan

State = Literal["complete", "pruned", "infeasible"]


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of one plan: a trial, or a plan scored outside the study.

    `origin` says where the plan came from: `analytic`, `uniform`, `energy`, or the search space. `stage` is
    the name of the objective. `scores` holds `error` (the sum of ε) and what the stage found: `divergence`,
    `divergence_stderr`, `blend`; `finetune`, `finetune_stderr`, `steps`, `steps_saved`; all lower is better
    and in units of the loss, except the last two and the blend. An `infeasible` plan is above the budget and
    was not run; a `pruned` one has no final score of its stage. `trial` counts the finished trials of
    the stage's study from 0, and is None outside it; `duplicate_of` names the earlier evaluation of the same plan:
    `trial 3`, `energy`.
    """

    plan: Plan
    budget: Budget
    origin: str
    stage: str
    scores: Mapping[str, float]
    trial: int | None = None
    state: State = "complete"
    duplicate_of: str | None = None

    @property
    def ranks(self) -> dict[str, str]:
        """The ranks of the plan."""
        return self.plan.ranks


def merged(records: Iterable[Evaluated]) -> list[Evaluated]:
    """One record per plan and budget, in order of first appearance, with the scores of all its evaluations.

    Origin, stage and trial are those of the first; the state is `complete` if any evaluation was.
    """
    plans: dict[object, Evaluated] = {}
    for record in records:
        key = (record.budget, record.plan.key)
        known = plans.get(key)
        if known is None:
            plans[key] = record
        else:
            state: State = "complete" if "complete" in (known.state, record.state) else known.state
            plans[key] = replace(known, scores={**record.scores, **known.scores}, state=state)
    return list(plans.values())


def pareto_front(records: Iterable[Evaluated], metric: str, score: str = "divergence") -> list[Evaluated]:
    """The plans that no other dominates in (cost, score), by rising cost; records without that score are ignored."""
    scored = [r for r in records if r.state == "complete" and score in r.scores]
    best: list[Evaluated] = []
    for record in sorted(scored, key=lambda r: (r.plan.cost.of(metric), r.scores[score])):
        if not best or record.scores[score] < best[-1].scores[score]:
            best.append(record)
    return best
