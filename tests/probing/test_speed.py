"""Time of a forward pass: what is timed, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ranksearch.cli.verdict import sentences, verdict_view
from ranksearch.planning import Gauge, Network, Problem
from ranksearch.probing import PointRecord, ProbeRecord, analytic_plans, measure_speed, read_probe
from ranksearch.probing.record import DenseScores, SpeedRecord, TimeRecord, VerdictRecord
from ranksearch.probing.sizes import dense_bytes, plan_bytes
from ranksearch.timing import TimingSettings


def test_plans_are_timed_and_the_model_is_left_alone(tiny_problem: Problem) -> None:
    task = tiny_problem.task
    before = {k: v.clone() for k, v in task.model.state_dict().items()}
    plans = dict(analytic_plans(tiny_problem)[::40])
    gauge = Gauge(task, Network(tiny_problem.layers, tiny_problem.dense), TimingSettings("torch", 2, 1))
    steps: list[int] = []
    speed = measure_speed(gauge, plans, progress=lambda done, total: steps.append(done))
    assert speed is not None
    assert speed.plans.keys() == plans.keys()
    assert all(0 < ratio.low <= ratio.median <= ratio.high for ratio in speed.plans.values())
    assert speed.dense > 0
    held = speed.conditions
    assert (held.runtime, held.batch, held.threads, held.device) == ("torch", 2, 1, "cpu")
    assert steps == [*range(len(plans) + 1)]
    assert all(torch.equal(before[k], v) for k, v in task.model.state_dict().items())


def test_a_plans_bytes_are_those_of_its_model(tiny_problem: Problem) -> None:
    dense = dense_bytes(tiny_problem)
    for _, plan in analytic_plans(tiny_problem)[::20]:
        built = tiny_problem.build(plan).state_dict().values()
        assert plan_bytes(tiny_problem, plan, dense) == sum(t.numel() * t.element_size() for t in built)


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
            "1.4 times faster on this machine (5 ms instead of 7, measured in torch at batch 32 on one thread).",
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
    assert ("--metric latency looks for plans that are faster" in text) == (gain < 1.05)


def test_more_flops_are_no_surprise() -> None:
    assert "although" not in "\n".join(sentences(record(gain=0.5, flops=120)))


def test_without_times_nothing_is_said(tmp_path: Path) -> None:
    for found in (record(gain=None), record(gain=2.0, params=100)):
        assert "on this machine" not in "\n".join(sentences(found))
    # a file of before there were times
    old = record(gain=None).model_dump(mode="json")
    del old["verdict"]["speed"], old["weights"], old["dense"]["bytes"], old["verdict"]["trouble"]["bytes"]
    path = tmp_path / "probe.json"
    path.write_text(json.dumps(old))
    assert read_probe(path) == record(gain=None)
    verdict_view(read_probe(path))


def test_megabytes_are_those_of_the_file() -> None:
    found = record(gain=None, params=250_000)
    assert "(250,000 of 100, 1 MB instead of 0.0004;" in "\n".join(sentences(found)), "in single precision"
    assert found.verdict is not None
    trouble = found.verdict.trouble.model_copy(update={"bytes": 505_000})
    verdict = found.verdict.model_copy(update={"trouble": trouble})
    sized = found.model_copy(
        update={"verdict": verdict, "dense": found.dense.model_copy(update={"bytes": 2_010_000})}
    )
    assert "0.505 MB instead of 2.01;" in "\n".join(sentences(sized))
