"""Compression in rounds: which layers when, what is carried on, and that the result is what the plan says."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ranksearch.api import load
from ranksearch.compression import CompressConfig, compress, save_compressed
from ranksearch.compression.rounds import grouped, rounds_of
from ranksearch.compression.training import FinetuneConfig
from ranksearch.costs import Budget, Cost, measure_cost
from ranksearch.errors import InputError
from ranksearch.networks import Layer, run
from ranksearch.networks.layers import Call
from ranksearch.planning import Candidate, Plan, Problem, make_record, skeleton
from ranksearch.planning.plan import DENSE
from ranksearch.tasks import Estimate, divergence
from ranksearch.tasks.splits import Splits

QUICK = CompressConfig(iterations=5, epochs=2, seed=3)


def layer(name: str, params: int) -> Layer:
    return Layer(name, "linear", params, 1, (), (), (), (), "zeros", 1, False, (Call((), ()),))


def names(groups: list[list[Layer]]) -> list[list[str]]:
    return [[x.name for x in group] for group in groups]


def half(problem: Problem) -> Plan:
    """A plan from the middle of every table."""
    return problem.plan([len(table.candidates) // 2 for table in problem.tables])


def test_groups_are_stages_where_there_are_as_many() -> None:
    layers = [layer(n, 10) for n in ("stem", "a.0.x", "a.0.y", "a.1.x", "b.0.x")]
    assert names(grouped(layers, 3)) == [["stem"], ["a.0.x", "a.0.y", "a.1.x"], ["b.0.x"]]
    assert names(grouped(layers, 4)) == [["stem"], ["a.0.x", "a.0.y"], ["a.1.x"], ["b.0.x"]]


def test_groups_are_else_runs_of_about_equal_parameters() -> None:
    layers = [layer(f"{k}", size) for k, size in enumerate((10, 10, 10, 15, 40, 40))]
    assert names(grouped(layers, 3)) == [["0", "1", "2", "3"], ["4"], ["5"]]
    for count in range(1, 7):
        groups = grouped(layers, count)
        assert len(groups) == count
        assert all(groups)
        assert [x for group in groups for x in group] == layers
    assert names(grouped([layer("0", 99), layer("1", 1), layer("2", 1)], 3)) == [["0"], ["1"], ["2"]]
    # a stage that comes back is no stage
    assert names(grouped([layer("a.0", 1), layer("b.0", 1), layer("a.1", 1)], 3)) == [
        ["a.0"],
        ["b.0"],
        ["a.1"],
    ]


def test_rounds_cover_the_plan_from_its_end_and_share_the_steps() -> None:
    layers = [layer(f"l{k}", 100) for k in range(5)]
    choices = {
        x.name: Candidate("svd", "", (1,), Cost(params=10 + k, flops=20), 0.1) for k, x in enumerate(layers)
    }
    choices["l2"] = Candidate(DENSE, "", (), Cost(params=100, flops=200), 0.0)
    plan = Plan(choices, Cost(params=1_000, flops=5_000))
    for count in (2, 3, 4, 9):
        found = rounds_of(layers, plan, count)
        assert len(found) == min(count, 4)
        assert [r.number for r in found] == list(range(len(found)))
        order = [name for r in reversed(found) for name in r.plan.choices]
        assert order == ["l0", "l1", "l3", "l4"]
        assert found[-1].plan.cost == plan.cost
        assert found[0].plan.cost.params == 1_000 + sum(
            100 - choices[n].cost.params for n in order if n not in found[0].plan.choices
        )
        for steps in (0, 1, 7, 100):
            parts = [r.share(steps) for r in found]
            assert sum(parts) == steps
            assert max(parts) - min(parts) <= 1
    (whole,) = rounds_of(layers, plan, 1)
    assert whole.plan is plan
    assert whole.share(7) == 7
    assert whole.named("fine-tuning") == "fine-tuning"


def test_one_round_is_plain_compression(tiny_problem: Problem) -> None:
    plain, one = (
        compress(tiny_problem.task, half(tiny_problem), config=config)
        for config in (QUICK, replace(QUICK, rounds=1))
    )
    for a, b in zip(plain.model.state_dict().values(), one.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert plain.rounds == one.rounds == (plain.delivered,)
    assert plain.plan == one.plan


@pytest.mark.parametrize("rounds", [2, 3, 7])
def test_the_result_is_what_the_plan_says(tiny_problem: Problem, rounds: int, tmp_path: Path) -> None:
    task, plan = tiny_problem.task, half(tiny_problem)
    stages: list[tuple[str, int, int]] = []
    done = compress(
        task, plan, config=replace(QUICK, rounds=rounds), progress=lambda *news: stages.append(news[:3])
    )
    count = min(rounds, 3)
    assert done.cost == plan.cost == measure_cost(done.model, task.example)
    assert list(done.plan.choices) == list(plan.choices)
    assert done.plan.key == plan.key
    wanted = skeleton(task.model, tiny_problem.layers, plan)
    assert {k: v.shape for k, v in done.model.state_dict().items()} == {
        k: v.shape for k, v in wanted.state_dict().items()
    }
    assert len(done.rounds) == count
    assert done.rounds[-1] == done.delivered
    held_out = task.inputs("divergence")
    outputs = [run(m, held_out, batch_size=32, device=task.device) for m in (task.model, done.model)]
    assert done.delivered.mean == pytest.approx(divergence(outputs[0], outputs[1], task.loss).mean, rel=1e-4)
    trained = [total for stage, step, total in stages if stage.startswith("fine-tuning") and step == total]
    assert sum(trained) == 2 * (len(task.splits.finetune) // 32)  # no more than a plain run
    assert ("rounds", count, count) in stages
    record = make_record(
        task.model, tiny_problem.layers, done.plan, example=task.example, dense=tiny_problem.dense,
        budget=Budget.at_most(tiny_problem.dense, plan.cost.params), seed=0,
    )  # fmt: skip
    save_compressed(tmp_path, done.model, record)
    torch.testing.assert_close(load(tmp_path, task.model)(held_out), outputs[1], rtol=1e-4, atol=1e-4)


def test_what_was_trained_is_carried_on(tiny_problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The factors, statistics and biases of a round are those that the next one starts from."""
    import ranksearch.compression.full as module

    seen: list[tuple[dict[str, torch.Tensor], nn.Module]] = []
    whole = module.fitted_models

    def spy(task, *arguments, **named):  # type: ignore[no-untyped-def]
        models, plan = whole(task, *arguments, **named)
        seen.append(({k: v.clone() for k, v in models[0].state_dict().items()}, task.model))
        return models, plan

    monkeypatch.setattr(module, "fitted_models", spy)
    # On so small a network training may do harm, and then nothing would be carried on.
    monkeypatch.setattr(module, "divergence", lambda *_: Estimate(-1.0, 0.0, 1))
    task = tiny_problem.task
    before = {k: v.clone() for k, v in task.model.state_dict().items()}
    compress(task, half(tiny_problem), config=replace(QUICK, rounds=3))
    assert len(seen) == 3
    assert seen[0][1] is task.model
    for started, model in seen[1:]:
        trained = model.state_dict()
        shared = started.keys() & trained.keys()
        assert {k for k in shared if k.startswith("8.")} == {"8.0.weight", "8.1.weight", "8.1.bias"}
        assert {"1.running_mean", "4.running_var", "4.weight"} <= shared
        assert all(torch.equal(started[k], trained[k]) for k in shared)
        assert not torch.equal(trained["4.weight"], before["4.weight"])
    assert all(torch.equal(before[k], v) for k, v in task.model.state_dict().items())


