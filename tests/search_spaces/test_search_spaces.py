"""What every search space promises, and each one's own meaning."""

from __future__ import annotations

from math import exp

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from ranksearch.costs import ALWAYS, Budget, Cost, layer_cost
from ranksearch.errors import InputError
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.planning import Candidate, Choice, Table, energy, knapsack, uniform
from ranksearch.planning.plan import DENSE
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.search_spaces.base import SearchSpace
from ranksearch.search_spaces.groups import by_shape, by_stage

BUDGETS = (0.6, 0.3, 0.2)


def conv(name: str, inputs: int, outputs: int, size: int, decompositions: tuple[str, ...]) -> Table:
    """A 3×3 convolution with every rank of each decomposition, and errors that fall geometrically with it."""
    call = Call((size, size), (size, size))
    geometry = ((3, 3), (1, 1), (1, 1), (1, 1), "zeros", 1, False)
    layer = Layer(name, "conv2d", inputs, outputs, *geometry, (call,))
    found = [Candidate(DENSE, "", (), layer_cost(layer), 0.0)]
    for k, decomposition in enumerate(decompositions):
        per_rank = (inputs * 9 + outputs, (inputs + outputs) * 3, inputs + outputs + 6)[k]
        for rank in range(1, layer_cost(layer).params // per_rank):
            params = per_rank * rank
            error = (0.5 + outputs / 64) * exp(-(5 + k) * params / layer_cost(layer).params)
            found.append(
                Candidate(decomposition, "", (rank,), Cost(params=params, flops=2 * params * size**2), error)
            )
    found.sort(key=lambda c: (c.cost.params, c.error))
    return Table(layer, tuple(found), 3.0)


def network(decompositions: tuple[str, ...]) -> list[Table]:
    return [
        conv("conv1", 3, 16, 32, decompositions),
        *(conv(f"layer1.{k}.conv", 16, 16, 32, decompositions) for k in range(3)),
        conv("layer2.0.conv", 16, 32, 16, decompositions),
        *(conv(f"layer2.{k}.conv", 32, 32, 16, decompositions) for k in range(1, 3)),
        conv("layer3.0.conv", 32, 64, 8, decompositions),
    ]


ALL = network(("svd", "spatial_svd", "cp"))
SVD = network(("svd",))


def make(name: str, tables: list[Table], metric: str = "params", budget: float = 0.3) -> SearchSpace:
    dense = sum((table.dense for table in tables), Cost(params=500, flops=0))
    return SEARCH_SPACES.get(name)(tables, Budget.of(dense, budget, metric))


def cost_of(space: SearchSpace, choice: Choice) -> int:
    metric, pairs = space.budget.metric, zip(space.tables, choice, strict=True)
    return space.budget.dense + sum((t.candidates[i].cost - t.dense).of(metric) for t, i in pairs)


def sampled(space: SearchSpace, count: int, seed: int = 0) -> list[tuple[Choice, dict[str, float]]]:
    """Random choices of a space with their constraints."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    found = []
    for _ in range(count):
        trial = study.ask()
        choice = space.suggest(trial)
        found.append((choice, dict(trial.constraints)))
        study.tell(trial, 0.0)
    return found


@pytest.mark.parametrize("metric", ALWAYS)
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("tables", [ALL, SVD], ids=["all", "svd"])
@pytest.mark.parametrize("name", SEARCH_SPACES)
class TestEverySpace:
    def test_what_it_expresses_it_yields(
        self, name: str, tables: list[Table], budget: float, metric: str
    ) -> None:
        space = make(name, tables, metric, budget)
        for allocate in (knapsack, uniform, energy):
            choice = allocate(tables, space.budget)
            params = space.express(choice)
            assert params is None or space.suggest(FixedTrial(params)) == choice

    def test_initial_is_the_analytic_plan(
        self, name: str, tables: list[Table], budget: float, metric: str
    ) -> None:
        space = make(name, tables, metric, budget)
        params = space.initial()
        assert (params is None) == (name == "grouped")
        assert params is None or space.suggest(FixedTrial(params)) == space.analytic

    def test_plans_meet_the_budget_or_say_so(
        self, name: str, tables: list[Table], budget: float, metric: str
    ) -> None:
        space = make(name, tables, metric, budget)
        for choice, constraints in sampled(space, 25):
            overshoot = cost_of(space, choice) / space.budget.limit - 1
            if name == "ranks":
                assert constraints == {"budget": overshoot}
            else:
                assert overshoot <= 0
                assert not constraints

    def test_same_seed_same_plans(self, name: str, tables: list[Table], budget: float, metric: str) -> None:
        first = sampled(make(name, tables, metric, budget), 8, seed=3)
        assert sampled(make(name, tables, metric, budget), 8, seed=3) == first
        assert sampled(make(name, tables, metric, budget), 8, seed=4) != first

    def test_plans_differ(self, name: str, tables: list[Table], budget: float, metric: str) -> None:
        assert len({choice for choice, _ in sampled(make(name, tables, metric, budget), 25)}) > 5


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
