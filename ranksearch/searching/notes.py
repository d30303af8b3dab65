"""The notes of a search's studies, in Markdown: what a trial is, what its parameters mean, where the rest is found."""

from __future__ import annotations

import inspect

from ranksearch.costs import Budget, unit_of
from ranksearch.objectives import Objective, score_label
from ranksearch.search_spaces import SearchSpace

_TRIAL = (
    "Each trial is a plan. Its user attributes hold the ranks of every layer (`ranks`), what the plan costs (`cost`), "
    "where it comes from (`origin`) and its other scores (`scores`)."
)

_BESIDE = (
    "Trial 0 is the analytic plan, unless the space cannot express it. Plans of rules of the literature are no trials: "
    "their scores and ranks are user attributes of the study, `plan uniform` and `plan energy`."
)


def scan_note(objective: Objective, budget: Budget, space: SearchSpace) -> str:
    """Of the first stage, in which a search space proposes plans."""
    meaning = inspect.getdoc(type(space)) or ""
    parts = [
        f"**{_title(objective)}** of plans {_within(budget)}",
        _TRIAL,
        _BESIDE,
        f"## Parameters of `{space.name}`",
    ]
    return "\n\n".join([*parts, meaning])


def tune_note(objective: Objective, budget: Budget) -> str:
    """Of a later stage, in which the best plans of the first one are compared."""
    begin = f"**{_title(objective)}** of the best plans of the first stage {_within(budget)}"
    return "\n\n".join([begin, _TRIAL, "`place` is the plan's place in the first stage."])


def _title(objective: Objective) -> str:
    label = score_label(objective.name)
    return label[:1].upper() + label[1:]


def _within(budget: Budget) -> str:
    return f"that keep {budget.name} of the {unit_of(budget.metric)}. Lower is better."
