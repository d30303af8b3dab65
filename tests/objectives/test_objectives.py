"""What every objective promises, and each one's own meaning."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import pytest
from torch import Tensor, nn

from ranksearch.compression import recalibrate
from ranksearch.costs import Budget, Cost
from ranksearch.errors import InputError, NonFiniteError
from ranksearch.networks import run
from ranksearch.objectives import (
    OBJECTIVES,
    Objective,
    Score,
    Scoring,
    geometric_steps,
    make_objective,
)
from ranksearch.objectives import finetune as finetune_module
from ranksearch.objectives.base import Report, no_report
from ranksearch.planning import Plan, Problem, Table, knapsack
from ranksearch.testing import ObjectiveContract


def smallest(tables: Sequence[Table], metric: str, dense: Cost) -> int:
    """Cost of the cheapest plan of the whole model."""
    return dense.of(metric) + sum(int(t.costs(metric).min()) - t.dense.of(metric) for t in tables)


def plan_of(problem: Problem, budget: float) -> Plan:
    within = Budget.of(problem.dense, budget, "params")
    return problem.plan(knapsack(problem.tables, within))


@pytest.fixture(scope="module")
def scoring(tiny_problem: Problem) -> Scoring:
    return Scoring(tiny_problem, finetune_steps=8, finetune_lr=1e-3, seed=0)


@pytest.fixture(scope="module")
def cheapest(tiny_problem: Problem) -> Plan:
    tables, dense = tiny_problem.tables, tiny_problem.dense
    return tiny_problem.plan(
        knapsack(tables, Budget.at_most(dense, smallest(tables, "params", dense), "params"))
    )


@pytest.fixture(scope="module")
def dense(tiny_problem: Problem) -> Plan:
    plan = plan_of(tiny_problem, 1.0)
    assert all(candidate.is_dense for candidate in plan.choices.values())
    return plan


class TestEveryObjective(ObjectiveContract):
    @pytest.fixture(params=OBJECTIVES.names())
    def objective(self, request: pytest.FixtureRequest) -> type[Objective]:
        # Fine-tuning moves even the dense model a little.
        self.tolerance = 0.1 if request.param == "finetune" else 1e-6
        return OBJECTIVES.get(request.param)


def test_unknown_objective(scoring: Scoring) -> None:
    with pytest.raises(
        InputError,
        match="objective: expected reconstruction or divergence or ordered or refitted or finetune, got 'luck'",
    ):
        make_objective("luck", scoring)


def test_an_objective_of_ones_own(scoring: Scoring, dense: Plan) -> None:
    @OBJECTIVES.register
    class Layers(Objective):
        name = "layers"

        def score(self, plan: Plan, report: Report = no_report) -> Score:
            return Score(len(plan.choices))

    assert make_objective("layers", scoring).score(dense) == Score(3)


def test_reconstruction_is_the_sum_of_errors(scoring: Scoring, cheapest: Plan) -> None:
    total = sum(candidate.error for candidate in cheapest.choices.values())
    assert make_objective("reconstruction", scoring).score(cheapest) == Score(total)


def test_divergence_is_the_recalibrated_models(scoring: Scoring, cheapest: Plan) -> None:
    """Against the same steps by hand, with BatchNorm statistics from other images than those that score."""
    task = scoring.problem.task
    held_out = task.inputs("divergence")
    reference = run(task.model, held_out, batch_size=7, device=task.device)
    by_hand = recalibrate(
        scoring.problem.build(cheapest),
        task.inputs("moments"),
        held_out,
        reference,
        task.loss,
        batch_size=task.batch_size,
        device=task.device,
    )
    score = make_objective("divergence", scoring).score(cheapest)
    assert score.value == pytest.approx(by_hand.divergence.mean, rel=1e-4)
    assert score.stderr == pytest.approx(by_hand.divergence.stderr, rel=1e-4)
    assert score.details == {"blend": by_hand.blend}
    assert not set(task.splits.moments) & set(task.splits.divergence)


def test_dense_model_runs_once(scoring: Scoring, cheapest: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[nn.Module] = []

    def counting(model: nn.Module, inputs: Tensor, **how: Any) -> Tensor:
        runs.append(model)
        return run(model, inputs, **how)

    monkeypatch.setattr("ranksearch.tasks.task.run", counting)
    shared = Scoring(scoring.problem, finetune_steps=2)
    for name in ("divergence", "finetune", "divergence"):
        make_objective(name, shared).score(cheapest)
    assert sum(model is scoring.problem.task.model for model in runs) == 1


@pytest.mark.parametrize(
    ("steps", "points"),
    [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (60, (7, 15, 30, 60)), (64, (8, 16, 32, 64))],
)
def test_geometric_steps(steps: int, points: tuple[int, ...]) -> None:
    assert geometric_steps(steps) == points


def test_finetune_reports_from_step_0_to_the_end(scoring: Scoring, cheapest: Plan) -> None:
    reports: list[tuple[int, float]] = []
    score = make_objective("finetune", scoring).score(
        cheapest, lambda step, value: reports.append((step, value))
    )
    assert [step for step, _ in reports] == [0, 1, 2, 4, 8]
    assert (
        reports[0][1] == score.details["before"] == make_objective("refitted", scoring).score(cheapest).value
    )
    assert reports[-1][1] == score.value < reports[0][1]
    assert score.details["steps"] == 8


class _EnoughError(Exception):
    pass


def test_finetune_ends_where_the_report_says_so(scoring: Scoring, cheapest: Plan) -> None:
    seen: list[int] = []

    def report(step: int, value: float) -> None:
        seen.append(step)
        if step == 2:
            raise _EnoughError

    with pytest.raises(_EnoughError):
        make_objective("finetune", scoring).score(cheapest, report)
    assert seen == [0, 1, 2]


def test_finetune_takes_its_settings(scoring: Scoring, cheapest: Plan) -> None:
    scores = {
        make_objective("finetune", Scoring(scoring.problem, *settings)).score(cheapest).value
        for settings in ((8, 1e-3, 0), (4, 1e-3, 0), (8, 3e-3, 0), (8, 1e-3, 1))
    }
    assert len(scores) == 4


def test_finetune_that_diverges_scores_infinity(
    scoring: Scoring, cheapest: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> None:
        raise NonFiniteError("fine-tuning loss")

    monkeypatch.setattr(finetune_module, "finetune", broken)
    score = make_objective("finetune", scoring).score(cheapest)
    assert (score.value, score.stderr) == (inf, inf)
