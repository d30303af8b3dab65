"""Event files of TensorBoard, written by torch's SummaryWriter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from ranksearch.tracking.base import TrackedRun


def opened(folder: Path) -> TrackedRun:
    """One more event file in the folder `tensorboard`."""
    return _Run(SummaryWriter(str(folder / "tensorboard")))


class _Run(TrackedRun):
    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer
        self._parameters: dict[str, str] = {}
        self._figures: dict[str, float] = {}

    def parameters(self, values: Mapping[str, str]) -> None:
        self._parameters |= values
        rows = [f"| {name} | {_cell(value)} |" for name, value in self._parameters.items()]
        self._writer.add_text("parameters", "\n".join(["| parameter | value |", "| --- | --- |", *rows]))
        self._writer.flush()

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, 0 if step is None else step)
        if step is None:
            self._figures |= values

    def close(self, *, failed: bool) -> None:
        # As add_hparams does it, which would open a second file for the same run.
        file: Any = self._writer.file_writer
        for summary in hparams(dict(self._parameters), dict(self._figures)):
            file.add_summary(summary)
        self._writer.close()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
