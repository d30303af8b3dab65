"""The bench gives the numbers of the full forward, whatever it reuses."""

from __future__ import annotations

import torch
import torchvision
from torch import nn

from ranksearch.networks import copy_model, named_layers
from ranksearch.probing import Bench
from ranksearch.probing.replay import finished_before, traced

CPU = torch.device("cpu")


def exchanged(model: nn.Module, kernels: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    changed = copy_model(model).eval()
    with torch.no_grad():
        for name, kernel in kernels.items():
            changed.get_parameter(f"{name}.weight").copy_(kernel)
        return changed(inputs)


def check_all_layers(model: nn.Module, inputs: torch.Tensor, batch_size: int) -> Bench:
    bench = Bench(model, inputs, batch_size=batch_size, device=CPU)
    torch.testing.assert_close(bench.dense, model(inputs), rtol=1e-4, atol=1e-5)
    for name in named_layers(model):
        weight = model.get_parameter(f"{name}.weight").detach()
        variants = [{name: weight * 0.5}, {name: torch.zeros_like(weight)}, {name: weight.flip(0)}]
        reused = bench.outputs(variants)
        full = bench.outputs(variants, reuse=False)
        for got, wanted, kernels in zip(reused, full, variants, strict=True):
            assert torch.equal(got, wanted), name
            torch.testing.assert_close(got, exchanged(model, kernels, inputs), rtol=1e-4, atol=1e-5)
    return bench


def test_reuse_is_the_full_forward(branching: nn.Module) -> None:
    before = {k: v.clone() for k, v in branching.state_dict().items()}
    with torch.no_grad():
        bench = check_all_layers(branching, torch.randn(7, 3, 8, 8), batch_size=3)
    assert all(bench.reused.values())
    assert all(torch.equal(v, before[k]) for k, v in branching.state_dict().items())


def test_reuse_in_torchvisions_resnet() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=4).eval()
    with torch.no_grad():
        bench = check_all_layers(model, torch.randn(2, 3, 32, 32), batch_size=2)
    assert all(bench.reused.values())


def test_several_layers_at_once_start_at_the_first(branching: nn.Module) -> None:
    inputs = torch.randn(5, 3, 8, 8)
    bench = Bench(branching, inputs, batch_size=2, device=CPU)
    kernels = {n: branching.get_parameter(f"{n}.weight").detach() * 0.7 for n in ("tail.0", "left")}
    (got,) = bench.outputs([kernels])
    assert list(bench.reused) == ["left"]
    torch.testing.assert_close(got, exchanged(branching, kernels, inputs), rtol=1e-4, atol=1e-5)


def test_layers_can_be_visited_in_any_order(branching: nn.Module) -> None:
    inputs = torch.randn(4, 3, 8, 8)
    bench = Bench(branching, inputs, batch_size=4, device=CPU)
    weights = {n: branching.get_parameter(f"{n}.weight").detach() for n in ("head", "stem")}
    first = [bench.outputs([{n: w * 2}])[0] for n, w in weights.items()]
    again = [bench.outputs([{n: w * 2}])[0] for n, w in reversed(weights.items())]
    for a, b in zip(first, reversed(again), strict=True):
        assert torch.equal(a, b)


def test_dense_kernels_give_dense_outputs(branching: nn.Module) -> None:
    bench = Bench(branching, torch.randn(4, 3, 8, 8), batch_size=2, device=CPU)
    for name in named_layers(branching):
        own = branching.get_parameter(f"{name}.weight").detach()
        assert torch.equal(bench.outputs([{name: own}])[0], bench.dense)


def test_a_model_that_remembers_starts_every_pass_anew(moody: nn.Module) -> None:
    """Its calls would come in another order each time."""
    bench = Bench(moody, torch.randn(6, 5), batch_size=6, device=CPU)
    kernels = [{"third": torch.randn(3, 6)}]
    (reused,), (whole,) = bench.outputs(kernels), bench.outputs(kernels, reuse=False)
    assert torch.equal(reused, whole)
    assert bench.reusable("third")


def test_whether_a_prefix_can_be_reused_is_known_without_a_sweep(branching: nn.Module) -> None:
    bench = Bench(branching, torch.randn(2, 3, 8, 8), batch_size=2, device=CPU)
    assert all(bench.reusable(name) for name in named_layers(branching))


def test_only_the_outermost_finished_calls_are_replayed(branching: nn.Module) -> None:
    with torch.no_grad():
        trace, _ = traced(branching, torch.randn(2, 3, 8, 8))
    assert finished_before(trace, "stem") == {}
    assert finished_before(trace, "left") == {"stem": (0,), "norm": (0,), "act": (0,)}
    found = finished_before(trace, "head")
    assert found["twice"] == (0, 1)
    assert found["act"] == (0, 1)
    assert "tail" in found
    assert "tail.0" not in found
    assert finished_before(trace, "nowhere") == {}
