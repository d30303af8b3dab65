"""Images seen anew each time: mirrored left to right, and moved a little.

A compressed model that learns from the dense one's outputs needs no labels, so that any image will do that is like
those that the network was made for; few images go further so, and none is learnt by heart.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from ranksearch.networks import Batch

REACH = 0.1
"""How far an image is moved at most, as a part of its height and width."""


def augmenter(example: Batch, seed: int) -> Callable[[Batch], Batch]:
    """Changes batches (N, C, H, W) like `example`, each image by itself, in a sequence that `seed` decides.

    Reflections fill in what an image that is moved leaves bare. Batches of anything but images come back as they are.
    """
    if not isinstance(example, Tensor) or example.dim() != 4 or min(example.shape[-2:]) < 2:
        return lambda batch: batch
    height, width = example.shape[-2:]
    reach = [max(1, round(REACH * size)) for size in (width, height)]
    change = v2.Compose(
        [v2.RandomHorizontalFlip(), v2.RandomCrop((height, width), padding=reach, padding_mode="reflect")]
    )
    state = torch.Generator().manual_seed(seed).get_state()

    def changed(batch: Tensor) -> Tensor:
        nonlocal state
        # The transforms draw from the global generator, which stays as it was for everybody else.
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            images = torch.stack([change(image) for image in batch])
            state = torch.get_rng_state()
        return images

    return changed
