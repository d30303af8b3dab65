"""Outputs of a model with exchanged kernels; the unchanged prefix of the model runs only once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ranksearch.networks import (
    Batch,
    Output,
    attention_fast_path,
    channels_last,
    copy_model,
    eval_mode,
    fast_layout,
    forward,
    head,
    kernel_of,
    made_one,
    one_tensor,
    put_kernel,
    split,
    takes_fast_layout,
    to,
)
from ranksearch.probing.replay import (
    Ordinals,
    Replays,
    captured,
    finished_before,
    replaying,
    tensors_in,
    traced,
)

log = logging.getLogger(__name__)

Kernels = Mapping[str, Tensor]
"""By name of a layer, the kernel that replaces its own."""

CACHE_BYTES = 768 * 2**20
"""Prefixes of all batches are stored up to this size; larger ones are computed once for each call."""


class Bench:
    """A copy of a model with fixed inputs, N of them, in batches. The model itself is not changed.

    dense: its outputs with its own kernels, (N, …). reused: by layer, whether prefixes are reused, as far as
    it has been determined.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Batch,
        *,
        batch_size: int,
        device: torch.device,
        output: Output = one_tensor,
    ) -> None:
        self._model = copy_model(model).to(device).eval().requires_grad_(False)
        self._batches = [to(batch, device) for batch in split(inputs, batch_size)]
        if takes_fast_layout(self._model, head(self._batches[0], 1), output):
            self._model = fast_layout(self._model)
            self._batches = [channels_last(batch) for batch in self._batches]
        self._output = output
        self._own: dict[str, Tensor] = {}
        self._prefix: tuple[str, Ordinals, bool] = ("", {}, False)
        self._cache: dict[int, Replays] = {}
        self._cached = 0
        self.reused: dict[str, bool] = {}
        with eval_mode(self._model), attention_fast_path(False):
            self._trace, first = traced(self._model, self._batches[0])
            self.dense: Tensor = torch.cat(
                [
                    made_one(first, output),
                    *(forward(self._model, batch, output) for batch in self._batches[1:]),
                ]
            )

    def outputs(self, variants: Sequence[Kernels], *, reuse: bool = True) -> list[Tensor]:
        """Outputs (N, …) of the model with each of some sets of kernels; all sets are of the same layers.

        With `reuse` off every variant is run in full: the same results, more slowly.
        """
        if not variants or not variants[0]:
            return [self.dense for _ in variants]
        first = self._first(variants[0])
        rows: list[list[Tensor]] = [[] for _ in variants]
        with eval_mode(self._model), attention_fast_path(False):
            if reuse:
                self._aim(first, variants[0])
            for number, batch in enumerate(self._batches):
                replays = self._replays(number, batch) if reuse and self.reused[first] else {}
                for row, kernels in zip(rows, variants, strict=True):
                    output, intact = self._run(batch, kernels, replays)
                    if not intact:
                        # The first batch did not show it, or outputs would have been copied; a full run is correct.
                        self.reused[first], replays, self._cache = False, {}, {}
                        output, _ = self._run(batch, kernels, replays)
                    row.append(output)
        return [torch.cat(row) for row in rows]

    def reusable(self, layer: str) -> bool:
        """Whether the prefix of a layer can be reused; determined on the first batch if not known yet."""
        if layer not in self.reused:
            weight = kernel_of(self._model, layer)
            with eval_mode(self._model), attention_fast_path(False):
                self._aim(layer, {layer: weight / 2})
        return self.reused[layer]

    def _first(self, kernels: Kernels) -> str:
        """The layer that is called first."""
        order: dict[str, int] = {}
        for position, (name, begins) in enumerate(self._trace):
            if begins:
                order.setdefault(name, position)
        return min(kernels, key=lambda name: order.get(name, len(self._trace)))

    def _aim(self, first: str, kernels: Kernels) -> None:
        """Prepare to reuse the prefix of a layer; check on the first batch that this gives the same outputs."""
        if self._prefix[0] == first:
            return
        self._prefix = (first, finished_before(self._trace, first), False)
        self._cache, self._cached = {}, 0
        self.reused[first] = True
        batch = self._batches[0]
        wanted, _ = self._run(batch, kernels, {})
        for fresh in (False, True):
            self._prefix = (*self._prefix[:2], fresh)
            got, intact = self._run(batch, kernels, self._replays(0, batch))
            if self.reused[first] and intact and _same(got, wanted):
                return
            self._cache, self._cached = {}, 0
        log.info("%s: what runs before it cannot be reused, the whole model is run", first)
        self.reused[first] = False

    def _replays(self, number: int, batch: Batch) -> Replays:
        if number in self._cache:
            return self._cache[number]
        first, ordinals, _ = self._prefix
        if not ordinals:
            return {}
        replays, trace = captured(self._model, batch, ordinals)
        if trace != self._trace:
            self.reused[first] = False
            return {}
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(replays))
        if self._cached + size <= CACHE_BYTES:
            self._cache[number] = replays
            self._cached += size
        return replays

    def _run(self, batch: Batch, kernels: Kernels, replays: Replays) -> tuple[Tensor, bool]:
        """Outputs of a batch, and whether the replayed outputs are unchanged: nothing wrote into them."""
        shared = [] if self._prefix[2] else tensors_in(replays)
        versions = [tensor._version for tensor in shared]
        for name, kernel in kernels.items():
            self._own.setdefault(name, kernel_of(self._model, name).clone())
            put_kernel(self._model, name, kernel)
        try:
            with replaying(self._model, replays, fresh=self._prefix[2]):
                output = forward(self._model, batch, self._output)
        finally:
            for name in kernels:
                put_kernel(self._model, name, self._own[name])
        return output, versions == [tensor._version for tensor in shared]


def _same(a: Tensor, b: Tensor) -> bool:
    scale = float(b.nan_to_num().abs().amax()) if b.numel() else 0.0
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-6 * scale, equal_nan=True)
