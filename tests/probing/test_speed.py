"""Time of a forward pass: what is timed, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ranksearch.cli.verdict import sentences, verdict_view
from ranksearch.planning import Problem
from ranksearch.probing import PointRecord, ProbeRecord, analytic_plans, measure_speed, read_probe
from ranksearch.probing.record import DenseScores, SpeedRecord, TimeRecord, VerdictRecord
from ranksearch.probing.speed import BATCH, median_seconds


def test_more_work_takes_more_time() -> None:
    light, heavy = nn.Linear(8, 8), nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
    steps: list[int] = []
    (slow,) = median_seconds([heavy.train()], torch.randn(BATCH, 512), lambda done, total: steps.append(done))
    (fast,) = median_seconds([light], torch.randn(BATCH, 8))
    assert 0 < fast < slow
    assert steps == sorted(steps)
    assert heavy.training  # each model's own mode comes back


def test_the_dense_model_and_plans_are_timed_and_left_alone(tiny_problem: Problem) -> None:
    before = {k: v.clone() for k, v in tiny_problem.task.model.state_dict().items()}
    plans = dict(analytic_plans(tiny_problem)[::40])
    speed = measure_speed(tiny_problem, plans)
    assert speed.plans.keys() == plans.keys()
    assert min(speed.dense, *speed.plans.values()) > 0
    assert (speed.batch, speed.threads, speed.device) == (BATCH, torch.get_num_threads(), "cpu")
    assert all(torch.equal(before[k], v) for k, v in tiny_problem.task.model.state_dict().items())


def record(*, gain: float | None, flops: int = 40, params: int = 50) -> ProbeRecord:
    """A verdict at half of the parameters; gain: how many times faster that is, None where it was not timed."""
    point = PointRecord(
        budget=0.5, params=params, flops=flops, epsilon=0.1, kl=0.1, accuracy=None, measured=True
    )
    times = () if gain is None else (TimeRecord(budget=0.5, seconds=0.007 / gain),)
    speed = None if gain is None else SpeedRecord(batch=32, threads=1, device="cpu", dense=0.007, plans=times)
    verdict = VerdictRecord(threshold=0.1, score=0.5, trouble=point, front=(point,), spare=(), speed=speed)
    return ProbeRecord(
        version=2, model="m", task_metric="top-1 %", images=None,
        dense=DenseScores(params=100, flops=100, accuracy=None, loss=None, chance=0.0),
        layers=(), verdict=verdict, recovery=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gain", "flops", "words"),
    [
        (
            1.4,
            40,
            "Predicted 1.4 times faster on this machine (5 ms instead of 7, measured at batch 32 on one thread).",
        ),
        (1.02, 40, "Predicted no faster on this machine"),
        (0.5, 40, "Predicted 2.0 times slower on this machine"),
        (0.5, 40, "although it needs 40% of the FLOPs: many thin layers take longer than their FLOPs say."),
        (1.0, 40, "although it needs 40% of the FLOPs"),
    ],
)
def test_words(gain: float, flops: int, words: str) -> None:
    text = "\n".join(sentences(record(gain=gain, flops=flops)))
    assert words in text
    assert ("although" in text) == (gain < 1.05)


def test_more_flops_are_no_surprise() -> None:
    assert "although" not in "\n".join(sentences(record(gain=0.5, flops=120)))


def test_without_times_nothing_is_said(tmp_path: Path) -> None:
    for found in (record(gain=None), record(gain=2.0, params=100)):
        assert "on this machine" not in "\n".join(sentences(found))
    # a file of before there were times
    old = record(gain=None).model_dump(mode="json")
    del old["verdict"]["speed"], old["weights"]
    path = tmp_path / "probe.json"
    path.write_text(json.dumps(old))
    assert read_probe(path) == record(gain=None)
    verdict_view(read_probe(path))
