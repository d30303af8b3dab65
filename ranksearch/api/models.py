"""Compressed models from Python: made, compared, measured, saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.bars import showing
from ranksearch.calibration import Moments
from ranksearch.cards import write_card
from ranksearch.compression import (
    PLAN_FILE,
    CompressConfig,
    Compressed,
    load_compressed,
    outputs_record,
    planned_layers,
    save_compressed,
)
from ranksearch.compression import compress as compress_plan
from ranksearch.costs import Budget, Cost
from ranksearch.errors import InputError, expected
from ranksearch.keywords import checks_keywords
from ranksearch.networks import Layer, draws_alone
from ranksearch.planning import (
    DeliveryRecord,
    FootprintRecord,
    Gauge,
    Plan,
    PlanRecord,
    input_records,
    inspect_network,
    make_record,
    read_plan,
)
from ranksearch.progress import Progress, no_losses
from ranksearch.searching import SearchResult
from ranksearch.tasks import Behaviour, Role, Task, answers, compare_answers, metric_name
from ranksearch.timing import TimingSettings
from ranksearch.tracking import Tracking


@checks_keywords
@draws_alone
def compress(
    task: Task,
    plan: Plan | SearchResult,
    *,
    config: CompressConfig | None = None,
    epochs: int | None = None,
    match_epochs: int | None = None,
    rounds: int | None = None,
    seed: int | None = None,
    moments: Mapping[str, Moments] | None = None,
    layers: Sequence[Layer] | None = None,
    kept: str | Path | None = None,
    progress: Progress | bool | None = True,
    track: Tracking | None = None,
) -> Compressed:
    """Factorise, re-estimate BatchNorm statistics, fine-tune by distillation from the dense model.

    plan: also the result of a search, for its plan. epochs, match_epochs, rounds, seed: in place of those of `config`.
    moments: of all calibration images, from `calibration_moments`, to share between plans of a task; layers: all of its
    model, likewise. kept: a folder where a training of more than half a minute is kept after each epoch, so that the
    same call goes on from there after an interruption. progress, track: as for `search`.

    Raises MismatchError if the plan names layers that the model does not have, or if its cost differs.
    """
    if not isinstance(wanted := plan.plan if isinstance(plan, SearchResult) else plan, Plan):
        raise InputError(expected("plan", "a plan, or the result of one search", type(plan).__name__))
    own: dict[str, Any] = {"epochs": epochs, "match_epochs": match_epochs, "rounds": rounds, "seed": seed}
    changed = {name: value for name, value in own.items() if value is not None}
    settings = replace(config or CompressConfig(), **changed)
    with showing(progress) as told:
        return compress_plan(
            task,
            wanted,
            config=settings,
            moments=moments,
            layers=layers,
            progress=told,
            on_loss=no_losses if track is None else track.loss,
            kept=None if kept is None else Path(kept),
        )


@checks_keywords
@draws_alone
def behaviour(task: Task, model: nn.Module | Compressed, on: Role = "test") -> Behaviour | None:
    """How a compressed model behaves beside the dense one, on data that both answer in one pass; None without labels.

    For classification it has the share of predictions that changed, the classes that lost most, and both expected
    calibration errors; for every task metric the drop, example by example, whose `interval()` is paired.
    """
    module = model.model if isinstance(model, Compressed) else model
    found = answers([task.model, module], task, on)
    return None if found is None else compare_answers(*found)


@checks_keywords
@draws_alone
def save(
    folder: str | Path,
    task: Task,
    result: SearchResult,
    compressed: Compressed,
    *,
    footprint: FootprintRecord | None = None,
    track: Tracking | None = None,
) -> None:
    """Write `model.safetensors` and `plan.json`, for `ranksearch.load`, and a model card, `README.md`.

    `compressed` is what `compress` made of `result.plan`. footprint: what `footprint` measured of it, to be kept in
    `plan.json`. track: as for `search`. Raises MismatchError where the plan is not for the task's model.
    """
    scores = {
        **result.scores,
        "factorised": compressed.factorised.mean,
        "delivered": compressed.delivered.mean,
    }
    record = plan_record(task, compressed.plan, result.budget, scores)
    told = DeliveryRecord(
        command=None,
        epochs=None,
        data=None,
        task_metric=metric_name(task),
        dense={},
        inputs=dict(input_records(task.example)),
        images=None,
    )
    found = {
        "delivery": told,
        "footprint": footprint,
        "outputs": outputs_record(compressed.model, task.example),
    }
    record = record.model_copy(update=found)
    save_compressed(Path(folder), compressed.model, record)
    write_card(Path(folder))
    if track is not None:
        track.delivered(record)


def plan_record(
    task: Task, plan: Plan, budget: Budget, scores: Mapping[str, float | None] | None = None
) -> PlanRecord:
    """What a plan file holds of a plan. Raises MismatchError where the plan is not for the task's model."""
    network = inspect_network(task, metrics=tuple(plan.cost.amounts))
    limits = {each.metric: each.dense for each in budget.every}
    measured = {name: dense for name, dense in limits.items() if name not in network.cost.amounts}
    planned_layers(network.layers, [plan])
    return make_record(
        task.model,
        network.layers,
        plan,
        example=task.example,
        dense=Cost(**network.cost.amounts, **measured),
        budget=budget,
        seed=task.splits.seed,
        model_name=task.model_name,
        scores=scores,
    )


@checks_keywords
@draws_alone
def footprint(
    task: Task, compressed: Compressed, *, runtime: str = "torch", latency_batch: int = 1
) -> FootprintRecord:
    """What a compressed model takes, next to the dense one: bytes of its file, memory of activations, and time.

    The time of a forward pass is measured in turns with the dense model, on this machine, with torch's current number
    of threads. runtime: `torch`, `onnxruntime`, or what else is registered. latency_batch: how many examples at once.
    What cannot be measured is None, and a warning gives the reason. Raises InputError for a runtime that is not known.
    """
    settings = TimingSettings(runtime, latency_batch)
    return Gauge(task, inspect_network(task), settings).footprint(compressed.model, compressed.plan)


@checks_keywords
def load(folder: str | Path, model: nn.Module | None = None, *, trust: bool = False) -> nn.Module:
    """The compressed model that a folder holds, in evaluation mode.

    `model` is the dense model; its weights do not matter and it is not changed. It can be left out where the
    plan names a built-in one (`torchvision:NAME`, `timm:NAME`, `digits`) by numbers and switches alone, and for a
    model of transformers, whose config is in the folder. Other names can have code imported and files read: with
    `trust` they are followed as well.
    """
    folder = Path(folder)
    record = read_plan(folder / PLAN_FILE)
    dense = _named(folder, record.model.name, trust) if model is None else model
    return load_compressed(folder, record, dense)


def _named(folder: Path, name: str | None, trust: bool) -> nn.Module:
    from ranksearch.tasks.sources import dense_name, make_model

    if (found := dense_name(folder, name, trust=trust)) is None:
        got = "none" if name is None else f"none, and {name} can import code or read files"
        trusted = "" if name is None else ", or trust=True if you trust the folder"
        way_out = f"Pass it: ranksearch.load(folder, model=…); its weights do not matter{trusted}."
        raise InputError(expected(f"{folder}, model", "the dense model", got, way_out))
    with torch.random.fork_rng(devices=[]):
        return make_model(found)
