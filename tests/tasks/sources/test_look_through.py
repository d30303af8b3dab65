"""Damaged images are found before a run begins, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from ranksearch.errors import InputError
from ranksearch.tasks.sources import images as of_images
from ranksearch.tasks.sources import load_data, look_through


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for role, count in (("train", 6), ("test", 5)):
        for label in ("cat", "dog"):
            place = tmp_path / role / label
            place.mkdir(parents=True)
            for k in range(count):
                noise = torch.randint(256, (32, 32, 3), dtype=torch.uint8).numpy()
                Image.fromarray(noise).save(place / f"{k}.png")
    return tmp_path


def test_whole_images_are_told_of_and_read_as_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranksearch.tasks.sources.data.MANY", 1)
    seen, untouched = load_data(f"imagefolder:{folder}"), load_data(f"imagefolder:{folder}")
    told: list[tuple[str, int, int]] = []
    look_through(seen, progress=lambda stage, done, total, best=None: told.append((stage, done, total)))
    assert told[-1] == ("looking at train images", 12, 12)
    assert ("looking at test images", 10, 10) in told
    for k in range(10):
        torch.testing.assert_close(seen.test[k][0], untouched.test[k][0], rtol=0, atol=0)  # type: ignore[index]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    ("place", "whole"), [("test/dog/4.png", 100), ("test/cat/1.png", 0), ("train/dog/5.png", 0)]
)
def test_a_damaged_image_is_named(
    place: str, whole: int, kept: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off within the pixels, or empty; where images do not stay in memory, all of this few are sampled."""
    if not kept:
        monkeypatch.setattr(of_images, "KEEP_BYTES", 0)
    file = folder / place
    file.write_bytes(file.read_bytes()[:whole])
    with pytest.raises(InputError, match=f"an image file that can be read, got .*{place}"):
        look_through(load_data(f"imagefolder:{folder}"))
