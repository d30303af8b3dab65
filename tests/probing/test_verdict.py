"""The verdict: calibration and translation by hand; its order on networks that are known to differ."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ranksearch.candidates import CandidateConfig
from ranksearch.probing.rows import Row
from ranksearch.probing.verdict import calibration, judge_model, mean_drops, translation
from ranksearch.problem import Problem, prepare
from ranksearch.task import Task

ROW = Row("layer", "a", 1, "o|i", None, 1, 4, 0.9, 0.1, 80.0, 1.0, 10.0, 0.5, 1.0, 0.1, 0.2, 0.01)


def test_calibration_is_the_median_ratio_of_middling_rows() -> None:
    ratios = (0.5, 1.0, 2.0, 4.0, 8.0)
    rows = [replace(ROW, epsilon=0.1, kl=0.1 * r) for r in ratios]
    noise = [
        replace(ROW, epsilon=1e-6, kl=1e-4),
        replace(ROW, epsilon=0.1, kl=3.0),
        replace(ROW, epsilon=None),
    ]
    assert calibration(rows + noise) == pytest.approx(2.0)
    assert calibration(rows[:4]) == 1.0


def test_translation_falls_and_passes_through_the_rows() -> None:
    rows = [
        replace(ROW, kl=k, accuracy=a) for k, a in ((0.0, 90), (0.1, 86), (0.2, 88), (1.0, 20), (inf, 10))
    ]
    found = translation(rows)
    assert found(0.0) == 90
    assert found(0.1) == found(0.2) == 87  # pooled
    assert found(0.6) == pytest.approx((87 + 20) / 2)
    assert found(5.0) == 20
    assert translation([replace(ROW, accuracy=None)])(0.1) is None


def test_drops_are_means_over_cuts_at_equal_norm() -> None:
    rows = [
        replace(ROW, norm_kept=1.0, accuracy=90.0, drop=0.0),
        replace(ROW, norm_kept=0.8, accuracy=70.0, drop=20.0),
        replace(ROW, cut="i|o", norm_kept=0.9, accuracy=60.0, drop=30.0),
    ]
    assert mean_drops(rows) == {"a": pytest.approx((10 + 30) / 2)}


def test_predictions_worsen_as_budgets_fall(tiny_problem: Problem) -> None:
    verdict = judge_model(tiny_problem, ())
    budgets, kls = [p.budget for p in verdict.front], [p.kl for p in verdict.front]
    assert budgets == sorted(budgets, reverse=True)
    assert kls == sorted(kls)
    assert kls[0] == 0
    assert all(p.cost.params <= p.budget * tiny_problem.dense.params + 1 for p in verdict.front)
    assert verdict.trouble.kl <= verdict.threshold
    assert verdict.score == 1 - verdict.trouble.budget


def test_a_stricter_threshold_never_raises_the_score(tiny_problem: Problem) -> None:
    scores = [judge_model(tiny_problem, (), t).score for t in (0.001, 0.01, 0.1, 1.0)]
    assert scores == sorted(scores)
    strict = judge_model(tiny_problem, (), 1e-9)
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
        scores.append(judge_model(problem, (), 1e-4).score)
    assert scores[0] > scores[1] > scores[2]
