from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from ranksearch.costs import Cost, chain_cost, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError
from ranksearch.networks import Factor, Layer, chain_module, discover, reconstruct
from ranksearch.planning import Candidate, Plan, build, chain_of, skeleton, verify
from ranksearch.planning.plan import DENSE


class RandomFactors:
    """Factors of small random numbers, the same for the same layer and candidate."""

    def factors(self, layer: Layer, candidate: Candidate) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(len(layer.name))
        return tuple(
            torch.randn(factor.shape(layer.kernel_size), generator=generator, dtype=torch.float64) / 3
            for factor in chain_of(layer, candidate)
        )


def candidate(layer: Layer, decomposition: str, ranks: tuple[int, ...], form: str = "") -> Candidate:
    chain = DECOMPOSITIONS.get(decomposition).chain(layer, form, ranks)
    return Candidate(decomposition, form, ranks, chain_cost(layer, chain), 0.0)


def plan_of(layers: tuple[Layer, ...], decomposition: str = "svd", ranks: tuple[int, ...] = (2,)) -> Plan:
    """The same decomposition and ranks for all layers that can be factorised."""
    return Plan(
        {x.name: candidate(x, decomposition, ranks) for x in layers if x.reason is None},
        Cost(params=0, flops=0),
    )


# --- chains as modules


def assert_stands_for(conv: nn.Module, example: Tensor) -> None:
    """Every decomposition's chain gives what the layer gives with the kernel that the chain stands for."""
    (layer,) = discover(conv, example)
    for name in DECOMPOSITIONS.names():
        for form in DECOMPOSITIONS.get(name).forms(layer):
            ranks = tuple(
                min(4 - k, m) for k, m in enumerate(DECOMPOSITIONS.get(name).max_ranks(layer, form))
            )
            chosen = candidate(layer, name, ranks, form)
            factors = RandomFactors().factors(layer, chosen)
            chain = chain_of(layer, chosen)
            with torch.no_grad():
                conv.weight.copy_(reconstruct(chain, factors, layer.kernel_size))
                module = chain_module(layer, chain, factors, conv.bias)
                torch.testing.assert_close(
                    module(example), conv(example), rtol=1e-9, atol=1e-9, msg=str(chosen)
                )


GEOMETRIES = [
    (stride, padding, dilation, mode)
    for stride, padding, dilation, mode in product(
        (1, 2, (2, 1)), (0, 1, (2, 1), "same"), (1, 2), ("zeros", "reflect", "circular", "replicate")
    )
    if stride == 1 or padding != "same"
]


@pytest.mark.parametrize(("stride", "padding", "dilation", "mode"), GEOMETRIES, ids=lambda value: str(value))
def test_conv2d_chains(stride: object, padding: object, dilation: int, mode: str) -> None:
    conv = nn.Conv2d(5, 6, 3, stride, padding, dilation, padding_mode=mode, dtype=torch.float64)
    assert_stands_for(conv, torch.randn(1, 5, 9, 8, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
def test_even_kernels_with_padding_same(mode: str) -> None:
    conv = nn.Conv2d(5, 6, (2, 4), padding="same", padding_mode=mode, dtype=torch.float64)
    assert_stands_for(conv, torch.randn(1, 5, 9, 8, dtype=torch.float64))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, "same", 2), (2, 1, 1), (3, 2, 2)])
def test_conv1d_and_conv3d_chains(stride: int, padding: int, dilation: int, mode: str) -> None:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "padding_mode": mode}
    conv1d = nn.Conv1d(5, 6, 3, **options, dtype=torch.float64)
    assert_stands_for(conv1d, torch.randn(1, 5, 9, dtype=torch.float64))
    conv3d = nn.Conv3d(4, 5, (3, 1, 2), bias=False, **{**options, "padding": 1}, dtype=torch.float64)
    assert_stands_for(conv3d, torch.randn(1, 4, 7, 6, 8, dtype=torch.float64))


@pytest.mark.parametrize("kernel", [(1, 1), (1, 3), (3, 1)])
def test_narrow_axes_keep_their_stride_and_padding(kernel: tuple[int, int]) -> None:
    conv = nn.Conv2d(5, 6, kernel, stride=(2, 3), padding=(1, 2), dtype=torch.float64)
    assert_stands_for(conv, torch.randn(1, 5, 9, 8, dtype=torch.float64))


