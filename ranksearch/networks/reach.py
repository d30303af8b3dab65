"""Layers whose outputs do not reach the output that counts, as far as one example tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.errors import RankSearchError
from ranksearch.networks.batches import Batch, device_of
from ranksearch.networks.outputs import Output, one_tensor
from ranksearch.networks.running import backward, first_example, forward, run_once
from ranksearch.networks.surgery import copy_model
from ranksearch.networks.undisturbed import seeded


def together(names: Sequence[str], holds: Callable[[Sequence[str]], bool]) -> list[str]:
    """As many of some names as something holds of together, found by bisection."""
    kept: list[str] = []

    def take(group: Sequence[str]) -> None:
        if holds([*kept, *group]):
            kept.extend(group)
        elif len(group) > 1:
            take(group[: len(group) // 2])
            take(group[len(group) // 2 :])

    if names:
        take(names)
    return kept


def unreached(
    model: nn.Module, names: Sequence[str], example: Batch, output: Output = one_tensor
) -> list[str]:
    """Which of some layers, all of them called, may put out anything: what they put out is dropped, so that no gradient
    comes to them, and with noise in its place the first example of a batch has the same output.

    None of them where the model cannot be differentiated. The model is not changed.
    """
    copied = copy_model(model).eval().requires_grad_(False)
    one = first_example(copied, example)
    modules = {name: copied.get_submodule(name) for name in names}
    met: set[str] = set()

    def watched(name: str) -> Callable[..., Tensor]:
        def hook(_: nn.Module, args: Any, given: Tensor) -> Tensor:
            given = given if given.requires_grad else given.detach().requires_grad_().clone()
            if given.requires_grad:  # not within torch.no_grad
                given.register_hook(lambda gradient: met.add(name))
            return given

        return hook

    handles = [module.register_forward_hook(watched(name)) for name, module in modules.items()]
    try:
        with seeded(0, device_of(one)):
            backward(forward(copied, one, output).sum())
    except RankSearchError:  # it detaches everything, or knows no gradients
        met.clear()
    finally:
        for handle in handles:
            handle.remove()
    if not met:
        return []
    reference = run_once(copied, one, output)

    def same(some: Sequence[str]) -> bool:
        handles = [modules[name].register_forward_hook(_noise) for name in some]
        try:
            return torch.equal(run_once(copied, one, output), reference)
        except RankSearchError:  # it asks what came out
            return False
        finally:
            for handle in handles:
                handle.remove()

    return together([name for name in names if name not in met], same)


def _noise(_: nn.Module, args: Any, given: Tensor) -> Tensor:
    return torch.randn_like(given)
