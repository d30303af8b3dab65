from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from ranksearch.costs import layer_cost
from ranksearch.errors import InputError
from ranksearch.networks import Layer, discover, kernel_of, list_layers, put_kernel
from ranksearch.networks.layers import Call

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def by_name(model: nn.Module, example: Tensor, **options: list[str]) -> dict[str, Layer]:
    return {layer.name: layer for layer in discover(model, example, **options)}


def reasons(model: nn.Module, example: Tensor, **options: list[str]) -> dict[str, str | None]:
    return {name: layer.reason for name, layer in by_name(model, example, **options).items()}


class Forward(nn.Module):
    """Modules by name, and a forward that is any function of them and the input."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


# --- geometry and calls


def test_geometry_of_every_kind() -> None:
    model = nn.Sequential(
        nn.Conv2d(
            3, 4, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), padding_mode="reflect", bias=False
        ),
        nn.Flatten(),
        nn.LazyLinear(6),
    )
    model(IMAGE)
    conv, linear = discover(model, IMAGE)
    assert conv == Layer(
        name="0",
        kind="conv2d",
        in_channels=3,
        out_channels=4,
        kernel_size=(3, 5),
        stride=(2, 1),
        padding=(1, 2),
        dilation=(1, 2),
        padding_mode="reflect",
        groups=1,
        bias=False,
        calls=(Call((8, 8), (4, 4)),),
    )
    assert linear == Layer(
        name="2",
        kind="linear",
        in_channels=64,
        out_channels=6,
        kernel_size=(),
        stride=(),
        padding=(),
        dilation=(),
        padding_mode="zeros",
        groups=1,
        bias=True,
        calls=(Call((), ()),),
    )


@pytest.mark.parametrize(
    ("conv", "example", "kind", "out_size"),
    [
        (nn.Conv1d(2, 3, 3, stride=2), torch.zeros(1, 2, 9), "conv1d", (4,)),
        (nn.Conv3d(2, 3, 3, padding=1), torch.zeros(1, 2, 4, 5, 6), "conv3d", (4, 5, 6)),
    ],
)
def test_other_dimensions(conv: nn.Module, example: Tensor, kind: str, out_size: tuple[int, ...]) -> None:
    (layer,) = discover(nn.Sequential(conv), example)
    assert layer.kind == kind
    assert layer.calls == (Call(tuple(example.shape[2:]), out_size),)


def test_padding_by_name() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 5, padding="same"), nn.Conv2d(3, 3, 3, padding="valid"))
    same, valid = discover(model, IMAGE)
    assert same.padding == "same"
    assert same.calls == (Call((8, 8), (8, 8)),)
    assert valid.padding == (0, 0)
    assert valid.calls == (Call((8, 8), (6, 6)),)


def test_the_model_itself_may_be_the_layer() -> None:
    (layer,) = discover(nn.Linear(4, 2), torch.zeros(5, 4))
    assert (layer.name, layer.reason, layer.calls) == ("", None, (Call((), ()),))


def test_order_of_first_call_and_never_called_last() -> None:
    model = Forward(
        lambda m, x: m.first(m.second(x)),
        never=nn.Conv2d(3, 3, 1),
        first=nn.Conv2d(3, 3, 1),
        second=nn.Conv2d(3, 3, 1),
    )
    layers = discover(model, IMAGE)
    assert [layer.name for layer in layers] == ["second", "first", "never"]
    assert layers[-1].calls == ()
    assert layers[-1].reason == "never called in the forward pass"


def test_one_call_per_use_at_its_own_size() -> None:
    model = Forward(lambda m, x: m.conv(F.max_pool2d(m.conv(x), 2)), conv=nn.Conv2d(3, 3, 3, padding=1))
    (layer,) = discover(model, IMAGE)
    assert layer.reason is None
    assert layer.calls == (Call((8, 8), (8, 8)), Call((4, 4), (4, 4)))
    assert layer_cost(layer).flops == 2 * 3 * 3 * 9 * (64 + 16)


def test_examples_folded_into_the_batch_count_as_calls() -> None:
    frames = Forward(lambda m, x: m.conv(x.flatten(0, 1)).unflatten(0, (1, 5)), conv=nn.Conv2d(3, 2, 1))
    (conv,) = discover(frames, torch.zeros(1, 5, 3, 4, 4))
    assert conv.calls == (Call((4, 4), (4, 4)),) * 5
    windows = Forward(lambda m, x: m.linear(x.unflatten(1, (4, 3)).flatten(0, 1)), linear=nn.Linear(6, 2))
    (linear,) = discover(windows, torch.zeros(1, 12, 6))
    assert linear.calls == (Call((4, 3), (4, 3)),)


def test_positions_of_a_linear_and_integer_inputs() -> None:
    model = nn.Sequential(nn.Embedding(11, 4, padding_idx=3), nn.Linear(4, 2))
    tokens, layer = discover(model, torch.zeros(1, 7, dtype=torch.long))
    assert layer.calls == tokens.calls == (Call((7,), (7,)),)
    assert (tokens.in_channels, tokens.out_channels, tokens.padding_idx, tokens.bias) == (11, 4, 3, False)


def test_a_lookup_of_one_index_or_of_one_example() -> None:
    (single,) = discover(nn.Embedding(11, 4), torch.zeros(5, dtype=torch.long))
    assert single.calls == (Call((), ()),)
    grid = Forward(lambda m, x: m.places(torch.arange(6).view(2, 3)).sum() + x, places=nn.Embedding(6, 4))
    assert by_name(grid, IMAGE)["places"].calls == (Call((2, 3), (2, 3)),)


def test_only_the_first_example_is_run() -> None:
    assert discover(nn.Conv2d(3, 2, 1), IMAGE.expand(5, -1, -1, -1)) == discover(nn.Conv2d(3, 2, 1), IMAGE)


def test_transposed_convolutions() -> None:
    up = nn.ConvTranspose2d(3, 5, (2, 3), stride=2, padding=(0, 1), output_padding=(1, 0), bias=False)
    (layer,) = discover(up, IMAGE)
    assert (layer.kind, layer.in_channels, layer.out_channels) == ("conv_transpose2d", 3, 5)
    assert (layer.kernel_size, layer.padding, layer.output_padding) == ((2, 3), (0, 1), (1, 0))
    assert (layer.reason, layer.calls) == (None, (Call((8, 8), (17, 15)),))
    sized = Forward(lambda m, x: m.up(x, output_size=(17, 17)), up=nn.ConvTranspose2d(3, 2, (2, 3), 2))
    assert "other than by calling it" in (reasons(sized, IMAGE)["up"] or "")
    groups = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, groups=2), nn.ConvTranspose2d(6, 12, 2, groups=6))
    grouped, depthwise = discover(groups, torch.zeros(1, 4, 3, 3))
    assert (grouped.in_channels, grouped.out_channels, grouped.fan_in) == (4, 6, 8)
    assert (grouped.reason, kernel_of(groups, "0").shape) == (None, (6, 2, 2, 2))
    apart = torch.cat(
        [own.transpose(0, 1) for own in groups[0].weight.chunk(2)]
    )  # stored as (I, O / groups, …)
    assert torch.equal(kernel_of(groups, "0"), apart)
    put_kernel(groups, "0", 2 * apart)
    assert torch.equal(kernel_of(groups, "0"), 2 * apart)
    assert depthwise.reason == "depthwise transposed convolution"


def test_a_shared_module_is_one_layer_under_its_first_name() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    model = Forward(lambda m, x: m.b(m.a(x)), a=conv, b=conv)
    (layer,) = discover(model, IMAGE)
    assert (layer.name, layer.reason, len(layer.calls)) == ("a", None, 2)


def test_list_layers_reads_the_modules_alone() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 1))
    assert [(x.name, x.reason, x.calls) for x in list_layers(model)] == [
        ("0", "depthwise convolution", ()),
        ("1", None, ()),
    ]


# --- reasons to stay dense


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias)


def _old(norm: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(nn.utils, norm)(nn.Conv2d(3, 3, 3))


def _patched() -> nn.Module:
    conv = nn.Conv2d(3, 3, 3)
    conv.forward = lambda x: F.conv2d(x, conv.weight)  # type: ignore[method-assign]
    return conv


def _hooked() -> nn.Module:
    conv = nn.Conv2d(3, 3, 3)
    conv.register_forward_hook(lambda module, args, output: output * 2)
    return conv


def _laden() -> nn.Module:
    conv = nn.Conv2d(3, 3, 3)
    conv.register_buffer("mask", torch.ones(3))
    return conv


COMPUTED = "its weight is computed from other parameters (a parametrisation such as weight_norm)"


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        pytest.param(nn.Conv2d(3, 6, 3, groups=3), "depthwise convolution", id="depthwise"),
        pytest.param(nn.Conv2d(3, 3, 3), None, id="plain"),
        pytest.param(
            Standardised(3, 3, 3), "Standardised is a subclass, which may behave differently", id="subclass"
        ),
        pytest.param(parametrizations.weight_norm(nn.Conv2d(3, 3, 3)), COMPUTED, id="weight_norm"),
        pytest.param(parametrizations.spectral_norm(nn.Conv2d(3, 3, 3)), COMPUTED, id="spectral_norm"),
        pytest.param(_old("weight_norm"), COMPUTED, id="older weight_norm"),
        pytest.param(_old("spectral_norm"), COMPUTED, id="older spectral_norm"),
        pytest.param(_patched(), "its forward is patched", id="patched"),
        pytest.param(_hooked(), "it has hooks", id="hooks"),
        pytest.param(_laden(), "it carries mask beside weight and bias", id="extra buffer"),
    ],
)
def test_what_the_module_itself_tells(conv: nn.Module, reason: str | None) -> None:
    layers = discover(nn.Sequential(nn.Conv2d(3, 3, 3), conv), IMAGE)
    assert [layer.reason for layer in layers] == [None, reason]
    assert all(len(layer.calls) == 1 for layer in layers)


def test_grouped() -> None:
    layer, single = discover(
        nn.Sequential(nn.Conv2d(8, 6, 3, groups=2), nn.Conv2d(6, 4, 1)), torch.zeros(1, 8, 4, 4)
    )
    assert (layer.reason, layer.groups, layer.fan_in) == (None, 2, 36)
    assert (layer.group.in_channels, layer.group.out_channels, layer.group.groups) == (4, 3, 1)
    assert layer.group.fan_in == layer.fan_in
    assert single.group is single


def test_weight_shared_with_an_embedding_or_by_memory() -> None:
    tied = Forward(lambda m, x: m.head(m.embed(x)), embed=nn.Embedding(10, 4), head=nn.Linear(4, 10))
    tied.head.weight = tied.embed.weight  # type: ignore[union-attr, assignment]
    tokens = torch.zeros(1, 3, dtype=torch.long)
    assert reasons(tied, tokens) == {
        "embed": "its weight is shared with head.weight",
        "head": "its weight is shared with embed.weight",
    }
    views = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    views[1].bias = nn.Parameter(views[0].weight.detach()[0])
    assert reasons(views, torch.zeros(1, 4)) == {
        "0": "its weight is shared with 1.bias",
        "1": "its bias is shared with 0.weight",
        "2": None,
    }


def test_neighbours_in_one_storage_are_not_shared() -> None:
    flat = torch.randn(32)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[0].weight, model[1].weight = nn.Parameter(flat[:16].view(4, 4)), nn.Parameter(flat[16:].view(4, 4))
    assert reasons(model, torch.zeros(1, 4)) == {"0": None, "1": None}


def _by_type(m: nn.Module, x: Tensor) -> Tensor:
    y = m.first(x)
    return m.second(F.relu(y) if isinstance(m.first, nn.Conv2d) else y)


def _swallowed(m: nn.Module, x: Tensor) -> Tensor:
    return m.second(m.first(x)) * getattr(m.first, "out_channels", 1)


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        pytest.param(
            lambda m, x: m.second(m.first(x.to(m.first.weight.device))),
            "the model's code reads its weight",
            id="weight",
        ),
        pytest.param(
            lambda m, x: m.second(m.first(x)) / m.first.out_channels,
            "the model's code reads its out_channels",
            id="out_channels",
        ),
        pytest.param(
            lambda m, x: m.second(F.conv2d(x, m.first._parameters["weight"])),
            "the model uses it other than by calling it (KeyError: 'weight')",
            id="parameters",
        ),
        pytest.param(_by_type, "the model's output depends on its type or name", id="type"),
        pytest.param(_swallowed, "the model's code reads its out_channels", id="getattr"),
        pytest.param(
            lambda m, x: m.second(m.held[0](x)),
            "the model calls it other than by its registered name",
            id="list",
        ),
        pytest.param(
            lambda m, x: m.second(m.first.forward(x)),
            "the model calls it other than by its registered name",
            id="forward, not call",
        ),
    ],
)
def test_what_the_forward_pass_tells(forward: Callable[..., Tensor], reason: str) -> None:
    model = Forward(forward, first=nn.Conv2d(3, 3, 3), second=nn.Conv2d(3, 2, 3))
    model.held = [model.first]
    assert reasons(model, IMAGE) == {"second": None, "first": reason}


def test_every_layer_to_blame_is_found_among_many() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        for name in "abcdefgh":
            layer = m.held if name == "f" else getattr(m, name)
            x = layer(x) * (2 if type(layer) is nn.Conv2d and name in "cd" else 1)
            x = x + layer.in_channels if name == "h" else x
        return x

    model = Forward(forward, **{name: nn.Conv2d(3, 3, 1) for name in "abcdefgh"})
    model.__dict__["held"] = model.f
    typed = "the model's output depends on its type or name"
    assert {name: reason for name, reason in reasons(model, IMAGE).items() if reason} == {
        "c": typed,
        "d": typed,
        "f": "the model calls it other than by its registered name",
        "h": "the model's code reads its in_channels",
    }


def test_unsteady_outputs_do_not_forbid_anything() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        m.seen += 1
        return m.conv(x) * m.seen

    model = Forward(forward, conv=nn.Conv2d(3, 2, 3))
    model.seen = 0
    assert reasons(model, IMAGE) == {"conv": None}


def test_attention() -> None:
    attention = Forward(
        lambda m, x: m.head(m.attend(*[m.embed(x)] * 3)[0]),
        embed=nn.Linear(4, 8),
        attend=nn.MultiheadAttention(8, 2, batch_first=True),
        head=nn.Linear(8, 2),
    )
    found = reasons(attention, torch.randn(1, 5, 4))
    assert (
        found.pop("attend.out_proj")
        == "NonDynamicallyQuantizableLinear is a subclass, which may behave differently"
    )
    assert found == {"embed": None, "head": None}


@pytest.mark.parametrize("fused", [True, False])
def test_encoder_layers_stay_dense_where_a_fused_kernel_takes_their_weights(fused: bool) -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=fused)
    layers = by_name(nn.Sequential(encoder, nn.Linear(8, 2)), torch.randn(1, 5, 8))
    expected = "the model's code reads its weight" if fused else None
    assert {name: layers[name].reason for name in ("0.linear1", "0.linear2", "1")} == {
        "0.linear1": expected,
        "0.linear2": expected,
        "1": None,
    }
    assert layers["0.linear1"].calls == (Call((5,), (5,)),)
    assert torch.backends.mha.get_fastpath_enabled()


def test_ignore_matches_any_name_of_a_layer() -> None:
    conv = nn.Conv2d(3, 3, 1)
    model = Forward(
        lambda m, x: m.head(m.stem(m.again(x))), stem=conv, again=conv, head=nn.Conv2d(3, 2, 1, groups=1)
    )
    assert reasons(model, IMAGE, ignore=["ag*"]) == {"stem": "ignored by 'ag*'", "head": None}
    assert reasons(model, IMAGE, ignore=["head", "*"]) == {
        "stem": "ignored by '*'",
        "head": "ignored by 'head'",
    }


# --- errors


def test_ignore_that_matches_nothing() -> None:
    with pytest.raises(InputError, match=r"ignore: .*got 'layer9\*'. Layers: 0, 1\."):
        discover(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)), IMAGE, ignore=["layer9*"])


def test_an_input_that_does_not_fit() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 3, 8, 8\), got RuntimeError: .*channels") as caught:
        discover(nn.Conv2d(4, 3, 1), IMAGE)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_outputs_that_are_no_tensor() -> None:
    with pytest.raises(
        InputError, match=r"expected a Tensor as output, got tuple \(0, 1\)\. Say which counts: `output=0`"
    ):
        discover(Forward(lambda m, x: (m.conv(x), x), conv=nn.Conv2d(3, 2, 1)), IMAGE)


def test_lazy_and_compiled_models() -> None:
    with pytest.raises(InputError, match=r"0: expected parameters with a shape, got lazy ones"):
        discover(nn.Sequential(nn.LazyConv2d(3, 1)), IMAGE)
    with pytest.raises(InputError, match=r"expected a plain module, got one from torch\.compile"):
        discover(torch.compile(nn.Conv2d(3, 3, 1)), IMAGE)  # type: ignore[arg-type]


# --- the model handed in


def test_nothing_of_the_model_changes() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), _old("weight_norm"), nn.Conv2d(3, 2, 3)
    )
    model[3] = nn.Sequential(nn.Conv2d(4, 3, 1), model[3])
    model.train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy({name: tensor.clone() for name, tensor in model.state_dict().items()})
    modules = list(model.modules())
    random = torch.get_rng_state()
    discover(model, IMAGE)
    assert list(model.modules()) == modules
    assert [module.training for module in model.modules()] == modes
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(random, torch.get_rng_state())
    assert not any(module._forward_hooks for module in model.modules())
