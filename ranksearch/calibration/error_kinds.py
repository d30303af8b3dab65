"""Which error candidates are fitted and compared by: the project's own, or a simpler one of the literature."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ranksearch.calibration.roots import Columns

ErrorKind = Literal["fisher", "activation", "rows", "plain"]
ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)


def simplify(
    A: Tensor | Columns, G: Tensor | Columns, kind: ErrorKind
) -> tuple[Tensor | Columns | None, Tensor | Columns | None]:
    """The moments that an error uses.

    A: An (n, …) tensor, a whole matrix or its diagonal, or `Columns`.
    G: An (O, O) tensor, or `Columns`.
    returns: An (n, …) tensor and an (O, …) tensor, A and G, a whole matrix or its diagonal; None stands for the
        identity, and `Columns` stay what they are. Of a grouped convolution all have an axis for the groups in front.

    fisher: both, ε as it is. activation: A alone, G = I (BALF, arXiv:2509.25136). rows: the diagonal of A and
    the mean of G's, the Fisher information summed over the outputs that an input contributes to, as estimated from A
    and G (Hsu et al. 2022, arXiv:2207.00112, section 4). plain: neither, ½‖W − Ŵ‖².
    """
    if kind == "fisher":
        return A, G
    if kind == "activation":
        return A, None
    if kind == "rows":
        outputs = _diagonal(G)
        inputs = A if isinstance(A, Tensor) and A.dim() == 1 else torch.diag_embed(_diagonal(A))
        return inputs, torch.full_like(outputs, float(outputs.mean()))
    return None, None


def _diagonal(moments: Tensor | Columns) -> Tensor:
    return (
        moments.X.double().square().sum(1)
        if isinstance(moments, Columns)
        else moments.diagonal(dim1=-2, dim2=-1)
    )
