from __future__ import annotations

import copy
import json
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study
from optuna.trial import TrialState

from ranksearch.compression import CompressConfig, compress
from ranksearch.costs import Budget, Cost, layer_cost
from ranksearch.errors import BudgetError, InputError, MismatchError
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.objectives import OBJECTIVES, Objective, Score, Scoring
from ranksearch.objectives.base import Report, no_report
from ranksearch.planning import Candidate, Plan, Problem, Table, analytic
from ranksearch.planning.plan import DENSE
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching import SearchResult, SearchSettings, search
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.searching.studies import SAMPLERS, open_storage, quiet_optuna
from ranksearch.searching.studies.trials import BROKEN, fresh_sampler
from ranksearch.tasks.splits import Splits


class Cheap(Objective):
    """A made-up score that no allocator optimises, in microseconds; it counts what it is asked for."""

    name = "cheap"
    scored: list[Plan] = []  # noqa: RUF012
    at_call: Callable[[int], None] = staticmethod(lambda count: None)

    def score(self, plan: Plan, report: Report = no_report) -> Score:
        self.scored.append(plan)
        Cheap.at_call(len(self.scored))
        value = sum(abs(candidate.cost.params % 41 - 13) for candidate in plan.choices.values())
        return Score(value + plan.error, 0.5, {"blend": 0.5})


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> type[Cheap]:
    OBJECTIVES.register(Cheap)
    monkeypatch.setattr(Cheap, "scored", [])
    monkeypatch.setattr(Cheap, "at_call", staticmethod(lambda count: None))
    return Cheap


@pytest.fixture(scope="module")
def paper_problem(tiny_problem: Problem) -> Problem:
    """Eight layers with forty candidates each, on paper only: plans enough to search, none can be built."""
    rng = np.random.default_rng(0)
    tables = []
    for k in range(8):
        dense = int(rng.integers(2_000, 6_000))
        layer = Layer(
            f"stage{k // 2}.{k % 2}", "linear", dense, 1, (), (), (), (), "zeros", 1, False, (Call((), ()),)
        )
        params = np.sort(rng.choice(np.arange(20, dense), 40, replace=False))
        errors = 3 * np.exp(-5 * params / dense) * rng.lognormal(0, 0.3, 40)
        flops = 2 * params + rng.integers(0, dense, 40)
        names = rng.choice(["svd", "cp", "tucker2"], 40)
        found = [
            Candidate(str(n), "", (i,), Cost(params=int(p), flops=int(f)), float(e))
            for i, (n, p, f, e) in enumerate(zip(names, params, flops, errors, strict=True))
        ]
        tables.append(Table(layer, (*found, Candidate(DENSE, "", (), layer_cost(layer), 0.0)), 3.0))
    dense_cost = sum((table.dense for table in tables), Cost(params=500, flops=0))
    return replace(
        tiny_problem, layers=tuple(t.layer for t in tables), tables=tuple(tables), dense=dense_cost
    )


def settings(**changed: Any) -> SearchSettings:
    defaults: dict[str, Any] = {
        "budgets": (0.4,),
        "n_trials": 14,
        "refit_trials": 0,
        "finetune_trials": 0,
        "objective": "cheap",
    }
    return SearchSettings(**(defaults | changed))


def measured(**changed: Any) -> SearchSettings:
    """A search that runs the model."""
    defaults: dict[str, Any] = {
        "budgets": (0.5,),
        "space": "ranks",
        "n_trials": 6,
        "finetune_trials": 3,
        "finetune_steps": 8,
        "objective": "divergence",
    }
    return settings(**(defaults | changed))


def study_of(storage: BaseStorage, stage: str = "cheap", budget: str = "") -> Study:
    budget = budget or ("0.4" if stage == "cheap" else "0.5")
    return optuna.load_study(study_name=f"ranksearch-{budget}-{stage}", storage=storage)


def story(storage: BaseStorage, stage: str = "cheap") -> list[tuple[object, ...]]:
    """What the finished trials of a study were and found, without their numbers."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [
        (t.state, t.params, t.value, t.user_attrs["choice"], t.intermediate_values, t.constraints)
        for t in study_of(storage, stage).get_trials(states=states)
    ]


def essence(results: list[SearchResult]) -> list[tuple[object, ...]]:
    """Everything in results but the numbers of trials."""
    return [
        (
            r.budget,
            r.plan.key,
            r.origin,
            r.scores,
            [(e.plan.key, e.origin, e.scores, e.state) for e in r.records],
        )
        for r in results
    ]


# ---- what a search finds ----


@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_search_returns_the_best_feasible_plan(paper_problem: Problem, space: str) -> None:
    storage = InMemoryStorage()
    (result,) = search(paper_problem, settings(space=space, n_trials=25), storage=storage)
    assert result.budget.limit == Budget.of(paper_problem.dense, 0.4, "params").limit
    assert result.plan.cost.params <= result.budget.limit
    complete = [record for record in result.records if record.state == "complete"]
    assert result.scores["cheap"] == min(record.scores["cheap"] for record in complete)
    assert {"analytic", "uniform", "energy", space} <= {record.origin for record in result.records}
    trials = [record for record in result.records if record.trial is not None]
    assert [record.trial for record in trials] == list(range(25))
    for record in result.records:
        assert record.plan.cost == paper_problem.cost(record.plan.choices.values())
        assert record.scores["error"] == record.plan.error
        assert (record.plan.cost.params > result.budget.limit) == (record.state == "infeasible")


def test_analytic_plan_is_the_first_trial(paper_problem: Problem) -> None:
    (result,) = search(paper_problem, settings())
    within = Budget.of(paper_problem.dense, 0.4, "params")
    first_plan = paper_problem.plan(analytic(paper_problem.tables, within))
    first = next(record for record in result.records if record.trial == 0)
    assert (first.plan, first.origin) == (first_plan, "analytic")


@pytest.mark.parametrize(
    ("space", "beside"),
    [("sensitivities", ["uniform", "energy"]), ("ranks", []), ("grouped", ["analytic", "energy"])],
)
def test_baselines_are_trials_where_the_space_can_express_them(
    paper_problem: Problem, space: str, beside: list[str]
) -> None:
    (result,) = search(paper_problem, settings(space=space))
    assert [record.origin for record in result.records if record.trial is None] == beside
    expressed = [name for name in ("analytic", "uniform", "energy") if name not in beside]
    trials = [record.origin for record in result.records if record.trial is not None]
    assert trials == expressed + [space] * (14 - len(expressed))


def test_fewer_trials_than_baselines_still_score_them_all(paper_problem: Problem) -> None:
    (result,) = search(paper_problem, settings(space="ranks", n_trials=1))
    assert [(record.origin, record.trial) for record in result.records] == [
        ("analytic", 0),
        ("uniform", None),
        ("energy", None),
    ]


def test_no_trials_means_the_analytic_plan_and_no_model_run(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Problem, "build", None)
    journal = tmp_path / "study.jsonl"
    (result,) = search(tiny_problem, measured(n_trials=0, storage=str(journal)))
    assert result.origin == "analytic"
    assert result.scores == {"error": result.plan.error}
    assert result.plan.error == min(record.plan.error for record in result.records)
    assert [record.stage for record in result.records] == ["reconstruction"] * 3
    assert not journal.exists()


@pytest.mark.parametrize("allocator", [name for name in ALLOCATORS if name != "knapsack"])
def test_another_allocator_takes_the_place_of_the_search(
    tiny_problem: Problem, allocator: str, tmp_path: Path
) -> None:
    journal = tmp_path / "study.jsonl"
    wanted = measured(allocator=allocator, n_trials=5, storage=str(journal))
    (result,) = search(tiny_problem, wanted)
    names = list(dict.fromkeys(["analytic", "uniform", "energy", allocator]))
    assert [record.origin for record in result.records] == names
    assert {record.stage for record in result.records} == {"divergence"}
    chosen = next(record for record in result.records if record.origin == allocator)
    assert result.plan == chosen.plan
    assert result.plan.cost.params <= result.budget.limit
    runs_model = allocator in ("aimet", "bayes_layer") or allocator.startswith("optuna")
    assert (chosen.scores["evaluations"] > 0) == runs_model
    assert essence([result]) == essence(search(tiny_problem, wanted))


def test_what_an_allocator_evaluated_is_not_scored_again(paper_problem: Problem, cheap: type[Cheap]) -> None:
    (result,) = search(paper_problem, settings(allocator="optuna_random", n_trials=8))
    keys = [plan.key for plan in cheap.scored]
    assert len(keys) == len(set(keys))
    assert result.scores["cheap"] == pytest.approx(cheap("").score(result.plan).value)


@pytest.mark.parametrize("allocator", ["optuna_tpe", "bayes_layer", "aimet"])
def test_an_allocator_that_was_killed_finds_its_scores(
    paper_problem: Problem, cheap: type[Cheap], monkeypatch: pytest.MonkeyPatch, allocator: str
) -> None:
    wanted = settings(allocator=allocator, n_trials=8)
    undisturbed = search(paper_problem, wanted)
    asked = [plan.key for plan in cheap.scored]
    storage, score = InMemoryStorage(), cheap.score
    cheap.scored.clear()

    def dying(self: Cheap, *args: Any) -> Any:
        if len(cheap.scored) == 5:
            raise KeyboardInterrupt
        return score(self, *args)

    monkeypatch.setattr(cheap, "score", dying)
    with pytest.raises(KeyboardInterrupt):
        search(paper_problem, wanted, storage=storage)
    monkeypatch.setattr(cheap, "score", score)
    assert search(paper_problem, wanted, storage=storage) == undisturbed
    assert [plan.key for plan in cheap.scored] == asked, "each plan once, in the same order"


@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_no_plan_is_scored_twice(paper_problem: Problem, cheap: type[Cheap], space: str) -> None:
    (result,) = search(paper_problem, settings(space=space, n_trials=30))
    keys = [plan.key for plan in cheap.scored]
    assert len(keys) == len(set(keys))
    complete = [record for record in result.records if record.state == "complete"]
    values = {record.plan.key: record.scores for record in complete}
    assert all(record.scores == values[record.plan.key] for record in complete)
    repeated = [record for record in complete if record.duplicate_of is not None]
    assert len(keys) == len(complete) - len(repeated)
    for record in repeated:
        kind, _, number = (record.duplicate_of or "").rpartition(" ")
        earlier = next(r for r in complete if (r.trial == int(number) if kind else r.origin == number))
        assert earlier.plan.key == record.plan.key


def test_infeasible_plans_are_not_run_and_marked_for_the_sampler(
    paper_problem: Problem, cheap: type[Cheap]
) -> None:
    storage = InMemoryStorage()
    (result,) = search(paper_problem, settings(space="ranks", budgets=(0.25,), n_trials=25), storage=storage)
    study = study_of(storage, budget="0.25")
    infeasible = [t for t in study.trials if t.constraints["budget"] > 0]
    assert 3 <= len(infeasible) < 25
    assert all(plan.cost.params <= result.budget.limit for plan in cheap.scored)
    for trial in infeasible:
        assert trial.user_attrs["state"] == "infeasible"
        assert trial.user_attrs["cost"]["params"] == pytest.approx(
            (1 + trial.constraints["budget"]) * result.budget.limit
        )
        # Above its own ε by a penalty that grows with the overshoot.
        plan = paper_problem.plan(trial.user_attrs["choice"])
        worst = sum(table.errors().max() for table in paper_problem.tables)
        assert trial.value == pytest.approx(plan.error + worst * trial.constraints["budget"])
    assert study.best_trial.constraints["budget"] <= 0


def test_ranks_are_readable_in_the_trial(paper_problem: Problem) -> None:
    storage = InMemoryStorage()
    (result,) = search(paper_problem, settings(n_trials=3), storage=storage)
    trial = study_of(storage).trials[0]
    plan = next(record.plan for record in result.records if record.trial == 0)
    assert trial.user_attrs["ranks"] == {name: str(candidate) for name, candidate in plan.choices.items()}
    assert trial.user_attrs["cost"] == {"params": plan.cost.params, "flops": plan.cost.flops}


def test_what_decides_whether_a_trial_is_good_is_told_of_many_trials(paper_problem: Problem) -> None:
    storage = InMemoryStorage()
    (result,) = search(paper_problem, settings(n_trials=60, sampler="random"), storage=storage)
    assert set(result.importances) == set(study_of(storage).trials[-1].params)
    assert sum(result.importances.values()) == pytest.approx(1)
    assert [*result.importances.values()] == sorted(result.importances.values(), reverse=True)
    (few,) = search(paper_problem, settings(n_trials=5))
    assert few.importances == {}


def test_several_budgets_one_study_each(paper_problem: Problem) -> None:
    storage = InMemoryStorage()
    results = search(paper_problem, settings(budgets=(0.6, 0.3), n_trials=5), storage=storage)
    assert [result.budget.name for result in results] == ["0.6", "0.3"]
    assert sorted(optuna.get_all_study_names(storage)) == ["ranksearch-0.3-cheap", "ranksearch-0.6-cheap"]
    alone = search(paper_problem, settings(budgets=(0.3,), n_trials=5))
    assert essence(results[1:]) == essence(alone)


def test_search_by_flops(paper_problem: Problem) -> None:
    (result,) = search(paper_problem, settings(metric="flops"))
    assert result.budget.limit == int(0.4 * paper_problem.dense.flops)
    assert result.plan.cost.flops <= result.budget.limit
    (by_params,) = search(paper_problem, settings())
    assert by_params.plan != result.plan


def test_progress_is_told(paper_problem: Problem) -> None:
    told: list[tuple[str, int, int, float | None]] = []
    (result,) = search(paper_problem, settings(n_trials=4), progress=lambda *news: told.append(news))
    assert told[0] == ("cheap 0.4", 0, 4, None)
    assert [done for _, done, _, _ in told] == [0, 0, 0, 1, 2, 3, 4]
    bests = [best for *_, best in told if best is not None]
    assert bests == sorted(bests, reverse=True)
    assert bests[-1] == result.scores["cheap"]


def test_timeout_gives_a_prefix(paper_problem: Problem) -> None:
    whole = InMemoryStorage()
    search(paper_problem, settings(), storage=whole)
    clock = iter(range(1000))
    short = InMemoryStorage()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", lambda: float(next(clock)))
        search(paper_problem, settings(timeout=5.0), storage=short)
    assert story(short) == story(whole)[: len(story(short))]
    assert 1 < len(story(short)) < 14
    search(paper_problem, settings(), storage=short)
    assert story(short) == story(whole)


def test_broken_scores_lose(paper_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = InMemoryStorage()
    score = Cheap.score

    def sometimes(self: Cheap, plan: Plan, report: Report = no_report) -> Score:
        found = score(self, plan)
        return Score(float("inf"), float("inf")) if len(self.scored) % 2 else found

    monkeypatch.setattr(Cheap, "score", sometimes)
    (result,) = search(paper_problem, settings(), storage=storage)
    broken = [record for record in result.records if record.scores.get("cheap") == float("inf")]
    assert broken
    assert result.scores["cheap"] < BROKEN
    assert {trial.value for trial in study_of(storage).trials if trial.value == BROKEN}


# ---- the stage that fine-tunes ----


def test_best_few_distinct_plans_are_fine_tuned(tiny_problem: Problem) -> None:
    storage = InMemoryStorage()
    (result,) = search(tiny_problem, measured(n_trials=10), storage=storage)
    first = [record for record in result.records if "divergence" in record.scores]
    tuned = [record for record in result.records if record.stage == "finetune"]
    assert len(tuned) == len({record.plan.key for record in tuned}) == 3
    assert "analytic" in {record.origin for record in tuned}
    best: list[object] = []
    for record in sorted(first, key=lambda r: r.scores["divergence"]):
        if record.plan.key not in best:
            best.append(record.plan.key)
    assert [record.plan.key for record in tuned][:2] == best[:2]
    complete = [record for record in tuned if record.state == "complete"]
    assert result.scores["finetune"] == min(record.scores["finetune"] for record in complete)
    # The winner's record has the scores of both stages.
    assert {"error", "divergence", "divergence_stderr", "finetune", "finetune_stderr"} <= set(result.scores)
    delivered = Scoring(tiny_problem, seed=measured().seed).delivered(result.plan)
    assert result.scores["before"] == delivered.divergence.mean


def test_hopeless_fine_tunes_are_pruned_and_the_steps_saved_recorded(
    tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scripted(self: Objective, plan: Plan, report: Report = no_report) -> Score:
        ordinal = len(Cheap.scored)
        Cheap.scored.append(plan)
        # Two complete, the third is worse than their median from the first report on, the fourth the best.
        level = (3.0, 5.0, 9.0, 1.0)[ordinal]
        for step in (0, 5, 10, 20, 40):
            report(step, level - 0.01 * step)
        return Score(level - 0.4, 0.1, {"before": level})

    monkeypatch.setattr(OBJECTIVES.get("finetune"), "score", scripted)
    monkeypatch.setattr(Cheap, "scored", [])
    storage = InMemoryStorage()
    (result,) = search(
        tiny_problem, measured(n_trials=10, finetune_trials=4, finetune_steps=40), storage=storage
    )
    tuned = [record for record in result.records if record.stage == "finetune"]
    assert [record.state for record in tuned] == ["complete", "complete", "pruned", "complete"]
    # Step 0 repeats the first stage, so the first look is at step 5.
    assert (tuned[2].scores["steps"], tuned[2].scores["steps_saved"]) == (5, 35)
    assert "finetune" not in tuned[2].scores
    assert [record.scores["steps_saved"] for record in tuned] == [0, 0, 35, 0]
    assert result.plan == tuned[3].plan
    study = study_of(storage, "finetune")
    assert [trial.state for trial in study.trials][2] == TrialState.PRUNED
    assert study.trials[2].intermediate_values == {0: 9.0, 5: 8.95}


def test_fine_tuning_can_be_left_out(tiny_problem: Problem) -> None:
    storage = InMemoryStorage()
    (result,) = search(tiny_problem, measured(finetune_trials=0), storage=storage)
    assert optuna.get_all_study_names(storage) == ["ranksearch-0.5-divergence"]
    assert "finetune" not in result.scores


def test_fine_tuning_without_images_is_refused(tiny_problem: Problem) -> None:
    task = replace(tiny_problem.task, splits=Splits(0, (0, 1), (2, 3), (), ()))
    with pytest.raises(InputError, match=r"fine-tuning data: .* Use `finetune_trials=0`"):
        search(replace(tiny_problem, task=task), measured())


def test_more_trials_later_tune_only_new_plans(tiny_problem: Problem) -> None:
    storage = InMemoryStorage()
    search(tiny_problem, measured(n_trials=3), storage=storage)
    before = story(storage, "finetune")
    (result,) = search(tiny_problem, measured(n_trials=12), storage=storage)
    after = story(storage, "finetune")
    assert after[: len(before)] == before
    tuned = [record.plan.key for record in result.records if record.stage == "finetune"]
    assert len(tuned) == len(set(tuned))


# ---- the same again ----


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_same_seed_same_search(paper_problem: Problem, sampler: str) -> None:
    stories = []
    for seed in (0, 0, 1):
        storage = InMemoryStorage()
        results = search(paper_problem, settings(sampler=sampler, seed=seed, n_trials=12), storage=storage)
        stories.append((essence(results), story(storage)))
    assert stories[0] == stories[1]
    assert stories[0] != stories[2]


def test_samplers_differ(paper_problem: Problem) -> None:
    found = {}
    for sampler in SAMPLERS:
        storage = InMemoryStorage()
        # The random starts are the same for all; the generations of nsgaii begin last, gp takes longest.
        wanted = settings(sampler=sampler, space="ranks", n_trials=12 if sampler == "gp" else 18)
        search(paper_problem, wanted, storage=storage)
        found[sampler] = [trial[1] for trial in story(storage)]
    assert len({str(params[:10]) for name, params in found.items() if name != "qmc"}) == 1
    assert len({str(params[:10]) for params in found.values()}) == 2
    assert len({str(params[10:12]) for name, params in found.items() if name != "nsgaii"}) == 4
    assert len({str(params[10:]) for params in found.values()}) == 5


class Interrupted(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize(
    ("space", "sampler", "stop"),
    [
        *(
            (space, sampler, KeyboardInterrupt)
            for space in SEARCH_SPACES
            for sampler in ("tpe", "random", "nsgaii")
        ),
        ("sensitivities", "gp", KeyboardInterrupt),
        ("sensitivities", "tpe", Interrupted),
    ],
)
def test_interrupted_and_resumed_is_undisturbed(
    paper_problem: Problem,
    cheap: type[Cheap],
    tmp_path: Path,
    space: str,
    sampler: str,
    stop: type[BaseException],
) -> None:
    """Interrupted in its 2nd, 3rd, 4th, 1st, … evaluation, again and again, until it is through."""
    wanted = settings(space=space, sampler=sampler, n_trials=12 if sampler == "gp" else 26)
    undisturbed = search(paper_problem, wanted)
    evaluations = len(cheap.scored)
    journal = replace(wanted, storage=str(tmp_path / "study.jsonl"))
    for failing in range(1, 2 * evaluations):
        cheap.scored.clear()

        def at_call(count: int, last: int = 1 + failing % 4) -> None:
            if count == last:
                raise stop

        cheap.at_call = staticmethod(at_call)
        try:
            results = search(paper_problem, journal)
            break
        except stop:
            continue
    assert failing > 3
    assert essence(results) == essence(undisturbed)
    names = [trial.state.name for trial in study_of(open_storage(journal.storage)).trials]
    assert "FAIL" in names


def leave_running(study: Study) -> None:
    """What a process killed in the middle of its trial leaves: parameters, attributes, no value."""
    trial = study.ask()
    trial.suggest_float("exponent", 0.8, 1.3)
    trial.set_user_attr("choice", [0, 0, 0])
    trial.report(1.0, 0)


@pytest.mark.parametrize(
    ("sampler", "after"),
    [*((s, after) for s in ("tpe", "nsgaii") for after in (0, 1, 2, 5, 11, 13)), ("gp", 11)],
)
def test_left_over_running_trials_are_failed_and_asked_again(
    paper_problem: Problem, sampler: str, after: int
) -> None:
    whole, broken = InMemoryStorage(), InMemoryStorage()
    wanted = settings(sampler=sampler, n_trials=12 if sampler == "gp" else 14)
    undisturbed = search(paper_problem, wanted, storage=whole)
    if after:
        search(paper_problem, replace(wanted, n_trials=after), storage=broken)
    else:
        with quiet_optuna():
            optuna.create_study(storage=broken, study_name="ranksearch-0.4-cheap", direction="minimize")
    with quiet_optuna():
        study = study_of(broken)
        study.sampler = fresh_sampler(sampler, 0, after)
        leave_running(study)
    assert essence(search(paper_problem, wanted, storage=broken)) == essence(undisturbed)
    assert story(broken) == story(whole)
    assert [trial.state for trial in study_of(broken).trials].count(TrialState.FAIL) == 1


def test_an_enqueued_trial_is_neither_lost_nor_doubled(paper_problem: Problem) -> None:
    """Killed after the analytic plan was enqueued, before it was asked for."""
    whole, broken = InMemoryStorage(), InMemoryStorage()
    wanted = settings(space="ranks")
    search(paper_problem, wanted, storage=whole)
    with quiet_optuna():
        study = optuna.create_study(storage=broken, study_name="ranksearch-0.4-cheap", direction="minimize")
        study.enqueue_trial(study_of(whole).trials[0].params)
    search(paper_problem, wanted, storage=broken)
    assert story(broken) == story(whole)
    assert all(trial.state == TrialState.COMPLETE for trial in study_of(broken).trials)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_fine_tunes_left_running_are_done_again(tiny_problem: Problem, after: int) -> None:
    whole, broken = InMemoryStorage(), InMemoryStorage()
    undisturbed = search(tiny_problem, measured(), storage=whole)
    told = 0

    def interrupt(stage: str, done: int, total: int, best: float | None) -> None:
        nonlocal told
        if stage.startswith("finetune") and done == after:
            told += 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tiny_problem, measured(), storage=broken, progress=interrupt)
    with quiet_optuna():
        trial = study_of(broken, "finetune").ask()
        trial.suggest_int("place", 1, 3)
        trial.report(0.0, 0)
    assert essence(search(tiny_problem, measured(), storage=broken)) == essence(undisturbed)
    assert story(broken, "finetune") == story(whole, "finetune")


def _killed_in_evaluation(problem: Problem, wanted: SearchSettings, last: int) -> None:
    def kill(count: int) -> None:
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)

    Cheap.scored.clear()
    Cheap.at_call = staticmethod(kill)
    search(problem, wanted)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking a process that has threads
def test_kill_9_loses_nothing(paper_problem: Problem, tmp_path: Path) -> None:
    undisturbed = search(paper_problem, settings(space="ranks"))
    journal = settings(space="ranks", storage=str(tmp_path / "study.jsonl"))
    fork = multiprocessing.get_context("fork")
    for last in (1, 2, 3, 1):
        process = fork.Process(target=_killed_in_evaluation, args=(paper_problem, journal, last))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    with (tmp_path / "study.jsonl").open("a") as file:
        file.write('{"op_code": 4, "worker_id": "a record that was not fin')
    assert essence(search(paper_problem, journal)) == essence(undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["study.jsonl"]


# ---- storage ----


def test_a_study_that_another_process_has_taken_over_is_told(paper_problem: Problem, tmp_path: Path) -> None:
    wanted = settings(n_trials=4, storage=str(tmp_path / "study.jsonl"))

    def other(count: int) -> None:
        if count == 4:  # two plans are scored beside the study
            Cheap.at_call = staticmethod(lambda count: None)
            search(paper_problem, wanted)

    Cheap.at_call = staticmethod(other)
    with pytest.raises(
        InputError,
        match=r"study 'ranksearch-0.4-cheap': expected a study that no other process is using, got one that another",
    ):
        search(paper_problem, wanted)
    assert essence(search(paper_problem, wanted)) == essence(search(paper_problem, settings(n_trials=4)))


def test_without_fine_tunes_the_best_plans_compare_as_they_would_be_delivered(tiny_problem: Problem) -> None:
    storage = InMemoryStorage()
    wanted = measured(finetune_trials=0, refit_trials=2)
    (result,) = search(tiny_problem, wanted, storage=storage)
    refitted = [record for record in result.records if record.stage == "refitted"]
    assert len({record.plan.key for record in refitted}) == 2
    assert "analytic" in {record.origin for record in refitted}
    best = min(refitted, key=lambda record: record.scores["refitted"])
    assert result.plan.key == best.plan.key
    delivered = compress(tiny_problem.task, result.plan, config=CompressConfig(seed=wanted.seed, epochs=0))
    assert result.scores["refitted"] == pytest.approx(delivered.factorised.mean, rel=1e-6)
    again = search(tiny_problem, wanted, storage=storage)
    assert essence(again) == essence([result])


@pytest.mark.parametrize("changed", ["weights", "images"])
def test_a_storage_does_not_serve_another_task(tiny_problem: Problem, changed: str) -> None:
    """The same layers and candidates: only what they are measured on differs."""
    storage = InMemoryStorage()
    wanted = measured(n_trials=2, finetune_trials=0)
    search(tiny_problem, wanted, storage=storage)
    task = tiny_problem.task
    if changed == "weights":
        model = copy.deepcopy(task.model)
        with torch.no_grad():
            model[-1].weight *= 2
        other = replace(task, model=model)
    else:
        other = replace(task, seed=task.seed + 1, splits=None)
    with pytest.raises(MismatchError, match="task of study"):
        search(replace(tiny_problem, task=other), wanted, storage=storage)


def test_trials_scored_as_delivered_are_not_scored_once_more(tiny_problem: Problem) -> None:
    """The winner's score is that of what will be delivered, and no second stage repeats it."""
    wanted = measured(objective="refitted", n_trials=4, finetune_trials=0, refit_trials=2)
    (result,) = search(tiny_problem, wanted)
    assert {record.stage for record in result.records} == {"refitted"}
    assert len(result.records) >= 4
    best = min(record.scores["refitted"] for record in result.records if record.state == "complete")
    assert result.scores["refitted"] == best
    delivered = compress(tiny_problem.task, result.plan, config=CompressConfig(seed=wanted.seed, epochs=0))
    assert best == pytest.approx(delivered.factorised.mean, rel=1e-6)


