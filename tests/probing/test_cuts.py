"""Cuts: how many there are, and what they do to a kernel."""

from __future__ import annotations

import pytest
import torch

from ranksearch.probing.cuts import Cut, cuts_of, meaning


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((6, 5), ["o|i"]),
        ((6, 5, 3), ["o|iw", "i|ow", "w|oi"]),
        ((6, 5, 3, 3), ["o|ihw", "i|ohw", "h|oiw", "w|oih", "oi|hw", "oh|iw", "ow|ih"]),
        ((6, 5, 1, 1), ["o|ihw"]),
        ((6, 5, 3, 1), ["o|ihw", "i|ohw", "h|oiw"]),
        ((6, 1, 3, 3), ["o|ihw", "h|oiw", "w|oih"]),
        ((6, 1, 1, 1), []),
    ],
)
def test_cuts_that_exist(shape: tuple[int, ...], names: list[str]) -> None:
    assert [cut.name for cut in cuts_of(shape)] == names


def test_fifteen_cuts_of_a_three_dimensional_kernel() -> None:
    cuts = cuts_of((6, 5, 3, 2, 4))
    assert len(cuts) == 15
    bipartitions = {frozenset({frozenset(c.left), frozenset(c.right)}) for c in cuts}
    assert len(bipartitions) == 15


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 2), (4, 3, 2, 5, 2)])
def test_a_kernel_survives_its_matrix(shape: tuple[int, ...]) -> None:
    kernel = torch.randn(shape)
    for cut in cuts_of(shape):
        matrix = cut.matrix(kernel)
        assert matrix.shape == cut.sides(shape)
        assert torch.equal(cut.kernel(matrix, shape), kernel)
        assert Cut.named(cut.name) == cut
        assert meaning(cut)


def test_the_matrix_has_the_entries_where_they_belong() -> None:
    kernel = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    matrix = Cut.named("ow|ih").matrix(kernel)
    assert matrix[1 * 5 + 3, 2 * 4 + 1] == kernel[1, 2, 1, 3]