@pytest.mark.parametrize("positions", [(), (7,), (2, 7)])
def test_linear_chain(positions: tuple[int, ...]) -> None:
    assert_stands_for(
        nn.Linear(6, 5, dtype=torch.float64), torch.randn(1, *positions, 6, dtype=torch.float64)
    )


def test_modules_of_a_chain() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, dilation=2, padding_mode="reflect")
    (layer,) = discover(conv, torch.zeros(1, 4, 9, 9))
    chosen = candidate(layer, "cp", (5,), "axes")
    factors = RandomFactors().factors(layer, chosen)
    module = chain_module(layer, chain_of(layer, chosen), factors, conv.bias)
    assert [type(m) for m in module] == [nn.Conv2d] * 4
    seen = [(m.kernel_size, m.stride, m.padding, m.dilation, m.groups, m.bias is not None) for m in module]
    assert seen == [
        ((1, 1), (1, 1), (0, 0), (1, 1), 1, False),
        ((3, 1), (2, 1), (1, 0), (2, 1), 5, False),
        ((1, 3), (1, 2), (0, 1), (1, 2), 5, False),
        ((1, 1), (1, 1), (0, 0), (1, 1), 1, True),
    ]
    assert [m.padding_mode for m in module] == ["zeros", "reflect", "reflect", "zeros"]


@pytest.mark.parametrize("axes", [((0,), ()), ((0, 1), (1,)), ((1, 0), ())])
def test_chains_that_cannot_stand_for_the_layer(axes: tuple[tuple[int, ...], ...]) -> None:
    (layer,) = discover(nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 5, 5))
    chain = tuple(Factor(3, 3, a) for a in axes)
    with pytest.raises(ValueError, match="each spatial axis once"):
        chain_module(layer, chain, [torch.zeros(f.shape((3, 3))) for f in chain], None)


# --- models


