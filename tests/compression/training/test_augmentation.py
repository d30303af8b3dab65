"""Images seen anew each time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ranksearch.compression.training.augmentation import REACH, Augmenter


def test_every_image_is_a_window_of_it_or_of_its_mirror_image() -> None:
    torch.manual_seed(0)
    batch = torch.randn(32, 3, 20, 10)
    changed = Augmenter(batch[:1], seed=0)(batch)
    padded = F.pad(batch, (1, 1, 2, 2), mode="reflect")
    assert round(REACH * 20) == 2
    assert round(REACH * 10) == 1
    mirrored = 0
    for image, found in zip(padded, changed, strict=True):
        windows = [
            (flip, (image.flip(-1) if flip else image)[:, y : y + 20, x : x + 10])
            for flip in (False, True)
            for y in range(5)
            for x in range(3)
        ]
        (own,) = {flip for flip, window in windows if torch.equal(window, found)}
        mirrored += own
    assert 4 < mirrored < 28
    assert len({image.numpy().tobytes() for image in changed - batch}) > 16


def test_the_seed_decides_and_nobody_elses_chance_is_touched() -> None:
    batch = torch.randn(8, 3, 16, 16)
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (Augmenter(batch[:1], seed) for seed in (1, 1, 2))
    one, two = first(batch), first(batch)
    assert torch.equal(one, again(batch))
    assert torch.equal(two, again(batch))
    assert not torch.equal(one, two)
    assert not torch.equal(one, other(batch))
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("shape", [(4, 9), (4, 3, 12), (4, 3, 1, 7), (4, 1, 5, 6, 7)])
def test_what_is_no_image_stays(shape: tuple[int, ...]) -> None:
    batch = torch.randn(shape)
    assert Augmenter(batch[:1], 0)(batch) is batch
