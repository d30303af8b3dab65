"""Image files: opened, or told in one line; brought to 8 bits a channel."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ranksearch.errors import InputError, RankSearchError, expected, told


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """An image file as PIL opens it. Raises InputError, also for what PIL runs into while it is worked with."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # From here on PIL refuses, for what is unpacked would not fit into memory.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except RankSearchError:
        raise
    except Exception as error:  # on damaged files PIL raises whatever its parsers run into
        got = f"{path} ({told(error)})"
        raise InputError(expected("data", "an image file that can be read", got)) from error


def as_mode(image: Any, mode: str) -> Any:
    """An image in a mode of 8 bits a channel, `L` or `RGB`; of several frames the first.

    PIL cuts off what is above 255 in grey images of 16 bits; here they keep their upper 8 bits.
    """
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"values of 32 bits, mode {image.mode}, where 8 or 16 are known")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)
