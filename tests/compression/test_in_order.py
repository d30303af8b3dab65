"""Refits to what the compressed network really feeds its layers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ranksearch.calibration import calibration_moments
from ranksearch.compression import CompressConfig, Fitted, compress, in_order, refit_in_order
from ranksearch.compression.refit import refit
from ranksearch.costs import Cost, measure_cost
from ranksearch.networks import discover
from ranksearch.planning import Candidate, Effort, Plan, Problem, build
from ranksearch.tasks import Task

EFFORT = Effort(iterations=20, fit_flops=1e12)


def svd_plan(task: Task, ranks: dict[str, int]) -> Plan:
    """The layers named, as SVDs of these ranks; the others dense."""
    chosen = {
        name: Candidate("svd", "oi", (rank,), Cost(params=0, flops=0), 0.0) for name, rank in ranks.items()
    }
    return Plan(chosen, measure_cost(task.model, task.example))


def refits(task: Task, plan: Plan) -> tuple[Fitted, Fitted | None]:
    """Each layer by itself, and in order."""
    layers = [layer for layer in discover(task.model, task.example) if layer.name in plan.choices]
    moments = calibration_moments(task, layers)
    inputs = task.inputs("moments")
    alone, refitted = refit(task, layers, plan, moments, EFFORT)
    weights = refit_in_order(task, layers, refitted, alone.weights, moments, EFFORT, inputs)
    return alone, None if weights is None else Fitted(weights)


def mlp_task(model: nn.Module, width: int = 12, count: int = 2400) -> Task:
    torch.manual_seed(1)
    mix = torch.randn(width, width)
    return Task(model.eval(), TensorDataset(torch.randn(count, width) @ mix), calibration_size=count * 3 // 4)


@pytest.fixture
def three_linears() -> Task:
    torch.manual_seed(0)
    return mlp_task(nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4)))


def outputs(task: Task, plan: Plan, fits: Fitted, name: str, inputs: Tensor) -> Tensor:
    model = build(task.model, discover(task.model, task.example), plan, fits)
    found: list[Tensor] = []
    model.get_submodule(name).register_forward_hook(lambda m, args, output: found.append(output))
    with torch.no_grad():
        model(inputs)
    return found[0]


def test_behind_layers_that_are_exact_nothing_changes(three_linears: Task) -> None:
    plan = svd_plan(three_linears, {"0": 10, "2": 8, "4": 4})
    _, fits = refits(three_linears, plan)
    assert fits is not None
    x = three_linears.inputs("divergence")
    model = build(three_linears.model, discover(three_linears.model, three_linears.example), plan, fits)
    torch.testing.assert_close(model(x), three_linears.model(x), rtol=1e-3, atol=1e-3)


def test_the_kernel_it_aims_at_is_the_least_squares_solution(three_linears: Task) -> None:
    """A layer of full rank behind a compressed one: numpy's solution from inputs x̂ to outputs W x."""
    task = three_linears
    plan = svd_plan(task, {"0": 2, "2": 8})
    _, fits = refits(task, plan)
    assert fits is not None
    x = task.inputs("moments")
    first, _, second = task.model[0], task.model[1], task.model[2]
    own = torch.relu(outputs(task, plan, fits, "0", x)).double()
    wanted = torch.relu(first(x)).detach().double() @ second.weight.detach().double().T
    best = torch.linalg.lstsq(own, wanted).solution
    factors = [f.double() for f in fits.weights["2"]]
    got = own @ (factors[1] @ factors[0]).T
    residual = float((own @ best - wanted).square().sum())
    assert float((got - wanted).square().sum()) == pytest.approx(residual, rel=0.02)
    before = own @ second.weight.detach().double().T
    assert residual < 0.95 * float((before - wanted).square().sum())


def test_held_out_outputs_come_nearer_to_those_of_the_dense_network(three_linears: Task) -> None:
    """In the metric of G, which is what is minimised."""
    task = three_linears
    plan = svd_plan(task, {"0": 2, "2": 3})
    layers = [layer for layer in discover(task.model, task.example) if layer.name in plan.choices]
    G = calibration_moments(task, layers)["2"].G
    alone, fits = refits(task, plan)
    assert fits is not None
    x = task.inputs("divergence")
    with torch.no_grad():
        wanted = task.model[:3](x)
    deltas = [(outputs(task, plan, found, "2", x) - wanted).double() for found in (alone, fits)]
    plain, matched = (float((delta @ G * delta).sum()) for delta in deltas)
    assert matched < 0.95 * plain


@pytest.mark.parametrize("square", [True, False])
def test_wide_layers_solve_the_same_problem(
    three_linears: Task, monkeypatch: pytest.MonkeyPatch, square: bool
) -> None:
    """From all patches by the same equations, or, where these are too many, from columns by a smaller system: with a
    ridge that hardly counts it gives what the larger one gives."""
    torch.manual_seed(3)
    layer = discover(three_linears.model, three_linears.example)[0]
    dense = torch.randn(4000, 12)
    own = dense + 0.3 * torch.randn(4000, 12)
    kernel = torch.randn(10, 12, dtype=torch.float64)
    _, narrow = in_order._target(kernel, layer, dense, own, 0, None)
    monkeypatch.setattr(in_order, "WIDE", 4)
    monkeypatch.setattr("ranksearch.calibration.patches.COLUMNS", 100 if square else 4000)
    monkeypatch.setattr(in_order, "_SQUARE", 12 if square else 11)
    A, wide = in_order._target(kernel, layer, dense, own, 0, None)
    assert not isinstance(A, Tensor)
    assert A.X.shape == (12, 100 if square else 4000)
    tolerance = 1e-4 if square else 0.02
    torch.testing.assert_close(wide, narrow, rtol=tolerance, atol=tolerance)


