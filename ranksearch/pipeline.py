"""A run from its options to the compressed models: task → problem → search → plan files → delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from torch import nn

from ranksearch import decompositions
from ranksearch.advice import Advice
from ranksearch.candidates import CandidateConfig
from ranksearch.compression import CompressConfig, check_stages, compress
from ranksearch.config import flag
from ranksearch.costs import Cost
from ranksearch.decompositions.base import Decomposition
from ranksearch.describing import (
    Reporter,
    describe_budgets,
    describe_dense,
    describe_layers,
    describe_task,
    metric_name,
)
from ranksearch.errors import InputError, expected
from ranksearch.evaluate import Estimate, evaluate
from ranksearch.finetune import FinetuneConfig
from ranksearch.layers import discover
from ranksearch.modules import threads
from ranksearch.moments import Moments
from ranksearch.options import RunOptions
from ranksearch.plan import Plan
from ranksearch.planfile import check_plan, make_record, read_plan, to_plan, write_plan
from ranksearch.planrecord import PlanRecord
from ranksearch.problem import Problem, prepare
from ranksearch.refitting import calibration_moments, planned_layers
from ranksearch.report import describe_validity, front_record, write_front, write_trials
from ranksearch.runfolder import RunFolder, budget_name
from ranksearch.searching import SearchResult, SearchSettings, search
from ranksearch.sources.objects import load_object
from ranksearch.sources.tasks import build_task_and_data
from ranksearch.task import Role, Task
from ranksearch.weights import PLAN_FILE, WEIGHTS_FILE, load, save_compressed


@dataclass(frozen=True)
class Delivered:
    """A compressed model on disk; `record` holds its plan, its cost and all its scores."""

    record: PlanRecord
    folder: Path
    plan_file: Path


@dataclass(frozen=True)
class RunReport:
    """What a run came to; `validation` and `test` are the dense model's metric, None without data."""

    dense: Cost
    metric_name: str
    validation: Estimate | None
    test: Estimate | None
    delivered: tuple[Delivered, ...]


def run_pipeline(options: RunOptions, folder: RunFolder, reporter: Reporter) -> RunReport:
    """Carry out a run in its folder; what is there already, of a run that was killed, is not done again."""
    with torch_threads(options):
        settings = search_settings(options, folder)
        config, advice = candidate_config(options), early_advice(options)
        advice.check(settings.allocator)
        training = compress_config(options)  # raises early what would end the run late
        task, data = build_task_and_data(options)
        check_stages(task, training)
        folder.write_splits(task.splits.to_dict() | {"test": data.test_split})
        describe_budgets(describe_task(task, reporter), settings, reporter)
        advice = with_prior(advice, task, options, reporter)
        validation = describe_dense(task, reporter)
        problem = prepare(
            task,
            ignore=options.ignore,
            config=config,
            advice=advice,
            seed=options.seed,
            progress=reporter.progress,
        )
        describe_layers(problem, reporter)
        results = search(problem, settings, progress=reporter.progress)
        record_search(problem, results, options, folder, reporter)
        delivered = deliver(task, options, folder, reporter)
        test = evaluate(task.model, task, "test")
        return RunReport(problem.dense, metric_name(task), validation, test, delivered)


def compress_pipeline(record: PlanRecord, options: RunOptions, out: Path, reporter: Reporter) -> RunReport:
    """Carry out a plan on the model that the options name, and save it in `out`."""
    with torch_threads(options):
        training = compress_config(options)
        candidate_config(options)  # registers the user's own decompositions
        task, _ = build_task_and_data(options)
        check_stages(task, training)
        check_plan(record, discover(task.model, task.example, ignore=options.ignore), task.model)
        dense = describe_task(task, reporter)
        validation = describe_dense(task, reporter)
        moments = _shared_moments(task, [to_plan(record)], options, reporter)
        found = carry_out(task, record, options, out, reporter, moments)
        test = evaluate(task.model, task, "test")
        return RunReport(
            dense, metric_name(task), validation, test, (Delivered(found, out, out / PLAN_FILE),)
        )


def torch_threads(options: RunOptions) -> AbstractContextManager[None]:
    """Torch's CPU threads for a while; on something as small as digits more than one get in the way."""
    return threads(options.threads or (1 if options.model == "digits" else None))


