"""Ranks from elsewhere: files of ranks, of chains and of AIMET's scores, and the plans that they make."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import ranksearch
from ranksearch.costs import Budget, Kept, measure_cost
from ranksearch.errors import BudgetError, InputError, MismatchError
from ranksearch.interchange import (
    PLAN_EXPORTERS,
    AimetScores,
    ImportedRanks,
    Wanted,
    export_plan_file,
    plan_of,
    read_ranks,
)
from ranksearch.networks import discover
from ranksearch.planning import to_plan
from ranksearch.tasks import Task
from ranksearch.testing import made_up_plan
from ranksearch.testing.plan_exporters import CASES, MODELS


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_file_of_chains_makes_the_plan_that_it_was_written_of(
    case: tuple[str, str, str], tmp_path: Path
) -> None:
    model, example = MODELS[case[0]]()
    plan = made_up_plan(model, example, *case[1:])
    export_plan_file(plan, PLAN_EXPORTERS.get("chains"), tmp_path / "chains.json")
    given = read_ranks(tmp_path / "chains.json")
    found, budget = plan_of(given, discover(model, example), measure_cost(model, example))
    assert found.key == to_plan(plan).key
    assert found.cost == to_plan(plan).cost
    assert budget.limit == found.cost.params


def test_a_map_of_ranks_is_svd(tiny_task: Task, tmp_path: Path) -> None:
    """What another method names carries it, with the rank of each layer, within its parameters."""
    path = written(tmp_path / "ranks.json", {"0": 2, "3": 4, "8": None})
    result = ranksearch.read_ranks(path, tiny_task)
    assert result.plan.ranks == {"0": "svd 2", "3": "svd 4", "8": "dense"}
    compressed = ranksearch.compress(tiny_task, result, epochs=0, progress=False)
    assert sum(p.numel() for p in compressed.model.parameters()) == result.plan.cost.params
    assert compressed.plan.choices["3"].error > 0  # which nobody knew before it was fitted
    ranksearch.save(tmp_path / "small", tiny_task, result, compressed)
    assert isinstance(ranksearch.load(tmp_path / "small", tiny_task.model), nn.Module)
    assert ranksearch.export_plan(result, "ranks", task=tiny_task).content == {"0": 2, "3": 4}


def test_a_rank_alone_stands_for_another_decomposition_where_it_applies(
    tiny_task: Task, tmp_path: Path
) -> None:
    path = written(tmp_path / "ranks.json", {"0": 2, "3": {"decomposition": "cp", "ranks": [3]}, "8": 1})
    result = ranksearch.read_ranks(path, tiny_task, decomposition="spatial_svd")
    assert result.plan.ranks == {"0": "spatial_svd 2", "3": "cp[joint] 3", "8": "svd 1"}
    assert ranksearch.read_ranks(path, tiny_task, decomposition="tucker2").plan.ranks["0"] == "svd 2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a rank for each module, by name, got none"),
        ([1], "expected a JSON object, got list"),
        ({"0": 0}, "expected at least one rank, got dense layers alone"),
        ({"0": True}, "0: expected 12, 0 for dense, or"),
        ({"0": -1}, "0: expected 12, 0 for dense, or"),
        ({"0": 2.5}, "0: expected 12, 0 for dense, or"),
        ({"0": [2, 3]}, "0: expected 12, 0 for dense, or"),
        ({"0": {"decomposition": "tucker2", "ranks": [2, 0]}}, "0: expected 12, 0 for dense, or"),
        ({"0": {"decomposition": "dense", "ranks": [2]}}, "0: expected 12, 0 for dense, or"),
        ({"0": {"decomposition": "svd", "ranks": [2], "form": 3}}, "0: expected 12, 0 for dense, or"),
        ({"00": 2}, "expected layers of the model, got '00'."),
        ({"0": 999}, "ranks, 0, svd: expected 1 ranks of at most [8], got [999]"),
        ({"0": 8, "3": 12, "8": 5}, "expected ranks that make the model smaller"),
        ({"0": {"decomposition": "os:system", "ranks": [2]}}, "expected one of svd, spatial_svd"),
        ({"0": {"decomposition": "cp", "ranks": [2], "form": "x"}}, "a form of cp among"),
        ({"0": {"1.5": 0.3}}, "0: expected ratios between 0 and 1, got 1.5"),
        ({"0": {"0.5": "good"}}, "0, 0.5: expected a score, got 'good'"),
        ({"0": {"0.5": 0.3}}, "budget: expected one, for scores, got none"),
    ],
)
def test_mistakes(content: Any, message: str, tiny_task: Task, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        ranksearch.read_ranks(written(tmp_path / "ranks.json", content), tiny_task)
    assert message in str(caught.value)


def test_a_layer_that_has_to_stay_dense_gets_no_rank(tmp_path: Path) -> None:
    model, example = MODELS["images"]()
    layers, dense = discover(model, example), measure_cost(model, example)
    with pytest.raises(MismatchError, match=r"^ranks, 8: expected a layer that can be factorised, got "):
        ImportedRanks({"8": Wanted("", "", (2,))}).plan(layers, dense)
    assert ImportedRanks({"8": Wanted("", "", ())}).plan(layers, dense).cost == dense


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("it-ran"),))


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_never_read(protocol: int, tiny_task: Task, tmp_path: Path) -> None:
    path = tmp_path / "scores.pkl"
    path.write_bytes(pickle.dumps(Bomb(), protocol))
    with pytest.raises(InputError, match="expected JSON, got "):
        ranksearch.read_ranks(path, tiny_task)
    torch.save({"0": 2}, path)
    with pytest.raises(InputError, match=r"got a pickle\. A pickle can run code when it is read"):
        ranksearch.read_ranks(path, tiny_task)
    assert not Path("it-ran").exists()


def test_what_is_said_about_a_pickle_of_scores_makes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AIMET's ratios are Decimals, which JSON has no names of."""
    monkeypatch.chdir(tmp_path)
    scores = {"0": {Decimal("0.1"): 0.3, Decimal("0.5"): 0.8}}
    Path("scores.pkl").write_bytes(pickle.dumps(scores))
    with pytest.raises(InputError) as caught:
        read_ranks(Path("scores.pkl"))
    advice = str(caught.value).partition("where it was made: ")[2].removesuffix(".")
    exec(advice, {"FILE": "scores.pkl"})
    assert read_ranks(Path("scores.json")) == AimetScores({"0": {0.1: 0.3, 0.5: 0.8}})


