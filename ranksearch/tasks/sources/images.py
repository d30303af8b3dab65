"""Labelled images as inputs: decoded, resized and cropped, normalised; small sets are kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from ranksearch.errors import InputError, expected
from ranksearch.progress import Ticks, no_ticks

KEEP_BYTES = 512 * 2**20
"""Up to this size decoded images stay in memory: decoding costs more than a small model's forward pass."""

SAMPLE, HEADERS = 256, 10_000
"""Images of a set that are decoded, and training images that are opened, to find damaged ones."""

_LONGEST = 2**17
"""Pixels of the longer side of an image that has been resized: a stripe would fill the memory."""


@dataclass(frozen=True)
class Preprocess:
    """Image → input.

    An image of another size than `size` (height, width) is resized so that `crop_pct` of its shorter side is
    left after the central crop; with `stretch` it is brought to `size` as a whole. Values go to [0, 1], minus
    `mean`, over `std`, one per channel.
    """

    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float = 0.875
    interpolation: str = "bilinear"
    stretch: bool = False

    def __str__(self) -> str:
        """`images of 3 × 32 × 32, values from 0 to 1 minus (0.5), over (0.25)`."""
        mean, std = (", ".join(f"{value:g}" for value in own) for own in (self.mean, self.std))
        size = f"{self.channels} × {self.size[0]} × {self.size[1]}"
        return f"images of {size}, values from 0 to 1 minus ({mean}), over ({std})"

    def pixels(self, image: Any) -> Tensor:
        """A PIL image or (C, H, W) uint8 tensor → (channels, *size) uint8."""
        # torchvision takes a second and a half, which commands without data need not wait for.
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as F

        if F.get_num_channels(image) != self.channels:
            if isinstance(image, Tensor):
                image = F.rgb_to_grayscale(image) if self.channels == 1 else F.grayscale_to_rgb(image)
            else:
                image = image.convert("L" if self.channels == 1 else "RGB")
        height, width = F.get_size(image)
        if (height, width) != self.size:
            mode = InterpolationMode(self.interpolation)
            scaled = list(self.size) if self.stretch else self._scaled(height, width)
            if not height or not width or min(scaled) * max(height, width) / min(height, width) > _LONGEST:
                wanted = f"images that can be resized to {self.size[0]} × {self.size[1]}"
                raise InputError(expected("data", wanted, f"one of {height} × {width} pixels"))
            image = F.resize(image, scaled, mode, antialias=True)
            image = F.center_crop(image, list(self.size))
        return image if isinstance(image, Tensor) else F.pil_to_tensor(image)

    def _scaled(self, height: int, width: int) -> list[int]:
        h, w = (int(side / self.crop_pct) for side in self.size)
        if h == w:
            return [h]
        scale = max(h / height, w / width)
        return [max(h, round(scale * height)), max(w, round(scale * width))]

    def normalise(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 → float32 of the same shape."""
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return (pixels.float() / 255 - mean) / std


class ImageSet(Dataset[tuple[Tensor, int]]):
    """`read(index)` gives (image, label) of one of `size` images; items are (input, label).

    look(index): opens one without decoding it. Raises InputError where it is damaged. classes: by the labels that
    `read` gives. numbers: of these classes, which then are the labels of the items and their order; None leaves them.
    """

    def __init__(
        self,
        read: Callable[[int], tuple[Any, int]],
        size: int,
        classes: Sequence[str],
        preprocess: Preprocess,
        look: Callable[[int], None] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.classes = tuple(classes)
        if numbers is not None:
            self.classes = tuple(name for _, name in sorted(zip(numbers, classes, strict=True)))
        self.preprocess = preprocess
        self._read, self._look, self._numbers = read, look, numbers
        self._size = size
        shape = (size, preprocess.channels, *preprocess.size)
        self._keep = torch.Size(shape).numel() <= KEEP_BYTES
        self._pixels = torch.empty(shape if self._keep else (0,), dtype=torch.uint8)
        self._labels = torch.full((size,), -1, dtype=torch.int64)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        """A batch at once: what torch's data loader asks for where a dataset has it."""
        pairs = [self._decoded(index) for index in indices]
        inputs = self.preprocess.normalise(torch.stack([pixels for pixels, _ in pairs]))
        return [(x, label) for x, (_, label) in zip(inputs, pairs, strict=True)]

    def look_through(self, *, decode: bool, progress: Ticks = no_ticks) -> None:
        """Find images that cannot be read, before anything long. Raises InputError for the first one.

        decode: whether images that stay in memory are decoded, which is done once anyhow, and of others a sample.
        Beyond that files are opened, which reads their headers: all where images are decoded, else `HEADERS` at most.
        """
        every = 1 if decode else max(1, -(-self._size // HEADERS))
        step = 1 if self._keep else max(1, self._size // SAMPLE)
        for index in range(self._size):
            if decode and index % step == 0:
                self._decoded(index)
            elif self._look is not None and index % every == 0:
                self._look(index)
            if index % 500 == 0 or index == self._size - 1:
                progress(index + 1, self._size)

    def _decoded(self, index: int) -> tuple[Tensor, int]:
        if self._keep and self._labels[index] >= 0:
            return self._pixels[index], int(self._labels[index])
        image, label = self._read(index)
        label = label if self._numbers is None else self._numbers[label]
        pixels = self.preprocess.pixels(image)
        if self._keep and get_worker_info() is None:
            self._pixels[index] = pixels
            self._labels[index] = label
        return pixels, label
