"""Budgets that count a part of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.cli.closing import closing_lines
from ranksearch.costs import Budget, Cost, Kept, Part, measure_cost
from ranksearch.errors import BudgetError, InputError
from ranksearch.networks import discover, repeated_blocks
from ranksearch.planning import (
    analytic,
    prepare,
    read_plan,
    read_tables,
    record_of_tables,
    whole_front,
    write_tables,
)
from ranksearch.planning.network import inspect_network
from ranksearch.planning.part import take_part
from ranksearch.planning.plan_record import ModelRecord
from ranksearch.rewriting import plain_form
from ranksearch.runs import model_summary
from ranksearch.searching.job import budget_of, plain_budget

D, FF, TOKENS, BLOCKS = 12, 24, 60, 2
OF_A_BLOCK = 4 * (D * D + D) + D * FF + FF + FF * D + D
"""Weights and biases of q, k, v, out and the two layers of the feed-forward network."""

ATTENTION = BLOCKS * 2 * 2 * 6 * 6 * D
"""FLOPs of the products of q and k, and of the weights and v, for 6 tokens."""


class Encoder(nn.Module):
    """Token embeddings, two blocks, and a head that may be tied to the embeddings."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(TOKENS, D)
        block = nn.TransformerEncoderLayer(D, 2, FF, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, BLOCKS, enable_nested_tensor=False)
        self.head = nn.Linear(D, TOKENS if tied else 4)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(x)).mean(1))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def task() -> ranksearch.Task:
    torch.manual_seed(0)
    ids = torch.randint(0, TOKENS, (60, 6))
    return ranksearch.Task(Encoder().eval(), TensorDataset(ids, ids[:, 0] % 4))


@pytest.mark.parametrize(
    ("asked", "params"),
    [
        ("blocks", BLOCKS * OF_A_BLOCK),
        ("factorisable", BLOCKS * OF_A_BLOCK + TOKENS * D + 4 * (D + 1)),
        ("*.linear1", BLOCKS * (D * FF + FF)),
        ("head, embedding", TOKENS * D + 4 * (D + 1)),
    ],
)
def test_a_part_costs_the_sum_of_its_layers(task: ranksearch.Task, asked: str, params: int) -> None:
    network = inspect_network(task, budget_of=asked)
    assert network.part is not None
    assert network.part.cost.params == params
    inside = {x.name for x in network.layers if x.reason is None}
    assert inside
    outside = [x for x in network.layers if x.name not in inside]
    assert all("outside" in (x.reason or "") for x in outside)


