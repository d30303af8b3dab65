"""Models in PyTorch with chains in place of layers, whose weights are random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ranksearch.networks import chain_module, copy_model, replace_modules
from ranksearch.timing.runtime import Chains, Part, Workload


def with_chains(workload: Workload, chains: Chains) -> tuple[nn.Module, dict[Part, nn.Module]]:
    """A copy of a model with these chains, laid out in memory; and the modules of its parts."""
    copied = copy_model(workload.model)
    parts: dict[Part, nn.Module] = {}
    replacements: dict[nn.Module, nn.Module] = {}
    for layer in workload.layers:
        dense = copied.get_submodule(layer.name)
        if layer.name not in chains:
            parts[Part(layer.name, 0)] = dense
            continue
        weight = dense.get_parameter("weight")
        chain = chains[layer.name]
        factors = [_random(factor.shape(layer.kernel_size), weight) for factor in chain]
        module = chain_module(layer, chain, factors, dense._parameters.get("bias")).eval()
        replacements[dense] = module
        parts |= {Part(layer.name, k): factor for k, factor in enumerate(module)}
    return workload.laid_out(replace_modules(copied, replacements)), parts


def _random(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)