# --- AIMET's scores


def scores_of(names: list[str], seed: int) -> dict[str, dict[Decimal, float]]:
    """Scores that rise with the ratio, mostly, as measured ones do."""
    generator = torch.Generator().manual_seed(seed)
    ratios = [Decimal(k) / 10 for k in range(1, 10)]
    found = {}
    for name in names:
        rise = torch.rand(9, generator=generator).double().cumsum(0) / 9
        noise = 0.02 * torch.randn(9, generator=generator).double()
        found[name] = dict(zip(ratios, (rise + noise).tolist(), strict=True))
    return found


def as_json(scores: Mapping[str, Mapping[Decimal, float]]) -> dict[str, dict[str, float]]:
    return {name: {str(ratio): score for ratio, score in own.items()} for name, own in scores.items()}


def test_more_budget_gives_a_higher_level(tmp_path: Path) -> None:
    model, example = MODELS["images"]()
    layers, dense = discover(model, example), measure_cost(model, example)
    given = read_ranks(written(tmp_path / "scores.json", as_json(scores_of(["2", "5", "7", "11.2"], 0))))
    shares = (0.55, 0.6, 0.7, 0.8, 0.9, 1.0)
    plans = [plan_of(given, layers, dense, Kept(fraction=share))[0] for share in shares]
    kept = [plan.cost.params / dense.params for plan in plans]
    assert kept == sorted(kept)
    assert kept[0] < kept[2] < kept[-1] == 1
    assert all(cost <= share for cost, share in zip(kept, shares, strict=True))
    assert {own.decomposition for own in plans[0].choices.values()} == {"spatial_svd", "svd", "dense"}
    with pytest.raises(BudgetError, match=r"the ratios of the scores can meet, got 0\.1, less than "):
        plan_of(given, layers, dense, Kept(fraction=0.1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_aimet_takes_the_same_ranks_from_the_same_scores(seed: int, tmp_path: Path) -> None:
    """AIMET reads its pickle, ranksearch the JSON; the budget is what AIMET's ranks cost."""
    pytest.importorskip("aimet_torch")
    from aimet_torch.common.defs import CompressionScheme, CostMetric, GreedySelectionParameters
    from aimet_torch.compress import ModelCompressor
    from aimet_torch.defs import SpatialSvdParameters

    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(4, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, stride=2, padding=1)),
        *(nn.ReLU(), nn.Conv2d(16, 14, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(14, 5)),
    ).eval()
    example = torch.zeros(1, 4, 12, 12)
    scores = scores_of(["0", "2", "4"], seed)
    (tmp_path / "scores.pkl").write_bytes(pickle.dumps(scores))
    parameters = SpatialSvdParameters(
        SpatialSvdParameters.Mode.auto,
        SpatialSvdParameters.AutoModeParams(
            GreedySelectionParameters(0.5, saved_eval_scores_dict=str(tmp_path / "scores.pkl"))
        ),
    )
    made, _ = ModelCompressor.compress_model(
        model,
        eval_callback=lambda *_: 0.0,
        eval_iterations=None,
        input_shape=tuple(example.shape),
        compress_scheme=CompressionScheme.spatial_svd,
        cost_metric=CostMetric.memory,
        parameters=parameters,
    )
    theirs = {
        name: (made.get_submodule(f"{name}.0").out_channels,)
        for name in scores
        if isinstance(made.get_submodule(name), nn.Sequential)
    }
    assert theirs
    dense = measure_cost(model, example)
    count = sum(p.numel() for p in made.parameters())
    given = read_ranks(written(tmp_path / "scores.json", as_json(scores)))
    plan, _ = plan_of(given, discover(model, example), dense, Kept(amount=count))
    assert {name: own.ranks for name, own in plan.choices.items() if not own.is_dense} == theirs
    assert plan.cost.params == count
    assert Budget.at_most(dense, count).met_by(plan.cost)