def test_finished_searches_are_read_back(paper_problem: Problem, cheap: type[Cheap], tmp_path: Path) -> None:
    journal = settings(storage=str(tmp_path / "deep" / "study.jsonl"))
    first = search(paper_problem, journal)
    lines = (tmp_path / "deep" / "study.jsonl").read_text().splitlines()
    assert all(json.loads(line) for line in lines)
    cheap.scored.clear()
    assert search(paper_problem, journal) == first
    assert not cheap.scored


def test_rdb_storage(paper_problem: Problem, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    wanted = settings(storage=url, n_trials=5)
    results = search(paper_problem, replace(wanted, n_trials=2))
    results = search(paper_problem, wanted)
    assert essence(results) == essence(search(paper_problem, settings(n_trials=5)))


def test_study_name(paper_problem: Problem) -> None:
    storage = InMemoryStorage()
    search(paper_problem, settings(study_name="mine", n_trials=1), storage=storage)
    assert optuna.get_all_study_names(storage) == ["mine-0.4-cheap"]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"space": "ranks"}, "space"),
        ({"sampler": "random"}, "sampler"),
        ({"seed": 1}, "seed"),
        ({"metric": "flops"}, "metric"),
    ],
)
def test_a_study_made_for_something_else_is_refused(
    paper_problem: Problem, changed: dict[str, Any], what: str
) -> None:
    storage = InMemoryStorage()
    search(paper_problem, settings(n_trials=2), storage=storage)
    with pytest.raises(MismatchError, match=f"{what} of study 'ranksearch-0.4-cheap': expected"):
        search(paper_problem, settings(n_trials=2, **changed), storage=storage)


