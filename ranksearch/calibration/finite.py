"""What is to blame where calibration meets NaN or infinity: images, or a layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ranksearch.errors import NonFiniteError, expected
from ranksearch.networks import Batch, size, tensors

_SHOWN = 5

_WAY_OUT = "Check the weights and the normalisation of the images; `ignore` skips a layer."


def layer_not_finite(where: str, what: str) -> NonFiniteError:
    """That a layer, or the model, meets what is not finite on images that are."""
    return NonFiniteError(
        expected(where, f"finite {what} on the calibration images", "NaN or infinity", _WAY_OUT)
    )


def images_not_finite(batches: Sequence[Batch], images: Sequence[int]) -> NonFiniteError | None:
    """That some inputs have NaN or infinity in them; None where none has.

    images: the index of each example of the batches in the training data.
    """
    ill = torch.cat([_ill(batch) for batch in batches])
    if not bool(ill.any()):
        return None
    what = f"training data, {_named(ill, images)}"
    return NonFiniteError(expected(what, "finite numbers", "NaN or infinity", "Mend them or leave them out."))


def outputs_not_finite(outputs: Tensor, before: int, images: Sequence[int]) -> NonFiniteError | None:
    """That a batch has some examples, after `before` others that are well, whose outputs are not finite; None where it
    is all of them.

    outputs: An (N, …) tensor.
    """
    ill = ~torch.isfinite(outputs.detach()).flatten(1).all(dim=1).cpu()
    if bool(ill.all()) and not before:
        return None
    what = f"model, on training data, {_named(ill, images[before:])}"
    way_out = "It gives finite ones for other images: leave these out, or mend what they overflow in."
    return NonFiniteError(expected(what, "finite outputs", "NaN or infinity", way_out))


def _ill(batch: Batch) -> Tensor:
    """Whether the inputs of each example have NaN or infinity in them, (N,)."""
    count = size(batch)
    found = torch.zeros(count, dtype=torch.bool)
    for tensor in tensors(batch):
        if tensor.dim() and len(tensor) == count and (tensor.is_floating_point() or tensor.is_complex()):
            found |= ~torch.isfinite(tensor.cpu()).reshape(count, -1).all(dim=1)
    return found


def _named(ill: Tensor, images: Sequence[int]) -> str:
    places = ill.nonzero().flatten().tolist()
    known = sorted(images[k] if k < len(images) else k for k in places)[:_SHOWN]
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return f"example{'s' * (len(places) > 1)} {', '.join(map(str, known))}{more}"
