"""Contract tests of runtimes, and a runtime whose times are computed.

Subclass `RuntimeContract` under a name that begins with `Test`, with a fixture `runtime` that returns yours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from ranksearch.costs import factor_macs
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import Batch, Chain, Factor, Layer, discover, widened
from ranksearch.timing import (
    RUNTIMES,
    Chains,
    Part,
    Prepared,
    Profile,
    Profiled,
    Runtime,
    Session,
    Workload,
    shape_of,
)


class PaperRuntime(Runtime):
    """A machine on which a multiply-accumulate takes a microsecond.

    block: channels come in blocks of so many, and a begun one takes as long as a whole one. extra: what each factorised
    layer takes in addition, as a share of the dense layers' time; no part shows it, as with changes of memory layout.
    """

    name = "paper"

    def __init__(self, name: str = "paper", block: int = 1, extra: float = 0.0) -> None:
        self.name, self.block, self.extra = name, block, extra  # type: ignore[misc]

    def version(self) -> str:
        return f"1, {self.block}, {self.extra}"

    def prepare(self, workload: Workload) -> Prepared:
        return _OnPaper(workload.layers, self.block, self.extra)


def registered(runtime: Runtime) -> Runtime:
    """The runtime, known under its name; one of the same kind that had the name before gives way."""
    known = RUNTIMES.find(runtime.name)
    if type(known) is not type(runtime):
        RUNTIMES.register(runtime)
    return runtime


@dataclass(frozen=True)
class _OnPaper(Prepared):
    layers: Sequence[Layer]
    block: int
    extra: float

    def session(self, chains: Chains) -> Session:
        return self.profiled(chains)

    def profiled(self, chains: Chains) -> Profiled:
        parts: dict[Part, float] = {}
        for layer in self.layers:
            parts |= {
                Part(layer.name, k): seconds
                for k, seconds in enumerate(self._seconds(layer, chains.get(layer.name, whole(layer))))
            }
        dense = sum(sum(self._seconds(layer, whole(layer))) for layer in self.layers)
        return _Computed(parts, dense * (0.1 + self.extra * len(chains)))

    def _seconds(self, layer: Layer, chain: Chain) -> list[float]:
        blocks = tuple(
            replace(
                factor,
                in_channels=self._in_blocks(factor.in_channels),
                out_channels=self._in_blocks(factor.out_channels),
            )
            for factor in chain
        )
        return [1e-6 * work for work in factor_macs(layer, blocks)]

    def _in_blocks(self, channels: int) -> int:
        return -(-channels // self.block) * self.block


@dataclass(frozen=True)
class _Computed(Profiled):
    parts: dict[Part, float]
    rest: float

    def run(self) -> None:
        pass

    def seconds(self) -> float:
        return sum(self.parts.values()) + self.rest

    def profile(self, passes: int) -> Profile:
        return Profile(self.parts, self.seconds())


def whole(layer: Layer) -> Chain:
    """The dense layer as a chain of one factor."""
    own = layer.group
    return widened((Factor(own.in_channels, own.out_channels, tuple(range(own.spatial_dims))),), layer.groups)


class _Model(nn.Module):
    """Convolutions of several kinds, one of them used twice, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.strided = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.twice = nn.Conv2d(32, 32, 3, padding=1)
        self.pointwise = nn.Conv2d(32, 24, 1)
        self.last = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.strided(self.first(x)))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        found: Tensor = self.last(torch.relu(self.pointwise(x)))
        return found


class _Spoken(nn.Module):
    """From indices by an Embedding and transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(40, 24)
        self.up = nn.ConvTranspose1d(24, 16, 4, stride=2, padding=1)
        self.grid = nn.ConvTranspose2d(16, 12, (1, 3), stride=(1, 2), padding=(0, 1), output_padding=(0, 1))

    def forward(self, indices: Tensor) -> Tensor:
        x = torch.relu(self.up(self.tokens(indices).transpose(1, 2)))
        found: Tensor = self.grid(x[:, :, None])
        return found


class _TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(12, 16), nn.Linear(20, 16)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.relu(self.left(left)) + torch.relu(self.right(right))


def workload(model: nn.Module, batch: Batch) -> Workload:
    """All layers of a model that can be factorised, on one thread."""
    layers = [layer for layer in discover(model, batch) if layer.reason is None]
    return Workload(model, layers, batch, 1, lambda module: module)


def mixed(layers: Sequence[Layer], turn: int) -> dict[str, Chain]:
    """A chain for every layer, of another form each: of those that it can take the one whose turn it is."""
    found = {}
    for k, layer in enumerate(layers):
        forms = [
            (d, form)
            for n in DECOMPOSITIONS.usable()
            for d in (DECOMPOSITIONS.get(n),)
            for form in d.forms(layer)
        ]
        decomposition, form = forms[(k + turn) % len(forms)]
        ranks = tuple(max(1, most // 3) for most in decomposition.max_ranks(layer, form))
        found[layer.name] = decomposition.chain(layer, form, ranks)
    return found


class RuntimeContract:
    """Checks of one runtime."""

    @pytest.mark.parametrize("turn", [None, 0, 1])
    @pytest.mark.parametrize("indices", [False, True])
    def test_every_part_is_timed(self, runtime: Runtime, indices: bool, turn: int | None) -> None:
        """Of at least one layer of each shape, in a model that is dense, or factorised in mixed ways."""
        if indices:
            work = workload(_Spoken().eval(), torch.randint(40, (2, 9)))
        else:
            work = workload(_Model().eval(), torch.rand(2, 3, 12, 12))
        chains = {} if turn is None else mixed(work.layers, turn)
        session = runtime.prepare(work).profiled(chains)
        assert session.seconds() > 0
        profile = session.profile(3)
        timed = {part.layer for part in profile.parts}
        assert {shape_of(x) for x in work.layers} == {shape_of(x) for x in work.layers if x.name in timed}
        for layer in work.layers:
            if layer.name in timed:
                count = len(chains.get(layer.name, whole(layer)))
                assert {p for p in profile.parts if p.layer == layer.name} == {
                    Part(layer.name, k) for k in range(count)
                }
        assert all(seconds >= 0 for seconds in profile.parts.values())
        assert 0 < sum(profile.parts.values()) <= profile.whole * 1.001
        assert sum(profile.of(2.0).values()) <= 2.002

    def test_the_model_is_not_changed(self, runtime: Runtime) -> None:
        model = _Model().eval()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        kinds = [type(module) for module in model.modules()]
        work = workload(model, torch.rand(1, 3, 12, 12))
        prepared = runtime.prepare(work)
        prepared.session(mixed(work.layers, 2)).run()
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        assert [type(module) for module in model.modules()] == kinds
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert not any(module.training for module in model.modules())

    @pytest.mark.parametrize("named", [False, True])
    def test_models_may_take_several_inputs(self, runtime: Runtime, named: bool) -> None:
        left, right = torch.rand(2, 12), torch.rand(2, 20)
        batch = {"right": right, "left": left} if named else (left, right)
        work = workload(_TwoInputs().eval(), batch)
        session = runtime.prepare(work).session(mixed(work.layers, 0))
        session.run()
        assert session.seconds() > 0

    def test_it_says_what_it_is(self, runtime: Runtime) -> None:
        assert runtime.name.isidentifier()
        assert runtime.version()
        assert runtime.version() == runtime.version()
