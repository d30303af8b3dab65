"""From a plan to a module: each chosen layer becomes a Sequential of plain layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor, nn

from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.networks import (
    Batch,
    Chain,
    Layer,
    call_once,
    chain_module,
    copy_model,
    eval_mode,
    first_example,
    named_layers,
    replace_modules,
)
from ranksearch.planning.fits import zeros_of
from ranksearch.planning.plan import Candidate, Plan
from ranksearch.rewriting import restored

_OF_GRADIENTS = ("sparse", "scale_grad_by_freq")
"""Attributes of an Embedding that only matter in training."""


class FactorSource(Protocol):
    """Provides the weights of a candidate: one tensor of `Factor.shape` for each factor of its chain."""

    def factors(self, layer: Layer, candidate: Candidate) -> tuple[Tensor, ...]: ...


def build(model: nn.Module, layers: Sequence[Layer], plan: Plan, fits: FactorSource) -> nn.Module:
    """A copy of the model in which every layer that the plan does not keep dense is replaced by its chain.

    A layer is replaced under all the names that it is registered under. Device, dtype, `requires_grad`, how gradients
    of an Embedding are formed, and the training mode of each layer stay as they are in the model.
    """
    return _carry_out(model, layers, plan, fits.factors)


def skeleton(model: nn.Module, layers: Sequence[Layer], plan: Plan) -> nn.Module:
    """The result of `build`, with zeros as the weights of the chains, ready to load a state dict into."""

    return _carry_out(model, layers, plan, zeros_of)


def chain_of(layer: Layer, candidate: Candidate) -> Chain:
    """The chain of a candidate that is not dense."""
    return DECOMPOSITIONS.get(candidate.decomposition).chain(layer, candidate.form, candidate.ranks)


def chains_of(layers: Sequence[Layer], plan: Plan) -> dict[str, Chain]:
    """The chains of a plan by the names of the layers that it factorises."""
    known = {layer.name: layer for layer in layers}
    return {name: chain_of(known[name], own) for name, own in plan.choices.items() if not own.is_dense}


def verify(model: nn.Module, example: Batch, names: Sequence[str] = ()) -> None:
    """Run a built model once, in evaluation mode, on the first example of a batch.

    Raises InputError, naming the replaced layers, if the model's own code fails with them.
    """
    try:
        with eval_mode(model):
            call_once(model, first_example(model, example))
    except InputError as error:
        cause = error.__cause__ or error
        what = f"compressed model ({', '.join(names) or 'no layer'} replaced)"
        way_out = "Keep the layer that its code asks for dense: `ignore`."
        raise InputError(
            expected(what, "one that runs", f"{type(cause).__name__}: {cause}", way_out)
        ) from cause


def _carry_out(
    model: nn.Module,
    layers: Sequence[Layer],
    plan: Plan,
    factors: Callable[[Layer, Candidate], tuple[Tensor, ...]],
) -> nn.Module:
    known = {layer.name: layer for layer in layers}
    copied = copy_model(model)
    modules = named_layers(copied)
    replacements: dict[nn.Module, nn.Module] = {}
    for name, candidate in plan.choices.items():
        if candidate.is_dense:
            continue
        layer = known.get(name)
        if layer is None or name not in modules:
            raise MismatchError(expected(f"plan, layer {name}", "a layer of the model", "none of that name"))
        if layer.reason:
            raise MismatchError(expected(f"plan, layer {name}", f"dense ({layer.reason})", str(candidate)))
        replacements[modules[name]] = _replacement(modules[name], layer, candidate, factors(layer, candidate))
    return restored(replace_modules(copied, replacements))


def _replacement(
    dense: nn.Module, layer: Layer, candidate: Candidate, factors: Sequence[Tensor]
) -> nn.Sequential:
    weight, bias = dense.get_parameter("weight"), dense._parameters.get("bias")
    copies = [factor.detach().to(weight.device, weight.dtype, copy=True) for factor in factors]
    module = chain_module(layer, chain_of(layer, candidate), copies, bias)
    module.requires_grad_(weight.requires_grad)
    if bias is not None:
        module[-1].get_parameter("bias").requires_grad_(bias.requires_grad)
    for name in _OF_GRADIENTS:
        if hasattr(dense, name):
            setattr(module[0], name, getattr(dense, name))
    return module.train(dense.training)
