"""Tensors and arrays as data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ranksearch.errors import InputError, expected


def as_dataset(role: str, data: Any) -> Any:
    """A data set of inputs (N, …), or of a tuple of inputs and targets; anything else as it is.

    NumPy's doubles become the default floating-point type, as models have it.

    Raises InputError where they are not of the same number of examples.
    """
    columns = data if isinstance(data, tuple) and len(data) in (1, 2) else (data,)
    if not all(isinstance(column, Tensor | np.ndarray) for column in columns):
        return data
    tensors = list(map(_tensor, columns))
    counts = [len(tensor) if tensor.dim() else 0 for tensor in tensors]
    if len(set(counts)) > 1 or not all(tensor.dim() for tensor in tensors):
        wanted = "as many targets as inputs, along the first axis"
        got = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise InputError(expected(f"{role} data", wanted, got))
    return TensorDataset(*tensors)


def _tensor(column: Tensor | np.ndarray[Any, Any]) -> Tensor:
    if isinstance(column, Tensor):
        return column
    tensor = torch.as_tensor(column)
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor
