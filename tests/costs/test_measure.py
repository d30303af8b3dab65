from __future__ import annotations

from itertools import product

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ranksearch.costs import Cost, chain_cost, layer_cost, measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import Layer, discover
from ranksearch.planning import Candidate, Plan, skeleton


def measured(model: nn.Module, example: Tensor) -> Cost:
    """As torch counts it, without anything of the package."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(example)
    return Cost(params=sum(p.numel() for p in model.parameters()), flops=counter.get_total_flops())


def candidates(layer: Layer, rank: int) -> list[Candidate]:
    """One candidate of each form of each decomposition; the ranks differ from each other."""
    found = []
    for name in DECOMPOSITIONS.names():
        decomposition = DECOMPOSITIONS.get(name)
        for form in decomposition.forms(layer):
            most = decomposition.max_ranks(layer, form)
            ranks = tuple(min(rank + k, m) for k, m in enumerate(most))
            cost = chain_cost(layer, decomposition.chain(layer, form, ranks))
            found.append(Candidate(name, form, ranks, cost, 0.0))
    return found


def assert_predicted_is_measured(model: nn.Module, name: str, example: Tensor) -> None:
    model.eval()
    layers = discover(model, example)
    layer = next(x for x in layers if x.name == name)
    dense = measure_cost(model, example)
    assert dense == measured(model, example)
    for candidate in candidates(layer, 3):
        predicted = dense - layer_cost(layer) + candidate.cost
        built = skeleton(model, layers, Plan({name: candidate}, predicted))
        assert predicted == measured(built, example), str(candidate)


GEOMETRIES = [
    (stride, padding, dilation, mode)
    for stride, padding, dilation, mode in product(
        (1, 2, (2, 1)), (0, 1, (2, 1), "same"), (1, 2), ("zeros", "reflect", "circular", "replicate")
    )
    if stride == 1 or padding != "same"
]


@pytest.mark.parametrize(("stride", "padding", "dilation", "mode"), GEOMETRIES, ids=lambda value: str(value))
def test_conv2d(stride: object, padding: object, dilation: int, mode: str) -> None:
    conv = nn.Conv2d(5, 6, (3, 2) if stride == 2 else 3, stride, padding, dilation, padding_mode=mode)
    assert_predicted_is_measured(nn.Sequential(conv, nn.Conv2d(6, 2, 1)), "0", torch.randn(1, 5, 9, 8))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, "same", 2), (2, 1, 1), (3, 2, 2)])
def test_conv1d_and_conv3d(stride: int, padding: int, dilation: int, mode: str) -> None:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "padding_mode": mode}
    assert_predicted_is_measured(nn.Sequential(nn.Conv1d(5, 6, 3, **options)), "0", torch.randn(1, 5, 9))
    conv = nn.Conv3d(4, 5, (3, 1, 3), bias=False, **options)
    assert_predicted_is_measured(nn.Sequential(conv), "0", torch.randn(1, 4, 7, 6, 8))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("positions", [(), (7,), (2, 7)])
def test_linear(positions: tuple[int, ...], bias: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 5, bias=bias), nn.ReLU(), nn.Linear(5, 2))
    assert_predicted_is_measured(model, "0", torch.randn(1, *positions, 6))


@pytest.mark.parametrize("kernel", [(1, 1), (1, 3), (3, 1)])
def test_strided_kernels_with_a_narrow_axis(kernel: tuple[int, int]) -> None:
    conv = nn.Conv2d(5, 6, kernel, stride=2, padding=(1, 1))
    assert_predicted_is_measured(nn.Sequential(conv), "0", torch.randn(1, 5, 9, 8))


def test_a_layer_called_at_two_sizes() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, stride=2, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    assert_predicted_is_measured(Twice(), "conv", torch.randn(1, 4, 16, 16))


def test_pointwise_first_factors_run_at_the_inputs_resolution() -> None:
    conv = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False)
    (layer,) = discover(conv, torch.zeros(1, 8, 16, 16))
    chain = DECOMPOSITIONS.get("tucker2").chain(layer, "", (2, 3))
    params = 8 * 2 + 2 * 3 * 9 + 3 * 8
    macs = 16 * 16 * 8 * 2 + 8 * 8 * (2 * 3 * 9 + 3 * 8)
    assert chain_cost(layer, chain) == Cost(params=params, flops=2 * macs)


def test_resnet18_is_the_sum_of_its_layers() -> None:
    model = torchvision.models.resnet18().eval()
    example = torch.zeros(1, 3, 64, 64)
    layers = discover(model, example)
    dense = measure_cost(model, example)
    norms = sum(p.numel() for name, p in model.named_parameters() if "bn" in name or "downsample.1" in name)
    assert dense == measured(model, example)
    assert sum((layer_cost(layer) for layer in layers), Cost(params=norms, flops=0)) == dense
    choices = {x.name: candidates(x, 5)[k % len(candidates(x, 5))] for k, x in enumerate(layers)}
    predicted = dense
    for layer in layers:
        predicted = predicted - layer_cost(layer) + choices[layer.name].cost
    assert measured(skeleton(model, layers, Plan(choices, predicted)), example) == predicted


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_costs_the_same_with_and_without_fused_kernels(batch_first: bool) -> None:
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first), 2, enable_nested_tensor=False
    )
    model = nn.Sequential(nn.Linear(4, 8), encoder, nn.Linear(8, 3)).eval()
    example = torch.randn(1, 5, 4)
    projections = 8 * 24 + 8 * 8
    macs = 5 * (4 * 8 + 8 * 3 + 2 * (projections + 2 * 8 * 16))
    cost = measure_cost(model, example)
    scores_and_sums = 2 * 2 * 8 * (25 if batch_first else 5)
    assert cost.flops == 2 * (macs + scores_and_sums)
    layers = {layer.name: layer for layer in discover(model, example)}
    assert cost.flops - sum(layer_cost(layer).flops for layer in layers.values()) >= 2 * 2 * 5 * projections


def test_measuring_leaves_the_model_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert measure_cost(model, torch.randn(6, 3, 5, 5)) == Cost(params=4 * 28 + 8, flops=2 * 9 * 4 * 27)
    assert [m.training for m in model.modules()] == [True, True, False]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_shared_parameters_count_once() -> None:
    layer = nn.Linear(4, 4)
    assert measure_cost(nn.Sequential(layer, layer), torch.zeros(1, 4)) == Cost(params=20, flops=2 * 2 * 16)


def test_arithmetic() -> None:
    assert Cost(params=3, flops=8) + Cost(params=1, flops=2) - Cost(params=2, flops=4) == Cost(
        params=2, flops=6
    )
    assert (Cost(params=3, flops=8).of("params"), Cost(params=3, flops=8).of("flops")) == (3, 8)
    assert len({Cost(params=3, flops=8), Cost(flops=8, params=3)}) == 1
    with pytest.raises(ValueError, match="do not count the same"):
        Cost(params=3, flops=8) + Cost(params=3, flops=8, launches=1)
