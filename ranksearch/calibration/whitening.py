"""The error ε = ½ · tr(G ΔW A ΔWᵀ), and coordinates in which it is nearly the plain squared norm.

With A the second moments of a layer's inputs and G those of its output gradients, ε is the Kronecker-factored
second-order estimate of KL(dense ‖ compressed) (Martens & Grosse 2015, eq. 1 and section 3; for convolutions
Grosse & Martens 2016). With G = I it is the activation-aware error of BALF (arXiv:2509.25136), with A = I
too the plain reconstruction error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from ranksearch.calibration.roots import Columns, Map, apply, diagonal_root, root_of_columns, symmetric_root
from ranksearch.networks import Chain, Factors, by_group, joined, narrowed, reconstruct

_WIDE_MODE = 1024
"""Modes with more entries are whitened with their diagonals only: the root of a full matrix would cost too much."""

_PRECISE = 2**24
"""Kernels with more entries are in single precision: in double they would take gigabytes, and their moments are the
estimates of columns."""

_AT_ONCE = 2**14
"""Columns of a kernel whose errors are computed at once where A is a diagonal."""

_FLOOR = 1e-8
"""Relative lower bound on what is added to the diagonal before a matrix is factorised."""


def kernel_error(
    kernel: Tensor,
    approximation: Tensor,
    A: Tensor | Columns | None = None,
    G: Tensor | Columns | None = None,
) -> float:
    """ε of an approximation.

    kernel: An (O, I, *kernel_size) tensor.
    approximation: An (O, I, *kernel_size) tensor.
    A: An (n, …) tensor with n = I·prod(kernel_size), a whole matrix or, without spatial axes, its diagonal, or
        `Columns`; None stands for the identity.
    G: An (O, …) tensor, a whole matrix or its diagonal, or `Columns`; None stands for the identity.

    Of `Columns` only X is used: the error on the patches or gradients themselves. Of a grouped convolution A and G have
    one more axis in front, for the groups; ε is the sum of theirs.
    """
    if isinstance(A, Tensor) and A.dim() == 3:
        own = zip(kernel.chunk(len(A)), approximation.chunk(len(A)), A, _each(G, len(A)), strict=True)
        return sum(kernel_error(*each) for each in own)
    if isinstance(A, Tensor) and A.dim() == 1 and len(A) > _AT_ONCE:
        columns = [each.flatten(1).split(_AT_ONCE, dim=1) for each in (kernel, approximation)]
        pieces = zip(columns[0], columns[1], A.split(_AT_ONCE), strict=True)
        return sum(kernel_error(own, approximated, shares, G) for own, approximated, shares in pieces)
    delta = (kernel - approximation).flatten(1)
    if isinstance(A, Columns):
        delta, A = delta.to(A.X.dtype) @ A.X, None
    right = delta if A is None else delta.to(A.dtype) @ A if A.dim() == 2 else delta.to(A.dtype) * A
    return 0.5 * float((_weighed(G, delta).double() * right).sum())


def _each(moments: Tensor | Columns | None, groups: int) -> Sequence[Any]:
    """Those of each group; None for each where there are none."""
    return [None] * groups if moments is None else list(cast(Tensor, moments))


def _weighed(G: Tensor | Columns | None, rows: Tensor) -> Tensor:
    """G rows."""
    if G is None:
        return rows
    if isinstance(G, Columns):
        return G.X @ (G.X.T @ rows.to(G.X.dtype))
    return G @ rows.to(G.dtype) if G.dim() == 2 else G[:, None] * rows


@dataclass(frozen=True)
class Root:
    """The remaining A after whitening the modes, close to the identity: matrix matrixᵀ + ridge · I.

    matrix: (n, m), of the kernel's type; square and lower triangular, with no ridge, unless the layer is wide.
    """

    matrix: Tensor
    ridge: float = 0.0

    @property
    def length(self) -> int:
        """Entries of a weighted row."""
        n, m = self.matrix.shape
        return m + n if self.ridge else m

    @property
    def square(self) -> Tensor:
        """An (n, n) root of the same."""
        if not self.ridge:
            return self.matrix
        whole = self.matrix @ self.matrix.T
        whole.diagonal().add_(self.ridge)
        root: Tensor = torch.linalg.cholesky(whole)
        return root

    def weigh(self, kernel: Tensor) -> Tensor:
        """Rows (O, n) in coordinates where ε is half a sum of squares: (O, m), or (O, m + n) with a ridge."""
        rows = kernel @ self.matrix
        return torch.cat([rows, self.ridge**0.5 * kernel], dim=1) if self.ridge else rows


@dataclass(frozen=True)
class Whitened:
    """A kernel in coordinates where ε is half a sum of squares.

    kernel: An (O, I, *kernel_size) tensor, float64 up to 2²⁴ entries, otherwise float32:
        K = G^½ W (A_i^½ ⊗ A_h^½ ⊗ A_w^½); the modes' own moments A_i, A_h, A_w are traces of A over the other modes.
    root: the second moments that remain after whitening the modes. ε of K̂ is ½‖root.weigh(K − K̂)‖².
    output_root: Two (O, O) float64 tensors, G^½ and its inverse; only their diagonals where G is a diagonal or missing,
        two `NearDiagonal` matrices where columns stand for G.
    input_root: Two (I, …) float64 tensors, the same of A_i; without A, with a diagonal one, or with more than 1,024
        channels, only their diagonals.
    axis_roots: For each axis two (k, k) float64 tensors, the same of A_h, A_w, …; without A only their diagonals.
    others: of a grouped convolution the same of its further groups, as all above is of the first; see `groups`.
    blocks: of channels, within which alone inputs are whitened; see `in_blocks`.
    """

    kernel: Tensor
    root: Root
    output_root: tuple[Map, Map]
    input_root: tuple[Tensor, Tensor]
    axis_roots: tuple[tuple[Tensor, Tensor], ...]
    others: tuple[Whitened, ...] = ()
    blocks: int = 1

    @property
    def groups(self) -> tuple[Whitened, ...]:
        """Each group of channels by itself, none of which has others."""
        return (replace(self, others=()), *self.others) if self.others else (self,)

    @cached_property
    def _known(self) -> dict[object, Any]:
        return {}

    def known(self, key: object, make: Callable[[], Any]) -> Any:
        """What `make` gives, made on the first call for a key: what several fits need. `forget` drops all of it."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def forget(self) -> None:
        """Free the memory of what is known; it is made anew where it is needed."""
        self._known.clear()
        for other in self.others:
            other.forget()

    def suited(self, chain: Chain) -> Whitened:
        """The same in coordinates that keep the blocks of a chain's first factor apart."""
        return self.in_blocks(chain[0].blocks)

    def in_blocks(self, blocks: int) -> Whitened:
        """The same with inputs whitened within so many blocks of channels alone; the rest of A is in the root."""
        if blocks == self.blocks or self.input_root[0].dim() == 1:
            return self
        found: Whitened = self.known(("blocks", blocks), lambda: self._in_blocks(blocks))
        return found

    def _in_blocks(self, blocks: int) -> Whitened:
        whole, inverse = self.input_root
        marginal = whole @ whole
        each = [symmetric_root(part) for part in _diagonal_blocks(marginal, blocks)]
        root, back = (torch.block_diag(*parts) for parts in zip(*each, strict=True))
        there, modes = (inverse @ root).to(self.kernel.dtype), self.kernel.shape[1:]
        square = self.root.square
        columns = (back @ whole).to(square.dtype) @ square.unflatten(0, modes).flatten(1)
        kernel = torch.tensordot(self.kernel, there, dims=([1], [0])).movedim(-1, 1)
        return replace(
            self,
            kernel=kernel,
            root=Root(columns.reshape(prod(modes), -1)),
            input_root=(root, back),
            blocks=blocks,
        )

    @property
    def nbytes(self) -> int:
        """Approximate memory of the kernel and its roots."""
        own = self.kernel.nbytes + self.root.matrix.nbytes + 16 * sum(k * k for k in self.kernel.shape[:2])
        return own * (1 + len(self.others))

    @cached_property
    def _outputs(self) -> tuple[Tensor, Tensor]:
        kernel, ridge = self.kernel.flatten(1), self.root.ridge
        if len(kernel) > kernel.shape[1]:  # by the smaller side; QR keeps the spans of the first R in order
            images = kernel @ self.root.square
            values, vectors = torch.linalg.eigh((images.T @ images).double())
            basis = torch.linalg.qr(images @ vectors.flip(1).to(images))[0]
        else:
            images = kernel @ self.root.matrix
            square = images @ images.T
            if ridge:
                square += ridge * (kernel @ kernel.T)
            values, vectors = torch.linalg.eigh(square.double())
            basis = vectors.flip(1).to(kernel)
        return values.flip(0).clamp_min(0), basis

    @property
    def output_basis(self) -> Tensor:
        """An (O, k) tensor: the left singular vectors of the weighted kernel, as many as it has outputs or
        inputs, whichever are fewer. The first R span its best rank-R outputs."""
        return self._outputs[1]

    @property
    def output_energies(self) -> Tensor:
        """A (k,) float64 tensor: the squared singular values of the weighted kernel, falling."""
        return self._outputs[0]

    @cached_property
    def scale(self) -> float:
        """ε of the zero kernel."""
        return 0.5 * float(self.output_energies.sum()) + sum(other.scale for other in self.others)

    def error(self, chain: Chain, factors: Sequence[Tensor]) -> float:
        """ε of whitened factors."""
        if (suited := self.suited(chain)) is not self:
            return suited.error(chain, factors)
        approximation = reconstruct(chain, [f.to(self.kernel.dtype) for f in factors], self.kernel.shape[2:])
        delta = (self.kernel - approximation).flatten(1)
        weighed = float((delta @ self.root.matrix).square().sum())
        return 0.5 * (weighed + self.root.ridge * float(delta.square().sum()))

    def to_layer(self, chain: Chain, factors: Sequence[Tensor]) -> Factors:
        """Whitened factors as weights of the layer's own inputs and outputs."""
        return self._map(chain, factors, 1)

    def from_layer(self, chain: Chain, factors: Sequence[Tensor]) -> Factors:
        """The inverse of `to_layer`."""
        return self._map(chain, factors, 0)

    def _map(self, chain: Chain, factors: Sequence[Tensor], which: int) -> Factors:
        if self.others:
            own = narrowed(chain)
            each = zip(self.groups, by_group(chain, factors), strict=True)
            return joined([group._map(own, parts, which) for group, parts in each])
        if (suited := self.suited(chain)) is not self:
            return suited._map(chain, factors, which)
        mapped = [f.to(self.kernel.dtype) for f in factors]
        for k, factor in enumerate(chain):
            first_tap = 1 if factor.depthwise else 2
            for position, axis in enumerate(factor.axes):
                mapped[k] = apply(self.axis_roots[axis][which], mapped[k], first_tap + position)
        if (blocks := chain[0].blocks) == 1:
            mapped[0] = apply(self.input_root[which], mapped[0], 1)
        else:
            pairs = zip(
                mapped[0].chunk(blocks), _diagonal_blocks(self.input_root[which], blocks), strict=True
            )
            mapped[0] = torch.cat([apply(root, part, 1) for part, root in pairs])
        mapped[-1] = apply(self.output_root[which], mapped[-1], 0)
        return tuple(mapped)


