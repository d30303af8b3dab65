"""Times of parts: which ranks are timed, what lies between them, and what comes of whole networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ranksearch.cache import digest
from ranksearch.costs import chain_cost, factor_macs, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import Layer, discover
from ranksearch.testing import PaperRuntime, registered
from ranksearch.timing import (
    Curve,
    Prepared,
    Prices,
    Ratio,
    Timer,
    TimingSettings,
    Workload,
    measure,
    measure_prices,
    shape_of,
    timer,
)
from ranksearch.timing.levels import LEVELS, forms_of, levels
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


IDEAL = PaperRuntime()


def ready(layers: list[Layer]) -> Prepared:
    return IDEAL.prepare(Workload(network(), layers, EXAMPLE, 1, lambda m: m))


def test_prices_are_what_the_machine_takes() -> None:
    layers = layers_of(network())
    seconds = measure.dense_seconds(ready(layers))
    assert seconds == pytest.approx(1.1 * sum(0.5e-6 * layer_cost(x).flops for x in layers))
    prices = measure_prices(ready(layers), layers, DECOMPOSITIONS.names(), seconds=seconds, multiple=whole)
    assert prices.total == seconds
    for layer in layers:
        assert prices.of_layer(layer) == pytest.approx(0.5e-6 * layer_cost(layer).flops)
        for form in forms_of([layer], DECOMPOSITIONS.names()):
            for chains in levels([layer], form, whole):
                chain = chains[layer.name]
                assert prices.of_chain(layer, form, chain) == pytest.approx(
                    1e-6 * sum(factor_macs(layer, chain))
                )
    assert prices.of_chain(layers[0], ("unknown", ""), ()) is None


def test_layers_of_equal_shape_share_their_times() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    layers = [x for x in discover(model, torch.randn(2, 16)) if x.reason is None]
    assert len({shape_of(layer) for layer in layers}) == 2


def test_prices_come_back_from_the_cache() -> None:
    layers = layers_of(network())
    prices: Prices = measure_prices(
        ready(layers), layers, ("svd", "cp", "tucker2"), seconds=1.0, multiple=whole
    )
    assert _read(json.loads(json.dumps(_written(prices)))) == prices


def test_a_timer_measures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(IDEAL)
    model = network()
    layers = layers_of(model)
    start = (model, layers, EXAMPLE, TimingSettings("paper", 2, 1), lambda m: m, tmp_path)
    first = Timer.start(*start)
    prices = first.prices(layers, ("svd",), multiple=whole)
    monkeypatch.setattr(timer, "dense_seconds", None)
    monkeypatch.setattr(timer, "measure_prices", None)
    again = Timer.start(*start)
    assert (again.seconds, again.key) == (first.seconds, first.key)
    assert again.prices(layers, ("svd",), multiple=whole) == prices
    monkeypatch.undo()
    other = TimingSettings("paper", 4, 1)
    assert Timer.start(model, layers, EXAMPLE, other, lambda m: m).key != first.key


def test_the_interval_of_a_ratio_is_that_of_the_sign_test() -> None:
    ratio = Ratio.of([float(k) for k in range(21)])
    assert ratio.median == 10
    # Of 21 fair coins 5 or fewer are heads 1.3 times in a hundred, and 6 or fewer 3.9 times.
    assert (ratio.low, ratio.high) == (5, 15)


@pytest.mark.parametrize(("block", "found"), [(1, 4), (4, 4), (8, 8), (16, 16), (32, 32)])
def test_the_rank_multiple_is_the_block_of_the_machine(block: int, found: int) -> None:
    """Where a layer has room for it; a small one keeps finer steps."""
    machine = registered(PaperRuntime(f"blocks_of_{block}", block=block))
    model = nn.Sequential(
        nn.Conv2d(64, 512, 3), nn.ReLU(), nn.Conv2d(512, 16, 1), nn.Conv2d(16, 128, 3)
    ).eval()
    example = torch.randn(1, 64, 10, 10)
    layers = [layer for layer in discover(model, example) if layer.reason is None]
    timing = Timer.start(model, layers, example, TimingSettings(machine.name, 1, 1), lambda m: m)
    multiples = timing.multiples(layers, DECOMPOSITIONS.usable())
    assert multiples == {"0": found, "2": min(found, 8), "3": min(found, 8)}


def test_multiples_and_ratios_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept in one folder comes to the other; what cannot be read there is measured again."""
    registered(IDEAL)
    layers = layers_of(network())
    chains = {layers[1].name: DECOMPOSITIONS.get("svd").chain(layers[1], "", (8,))}

    def start(folder: Path | None, cache: Path | None) -> Timer:
        settings = TimingSettings("paper", 2, 1, folder)
        return Timer.start(network(), layers, EXAMPLE, settings, lambda m: m, cache)

    first = start(None, tmp_path / "cache")
    found = first.multiples(layers, ("svd",)), first.ratio(chains)
    for name in ("dense_seconds", "rank_multiples", "compare"):
        monkeypatch.setattr(timer, name, None)
    for folder, cache in ((tmp_path / "run", tmp_path / "cache"), (tmp_path / "run", None)):
        again = start(folder, cache)
        assert (again.multiples(layers, ("svd",)), again.ratio(chains)) == found
    monkeypatch.undo()
    for path in (tmp_path / "run").iterdir():
        save_file({}, path, {"plain": "[3]", "digest": digest({}, "[3]")})
    again = start(tmp_path / "run", None)
    assert (again.multiples(layers, ("svd",)), again.ratio(chains)) == found
