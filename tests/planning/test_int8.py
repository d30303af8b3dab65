"""Candidates in int8 beside the float ones: their errors, their bytes, and what files keep of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ranksearch.costs import INT8_BYTES, Cost, as_int8, chain_cost, counted
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError
from ranksearch.planning import (
    DENSE,
    Candidate,
    CandidateConfig,
    Table,
    TableRecord,
    inspect_network,
    make_record,
    prepare,
    read_plan,
    to_plan,
    write_plan,
)
from ranksearch.planning.int8 import CREST, rounding_error, with_int8
from ranksearch.searching import SearchSettings, search
from ranksearch.tasks import Task
from ranksearch.testing.material import make_layer

METRICS = counted(INT8_BYTES)
LAYER = make_layer("conv", 8, 6, 3)


def candidate(name: str, *ranks: int, error: float = 0.5) -> Candidate:
    chain = DECOMPOSITIONS.get(name).chain(LAYER, "", ranks)
    return Candidate(name, "", ranks, chain_cost(LAYER, chain, METRICS), error)


@pytest.fixture
def table() -> Table:
    dense = Cost(params=432, flops=9_000_000, int8_bytes=1728)
    return Table(
        LAYER, (candidate("svd", 2), candidate("cp", 2, error=0.9), Candidate(DENSE, "", (), dense, 0.0)), 9.0
    )


def test_an_int8_candidate_counts_as_the_file_stores_it(table: Table) -> None:
    """Weights take a byte, and the scale and zero point of each output channel five."""
    found = with_int8(table, 0.01).candidates
    own = {str(c): c.cost.of(INT8_BYTES) for c in found if c.int8}
    assert own == {"svd 2 int8": 2 * 54 + 5 * 2 + 8 * 2 + 5 * 8, "dense int8": 432 + 5 * 8}
    assert as_int8(make_layer("fc", 5, 4, 0)) == 20 + 5 * 5 + 12 * 5 * make_layer("fc", 5, 4, 0).bias


def test_chains_with_depthwise_factors_stay_float(table: Table) -> None:
    found = with_int8(table, 0.01).candidates
    assert {c.decomposition for c in found if c.int8} == {"svd", DENSE}
    assert set(table.candidates) <= set(found)


def test_every_factor_rounds_its_inputs(table: Table) -> None:
    errors = {str(c): c.error for c in with_int8(table, 0.01).candidates}
    assert errors["dense int8"] == pytest.approx(0.01)
    assert errors["svd 2 int8"] == pytest.approx(0.5 + 2 * 0.01)


def test_kinds_that_the_quantiser_leaves_alone_have_no_int8(table: Table) -> None:
    embedding = Table(make_layer("tokens", 8, 6, 0), table.candidates, 9.0)
    object.__setattr__(embedding.layer, "kind", "embedding")
    assert with_int8(embedding, 0.01) is embedding


def test_the_error_of_rounding_by_hand() -> None:
    kernel = torch.tensor([[1.27, 0.504], [0.0, -2.54]])
    of_weights = 0.5 * 0.004**2  # 0.504 lies between the steps 0.50 and 0.51
    of_inputs = 0.5 * (1.27**2 + 0.504**2 + 2.54**2) * (CREST / 255) ** 2 / 12
    assert rounding_error(kernel) == pytest.approx(of_weights + of_inputs, rel=1e-5)


def test_the_error_grows_with_inputs_and_gradients() -> None:
    kernel = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    A, G = torch.eye(27), torch.eye(4)
    assert rounding_error(kernel, 3 * A, 5 * G) == pytest.approx(15 * rounding_error(kernel, A, G), rel=1e-5)
    assert rounding_error(torch.zeros(4, 3, 3, 3), A, G) == 0


def test_plans_take_int8_where_bytes_count_and_files_keep_it(tiny_task: Task, tmp_path: Path) -> None:
    network = inspect_network(tiny_task, metrics=METRICS)
    config = CandidateConfig(metrics=METRICS, fits_per_form=3, iterations=3)
    problem = prepare(tiny_task, network=network, config=config)
    assert network.cost.of(INT8_BYTES) == inspect_network(tiny_task, metrics=("bytes",)).cost.of("bytes")
    (result,) = search(problem, SearchSettings(budgets=(0.3,), metric=INT8_BYTES))
    assert result.plan.int8
    record = make_record(
        tiny_task.model,
        problem.layers,
        result.plan,
        example=tiny_task.example,
        dense=problem.dense,
        budget=result.budget,
        seed=0,
    )
    write_plan(tmp_path / "plan.json", record)
    assert to_plan(read_plan(tmp_path / "plan.json")) == result.plan
    for table in problem.tables:
        kept = TableRecord.model_validate_json(TableRecord.of(table).model_dump_json())
        assert kept.table(table.layer) == table


def test_candidates_are_the_same_from_the_cache(tiny_task: Task, tmp_path: Path) -> None:
    config = CandidateConfig(metrics=METRICS, decompositions=("svd",), fits_per_form=2, iterations=0)
    task = replace(tiny_task, cache=tmp_path)
    network = inspect_network(task, metrics=METRICS)
    first, second = (prepare(task, network=network, config=config).tables for _ in range(2))
    assert first == second


def test_int8_and_times_are_not_counted_together() -> None:
    with pytest.raises(InputError, match="metric: expected int8_bytes or a time, got both"):
        CandidateConfig(metrics=counted(INT8_BYTES, "latency"))