def test_a_round_that_does_harm_is_not_kept(tiny_problem: Problem, caplog: pytest.LogCaptureFixture) -> None:
    harmful = replace(QUICK, rounds=2, finetune=FinetuneConfig(lr=3.0))
    with caplog.at_level(logging.INFO, "ranksearch"):
        done = compress(tiny_problem.task, half(tiny_problem), config=harmful)
    assert caplog.text.count("fine-tuning raised the divergence") == 2
    assert "compression, round 2 of 2: divergence" in caplog.text
    assert done.finetuned is None
    assert done.delivered == done.factorised == done.rounds[-1]
    assert done.cost == half(tiny_problem).cost


def test_mistakes(tiny_problem: Problem) -> None:
    with pytest.raises(
        InputError, match=r"rounds: expected epochs of training to divide among the rounds, got `epochs=0`\."
    ):
        CompressConfig(rounds=2, epochs=0)
    with pytest.raises(InputError, match="rounds: expected a whole number, 1 or more, got 0"):
        CompressConfig(rounds=0, epochs=1)
    s = tiny_problem.task.splits
    few = replace(tiny_problem.task, splits=Splits(s.seed, s.moments, s.divergence, (), ()))
    with pytest.raises(
        InputError, match="rounds: expected training images for the epochs between them, got none"
    ):
        compress(few, half(tiny_problem), config=replace(QUICK, rounds=2))