class Net(nn.Module):
    """A shared convolution under two names, BatchNorm, dropout, a depthwise convolution and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.again = self.body[0]
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.head = nn.Linear(4, 5)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.again(self.body(self.stem(x))))
        return self.head(self.dropout(x.mean(dim=(2, 3))))


EXAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_model_handed_in_is_not_changed() -> None:
    model = Net().train()
    model.body[1].eval()
    modules = list(model.modules())
    modes = [m.training for m in modules]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layers = discover(model, EXAMPLE)
    built = build(model, layers, plan_of(layers), RandomFactors())
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.zero_()
    assert list(model.modules()) == modules
    assert [m.training for m in modules] == modes
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_shared_module_is_replaced_under_all_its_names() -> None:
    model = Net().eval()
    layers = discover(model, EXAMPLE)
    built = build(model, layers, plan_of(layers), RandomFactors())
    assert isinstance(built.body[0], nn.Sequential)
    assert built.again is built.body[0]
    assert type(built.depthwise) is nn.Conv2d
    by_hand = build(model, layers, plan_of(layers), RandomFactors())
    shared = by_hand.body[0]
    with torch.no_grad():
        x = by_hand.body(by_hand.stem(EXAMPLE))
        x = by_hand.head(by_hand.depthwise(shared(x)).mean(dim=(2, 3)))
        torch.testing.assert_close(built(EXAMPLE), x)


def test_layers_chosen_dense_or_left_out_stay() -> None:
    model = Net()
    layers = discover(model, EXAMPLE)
    by_name = {layer.name: layer for layer in layers}
    dense = Candidate(DENSE, "", (), layer_cost(by_name["head"]), 0.0)
    plan = Plan(
        {"head": dense, "stem": candidate(by_name["stem"], "tucker2", (2, 3))}, Cost(params=0, flops=0)
    )
    built = build(model, layers, plan, RandomFactors())
    assert type(built.head) is nn.Linear
    assert torch.equal(built.head.weight, model.head.weight)
    assert built.head.weight is not model.head.weight
    assert [type(m) for m in built.stem] == [nn.Conv2d] * 3
    assert type(built.body[0]) is nn.Conv2d


def test_weights_are_the_factors_and_the_bias_is_the_layers() -> None:
    model = Net()
    layers = discover(model, EXAMPLE)
    built = build(model, layers, plan_of(layers), RandomFactors())
    stem = next(x for x in layers if x.name == "stem")
    factors = RandomFactors().factors(stem, candidate(stem, "svd", (2,)))
    for module, factor in zip(built.stem, factors, strict=True):
        torch.testing.assert_close(module.weight.flatten(), factor.float().flatten())
    assert torch.equal(built.stem[1].bias, model.stem.bias)
    assert built.stem[0].bias is None


def test_dtype_gradients_and_mode_follow_the_layer() -> None:
    model = Net().double().train()
    model.stem.eval()
    model.stem.weight.requires_grad_(False)
    model.head.bias.requires_grad_(False)
    layers = discover(model, EXAMPLE.double())
    built = build(model, layers, plan_of(layers), RandomFactors())
    assert {p.dtype for p in built.parameters()} == {torch.float64}
    assert [m.training for m in built.stem.modules()] == [False] * 3
    assert [m.training for m in built.head.modules()] == [True] * 3
    trained = {
        name: p.requires_grad for name, p in built.named_parameters() if name.startswith(("stem", "head"))
    }
    assert trained == {
        "stem.0.weight": False,
        "stem.1.weight": False,
        "stem.1.bias": True,
        "head.0.weight": True,
        "head.1.weight": True,
        "head.1.bias": False,
    }


def test_factors_are_copied() -> None:
    class Fixed:
        kept = tuple(torch.ones(shape) for shape in ((2, 3), (4, 2)))

        def factors(self, layer: Layer, chosen: Candidate) -> tuple[Tensor, ...]:
            return self.kept

    model = nn.Linear(3, 4)
    layers = discover(model, torch.zeros(1, 3))
    built = build(model, layers, plan_of(layers), Fixed())
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.zero_()
    assert all(bool((tensor == 1).all()) for tensor in Fixed.kept)


def test_the_root_may_be_the_layer() -> None:
    model = nn.Linear(3, 4)
    layers = discover(model, torch.zeros(1, 3))
    built = build(model, layers, plan_of(layers), RandomFactors())
    assert [type(m) for m in built.children()] == [nn.Linear, nn.Linear]


def test_gradients_reach_every_factor() -> None:
    model = Net()
    layers = discover(model, EXAMPLE)
    built = build(model, layers, plan_of(layers), RandomFactors()).eval()
    built(EXAMPLE).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in built.parameters())


@pytest.mark.parametrize(
    ("decomposition", "form", "ranks"),
    [("svd", "", (2,)), ("cp", "joint", (3,)), ("tensor_train", "ascending", (2, 3, 2))],
)
def test_skeleton_takes_the_state_of_what_was_built(
    decomposition: str, form: str, ranks: tuple[int, ...]
) -> None:
    model = Net().eval()
    layers = discover(model, EXAMPLE)
    convs = [x for x in layers if x.reason is None and x.kind == "conv2d"]
    plan = Plan({x.name: candidate(x, decomposition, ranks, form) for x in convs}, Cost(params=0, flops=0))
    built = build(model, layers, plan, RandomFactors())
    other = skeleton(Net().eval(), layers, plan)
    assert not torch.allclose(other(EXAMPLE), built(EXAMPLE))
    other.load_state_dict(built.state_dict())
    assert torch.equal(other(EXAMPLE), built(EXAMPLE))


def test_building_draws_no_random_numbers() -> None:
    model = Net()
    layers = discover(model, EXAMPLE)
    before = torch.get_rng_state()
    skeleton(model, layers, plan_of(layers))
    assert torch.equal(before, torch.get_rng_state())


# --- errors


def test_plans_for_other_layers() -> None:
    model = Net()
    layers = discover(model, EXAMPLE)
    stem = next(x for x in layers if x.name == "stem")
    with pytest.raises(MismatchError, match=r"layer nowhere: expected a layer of the model, got none"):
        skeleton(model, layers, Plan({"nowhere": candidate(stem, "svd", (2,))}, Cost(params=0, flops=0)))
    with pytest.raises(
        MismatchError, match=r"layer depthwise: expected dense \(depthwise convolution\), got svd 2"
    ):
        skeleton(model, layers, Plan({"depthwise": candidate(stem, "svd", (2,))}, Cost(params=0, flops=0)))


def test_verify_names_the_layers_and_the_way_out() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)
            self.wary = False

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * self.conv.out_channels if self.wary else self.conv(x)

    model = Reads().train()
    layers = discover(model, EXAMPLE)
    built = skeleton(model, layers, plan_of(layers))
    verify(built, EXAMPLE, ["conv"])
    built.wary = True
    with pytest.raises(
        InputError, match=r"\(conv replaced\).*no attribute 'out_channels'.*`ignore`"
    ) as caught:
        verify(built, EXAMPLE, ["conv"])
    assert isinstance(caught.value.__cause__, AttributeError)
    assert built.training
