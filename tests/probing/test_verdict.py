"""The verdict: calibration and translation by hand; its order on networks that are known to differ."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ranksearch.planning import CandidateConfig, Problem, prepare
from ranksearch.probing import Bench, Judge, SweepFile, analytic_plans, check_plans, judge_model, pick_images
from ranksearch.probing.checks import AIMS, predictor, truncation_factor
from ranksearch.probing.rows import Row
from ranksearch.probing.verdict import mean_drops, translation
from ranksearch.tasks import Task

ROW = Row("layer", "a", 1, "o|i", None, 1, 4, 0.9, 0.1, 80.0, 1.0, 10.0, 0.5, 1.0, 0.1, 0.2, 0.01)


def test_factor_is_the_median_ratio_of_middling_rows() -> None:
    ratios = (0.5, 1.0, 2.0, 4.0, 8.0)
    rows = [replace(ROW, epsilon=0.03, kl=0.03 * r) for r in ratios]
    noise = [
        replace(ROW, epsilon=1e-6, kl=1e-4),
        replace(ROW, epsilon=0.1, kl=3.0),
        replace(ROW, epsilon=None),
    ]
    assert truncation_factor(rows + noise) == pytest.approx(2.0)
    assert truncation_factor(rows[:4]) == 1.0
    assert predictor(rows)(0.3) == pytest.approx(0.6)


def plan_row(epsilon: float, kl: float) -> Row:
    return replace(ROW, scope="plan", target=epsilon, norm_kept=None, epsilon=epsilon, kl=kl)


def test_prediction_goes_through_the_measured_plans() -> None:
    predict = predictor([plan_row(0.01, 0.02), plan_row(1.0, 8.0), ROW])
    assert predict(0.01) == pytest.approx(0.02)
    assert predict(1.0) == pytest.approx(8.0)
    assert predict(0.1) == pytest.approx(0.4)  # the ratios 2 and 8 have the mean 4
    assert predict(0.001) == pytest.approx(0.002)
    assert predict(10) == pytest.approx(80)
    assert predict(0.0) == 0
    falling = predictor([plan_row(0.1, 0.3), plan_row(0.2, 0.2)])
    assert falling(0.2) == pytest.approx(falling(0.1)) == pytest.approx(0.3)


def test_plans_are_measured_around_the_threshold_once(tiny_problem: Problem, tmp_path: Path) -> None:
    task = tiny_problem.task
    images = pick_images(task, "divergence", 24, seed=0)
    bench = Bench(task.model, images.inputs, batch_size=16, device=task.device)
    judge = Judge(task, images, bench.dense)
    plans, file = analytic_plans(tiny_problem), SweepFile(tmp_path / "sweep.csv")
    check_plans(tiny_problem, plans, images, judge, file, threshold=0.05)
    rows = file.rows
    assert len(rows) == len({r.target for r in rows}) == len(AIMS)
    by_budget = dict(plans)
    assert all(r.epsilon == by_budget[r.target or 0].error for r in rows)
    check_plans(tiny_problem, plans, images, judge, SweepFile(tmp_path / "sweep.csv"), threshold=0.05)
    assert SweepFile(tmp_path / "sweep.csv").rows == rows
    verdict = judge_model(tiny_problem, plans, rows, 0.05)
    measured = [p for p in verdict.front if p.measured]
    assert len(measured) == len(AIMS)
    assert max(p.kl / r.kl for p in measured for r in rows if r.target == p.budget) >= 1 - 1e-9


def test_translation_falls_and_passes_through_the_rows() -> None:
    rows = [
        replace(ROW, kl=k, accuracy=a) for k, a in ((0.0, 90), (0.1, 86), (0.2, 88), (1.0, 20), (inf, 10))
    ]
    found = translation(rows)
    assert found(0.0) == 90
    assert found(0.1) == found(0.2) == 87  # pooled
    assert found(0.6) == pytest.approx((87 + 20) / 2)
    assert found(5.0) is None
    assert translation([replace(ROW, accuracy=None)])(0.1) is None


def test_drops_are_means_over_cuts_at_equal_norm() -> None:
    rows = [
        replace(ROW, norm_kept=1.0, accuracy=90.0, drop=0.0),
        replace(ROW, norm_kept=0.8, accuracy=70.0, drop=20.0),
        replace(ROW, cut="i|o", norm_kept=0.9, accuracy=60.0, drop=30.0),
    ]
    assert mean_drops(rows) == {"a": pytest.approx((10 + 30) / 2)}


def test_predictions_worsen_as_budgets_fall(tiny_problem: Problem) -> None:
    verdict = judge_model(tiny_problem, analytic_plans(tiny_problem), ())
    budgets, kls = [p.budget for p in verdict.front], [p.kl for p in verdict.front]
    assert budgets == sorted(budgets, reverse=True)
    assert kls == sorted(kls)
    assert kls[0] == 0
    assert all(p.cost.params <= p.budget * tiny_problem.dense.params + 1 for p in verdict.front)
    assert verdict.trouble.kl <= verdict.threshold
    assert verdict.score == 1 - verdict.trouble.budget


def test_a_stricter_threshold_never_raises_the_score(tiny_problem: Problem) -> None:
    scores = [
        judge_model(tiny_problem, analytic_plans(tiny_problem), (), t).score for t in (0.001, 0.01, 0.1, 1.0)
    ]
    assert scores == sorted(scores)
    strict = judge_model(tiny_problem, analytic_plans(tiny_problem), (), 1e-9)
    assert strict.score == 0
    assert set(strict.spare) == {t.layer.name for t in tiny_problem.tables}


def network(rank: int) -> nn.Module:
    """A network whose wide layers have a given rank."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    with torch.no_grad():
        for k in (0, 2):
            weight = model[k].weight
            u, s, vh = torch.linalg.svd(weight)
            s[rank:] = 0
            weight.copy_(u[:, : len(s)] * s @ vh[: len(s)])
    return model


def test_networks_of_lower_rank_score_higher() -> None:
    data = TensorDataset(torch.randn(200, 12), torch.randint(0, 4, (200,)))
    scores = []
    for rank in (2, 4, 12):
        task = Task(network(rank), data, calibration_size=90)
        problem = prepare(task, config=CandidateConfig(decompositions=("svd",)))
        scores.append(judge_model(problem, analytic_plans(problem), (), 1e-4).score)
    assert scores[0] > scores[1] > scores[2]