def test_a_study_of_other_candidates_is_refused(paper_problem: Problem) -> None:
    storage = InMemoryStorage()
    search(paper_problem, settings(n_trials=2), storage=storage)
    tables = (
        replace(paper_problem.tables[0], candidates=paper_problem.tables[0].candidates[1:]),
        *paper_problem.tables[1:],
    )
    with pytest.raises(MismatchError, match="candidates of study"):
        search(replace(paper_problem, tables=tables), settings(n_trials=2), storage=storage)


@pytest.mark.parametrize("location", ["sqlite:////no/such/folder/study.db", "nonsense://somewhere"])
def test_an_rdb_that_does_not_open(location: str) -> None:
    with pytest.raises(InputError, match="storage: expected an RDB URL that opens"):
        open_storage(location)


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    path.write_text("not a journal\nnot at all\n")
    with pytest.raises(InputError, match="storage: expected an Optuna journal"):
        open_storage(path)


def test_optuna_is_left_as_it_was(paper_problem: Problem) -> None:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        search(paper_problem, settings(n_trials=2, sampler="gp"))
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
        with pytest.warns(ExperimentalWarning):
            warnings.warn("still shown", ExperimentalWarning, stacklevel=1)
    finally:
        optuna.logging.set_verbosity(level)


# ---- settings ----


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"budgets": ()}, "budget: expected at least one, got none"),
        ({"budgets": (0.5, 1.5)}, "budget: expected a fraction to keep .* above 0 and at most 1, got 1.5"),
        ({"budgets": (0.5, 0.5)}, r"budget: expected distinct ones, got \['0.5', '0.5'\]"),
        ({"metric": "ms"}, "metric: expected params or flops or bytes or int8_bytes or latency, got 'ms'"),
        ({"space": "x"}, "space: expected sensitivities or ranks or grouped, got 'x'"),
        (
            {"allocator": "x"},
            "allocator: expected knapsack or uniform or energy or .* or optuna_random, got 'x'",
        ),
        ({"sampler": "x"}, "sampler: expected tpe or random or qmc or nsgaii or gp, got 'x'"),
        (
            {"objective": "x"},
            "objective: expected reconstruction or divergence or ordered or refitted or finetune",
        ),
        ({"n_trials": -1}, "n_trials: expected a whole number, 0 or more, got -1"),
        ({"refit_trials": -1}, "refit_trials: expected a whole number, 0 or more, got -1"),
        ({"finetune_trials": -1}, "finetune_trials: expected a whole number, 0 or more, got -1"),
        ({"finetune_steps": 0}, "finetune_steps: expected a whole number, 1 or more, got 0"),
        ({"finetune_lr": 0.0}, "finetune_lr: expected a positive number, got 0.0"),
        ({"seed": -1}, "seed: expected a whole number, 0 or more, got -1"),
        ({"timeout": 0.0}, "timeout: expected a positive number of seconds, got 0.0"),
        ({"study_name": ""}, "study_name: expected a name, got an empty one"),
    ],
)
def test_settings_are_checked(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings(**changed)


def test_budgets_are_checked_before_anything_runs(paper_problem: Problem, cheap: type[Cheap]) -> None:
    with pytest.raises(BudgetError, match=r"budget: expected at least 0\.\d+ \("):
        search(paper_problem, settings(budgets=(0.5, 0.01)))
    assert not cheap.scored


def test_a_model_without_layers_is_refused(paper_problem: Problem) -> None:
    with pytest.raises(InputError, match="model: expected at least one layer that can be factorised"):
        search(replace(paper_problem, tables=()), settings())