def whiten(
    kernel: Tensor, A: Tensor | Columns | None = None, G: Tensor | Columns | None = None, groups: int = 1
) -> Whitened:
    """Change to whitened coordinates.

    kernel: An (O, I, *kernel_size) tensor.
    A: An (n, …) tensor with n = I·prod(kernel_size), a whole matrix or, without spatial axes, its diagonal, or
        `Columns`; None stands for the identity.
    G: An (O, …) tensor, a whole matrix or its diagonal, or `Columns`; None stands for the identity.
    groups: of a grouped convolution, of which A and G have one more axis in front, for the groups.
    """
    if groups > 1:
        each = zip(kernel.chunk(groups), _each(A, groups), _each(G, groups), strict=True)
        first, *others = (whiten(*own) for own in each)
        return replace(first, others=tuple(others))
    kernel = kernel.detach().to(torch.float64 if kernel.numel() <= _PRECISE else torch.float32)
    o, *modes = kernel.shape
    output_root: tuple[Map, Map]
    if isinstance(G, Columns):
        output_root = root_of_columns(G)
    else:
        output_root = symmetric_root(_ones(o, kernel) if G is None else G.double())
    if isinstance(A, Tensor) and A.dim() == 1:
        roots = [diagonal_root(A.double())]
        A = None  # nothing of it remains
    else:
        roots = [
            symmetric_root(_marginal(A, mode, modes, kernel, normalise=mode > 0))
            for mode in range(len(modes))
        ]
    white = apply(output_root[0], kernel, 0)
    for mode, (root, _) in enumerate(roots):
        white = apply(root, white, 1 + mode)
    return Whitened(white, _remaining(A, roots, modes, kernel), output_root, roots[0], tuple(roots[1:]))


