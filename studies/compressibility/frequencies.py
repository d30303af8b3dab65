"""ProbeImages filtered by spatial frequency, and how much of it images have.

Frequencies are those of the cosine transform, which is the Fourier transform of an image mirrored at its edges: without
the steps that its periodic continuation has there. They are radial, in units of the Nyquist frequency.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn, idctn

CUTOFF = 0.5
"""Of the Nyquist frequency: what a low-pass filter keeps lies up to there, what a high-pass filter keeps beyond."""

FILTERS = ("lowpass", "highpass")

_AXES = (-2, -1)


def radii(height: int, width: int) -> NDArray[np.float64]:
    """The radial frequency of each coefficient of the cosine transform, (height, width)."""
    found: NDArray[np.float64] = np.hypot(
        np.arange(height)[:, None] / height, np.arange(width)[None, :] / width
    )
    return found


def high_share(images: NDArray[np.floating]) -> float:
    """The part of the spectral energy beyond the cutoff: images (N, C, H, W); their mean levels do not count."""
    energy = dctn(images.astype(float), axes=_AXES, norm="ortho") ** 2
    energy[..., 0, 0] = 0
    total = float(energy.sum())
    return float(energy[..., radii(*images.shape[-2:]) > CUTOFF].sum()) / total if total else 0.0


def filtered(pixels: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """An image (H, W, C) of which one side of the cutoff is left; of a high-pass filter around a medium grey."""
    spectrum = dctn(pixels.astype(float), axes=(0, 1), norm="ortho")
    low = radii(*pixels.shape[:2]) <= CUTOFF
    kept = low if kind == "lowpass" else ~low
    image = idctn(spectrum * kept[..., None], axes=(0, 1), norm="ortho") + (128 if kind == "highpass" else 0)
    return image.round().clip(0, 255).astype(np.uint8)


def filtered_folder(source: Path, out: Path, kind: str) -> Path:
    """A copy of a folder of images, class by class, with all of them filtered; killed, it goes on where it was.

    PNG, so that what was taken away does not come back as noise of another compression.
    """
    if kind not in FILTERS:
        raise ValueError(f"filter: expected one of {', '.join(FILTERS)}, got {kind!r}")
    done = out / ".done"
    if done.is_file():
        return out
    for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg")):
        target = (out / path.relative_to(source)).with_suffix(".png")
        if target.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        temporary = target.with_name(f".{target.name}.tmp")
        Image.fromarray(filtered(pixels, kind)).save(temporary, format="PNG")
        os.replace(temporary, target)
    done.touch()
    return out