def test_a_budget_of_a_part_is_kept_by_that_part_and_leaves_the_rest(task: ranksearch.Task) -> None:
    problem = prepare(task, network=inspect_network(task, budget_of="blocks"))
    assert problem.part is not None
    rest = problem.part.rest("params", problem.dense.params)
    assert rest == problem.dense.params - BLOCKS * OF_A_BLOCK
    for kept, most in ((0.5, BLOCKS * OF_A_BLOCK // 2), ("1.1k", 1100)):
        budget = Budget.of(problem.dense, kept, part=problem.part)
        plan = problem.plan(analytic(problem.tables, budget))
        built = problem.build(plan)
        counted = sum(p.numel() for p in built.parameters()) - rest
        assert counted == budget.counted(plan.cost.params) <= most
        assert torch.equal(
            built.get_parameter("embedding.weight"), task.model.get_parameter("embedding.weight")
        )
    shares = [problem.share(plan.cost, "params") for plan in whole_front(problem, "params")]
    assert shares[-1] == 1
    assert 0 < shares[0] < 0.5


def test_what_cannot_be_met_is_told_in_terms_of_the_part(task: ranksearch.Task) -> None:
    problem = prepare(task, network=inspect_network(task, budget_of="blocks"))
    with pytest.raises(BudgetError, match=rf"of {BLOCKS * OF_A_BLOCK:,} parameters of the blocks") as caught:
        analytic(problem.tables, Budget.of(problem.dense, 0.001, part=problem.part))
    least = str(caught.value).split("at least ")[1].split()[0]
    analytic(problem.tables, Budget.of(problem.dense, float(least), part=problem.part))


def test_limits_count_the_same_part(task: ranksearch.Task) -> None:
    network = inspect_network(task, budget_of="blocks")
    assert network.part is not None
    budget = Budget.of(network.cost, 0.5, "params", (("flops", Kept(fraction=0.5)),), network.part)
    (flops,) = budget.also
    assert flops.limit == network.part.rest("flops", network.cost.flops) + network.part.cost.flops // 2


def test_tied_weights_count_once() -> None:
    model = plain_form(Encoder(tied=True).eval())
    ids = torch.zeros(1, 6, dtype=torch.long)
    _, part = take_part(model, discover(model, ids), "*")
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters())
    assert part.cost.params == sum(p.numel() for p in model.parameters()) - norms
    assert part.cost.flops == measure_cost(model, ids).flops - ATTENTION


def test_parts_go_through_files(task: ranksearch.Task, tmp_path: Path) -> None:
    problem = prepare(task, network=inspect_network(task, budget_of="blocks"))
    budget = Budget.of(problem.dense, 0.5, part=problem.part)
    assert budget_of(plain_budget(budget)) == budget
    model = ModelRecord(name=None, digest="0" * 64, input_shape=(1, 6))
    for part in (problem.part, None):
        offered = replace(problem.offered, part=part)
        record = record_of_tables(offered, model, task_metric="", budget=budget, seed=0, options={})
        write_tables(tmp_path / "tables.json", record)
        assert ("part" in (tmp_path / "tables.json").read_text()[-400:]) == (part is not None)
        assert read_tables(tmp_path / "tables.json").content().part == part


@pytest.mark.parametrize(
    ("asked", "metric", "message"),
    [
        ("nonsense", "params", "budget_of: expected a pattern that matches a layer"),
        (",", "params", "budget_of: expected factorisable, blocks or a pattern"),
        ("blocks", "latency", "latency, which is measured"),
    ],
)
def test_parts_that_do_not_make_sense_are_refused(
    task: ranksearch.Task, asked: str, metric: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ranksearch.search(task, 0.5, metric=metric, budget_of=asked, progress=False)


def test_a_model_without_blocks_says_so() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).eval()
    layers = discover(model, torch.zeros(1, 4))
    assert repeated_blocks(model) == ()
    with pytest.raises(InputError, match="blocks, of which the model has none"):
        take_part(model, layers, "blocks")


def test_blocks_are_the_outermost_repeated_modules() -> None:
    def pair() -> nn.Module:
        return nn.TransformerDecoderLayer(4, 1, 4)

    stages = nn.Sequential(nn.Sequential(pair(), pair()), nn.Conv2d(1, 1, 1), nn.Sequential(pair(), pair()))
    assert repeated_blocks(nn.ModuleDict({"a": stages})) == ("a.0.0", "a.0.1", "a.2.0", "a.2.1")


def test_the_whole_model_is_what_it_was() -> None:
    dense = Cost(params=1001, flops=10)
    assert Budget.of(dense, 0.5) == Budget("params", Kept(fraction=0.5), 1001, 500)
    assert Budget.of(dense, 0.5, part=Part("all", dense)).limit == 500


def test_what_is_delivered_says_what_was_counted(task: ranksearch.Task, tmp_path: Path) -> None:
    result = ranksearch.search(task, 0.5, budget_of="blocks", progress=False)
    compressed = ranksearch.compress(task, result, epochs=0, progress=False)
    ranksearch.save(tmp_path, task, result, compressed)
    record = read_plan(tmp_path / "plan.json")
    assert record.part is not None
    assert record.part.dense["params"] == BLOCKS * OF_A_BLOCK
    kept = record.counted("params", record.cost["params"])
    assert kept == BLOCKS * OF_A_BLOCK - (record.dense["params"] - record.cost["params"])
    card = (tmp_path / "README.md").read_text()
    assert f"| parameters of the blocks | {BLOCKS * OF_A_BLOCK:,} | {kept:,} |" in card
    assert f"The budget was at most {BLOCKS * OF_A_BLOCK // 2:,} parameters of the blocks." in card
    assert model_summary(record)["counted"]["cost"]["params"] == kept
    assert any("parameters of the blocks (−" in line for line in closing_lines([record]))
    further = ranksearch.plan(result, 0.3)
    assert further.budget.counted(further.plan.cost.params) <= 0.3 * BLOCKS * OF_A_BLOCK
