"""Times of parts: which ranks are timed, what lies between them, and what comes of whole networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from ranksearch.costs import chain_cost, factor_macs, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import Layer, discover
from ranksearch.timing import (
    RUNTIMES,
    Chains,
    Curve,
    Part,
    Prepared,
    Prices,
    Profile,
    Ratio,
    Runtime,
    Session,
    Timer,
    TimingSettings,
    Workload,
    measure,
    measure_prices,
    timer,
)
from ranksearch.timing.levels import LEVELS, forms_of, levels
from ranksearch.timing.prices import shape_of
from ranksearch.timing.timer import _read, _written


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 24),
        nn.ReLU(),
        nn.Linear(24, 10),
    ).eval()


EXAMPLE = torch.randn(2, 3, 8, 8)


def layers_of(model: nn.Module) -> list[Layer]:
    return [layer for layer in discover(model, EXAMPLE) if layer.reason is None]


def whole(layer: Layer) -> int:
    return 8


def test_a_curve_goes_through_its_measurements() -> None:
    curve = Curve.of([(100, 2.0), (300, 4.0), (100, 4.0)])
    assert curve == Curve((100, 300), (3.0, 4.0))
    assert [curve.at(work) for work in (1, 100, 200, 300, 600)] == [3.0, 3.0, 3.5, 4.0, 8.0]


@pytest.mark.parametrize("form", forms_of(layers_of(network()), DECOMPOSITIONS.names()))
@pytest.mark.parametrize("multiple", [1, 8])
def test_levels_are_on_the_grid_and_pay(form: tuple[str, str], multiple: int) -> None:
    layers = layers_of(network())
    found = levels(layers, form, lambda layer: multiple)
    assert len(found) <= LEVELS
    for layer in layers:
        chains = [level[layer.name] for level in found if layer.name in level]
        macs = [sum(factor_macs(layer, chain)) for chain in chains]
        assert macs == sorted(macs)
        for chain in chains:
            cost, dense = chain_cost(layer, chain), layer_cost(layer)
            assert cost.params < dense.params or cost.flops < dense.flops
            assert 2 * sum(factor_macs(layer, chain)) == cost.flops
            for factor in chain[:-1]:
                most = max(layer.in_channels, layer.out_channels)
                assert factor.out_channels % multiple == 0 or factor.out_channels <= most


@pytest.mark.parametrize("name", RUNTIMES.names())
def test_runtimes_time_every_part(name: str) -> None:
    if name == "onnxruntime":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    model = network()
    layers = layers_of(model)
    prepared = RUNTIMES.get(name).prepare(Workload(model, layers, EXAMPLE, 1, lambda m: m))
    dense = prepared.session({})
    assert dense.profile(2).parts.keys() == {Part(layer.name, 0) for layer in layers}
    for form in forms_of(layers, DECOMPOSITIONS.names()):
        for chains in levels(layers, form, whole)[:1]:
            session = prepared.session(chains)
            session.run()
            profile = session.profile(3)
            wanted = {Part(x.name, k) for x in layers for k in range(len(chains.get(x.name, "x")))}
            assert profile.parts.keys() == wanted
            assert all(seconds > 0 for seconds in profile.parts.values()), (form, profile)
            assert sum(profile.parts.values()) <= profile.whole * 1.001
            assert sum(profile.of(2.0).values()) <= 2.002


class _Session(Session):
    def __init__(self, parts: dict[Part, float], rest: float) -> None:
        self.parts, self.rest = parts, rest

    def run(self) -> None:
        pass

    def profile(self, passes: int) -> Profile:
        return Profile(self.parts, sum(self.parts.values()) + self.rest)


class _Prepared(Prepared):
    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers

    def session(self, chains: Chains) -> Session:
        parts: dict[Part, float] = {}
        for layer in self.layers:
            if layer.name in chains:
                parts |= {
                    Part(layer.name, k): 1e-9 * w
                    for k, w in enumerate(factor_macs(layer, chains[layer.name]))
                }
            else:
                parts[Part(layer.name, 0)] = 0.5e-9 * layer_cost(layer).flops
        return _Session(parts, 1e-4)


class Ideal(Runtime):
    """A machine on which a multiply-accumulate takes a nanosecond."""

    name: ClassVar[str] = "ideal"

    def version(self) -> str:
        return "1"

    def prepare(self, workload: Workload) -> Prepared:
        return _Prepared(workload.layers)


def seconds_of(session: Session) -> float:
    found = session.profile(1)
    return found.whole


@pytest.fixture
def ideal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times on the ideal machine are what its sessions say."""
    monkeypatch.setattr(measure, "_each", lambda session, passes: [seconds_of(session)] * passes)


def test_prices_are_what_the_machine_takes(ideal: None) -> None:
    layers = layers_of(network())
    ready = _Prepared(layers)
    seconds = measure.dense_seconds(ready)
    assert seconds == pytest.approx(1e-4 + sum(0.5e-9 * layer_cost(x).flops for x in layers))
    prices = measure_prices(ready, layers, DECOMPOSITIONS.names(), seconds=seconds, multiple=whole)
    assert prices.total == seconds
    for layer in layers:
        assert prices.of_layer(layer) == pytest.approx(0.5e-9 * layer_cost(layer).flops)
        for form in forms_of([layer], DECOMPOSITIONS.names()):
            for chains in levels([layer], form, whole):
                chain = chains[layer.name]
                assert prices.of_chain(layer, form, chain) == pytest.approx(
                    1e-9 * sum(factor_macs(layer, chain))
                )
    assert prices.of_chain(layers[0], ("unknown", ""), ()) is None


def test_layers_of_equal_shape_share_their_times() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    layers = [x for x in discover(model, torch.randn(2, 16)) if x.reason is None]
    assert len({shape_of(layer) for layer in layers}) == 2


def test_prices_come_back_from_the_cache(ideal: None) -> None:
    layers = layers_of(network())
    prices: Prices = measure_prices(
        _Prepared(layers), layers, ("svd", "cp", "tucker2"), seconds=1.0, multiple=whole
    )
    assert _read(json.loads(json.dumps(_written(prices)))) == prices


def test_a_timer_measures_once(ideal: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RUNTIMES._known["ideal"] = Ideal()
    model = network()
    layers = layers_of(model)
    start = (model, layers, EXAMPLE, TimingSettings("ideal", 2, 1), lambda m: m, tmp_path)
    first = Timer.start(*start)
    prices = first.prices(layers, ("svd",), multiple=whole, cache=tmp_path)
    monkeypatch.setattr(timer, "dense_seconds", None)
    monkeypatch.setattr(timer, "measure_prices", None)
    again = Timer.start(*start)
    assert (again.seconds, again.key) == (first.seconds, first.key)
    assert again.prices(layers, ("svd",), multiple=whole, cache=tmp_path) == prices
    monkeypatch.undo()
    other = TimingSettings("ideal", 4, 1)
    assert Timer.start(model, layers, EXAMPLE, other, lambda m: m).key != first.key


def test_the_interval_of_a_ratio_is_that_of_the_sign_test() -> None:
    ratio = Ratio.of([float(k) for k in range(21)])
    assert ratio.median == 10
    # Of 21 fair coins 5 or fewer are heads 1.3 times in a hundred, and 6 or fewer 3.9 times.
    assert (ratio.low, ratio.high) == (5, 15)
