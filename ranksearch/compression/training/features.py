"""Features: outputs of a network's blocks, by which a compressed network is compared with the dense one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def block_names(model: nn.Module, layers: Sequence[str]) -> tuple[str, ...]:
    """The smallest modules, except the model itself, that contain several of the named layers: e.g. residual blocks.

    A compressed model has them under the same names. There may be none, as in a plain `nn.Sequential`.
    """
    held = {
        name: sum(layer.startswith(f"{name}.") for layer in layers)
        for name, module in model.named_modules()
        if name
        and not isinstance(module, torch.jit.ScriptModule)
        and type(module).forward is not nn.Module.forward
    }
    several = [name for name, count in held.items() if count > 1]
    return tuple(name for name in several if not any(other.startswith(f"{name}.") for other in several))


@contextmanager
def recorded(model: nn.Module, names: Sequence[str]) -> Iterator[Mapping[str, Tensor]]:
    """The outputs of the named modules in the model's last forward pass, by name, if they are single tensors."""
    found: dict[str, Tensor] = {}

    def recorder(name: str) -> torch.utils.hooks.RemovableHandle:
        def record(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                found[name] = output

        return model.get_submodule(name).register_forward_hook(record)

    handles = [recorder(name) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def distance(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Tensor:
    """The squared distance of features, relative to the wanted ones' squares, mean over blocks; of any equal shapes."""
    apart = [
        (found[name] - feature).square().sum() / feature.square().sum().clamp_min(1e-30)
        for name, feature in wanted.items()
        if name in found
    ]
    return torch.stack(apart).mean() if apart else torch.zeros(())
