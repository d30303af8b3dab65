"""The MNIST family on disk, in the idx format of yann.lecun.com/exdb/mnist.

Read here because torchvision insists on a folder layout of its own and on unpacked files.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksearch.errors import InputError, expected, told


@dataclass(frozen=True)
class MnistPart:
    """pixels (N, H, W), labels (N,); called with an index it gives ((1, H, W) uint8, label)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __call__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.pixels[index][None]), int(self.labels[index])


def read_mnist(root: Path, name: str, prefix: str, classes: int) -> MnistPart:
    """`train` or `t10k` of a data set, from `root`, `root/raw` or `root/NAME/raw`, packed by gzip or not."""
    pixels = read_idx(_find(root, name, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_find(root, name, f"{prefix}-labels-idx1-ubyte"))
    if pixels.ndim != 3 or not pixels.size or labels.shape != (len(pixels),):
        what = f"as many {prefix} labels as images in {root}"
        raise InputError(expected("data", what, f"labels {labels.shape}, images {pixels.shape}"))
    if labels.max() >= classes:
        wanted = f"{prefix} labels below {classes} in {root}"
        raise InputError(expected("data", wanted, f"label {labels.max()}"))
    return MnistPart(pixels, labels)


def _find(root: Path, name: str, file: str) -> Path:
    for folder in (root, root / "raw", root / name / "raw"):
        for path in (folder / file, folder / f"{file}.gz"):
            if path.is_file():
                return path
    places = f"{root}, {root}/raw or {root}/{name}/raw"
    raise InputError(
        expected("data", f"{file} or {file}.gz in {places}", "no such file", "Nothing is downloaded.")
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Two zero bytes, the type of the values (8: unsigned bytes), the number of axes, sizes, values."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if raw[:3] != b"\0\0\x08":
            raise ValueError("not unsigned bytes in idx format")
        axes = raw[3]
        shape = np.frombuffer(raw, dtype=">u4", count=axes, offset=4).astype(int)
        return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
    except (OSError, EOFError, ValueError, IndexError, OverflowError, zlib.error) as error:
        raise InputError(expected("data", f"an idx file ({path})", told(error))) from error
