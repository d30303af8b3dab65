"""`nn.LSTM`, `nn.GRU` and `nn.RNN` with their matrices as linear layers: two for each layer and direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ranksearch.rewriting.alike import parameter
from ranksearch.rewriting.base import Joined, Rewrite

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}

State = tuple[Tensor, ...]
"""What a cell hands on: (h,), or (h, c) of an LSTM, each (N, H)."""


class Cell(nn.Module):
    """One layer in one direction. `input` and `recurrent` are linear layers, from I and from H to gates · H."""

    def __init__(self, mode: str, inputs: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.mode = mode
        self.input = nn.Linear(inputs, _GATES[mode] * hidden, bias=bias, device="meta")
        self.recurrent = nn.Linear(hidden, _GATES[mode] * hidden, bias=bias, device="meta")

    def step(self, given: Tensor, state: State) -> State:
        """The next state; given: what `input` makes of one step, (N, gates · H)."""
        own = self.recurrent(state[0])
        if self.mode == "LSTM":
            i, f, g, o = (given + own).chunk(4, dim=-1)
            c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c
        if self.mode == "GRU":
            (r, z, n), (hr, hz, hn) = given.chunk(3, dim=-1), own.chunk(3, dim=-1)
            z = (z + hz).sigmoid()
            return ((n + (r + hr).sigmoid() * hn).tanh() * (1 - z) + z * state[0],)
        summed = given + own
        return (summed.relu() if self.mode == "RNN_RELU" else summed.tanh(),)


class Recurrent(Joined):
    """Computes what `nn.LSTM`, `nn.GRU` or `nn.RNN` computes, step by step.

    Arguments and results of `forward` are theirs.
    """

    proj_size = 0

    def __init__(self, module: nn.RNNBase) -> None:
        super().__init__()
        self.mode = module.mode
        self.input_size, self.hidden_size = module.input_size, module.hidden_size
        self.num_layers, self.bias, self.batch_first = module.num_layers, module.bias, module.batch_first
        self.dropout, self.bidirectional = module.dropout, module.bidirectional
        for layer in range(self.num_layers):
            width = self.hidden_size * (1 + self.bidirectional) if layer else self.input_size
            for name in self._names(layer):
                cell = Cell(self.mode, width, self.hidden_size, self.bias)
                self.add_module(name, cell)
                for part, kind in ((cell.input, "ih"), (cell.recurrent, "hh")):
                    for key in ("weight", "bias") if self.bias else ("weight",):
                        own = getattr(module, f"{key}_{kind}_{name}")
                        setattr(part, key, parameter(own, trained=own.requires_grad))
        self.train(module.training)

    def _names(self, layer: int) -> tuple[str, ...]:
        """As in the names of the parameters of torch's module."""
        return (f"l{layer}", f"l{layer}_reverse") if self.bidirectional else (f"l{layer}",)

    def joined(self) -> nn.Module | None:
        names = [name for layer in range(self.num_layers) for name in self._names(layer)]
        parts = {
            f"{kind}_{name}": part
            for name in names
            for kind, part in (
                ("ih", self.get_submodule(f"{name}.input")),
                ("hh", self.get_submodule(f"{name}.recurrent")),
            )
        }
        if not all(type(part) is nn.Linear for part in parts.values()):
            return None
        kinds: dict[str, Any] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN_TANH": nn.RNN, "RNN_RELU": nn.RNN}
        extra = {"nonlinearity": self.mode[4:].lower()} if self.mode.startswith("RNN") else {}
        module = kinds[self.mode](
            self.input_size,
            self.hidden_size,
            self.num_layers,
            bias=self.bias,
            batch_first=self.batch_first,
            dropout=self.dropout,
            bidirectional=self.bidirectional,
            device="meta",
            **extra,
        )
        for suffix, part in parts.items():
            for key, own in part.named_parameters():
                setattr(module, f"{key}_{suffix}", parameter(own, trained=own.requires_grad))
        return cast(nn.Module, module.train(self.training))

    def flatten_parameters(self) -> None:
        """There is nothing to flatten."""

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """As of torch's module.

        input: An (N, T, I) tensor, (T, N, I) unless `batch_first`, or (T, I); or a packed sequence.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        single = input.dim() == 2
        rows = input[None] if single else input if self.batch_first else input.transpose(0, 1)
        sizes = [len(rows)] * rows.shape[1]
        start = self._start(hx, rows, len(rows), single)
        outputs, last = self._run(rows, sizes, start)
        outputs = outputs[0] if single else outputs if self.batch_first else outputs.transpose(0, 1)
        ends = [part[:, 0] if single else part for part in last]
        return outputs, tuple(ends) if self.mode == "LSTM" else ends[0]

    def _packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        rows, lengths = nn.utils.rnn.pad_packed_sequence(
            packed._replace(unsorted_indices=None), batch_first=True
        )
        sizes = packed.batch_sizes.tolist()
        order, back = packed.sorted_indices, packed.unsorted_indices
        start = self._start(hx, rows, len(rows), False)
        if order is not None:
            start = [tuple(part[order] for part in state) for state in start]
        outputs, last = self._run(rows, sizes, start)
        data = nn.utils.rnn.pack_padded_sequence(outputs, lengths, batch_first=True).data
        ends = [part if back is None else part[:, back] for part in last]
        found = PackedSequence(data, packed.batch_sizes, order, back)
        return found, tuple(ends) if self.mode == "LSTM" else ends[0]

    def _start(self, hx: Any, rows: Tensor, count: int, single: bool) -> list[State]:
        """The initial state of every layer and direction."""
        cells = self.num_layers * (1 + self.bidirectional)
        parts = 2 if self.mode == "LSTM" else 1
        if hx is None:
            return [(rows.new_zeros(count, self.hidden_size),) * parts] * cells
        given = hx if self.mode == "LSTM" else (hx,)
        given = [part[:, None] if single else part for part in given]
        return [tuple(part[k] for part in given) for k in range(cells)]

    def _run(self, rows: Tensor, sizes: Sequence[int], start: Sequence[State]) -> tuple[Tensor, State]:
        """Outputs (N, T, directions · H) and the last states, each (cells, N, H).

        sizes: how many of the N sequences, sorted by falling length, have each step.
        """
        ends: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                rows = F.dropout(rows, self.dropout)
            found = []
            for direction, name in enumerate(self._names(layer)):
                cell = cast(Cell, self.get_submodule(name))
                outputs, end = _along(cell, rows, sizes, start[len(ends)], backwards=direction == 1)
                found.append(outputs)
                ends.append(end)
            rows = torch.cat(found, dim=-1)
        return rows, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))


def _along(
    cell: Cell, rows: Tensor, sizes: Sequence[int], state: State, *, backwards: bool
) -> tuple[Tensor, State]:
    """Outputs (N, T, H) of one cell, zero where a sequence has ended, and its last state."""
    given = cell.input(rows)
    steps: list[Tensor] = []
    for t in reversed(range(len(sizes))) if backwards else range(len(sizes)):
        size = sizes[t]
        now = cell.step(given[:size, t], tuple(part[:size] for part in state))
        state = tuple(
            torch.cat([new, part[size:]]) if size < len(part) else new
            for new, part in zip(now, state, strict=True)
        )
        steps.append(F.pad(now[0], (0, 0, 0, len(rows) - size)) if size < len(rows) else now[0])
    return torch.stack(steps[::-1] if backwards else steps, dim=1), state


class WriteRecurrent(Rewrite):
    """LSTMs with projections of their own stay as they are."""

    def applied(self, module: nn.Module) -> nn.Module | None:
        if type(module) not in (nn.LSTM, nn.GRU, nn.RNN) or cast(nn.RNNBase, module).proj_size:
            return None
        return Recurrent(cast(nn.RNNBase, module))