def search_settings(options: RunOptions, folder: RunFolder) -> SearchSettings:
    """The options that the search is about; the journal lies in the run folder unless a storage is named."""
    if not options.budget:
        way_out = "Such as --budget 0.2, which keeps a fifth."
        raise InputError(expected("--budget", "the fraction to keep, 0 < budget <= 1", "none", way_out))
    settings = SearchSettings(
        budgets=options.budget,
        metric=options.metric,
        allocator=options.allocator,
        space=options.space,
        sampler=options.sampler,
        n_trials=options.n_trials,
        objective=options.objective,
        timeout=options.timeout,
        refit_trials=options.refit_trials,
        finetune_trials=options.finetune_trials,
        finetune_steps=options.finetune_steps,
        finetune_lr=options.lr,
        seed=options.seed,
        study_name=options.study_name,
        storage=options.storage or str(folder.study),
    )
    _check_trials(options)
    return settings


OF_SEARCH: tuple[str, ...] = ("space", "sampler", "timeout")
"""Options that say how the knapsack's search goes."""

OF_TRIALS: tuple[str, ...] = (*OF_SEARCH, "objective", "finetune_trials", "finetune_steps")
"""Options that say how trials go, of which other allocators have some too."""


def _check_trials(options: RunOptions) -> None:
    """That nothing is asked of trials where there are none, nor of the search where an allocator takes its place."""
    if options.allocator != "knapsack":
        unused, wanted, got = OF_SEARCH, "--allocator knapsack", options.allocator
        way_out = "Other allocators go their own way, without that option."
    elif options.n_trials is None:
        unused, wanted, got = OF_TRIALS, "--n-trials", "none"
        way_out = "Such as --n-trials 40; --n-trials 0 takes the analytic plan all the same."
    else:
        return
    default = RunOptions()
    for name in unused:
        if (value := getattr(options, name)) not in (getattr(default, name), 0):
            raise InputError(expected(f"{flag(name)} {value}", f"{wanted} beside it", got, way_out))


def candidate_config(options: RunOptions) -> CandidateConfig:
    """The options that candidates are about; decompositions of the user's own are registered."""
    return CandidateConfig(
        decompositions=tuple(_decomposition(name) for name in options.decompositions),
        min_rank=options.min_rank,
        rank_multiple=options.rank_multiple,
    )


def compress_config(options: RunOptions) -> CompressConfig:
    """The options that full compression is about."""
    return CompressConfig(
        match_epochs=options.match_epochs,
        epochs=options.delivery_epochs,
        finetune=FinetuneConfig(lr=options.lr, label_weight=options.label_weight, augment=options.augment),
        rounds=options.rounds,
        seed=options.seed,
    )


def early_advice(options: RunOptions) -> Advice:
    """The option that favours early layers."""
    return Advice() if options.protect_early is None else Advice(*options.protect_early)


def with_prior(advice: Advice, task: Task, options: RunOptions, reporter: Reporter) -> Advice:
    """The advice, and the prior of a probe where the options name one."""
    if options.probe is None:
        return advice
    from ranksearch.probing.prior import (
        describe_prior,
        read_prior,
    )  # what it reads with takes a second to import

    prior = read_prior(options.probe, task.model, discover(task.model, task.example, ignore=options.ignore))
    reporter.line(f"prior: {describe_prior(prior)}")
    found = replace(advice, prior=prior)
    found.check(options.allocator)
    return found


def _decomposition(name: str) -> str:
    if ":" not in name:
        return decompositions.get(name).name
    found = load_object(name, option="--decompositions")
    own = found() if isinstance(found, type) else found
    if not isinstance(own, Decomposition):
        raise InputError(expected("--decompositions", "a Decomposition", f"{type(own).__name__} ({name})"))
    if own.name not in decompositions.names():
        decompositions.register(own)
    elif type(known := decompositions.get(own.name)).__qualname__ != type(own).__qualname__:
        way_out = "Give yours another name."
        got = f"{own.name!r}, which {type(known).__name__} has"
        raise InputError(expected(f"the name of {name}", "one of its own", got, way_out))
    return own.name


def record_search(
    problem: Problem,
    results: Sequence[SearchResult],
    options: RunOptions,
    folder: RunFolder,
    reporter: Reporter,
) -> None:
    """Write trials.csv, front.json and a plan file per budget; say how far the scores can be trusted."""
    write_trials(folder.trials, [record for result in results for record in result.records])
    name = problem.task.model_name
    weights = {table.layer.name: table.weight for table in problem.tables} if problem.advice.weighs else {}
    front = front_record(results, model=name, metric=options.metric, dense=problem.dense, weights=weights)
    write_front(folder.front, front)
    for result in results:
        write_plan(folder.plan(result.budget), plan_record(problem, result, options, result.scores))
    for found in front.validity:
        reporter.line(describe_validity(found))


