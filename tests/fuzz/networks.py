"""Small networks by seed: whatever people build of convolutions, linear layers and what lies between them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from parts import CLASSES, TOKENS, Block, Data, Whole
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.data import Dataset

DTYPES = {"float32": 0.7, "float64": 0.12, "bfloat16": 0.12, "float16": 0.06}
INPUTS = ("one", "one", "tuple", "dict", "labelled dict")

EVERYWHERE = (
    "simple", "simple", "normed", "residual", "reused", "tied", "state", "drawing", "noisy", "order", "detached",
)  # fmt: skip
OF_IMAGES = ("grouped", "transposed")
OF_SEQUENCES = ("attention", "encoder", "recurrent", "wave")
OF_VECTORS = ("unused",)


@dataclass
class Made:
    """A network, its data, and in words what it is made of."""

    model: nn.Module
    data: Dataset[Any]
    parts: list[str]


@dataclass
class Maker:
    """Draws blocks; `width` is the number of channels that the next one is given."""

    rng: random.Random
    images: bool
    sequences: bool
    width: int
    parts: list[str] = field(default_factory=list)

    def layer(self, out: int, **options: Any) -> nn.Module:
        """A convolution or linear layer, now and then one that ranksearch has to leave alone."""
        bias = self.rng.random() < 0.7
        if not self.images:
            return self._changed(nn.Linear(self.width, out, bias=bias))
        kernel = self.rng.choice([1, 3, 3, (1, 3), (3, 1)])
        padding = self.rng.choice(["same", 1, 0]) if kernel == 3 else "same"
        mode = self.rng.choice(["zeros", "zeros", "reflect", "circular"])
        dilation = (
            2 if kernel == 3 and padding == "same" and mode == "zeros" and self.rng.random() < 0.2 else 1
        )
        options = {"padding": padding, "padding_mode": mode, "dilation": dilation, "bias": bias} | options
        return self._changed(nn.Conv2d(self.width, out, kernel, **options))

    def plain(self, out: int) -> nn.Module:
        """A layer that keeps the size of images."""
        return self.layer(out, padding="same", padding_mode="zeros")

    def _changed(self, layer: Any) -> nn.Module:
        draw = self.rng.random()
        if draw < 0.05:
            made = self.rng.choice([parametrizations.weight_norm, parametrizations.spectral_norm])
            return self._noted("parametrised", made(layer))
        if draw < 0.07:
            layer.register_forward_hook(lambda module, args, output: output * 0.5)
            return self._noted("hook", layer)
        if draw < 0.09:
            layer.register_forward_pre_hook(lambda module, args: (args[0] * 0.5,))
            return self._noted("pre-hook", layer)
        if draw < 0.12:
            for name in ("in_features", "out_channels"):
                if hasattr(layer, name):
                    setattr(layer, name, 99)
            return self._noted("lie", layer)
        if draw < 0.16:
            with torch.no_grad():
                layer.weight.mul_(self.rng.choice([0.0, 1e-30, 1e-12, 1e-4, 1e4, 1e12, 1e30]))
            return self._noted("scaled", layer)
        return self._noted(type(layer).__name__.lower(), layer)

    def _noted(self, part: str, module: nn.Module) -> nn.Module:
        self.parts.append(part)
        return module

    def activation(self) -> nn.Module:
        kinds = [nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.Tanh(), nn.SiLU(inplace=True)]
        return self.rng.choice(kinds)

    def norm(self) -> nn.Module:
        if self.images:
            momentum = self.rng.choice([0.1, None])
            track = self.rng.random() < 0.85
            kinds = [nn.BatchNorm2d(self.width, momentum=momentum, track_running_stats=track)]
            return self.rng.choice([*kinds, nn.GroupNorm(1, self.width)])
        return nn.LayerNorm(self.width)

    def block(self) -> nn.Module:
        more = OF_IMAGES if self.images else OF_SEQUENCES if self.sequences else OF_VECTORS
        name = self.rng.choice((*EVERYWHERE, *more))
        self.parts.append(f"[{name}]")
        made: nn.Module = getattr(self, name)()
        return made

    def simple(self) -> nn.Module:
        out = self.rng.randint(4, 12)
        made = nn.Sequential(self.layer(out), self.activation())
        self.width = out
        return made

    def normed(self) -> nn.Module:
        out = self.rng.randint(4, 12)
        layer = self.layer(out)
        self.width = out
        return nn.Sequential(layer, self.norm(), self.activation())

    def residual(self) -> nn.Module:
        w = self.width
        own = {"first": self.plain(w), "norm": self.norm(), "act": self.activation(), "second": self.plain(w)}

        def added(m: Any, x: Tensor) -> Tensor:
            return m.act(x + m.second(m.act(m.norm(m.first(x)))))

        def in_place(m: Any, x: Tensor) -> Tensor:
            y = m.second(m.norm(m.first(x)))
            y += x
            return m.act(y)

        def spoilt(m: Any, x: Tensor) -> Tensor:
            y = torch.tanh(m.first(x))
            y += m.second(x)  # what the gradient of tanh needs
            return y

        return Block(self.rng.choice([added, added, in_place, in_place, in_place, spoilt]), **own)

    def reused(self) -> nn.Module:
        layer, count = self.plain(self.width), self.rng.randint(2, 3)

        def run(m: Any, x: Tensor) -> Tensor:
            for _ in range(count):
                x = m.act(m.layer(x))
            return m.again(x)

        return Block(run, layer=layer, act=nn.Tanh(), again=layer)

    def tied(self) -> nn.Module:
        first, second = nn.Linear(self.width, self.width), nn.Linear(self.width, self.width)
        second.weight = first.weight

        def run(m: Any, x: Tensor) -> Tensor:
            x = x.movedim(1, -1) if x.dim() == 4 else x
            x = m.second(torch.tanh(m.first(x)))
            return x.movedim(-1, 1) if x.dim() == 4 else x

        return Block(run, first=first, second=second)

    def state(self) -> nn.Module:
        """Counts its passes in a buffer, a list or a table, averages, or remembers what it computed; outputs stay."""
        made = Block(lambda m, x: x, layer=self.plain(self.width))
        made.register_buffer("passes", torch.zeros((), dtype=torch.long), persistent=self.rng.random() < 0.5)
        made.register_buffer("average", torch.zeros(()))
        made.calls, made.log = {"count": 0}, []

        def counted(m: Any, x: Tensor) -> Tensor:
            m.passes += 1
            return torch.tanh(m.layer(x))

        def remembered(m: Any, x: Tensor) -> Tensor:
            m.last = [torch.tanh(m.layer(x))]
            return m.last[0]

        def averaged(m: Any, x: Tensor) -> Tensor:
            with torch.no_grad():
                m.average = 0.9 * m.average + 0.1 * x.float().mean()
            return torch.tanh(m.layer(x))

        def listed(m: Any, x: Tensor) -> Tensor:
            m.calls["count"] += 1
            m.log.append(tuple(x.shape))
            return torch.tanh(m.layer(x))

        made.function = self.rng.choice([counted, remembered, averaged, listed])
        return made

    def drawing(self) -> nn.Module:
        """Draws random numbers in evaluation mode too, from torch's generator or Python's."""

        def torchs(m: Any, x: Tensor) -> Tensor:
            return torch.tanh(m.layer(x) + 0.01 * torch.rand(()).to(x.dtype))

        def pythons(m: Any, x: Tensor) -> Tensor:
            return torch.tanh(m.layer(x) * (1 + 0.01 * random.random()))

        return Block(self.rng.choice([torchs, pythons]), layer=self.plain(self.width))

    def noisy(self) -> nn.Module:
        out = self.rng.randint(4, 12)
        made = nn.Sequential(self.layer(out), self.activation(), nn.Dropout(0.3))
        self.width = out
        return made

    def order(self) -> nn.Module:
        """Layers whose order the input decides."""

        def run(m: Any, x: Tensor) -> Tensor:
            first, second = (m.first, m.second) if bool(x.float().sum() > 0) else (m.second, m.first)
            return torch.tanh(second(torch.tanh(first(x))))

        return Block(run, first=self.plain(self.width), second=self.plain(self.width))

    def detached(self) -> nn.Module:
        def run(m: Any, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = m.side(x)
            return torch.tanh(m.layer(x) + y)

        return Block(run, layer=self.plain(self.width), side=self.plain(self.width))

    def routed(self) -> nn.Module:
        """Each example goes through one of two layers."""

        def run(m: Any, x: Tensor) -> Tensor:
            chosen, y = x.flatten(1)[:, 0] > 0, torch.zeros_like(x)
            y[chosen], y[~chosen] = m.first(x[chosen]), m.second(x[~chosen])
            return torch.tanh(y)

        return Block(run, first=self.plain(self.width), second=self.plain(self.width))

    def grouped(self) -> nn.Module:
        w = self.width
        layers = nn.ModuleDict({"depth wise": nn.Conv2d(w, w, 3, padding=1, groups=w), "é": self.plain(w)})
        return Block(lambda m, x: torch.tanh(m.layers["é"](m.layers["depth wise"](x))), layers=layers)

    def attention(self) -> nn.Module:
        attention = nn.MultiheadAttention(self.width, 1, batch_first=True)
        own = {"attend": attention, "norm": nn.LayerNorm(self.width), "layer": self.plain(self.width)}
        return Block(lambda m, x: m.layer(m.norm(x + m.attend(x, x, x)[0])), **own)

    def encoder(self) -> nn.Module:
        return nn.TransformerEncoderLayer(
            self.width,
            1,
            dim_feedforward=2 * self.width,
            dropout=self.rng.choice([0.0, 0.1]),
            norm_first=self.rng.random() < 0.5,
            batch_first=True,
        )

    def recurrent(self) -> nn.Module:
        kind, both = self.rng.choice([nn.GRU, nn.LSTM, nn.RNN]), self.rng.random() < 0.3
        width = self.width
        rnn = kind(width, width, num_layers=self.rng.choice([1, 1, 2]), bidirectional=both, batch_first=True)
        self.width = 2 * width if both else width
        return Block(lambda m, x: m.layer(m.rnn(x)[0]), rnn=rnn, layer=self.plain(self.width))

    def wave(self) -> nn.Module:
        """A convolution over time."""
        conv = self._changed(nn.Conv1d(self.width, self.width, 3, padding=1))
        return Block(lambda m, x: torch.tanh(m.conv(x.mT).mT), conv=conv)

    def transposed(self) -> nn.Module:
        out = self.rng.randint(4, 8)
        conv = nn.ConvTranspose2d(self.width, out, 3, stride=self.rng.choice([1, 2]), padding=1)
        self.width = out
        return nn.Sequential(self._changed(conv), self.activation())

    def unused(self) -> nn.Module:
        own = {"layer": self.plain(self.width), "idle": self.plain(self.width)}
        made = Block(lambda m, x: torch.tanh(m.layer(x)), **own)
        made.held = [made.layer]
        return made


def network(seed: int) -> Made:
    """The network of a seed, with random weights, statistics of its BatchNorm layers among them."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    images = rng.random() < 0.5
    sequences = not images and rng.random() < 0.5
    width = rng.randint(4, 8)
    maker = Maker(rng, images, sequences, width)
    tokens = sequences and rng.random() < 0.3
    blocks: list[nn.Module] = [nn.Embedding(TOKENS, width)] if tokens else []
    blocks += [maker.block() for _ in range(rng.choice((1, 1, 2, 3)))]
    head = nn.Linear(maker.width, CLASSES)
    with torch.no_grad():
        head.weight.mul_(4)
    dtype_name = rng.choices(list(DTYPES), list(DTYPES.values()))[0]
    kind = "tokens" if tokens else rng.choice(INPUTS)
    dtype = getattr(torch, dtype_name)
    model = Whole(blocks, head, named=rng.random() < 0.15).to(dtype)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            module.running_var.uniform_(0.5, 2.0)
    shape = (width, rng.randint(4, 6), rng.randint(4, 6)) if images else (4, width) if sequences else (width,)
    spoilt = rng.random() < 0.03
    model.eval()
    for chance, part, change in (
        (0.1, "frozen", lambda: model.requires_grad_(False)),
        (0.05, "partly frozen", lambda: head.requires_grad_(False)),
        (0.1, "hooked", lambda: model.register_forward_hook(_doubled)),
        (0.05, "backward hook", lambda: head.register_full_backward_hook(lambda module, into, out: None)),
        (0.03, "state hook", lambda: model.register_state_dict_post_hook(lambda *_: None)),
        (0.15, "training", model.train),
        (0.15, "partly training", blocks[-1].train),
    ):
        if rng.random() < chance:
            change()
            maker.parts.append(part)
    return Made(
        model,
        Data((4,) if tokens else shape, kind, dtype, seed, spoilt=spoilt),
        [dtype_name, kind, *["spoilt"] * spoilt, *["named"] * model.named, *maker.parts],
    )


def _doubled(module: nn.Module, inputs: Any, output: Any) -> Any:
    return {name: 2 * each for name, each in output.items()} if isinstance(output, dict) else 2 * output