def test_positions_that_a_wide_layer_affords() -> None:
    conv, linear = nn.Conv2d(512, 512, 3, padding=1), nn.Linear(2048, 10)
    (small,) = discover(conv, torch.zeros(1, 512, 2, 2))
    (large,) = discover(conv, torch.zeros(1, 512, 16, 16))
    (tokens,) = discover(linear, torch.zeros(1, 1000, 2048))
    (single,) = discover(linear, torch.zeros(1, 2048))
    # 4 · 4608² · 1024 are 8.7e10, 4 · 2048² · 1024 are 1.7e10.
    found = [in_order._affordable_positions(layer, 1024) for layer in (small, large, tokens, single)]
    assert found == [4, 11, 0, 1]
    assert in_order._affordable_positions(large, 10) == 32


class _Mixing(nn.Module):
    """Takes the mean of the batch away: what one example gives depends on the others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x - x.mean(0, keepdim=True))
        return self.b(x)  # type: ignore[no-any-return]


class _SequenceFirst(nn.Module):
    """Moves the examples to the second dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x.unflatten(1, (2, 6)).transpose(0, 1))
        return self.b(y).sum(0)  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", [_Mixing, _SequenceFirst])
def test_models_that_cannot_be_run_so_are_left_as_they_are(model: type[nn.Module]) -> None:
    torch.manual_seed(0)
    task = mlp_task(model())
    _, fits = refits(task, svd_plan(task, {"a": 3, "b": 2}))
    assert fits is None


def test_a_layer_that_is_called_twice_keeps_its_factors() -> None:
    torch.manual_seed(0)
    shared = nn.Linear(12, 12)
    task = mlp_task(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(12, 4)))
    alone, fits = refits(task, svd_plan(task, {"0": 4, "3": 2}))
    assert fits is not None
    for a, b in zip(alone.weights["0"], fits.weights["0"], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(alone.weights["3"][0], fits.weights["3"][0])


class _ByKeyword(nn.Module):
    """Names the argument that it calls its layers with."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(12, 10), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(input=self.a(input=x))  # type: ignore[no-any-return]


def test_layers_may_be_called_by_keyword() -> None:
    torch.manual_seed(0)
    task = mlp_task(_ByKeyword())
    alone, fits = refits(task, svd_plan(task, {"a": 3, "b": 2}))
    assert fits is not None
    assert not torch.equal(alone.weights["b"][0], fits.weights["b"][0])


def test_few_inputs_are_taken_where_memory_is_short(
    three_linears: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(in_order, "_BYTES", 2 * 4 * 3 * 22 * 50)
    three_linears.model.register_forward_hook(lambda m, args, output: seen.append(len(output)))
    refits(three_linears, svd_plan(three_linears, {"0": 3}))
    assert max(seen[-2:]) == 100  # fifty examples, twice


def test_the_model_with_the_smaller_held_out_divergence_is_delivered(tiny_problem: Problem) -> None:
    plan = tiny_problem.plan([len(table.candidates) // 3 for table in tiny_problem.tables])
    config = CompressConfig(iterations=10, epochs=0)
    best, alone = (
        compress(tiny_problem.task, plan, config=c) for c in (config, replace(config, in_order=False))
    )
    assert best.factorised.mean <= alone.factorised.mean
    assert best.cost == alone.cost


def test_groups_are_fitted_to_what_they_get() -> None:
    """At full rank each group becomes the least-squares map from what it gets to what the dense group gives."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(8, 12, 1), nn.ReLU(), nn.Conv2d(12, 24, 1, groups=3), nn.Flatten(), nn.Linear(216, 4)
    )
    mix = torch.randn(8, 8)
    images = torch.einsum("nihw,oi->nohw", torch.randn(600, 8, 3, 3), mix)
    task = Task(model.eval(), TensorDataset(images), loss="squared_error", calibration_size=450)
    plan = svd_plan(task, {"0": 4, "2": 4})
    alone, fits = refits(task, plan)
    assert fits is not None
    built = build(task.model, discover(task.model, task.example), plan, fits)
    x = task.inputs("moments")
    with torch.no_grad():
        given, wanted = built[:2](x), task.model[:3](x)
        found = built[2](given)
    bias = task.model[2].bias.detach()[:, None, None]
    for k in range(3):
        own = given[:, 4 * k : 4 * k + 4].movedim(1, -1).flatten(0, -2)
        goal = (wanted - bias)[:, 8 * k : 8 * k + 8].movedim(1, -1).flatten(0, -2)
        best = own @ torch.linalg.lstsq(own, goal).solution
        ours = (found - bias)[:, 8 * k : 8 * k + 8].movedim(1, -1).flatten(0, -2)
        least = float((best - goal).square().mean())
        assert float((ours - goal).square().mean()) < 1.01 * least
    before = outputs(task, plan, alone, "2", task.inputs("moments"))
    assert float((before - wanted).square().mean()) > 1.02 * float((found - wanted).square().mean())