def _diagonal_blocks(matrix: Tensor, blocks: int) -> list[Tensor]:
    """The square blocks along the diagonal of an (n, n) matrix, or the parts of a diagonal (n,)."""
    if matrix.dim() == 1:
        return list(matrix.chunk(blocks))
    size = len(matrix) // blocks
    return [matrix[k : k + size, k : k + size] for k in range(0, len(matrix), size)]


def _ones(size: int, like: Tensor) -> Tensor:
    return torch.ones(size, dtype=torch.float64, device=like.device)


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=torch.float64, device=like.device)


def _remaining(
    A: Tensor | Columns | None, roots: Sequence[tuple[Tensor, Tensor]], modes: Sequence[int], kernel: Tensor
) -> Root:
    """The root of A in coordinates where its modes are white."""
    n = prod(modes)
    if A is None:
        return Root(kernel.new_zeros(n, 0), 1.0)
    if isinstance(A, Columns):
        columns = A.X.double().reshape(*modes, -1)
        for mode, (_, inverse) in enumerate(roots):
            columns = apply(inverse, columns, mode)
        return Root((1 - A.weight) ** 0.5 * columns.reshape(n, -1).to(kernel.dtype), A.weight)
    moments = A.double().reshape(*modes, *modes)
    for mode, (_, inverse) in enumerate(roots):
        moments = apply(inverse, apply(inverse, moments, mode), len(modes) + mode)
    left = moments.reshape(n, n)
    left = (left + left.T) / 2
    jitter = _FLOOR * float(left.diagonal().mean())
    return Root(torch.linalg.cholesky(left + jitter * _eye(n, kernel)).to(kernel.dtype))


def _marginal(
    A: Tensor | Columns | None, mode: int, modes: Sequence[int], kernel: Tensor, *, normalise: bool
) -> Tensor:
    """Second moments of one mode: the mean over the others, (size, size); mean diagonal 1 if normalised.

    For a mode that is too wide only the diagonal, (size,).
    """
    size, rest = modes[mode], prod(modes) // modes[mode]
    if A is None:
        return _ones(size, kernel)
    if isinstance(A, Columns):
        rows = A.X.double().reshape(*modes, -1).movedim(mode, 0).flatten(1)
        wide = size > _WIDE_MODE
        marginal = (rows.square().sum(1) if wide else rows @ rows.T) / rest
    else:
        order = [mode, *(m for m in range(len(modes)) if m != mode)]
        blocks = A.double().reshape(*modes, *modes).permute(*order, *(len(modes) + m for m in order))
        marginal = blocks.reshape(size, rest, size, rest).diagonal(dim1=1, dim2=3).mean(-1)
    diagonal = marginal if marginal.dim() == 1 else marginal.diagonal()
    mean = diagonal.mean()
    if not normalise:
        return marginal
    return marginal / mean if mean > 0 else _eye(size, kernel)
