"""Data augmentation: images are mirrored left to right and shifted a little, at random each time.

A compressed model that learns from the dense one's outputs needs no labels, so any image similar to those of the
task is suitable. With augmentation fewer images are needed, and none is memorised.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ranksearch.networks import Batch

REACH = 0.1
"""The largest shift, as a fraction of an image's height and width."""


class Augmenter:
    """Changes batches (N, C, H, W) like `example`, each image separately, in a sequence determined by `seed`.

    Shifted images are padded by reflection. Batches of anything but images are returned unchanged. `state` is that of
    the generator: set to another one's, the sequence goes on from there.
    """

    def __init__(self, example: Batch | None, seed: int) -> None:
        self.state = torch.Generator().manual_seed(seed).get_state()
        self._change: Callable[[Tensor], Tensor] | None = None
        if not isinstance(example, Tensor) or example.dim() != 4 or min(example.shape[-2:]) < 2:
            return
        from torchvision.transforms import (
            v2,  # takes a second and a half, which most commands need not wait for
        )

        height, width = example.shape[-2:]
        reach = [max(1, round(REACH * size)) for size in (width, height)]
        self._change = v2.Compose(
            [v2.RandomHorizontalFlip(), v2.RandomCrop((height, width), padding=reach, padding_mode="reflect")]
        )

    def __call__(self, batch: Batch) -> Batch:
        if self._change is None:
            return batch
        # The transforms draw from the global generator, whose state is restored for all other code.
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.state)
            images = torch.stack([self._change(image) for image in batch])
            self.state = torch.get_rng_state()
        return images
