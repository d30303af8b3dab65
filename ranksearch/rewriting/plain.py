"""A model in plain form, and the way back."""

from __future__ import annotations

from collections import Counter

from torch import nn

from ranksearch.errors import is_of_the_system
from ranksearch.networks import replace_modules
from ranksearch.rewriting.attention import WriteAttention
from ranksearch.rewriting.base import Joined, Rewrite
from ranksearch.rewriting.folded import Fold
from ranksearch.rewriting.leaves import Imitate
from ranksearch.rewriting.recurrent import WriteRecurrent
from ranksearch.rewriting.windows import WriteWindows

REWRITES: tuple[Rewrite, ...] = (Fold(), WriteAttention(), WriteRecurrent(), WriteWindows(), Imitate())
"""In the order in which they are tried."""


def plain_form(model: nn.Module) -> nn.Module:
    """The model with every module that a rewrite applies to written as plain layers, in place; returns the model, or
    what takes its place. It computes the same in evaluation mode, up to rounding.

    Modules that share parameters with others stay as they are: their ties would be lost.
    """
    uses = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    written: dict[nn.Module, nn.Module] = {}
    for module in list(model.modules()):
        if any(uses[id(p)] > 1 for p in module.parameters()):
            continue
        found = _rewritten(module)
        if found is not None and found is not module:
            written[module] = found
    return replace_modules(model, written)


def _rewritten(module: nn.Module) -> nn.Module | None:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        for rewrite in REWRITES:
            if (found := rewrite.applied(module)) is not None:
                return found.train(modes[0][1])
    except Exception as error:
        if is_of_the_system(error):
            raise
    finally:
        for part, training in modes:
            part.training = training
    return None


def restored(model: nn.Module) -> nn.Module:
    """The model with its rewritten modules joined again where nothing in them has been factorised, in place."""
    joined: dict[nn.Module, nn.Module] = {
        module: found
        for module in model.modules()
        if isinstance(module, Joined) and (found := module.joined()) is not None
    }
    return replace_modules(model, joined)
