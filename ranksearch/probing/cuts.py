"""The cuts of a kernel: bipartitions of its indices, the corresponding matrices, and the meaning of their ranks.

After S. Singh, S. S. Jahromi, R. Orús, "Tensor network compressibility of convolutional models",
arXiv:2403.14379, who truncate kernels across such cuts one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

from torch import Tensor

LETTERS = {2: "oi", 3: "oiw", 4: "oihw", 5: "oidhw"}
"""Names of a kernel's indices by their number: outputs, inputs, depth, height, width."""


@dataclass(frozen=True)
class Cut:
    """A bipartition of the indices of a kernel (O, I, *kernel_size).

    left, right: positions of the indices on either side. A kernel that is 1 wide along an index has no cut
    of its own there; such an index is written on the right.
    """

    left: tuple[int, ...]
    right: tuple[int, ...]

    @classmethod
    def named(cls, name: str) -> Cut:
        """The cut of a name such as `o|ihw`. Raises ValueError where there is none of that name."""
        left, _, right = name.partition("|")
        letters = LETTERS.get(len(left) + len(right), "")
        if not left or not right or sorted(left + right) != sorted(letters):
            raise ValueError(f"the cut {name!r}")
        return cls(tuple(map(letters.index, left)), tuple(map(letters.index, right)))

    @property
    def name(self) -> str:
        """Such as `o|ihw`."""
        letters = LETTERS[len(self.left) + len(self.right)]
        return "|".join("".join(letters[k] for k in side) for side in (self.left, self.right))

    def sides(self, shape: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of the matrix of a kernel of this shape."""
        return prod(shape[k] for k in self.left), prod(shape[k] for k in self.right)

    def full_rank(self, shape: Sequence[int]) -> int:
        """The bond dimension at which every kernel of this shape is kept exactly."""
        return min(self.sides(shape))

    def matrix(self, kernel: Tensor) -> Tensor:
        """The kernel (O, I, …) as a matrix (rows, columns)."""
        return kernel.permute(*self.left, *self.right).reshape(self.sides(kernel.shape))

    def kernel(self, matrix: Tensor, shape: Sequence[int]) -> Tensor:
        """The inverse of `matrix`: (rows, columns) → a kernel of this shape."""
        order = (*self.left, *self.right)
        back = [order.index(k) for k in range(len(order))]
        return matrix.reshape([shape[k] for k in order]).permute(back).contiguous()


def cuts_of(shape: Sequence[int]) -> tuple[Cut, ...]:
    """All cuts of a kernel (O, I, *kernel_size): seven for Conv2d, three for Conv1d, fifteen for Conv3d, one for
    Linear; fewer if it is 1 wide along some indices, whose cuts would repeat others or have rank 1.

    The smaller of the two sides is written first; if they are equal, the one with o.
    """
    wide = [k for k, size in enumerate(shape) if size > 1]
    if len(wide) < 2:
        return ()
    cuts = []
    for size in range(1, len(wide) // 2 + 1):
        for left in combinations(wide, size):
            if 2 * size < len(wide) or wide[0] in left:
                cuts.append(Cut(left, tuple(k for k in range(len(shape)) if k not in left)))
    return tuple(cuts)


_MEANINGS = {
    "o|i": "rank of svd",
    "o|iw": "rank of svd; last rank of tucker2",
    "i|ow": "first rank of tucker2",
    "w|oi": "distinct filters; bounds cp from below",
    "o|ihw": "rank of svd; last rank of tucker2 and of tensor_train",
    "i|ohw": "first rank of tucker2 and of tensor_train",
    "h|oiw": "distinct columns of filters; at 1 they all share one",
    "w|oih": "distinct rows of filters; at 1 they all share one",
    "oi|hw": "distinct filters; bounds cp over (o, i, hw) from below",
    "oh|iw": "middle rank of tensor_train, descending; spatial_svd with its axes swapped",
    "ow|ih": "rank of spatial_svd; middle rank of tensor_train, ascending",
    "o|idhw": "rank of svd; last rank of tucker2 and of tensor_train",
    "i|odhw": "first rank of tucker2 and of tensor_train",
    "id|ohw": "rank of spatial_svd; second rank of tensor_train, ascending",
    "ow|idh": "third rank of tensor_train, ascending",
    "iw|odh": "second rank of tensor_train, descending",
    "od|ihw": "third rank of tensor_train, descending",
}


def meaning(cut: Cut) -> str:
    """The meaning of a cut's rank for the decompositions; every cut's rank is a lower bound for that of cp."""
    return _MEANINGS.get(cut.name, "a lower bound on the rank of cp")
