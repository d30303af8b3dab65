"""The interface of exporters: how a model becomes a file, and how the file is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import nn

    from ranksearch.networks import Batch


class Exporter(ABC):
    """A format that models are exported to. Stateless; one instance is registered under its name."""

    name: ClassVar[str]
    """The name that selects it, also used in `exports.json`."""

    file: ClassVar[str]
    """The name of the file that it writes: `model.onnx`."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Packages, as they are imported, that it needs besides torch."""

    install: ClassVar[str] = ""
    """The command that installs them."""

    folds_batchnorm: ClassVar[bool] = False
    """Whether it folds BatchNorm itself. For others that is done before, where it changes nothing."""

    @abstractmethod
    def export(self, model: nn.Module, example: Batch, path: Path) -> None:
        """Write a model to `path`, as one file that takes batches of any size.

        `model` is in evaluation mode, on the CPU, and a copy, so that it may be changed. `example` has the form of the
        model's inputs, for a batch of two. It holds zeros, since formats may keep it in the file.
        """

    @abstractmethod
    def run(self, path: Path, example: Batch) -> Any:
        """What the file returns for a batch: as the model does, or the tensors alone, in the model's order."""

    def usage(self, path: str) -> str:
        """Lines of Python that run the file on an input `x`, for those who receive it; "" where there are none to
        show."""
        return ""
