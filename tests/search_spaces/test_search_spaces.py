"""What every search space promises, and each one's own meaning."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import FixedTrial

from ranksearch.errors import InputError
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.planning import Choice, Table, energy, uniform
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.search_spaces.base import SearchSpace
from ranksearch.search_spaces.groups import by_shape, by_stage
from ranksearch.testing import MANY, SVD, SearchSpaceContract, cost_of, made, sampled

ALL = MANY


class TestEverySpace(SearchSpaceContract):
    @pytest.fixture(params=SEARCH_SPACES.names())
    def space(self, request: pytest.FixtureRequest) -> type[SearchSpace]:
        return SEARCH_SPACES.get(request.param)


def make(name: str, tables: list[Table]) -> SearchSpace:
    return made(SEARCH_SPACES.get(name), tables)


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_which_spaces_hold_the_analytic_plan(name: str) -> None:
    assert (make(name, ALL).initial() is None) == (name == "grouped")


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_only_raw_ranks_need_a_constraint(name: str) -> None:
    assert all(bool(constraints) == (name == "ranks") for _, constraints in sampled(make(name, ALL), 10))


def test_unknown_space() -> None:
    with pytest.raises(InputError, match="space: expected sensitivities or ranks or grouped, got 'outer'"):
        SEARCH_SPACES.get("outer")


def test_a_space_of_ones_own() -> None:
    @SEARCH_SPACES.register
    class Weighted(SearchSpace):
        name = "weighted"

        def suggest(self, trial: optuna.trial.BaseTrial) -> Choice:
            first = trial.suggest_float("first", 0.1, 1.0)
            weights = [first] + [1.0] * (len(self.tables) - 1)
            return uniform(self.tables, self.budget, weights=weights)

        def express(self, choice: Choice) -> dict[str, object] | None:
            return None

    space = make("weighted", SVD)
    assert space.initial() is None
    assert all(cost_of(space, choice) <= space.budget.limit for choice, _ in sampled(space, 5))


# ---- sensitivities ----


def test_sensitivities_are_a_handful() -> None:
    params = make("sensitivities", ALL).initial()
    assert params == dict.fromkeys(
        ["layers layer1", "layers layer2", "layers layer3", "spatial_svd", "svd", "exponent"], 1.0
    )
    # One decomposition has no multiplier.
    assert make("sensitivities", SVD).initial() == dict.fromkeys(
        ["layers layer1", "layers layer2", "layers layer3", "exponent"], 1.0
    )


def test_sensitivities_move_the_budget_where_they_point() -> None:
    space = make("sensitivities", ALL)
    params = space.initial()
    assert params is not None

    def kept(prefix: str, **changed: float) -> int:
        choice = space.suggest(FixedTrial(params | changed))
        pairs = zip(space.tables, choice, strict=True)
        return sum(t.candidates[i].cost.params for t, i in pairs if t.layer.name.startswith(prefix))

    assert (
        kept("layer3", **{"layers layer3": 1.7}) > kept("layer3") > kept("layer3", **{"layers layer3": 0.6})
    )

    def used(**changed: float) -> int:
        choice = space.suggest(FixedTrial(params | changed))
        return sum(t.candidates[i].decomposition == "cp" for t, i in zip(space.tables, choice, strict=True))

    # cp, the first, is the unit: making the others worse favours it.
    assert used(svd=1.4, spatial_svd=1.4) >= used() >= used(svd=0.7, spatial_svd=0.7)
    assert used(svd=1.4, spatial_svd=1.4) > used(svd=0.7, spatial_svd=0.7)


# ---- ranks ----


def test_ranks_are_ranks_where_one_decomposition_has_one() -> None:
    space = make("ranks", SVD)
    rank = {f"rank {table.layer.name}": 1 + k % 2 for k, table in enumerate(SVD)}
    choice = space.suggest(FixedTrial(rank))
    picked = [table.candidates[i] for table, i in zip(SVD, choice, strict=True)]
    assert [candidate.ranks for candidate in picked] == [(value,) for value in rank.values()]


def test_ranks_express_any_plan_of_the_fronts() -> None:
    space = make("ranks", ALL)
    for choice, _ in sampled(space, 10):
        params = space.express(choice)
        assert params is not None
        assert space.suggest(FixedTrial(params)) == choice


def test_ranks_do_not_express_a_beaten_candidate() -> None:
    table = ALL[1]
    space = make("ranks", [table])
    beaten = set(range(len(table.candidates))) - {choice[0] for choice, _ in sampled(space, 400)}
    assert beaten
    assert space.express((min(beaten),)) is None


# ---- grouped ----


def test_grouped_expresses_the_uniform_plan_only() -> None:
    space = make("grouped", ALL)
    equal = uniform(ALL, space.budget)
    assert space.express(equal) == dict.fromkeys(
        ["level 3→16 3×3", "level 16→16 3×3", "level 16→32 3×3", "level 32→32 3×3", "level 32→64 3×3"], 5
    )
    assert space.express(energy(ALL, space.budget)) is None


def test_grouped_gives_levels_to_shapes() -> None:
    space = make("grouped", SVD)
    levels = {f"level {group}": 2 for group in by_shape([table.layer for table in SVD])}
    choice = space.suggest(FixedTrial(levels | {"level 32→32 3×3": 4}))
    kept = {
        t.layer.name: t.candidates[i].cost.params / t.dense.params for t, i in zip(SVD, choice, strict=True)
    }
    assert kept["layer2.1.conv"] == pytest.approx(2 * kept["layer3.0.conv"], rel=0.35)


# ---- groups ----


def layer(name: str, stride: int = 1, channels: int = 8) -> Layer:
    kernel = ((3, 3), (stride, stride), (1, 1), (1, 1), "zeros", 1, False)
    return Layer(name, "conv2d", channels, channels, *kernel, (Call((8, 8), (8, 8)),))


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        ([], {}),
        (["fc"], {"fc": 1}),
        (["a.x", "a.y", "fc"], {"a.x": 1, "a.y": 1, "fc": 1}),
        (
            ["conv1", "layer1.0.c", "layer1.1.c", "layer2.0.c", "fc"],
            {"conv1": 1, "layer1": 2, "layer2": 1, "fc": 1},
        ),
        (
            ["net.a.x", "net.a.y", "net.b.x", "net.c.x"],
            {"net.a.x": 1, "net.a.y": 1, "net.b.x": 1, "net.c.x": 1},
        ),
        ([f"b.{k // 3}.{k % 3}" for k in range(12)], {f"b.{k}": 3 for k in range(4)}),
        ([str(k) for k in range(16)], {f"{k}…": 2 for k in range(0, 16, 2)}),
        ([f"features.{k}" for k in range(16)] + ["fc"], 8),
    ],
)
def test_by_stage(names: list[str], groups: dict[str, int] | int) -> None:
    found = by_stage(names)
    assert sorted(index for members in found.values() for index in members) == list(range(len(names)))
    if isinstance(groups, int):
        assert len(found) == groups
    else:
        sizes = {name: len(members) for name, members in found.items()}
        assert sizes == groups


def test_by_shape() -> None:
    layers = [layer("a"), layer("b", stride=2), layer("c"), layer("d", channels=4)]
    assert by_shape(layers) == {"8→8 3×3": [0, 2], "8→8 3×3 /2×2": [1], "4→4 3×3": [3]}
    many = [layer(f"s{k % 5}.{k}", channels=k + 1) for k in range(20)]
    assert set(by_shape(many)) == {"s0", "s1", "s2", "s3", "s4"}
