"""Image files in folders: found, opened, brought to 8 bits a channel, and told in one line where they cannot be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranksearch.errors import InputError, RankSearchError, expected, told
from ranksearch.tasks.sources.images import ImageSet, Preprocess


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """An image file as PIL opens it. Raises InputError, also for what PIL runs into while it is worked with."""
    from PIL import Image

    try:
        if not os.path.isfile(path):  # PIL would wait for a pipe
            raise OSError("no file")
        with Image.open(path) as image:
            yield image
    except RankSearchError:
        raise
    except Exception as error:  # on damaged files PIL raises whatever its parsers run into
        got = f"{path} ({told(error)})"
        raise InputError(expected("data", "an image file that can be read", got)) from error


def in_8_bits(image: Any) -> Any:
    """A PIL image with grey values of 16 bits scaled to 8; any other image, or tensor, as it is.

    PIL itself cuts off what is above 255; here the upper 8 bits are kept.
    """
    from PIL import Image

    mode = getattr(image, "mode", "")
    if not isinstance(image, Image.Image):
        return image
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    return image


def as_mode(image: Any, mode: str) -> Any:
    """An image in a mode of 8 bits a channel, `L` or `RGB`; of several frames the first."""
    image = in_8_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"values of 32 bits, mode {image.mode}, where 8 or 16 are known")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


@dataclass(frozen=True)
class _Files:
    """Image files with their labels; `mode` is PIL's."""

    samples: list[tuple[str, int]]
    mode: str

    def __call__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        with opened(path) as image:
            return as_mode(image, self.mode), label

    def look(self, index: int) -> None:
        """Open a file, which reads its header."""
        with opened(self.samples[index][0]):
            pass


def image_set(path: Path, preprocess: Preprocess, numbers: Sequence[int] | None = None) -> ImageSet:
    """The images of a folder of class folders, as inputs. numbers: of the classes; None numbers them by their names."""
    folder = folder_of(path)
    files = _Files(folder.samples, "L" if preprocess.channels == 1 else "RGB")
    return ImageSet(files, len(folder.samples), folder.classes, preprocess, files.look, numbers)


def folder_of(path: Path) -> Any:
    """torchvision's view of a folder of class folders. Raises InputError."""
    from torchvision.datasets import ImageFolder

    try:
        _check_loops(path)
        return ImageFolder(path)
    except OSError as error:
        raise InputError(expected("data", f"a folder of images per class in {path}", told(error))) from error


def _check_loops(root: Path) -> None:
    """Raise OSError where a folder holds a link to one that it is in: its images would be found again and again."""
    left = [(str(root), frozenset[str]())]
    while left:
        folder, above = left.pop()
        own = os.path.realpath(folder)
        if own in above:
            raise OSError(f"{folder}, a link to a folder that it is in")
        with os.scandir(folder) as entries:
            left += [(entry.path, above | {own}) for entry in entries if entry.is_dir()]


def native_size(folder: Any) -> tuple[int, int, int] | None:
    """The size that a sample of the images have in common."""
    step = max(1, len(folder.samples) // 64)
    sizes = set()
    for path, _ in folder.samples[::step]:
        with opened(path) as image:
            sizes.add(image.size)
    if len(sizes) != 1:
        return None
    width, height = sizes.pop()
    return 3, height, width
