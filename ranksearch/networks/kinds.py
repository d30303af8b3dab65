"""The kinds of layers that can be factorised, and in what they differ from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor, nn

Kind = Literal[
    "linear",
    "embedding",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]


@dataclass(frozen=True)
class Traits:
    """What sets a kind apart.

    module: its class. arguments: what that takes beside sizes and a bias. dims: how many spatial axes its kernel has.
    lookup: whether its inputs are indices, each of which stands for a one-hot vector. transposed: whether it is the
    adjoint of a convolution. later: whether plans of earlier versions do not know it.
    """

    module: type[nn.Module]
    arguments: tuple[str, ...] = ()
    dims: int = 0
    lookup: bool = False
    transposed: bool = False
    later: bool = False

    @property
    def inputs_first(self) -> bool:
        """Whether PyTorch stores its weight as (I, O, …)."""
        return self.lookup or self.transposed

    def kernel(self, weight: Tensor, groups: int = 1) -> Tensor:
        """A weight as a kernel, and the other way round; a view, but for a transposed convolution with groups.

        weight: An (O, I / groups, *kernel_size) or (I, O / groups, *kernel_size) tensor, as PyTorch stores it.
        returns: An (O, I / groups, *kernel_size) tensor.
        """
        if not self.inputs_first:
            return weight
        if groups == 1:
            return weight.transpose(0, 1)
        by_group: Tensor = weight.unflatten(0, (groups, -1))
        return by_group.transpose(1, 2).flatten(0, 1)


_CONV = ("stride", "padding", "dilation", "groups", "padding_mode")
_TRANSPOSED = (*_CONV, "output_padding")
_EMBEDDING = ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")

KINDS: dict[Kind, Traits] = {
    "linear": Traits(nn.Linear),
    "conv1d": Traits(nn.Conv1d, _CONV, 1),
    "conv2d": Traits(nn.Conv2d, _CONV, 2),
    "conv3d": Traits(nn.Conv3d, _CONV, 3),
    "embedding": Traits(nn.Embedding, _EMBEDDING, lookup=True, later=True),
    "conv_transpose1d": Traits(nn.ConvTranspose1d, _TRANSPOSED, 1, transposed=True, later=True),
    "conv_transpose2d": Traits(nn.ConvTranspose2d, _TRANSPOSED, 2, transposed=True, later=True),
    "conv_transpose3d": Traits(nn.ConvTranspose3d, _TRANSPOSED, 3, transposed=True, later=True),
}

LAYER_TYPES: dict[type[nn.Module], Kind] = {traits.module: kind for kind, traits in KINDS.items()}


def kind_of(module: nn.Module) -> Kind:
    """The kind of a layer, which may be of a subclass."""
    return next(kind for cls, kind in LAYER_TYPES.items() if isinstance(module, cls))


def weight_of(module: nn.Module) -> Tensor | None:
    """A layer's weight as PyTorch stores it, where that is a parameter of its own with as many axes as expected."""
    weight = module._parameters.get("weight")
    dims = KINDS[kind_of(module)].dims
    return weight if weight is not None and weight.dim() == 2 + dims else None


def kernel_of(model: nn.Module, name: str) -> Tensor:
    """The kernel of a layer of a model: what its chain replaces, without gradients. `put_kernel` changes it.

    returns: An (O, I / groups, *kernel_size) tensor.
    """
    module = model.get_submodule(name)
    return KINDS[kind_of(module)].kernel(module.get_parameter("weight").detach(), groups_of(module))


def put_kernel(model: nn.Module, name: str, kernel: Tensor) -> None:
    """Give a layer of a model another kernel, in place.

    kernel: An (O, I / groups, *kernel_size) tensor.
    """
    module = model.get_submodule(name)
    weight = module.get_parameter("weight").detach()
    weight.copy_(KINDS[kind_of(module)].kernel(kernel, groups_of(module)))


def groups_of(module: nn.Module) -> int:
    """How many groups of channels a layer has."""
    return cast(int, getattr(module, "groups", 1))
