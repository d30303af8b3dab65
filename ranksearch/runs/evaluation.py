"""Saved models evaluated beside the dense one, and their records written again with what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ranksearch.compression import load_compressed, save_plan
from ranksearch.planning import BehaviourRecord, PlanRecord, behaviour_record, dense_estimate
from ranksearch.progress import Progress, Ticks, no_progress, no_ticks, ticks
from ranksearch.runs.account import Account
from ranksearch.tasks import Behaviour, Role, Task, answers, compare_answers, metric_name

FINAL: tuple[Role, ...] = ("validation", "test")
"""Data of the final evaluation."""


@dataclass(frozen=True)
class Saved:
    """A compressed model that is on disk, and the record that lies with it."""

    record: PlanRecord
    folder: Path


def evaluated(
    task: Task,
    saved: Sequence[Saved],
    account: Account,
    roles: Sequence[Role] = FINAL,
    *,
    progress: Progress = no_progress,
) -> tuple[Saved, ...]:
    """Saved models with their final scores and their behaviour beside the dense model, written again.

    Each role's data is read once, for the dense model and all models that it has not been told of yet; the account is
    told of the dense model. Whatever is wrong with those data, the models are there.
    """
    found = list(saved)
    for role in roles:
        lacking = [k for k, each in enumerate(found) if role not in each.record.behaviour]
        models = [
            task.laid_out(load_compressed(found[k].folder, found[k].record, task.model)) for k in lacking
        ]
        names = ", ".join(found[k].record.asked for k in lacking)
        tell = ticks(progress, f"evaluation {names}, {role}")
        beside = final_behaviour(task, models, role, tell) if lacking else None
        for k, behaviour in zip(lacking, beside or (), strict=bool(beside)):
            told = behaviour_record(behaviour, metric_name(task), account.data.classes)
            found[k] = _with_behaviour(found[k], role, told)
        kept = [each.record.behaviour[role] for each in found if role in each.record.behaviour]
        if kept and (dense := dense_estimate(kept[0])) is not None:
            account.dense[role] = dense
    return tuple(
        rewritten(each, {"delivery": account.record()})
        if each.record.delivery is None or each.record != before.record
        else each
        for each, before in zip(found, saved, strict=True)
    )


def final_behaviour(
    task: Task, models: Sequence[nn.Module], role: Role, progress: Ticks = no_ticks
) -> list[Behaviour] | None:
    """Compressed models beside the dense one on the data of a role; None without data or labels."""
    answered = answers([task.model, *models], task, role, progress=progress)
    if answered is None:
        return None
    dense, *others = answered
    return [compare_answers(dense, other) for other in others]


def _with_behaviour(saved: Saved, role: Role, found: BehaviourRecord) -> Saved:
    record = saved.record
    scores = record.scores | {role: found.delivered, f"{role}_stderr": found.delivered_stderr}
    return rewritten(saved, {"scores": scores, "behaviour": record.behaviour | {role: found}})


def rewritten(saved: Saved, changes: Mapping[str, Any]) -> Saved:
    """A saved model whose record says more; the file is written where that changes it."""
    record = saved.record.model_copy(update=dict(changes))
    if record != saved.record:
        save_plan(saved.folder, record)
    return Saved(record, saved.folder)