def plan_record(problem: Problem, result: SearchResult, options: RunOptions, scores: Any) -> PlanRecord:
    """The record of a search's best plan with these scores."""
    return make_record(
        problem.task.model,
        problem.layers,
        result.plan,
        example=problem.task.example,
        dense=problem.dense,
        budget=result.budget,
        metric=options.metric,
        limit=result.limit,
        seed=options.seed,
        model_name=problem.task.model_name,
        scores=scores,
        options=_recorded(options),
    )


def _recorded(options: RunOptions) -> dict[str, Any]:
    return options.model_dump(mode="json", exclude_none=True, exclude={"resume", "quiet", "verbose", "out"})


def deliver(task: Task, options: RunOptions, folder: RunFolder, reporter: Reporter) -> tuple[Delivered, ...]:
    """The compressed models of the plan files, but for those that were delivered before."""
    records = {budget: read_plan(folder.plan(budget)) for budget in options.budget}
    done = {budget: _delivered(folder.compressed(budget), record) for budget, record in records.items()}
    plans = [to_plan(record) for budget, record in records.items() if done[budget] is None]
    moments = _shared_moments(task, plans, options, reporter)
    found = []
    for budget, record in records.items():
        out = folder.compressed(budget)
        if (compressed := done[budget]) is None:
            compressed = carry_out(task, record, options, out, reporter, moments)
        elif any(role not in compressed.scores and task.dataset(role) is not None for role in FINAL):
            compressed = evaluated(load(out, task.model).to(task.device), task, compressed, out)
        found.append(Delivered(compressed, out, folder.plan(budget)))
    return tuple(found)


def _shared_moments(
    task: Task, plans: Sequence[Plan], options: RunOptions, reporter: Reporter
) -> Mapping[str, Moments]:
    """Moments of all calibration images for the layers that some plan factorises."""
    layers = planned_layers(task, plans)
    return calibration_moments(task, layers, seed=options.seed, progress=reporter.progress)


def _delivered(out: Path, record: PlanRecord) -> PlanRecord | None:
    """The record of a compressed model, which is written after it, where both are there and have this plan."""
    if not all((out / name).is_file() for name in (PLAN_FILE, WEIGHTS_FILE)):
        return None
    found = read_plan(out / PLAN_FILE)
    return found if to_plan(found).key == to_plan(record).key else None


def carry_out(
    task: Task,
    record: PlanRecord,
    options: RunOptions,
    out: Path,
    reporter: Reporter,
    moments: Mapping[str, Moments],
) -> PlanRecord:
    """Compress, save, evaluate; the record with the ε of the refitted layers and the scores."""
    name = budget_name(record.budget)
    compressed = compress(
        task,
        to_plan(record),
        config=compress_config(options),
        moments=moments,
        progress=lambda stage, done, total: reporter.progress(f"{stage} {name}", done, total),
    )
    scores = {"factorised": compressed.factorised.mean, "delivered": compressed.delivered.mean}
    if len(compressed.rounds) > 1:
        scores |= {f"round-{k}": found.mean for k, found in enumerate(compressed.rounds, 1)}
        ends = ", ".join(f"{found.mean:.4g}" for found in compressed.rounds)
        reporter.line(f"budget {name}: divergence after each round {ends}")
    choices = compressed.plan.choices
    layers = tuple(x.model_copy(update={"error": choices[x.name].error}) for x in record.layers)
    searched = {key: x for key, x in record.scores.items() if not key.startswith(("round-", *FINAL))}
    found = {"layers": layers, "scores": {**searched, **_written(scores)}, "options": _recorded(options)}
    done = record.model_copy(update=found)
    save_compressed(out, compressed.model, done)
    return evaluated(compressed.model, task, done, out)


FINAL: tuple[Role, ...] = ("validation", "test")
"""Data of the final evaluation."""


def evaluated(model: nn.Module, task: Task, record: PlanRecord, out: Path) -> PlanRecord:
    """The record of a saved model with its final scores, written again: whatever is wrong with those data, the model
    is there."""
    scores = {**record.scores, **_written(final_scores(model, task))}
    done = record.model_copy(update={"scores": scores})
    write_plan(out / PLAN_FILE, done)
    return done


def final_scores(model: nn.Module, task: Task) -> dict[str, float]:
    """The metric on validation and test images, with its standard error; nothing where there is no data."""
    scores: dict[str, float] = {}
    for role in FINAL:
        found = evaluate(model, task, role)
        if found is not None:
            scores |= {role: found.mean, f"{role}_stderr": found.stderr}
    return scores


def _written(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if isfinite(value) else None for key, value in scores.items()}
