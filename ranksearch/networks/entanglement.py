"""Layers that a model uses in another way than calling them, so that they have to stay dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError
from ranksearch.networks.batches import Batch
from ranksearch.networks.outputs import Output, one_tensor
from ranksearch.networks.recording import Seen
from ranksearch.networks.running import attention_fast_path, run_once
from ranksearch.networks.surgery import replace_modules


@dataclass
class _Notes:
    """What one pass asks of a layer; kept apart from the model, where every pass leaves all as it was."""

    calls: int = 0
    read: str | None = None


class _Watched(nn.Sequential):
    """A Sequential around a layer that records accesses which a Sequential of factors could not answer.

    It counts its calls without a hook, because hooks would disable the fused kernels of nn.TransformerEncoder.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.notes = _Notes()

    def forward(self, input: Tensor) -> Tensor:
        self.notes.calls += 1
        return cast(Tensor, self[0](input))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "notes" not in vars(self):  # still under construction
                raise
            value = getattr(self[0], name)
            self.notes.read = self.notes.read or name
            return value


def entangled(
    copied: nn.Module,
    names: Sequence[str],
    example: Batch,
    calls: Seen,
    output: Tensor,
    result: Output = one_tensor,
) -> dict[str, str]:
    """Layers that the model uses in another way than calling what is registered under their name.

    Code that reads `self.conv.weight`, asks for the type of a layer, or keeps layers in a list of its own
    works differently once a layer has become a Sequential. So each is wrapped in a Sequential here, which must
    not change anything. Reads are recorded. If the output or the calls change, bisection finds the layers
    responsible. `copied` is restored afterwards; `calls` and `output` are the result of an earlier pass
    of it over `example`.

    Result: a reason for each layer that is used in such a way.
    """
    modules = dict(copied.named_modules())
    reasons: dict[str, str] = {}
    with attention_fast_path(True):
        reference = run_once(copied, example, result)
        reproducible = _same(reference, output)

        def trouble(group: Sequence[str]) -> str | None:
            wrapped = {name: _Watched(modules[name]).eval() for name in group}
            root = replace_modules(copied, {modules[name]: wrapped[name] for name in group})
            try:
                found = run_once(root, example, result)
            except InputError as error:
                cause = error.__cause__
                return f"the model uses it other than by calling it ({type(cause).__name__}: {cause})"
            finally:
                replace_modules(root, {wrapped[name]: modules[name] for name in group})
                notes = {name: w.notes for name, w in wrapped.items()}
                read = {name: f"the model's code reads its {n.read}" for name, n in notes.items() if n.read}
                reasons.update(read)
            if any(n.calls != len(calls.get(name, ())) for name, n in notes.items() if name not in read):
                return "the model calls it other than by its registered name"
            if reproducible and not _same(found, reference):
                return "the model's output depends on its type or name"
            return None

        def blame(group: Sequence[str]) -> None:
            reason = trouble(group) if group else None
            rest = [name for name in group if name not in reasons]
            if reason is None:
                return
            if len(rest) == 1 == len(group):
                reasons[rest[0]] = reason
            elif len(rest) < len(group):
                blame(rest)
            else:
                blame(rest[: len(rest) // 2])
                blame(rest[len(rest) // 2 :])

        blame(names)
    return reasons


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    if torch.equal(a, b):
        return True
    a, b = a.double(), b.double()
    atol = 1e-5 * float(b.nan_to_num().abs().amax())
    return torch.allclose(a, b, rtol=1e-3, atol=atol, equal_nan=True)
