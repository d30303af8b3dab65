"""Contract tests of exporters.

Subclass `ExporterContract` under a name that begins with `Test`, with a fixture `exporter` that returns yours.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ranksearch.exporting import BATCH_SIZES, TOLERANCE, Exporter, current_exports, export_file
from ranksearch.files import FILE_NAME
from ranksearch.networks import Batch, Output, call_once, one_tensor, same
from ranksearch.testing.material import tiny_task


class TwoInputs(nn.Module):
    """Takes two tensors, and returns a dict of two."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(5, 4)

    def forward(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Both, made one."""
        return {"logits": self.left(first) + self.right(second), "doubled": 2 * second}


def _logits(returned: Any) -> Tensor:
    found: Tensor = returned["logits"]
    return found


CASES = ("images", "training mode", "tuple", "dict")


def _case(name: str) -> tuple[nn.Module, Batch, Output]:
    """A model, examples of its inputs, and its output."""
    if name in ("images", "training mode"):
        images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        return tiny_task().model.train(name == "training mode"), images, one_tensor
    first, second = torch.randn(7, 3), torch.randn(7, 5)
    return TwoInputs(), (first, second) if name == "tuple" else {"second": second, "first": first}, _logits


class ExporterContract:
    """Checks of one exporter. They are skipped where a package that it needs is missing."""

    @pytest.fixture(autouse=True)
    def _packages(self, exporter: Exporter) -> None:
        for package in exporter.packages:
            pytest.importorskip(package)

    @pytest.mark.parametrize("case", CASES)
    def test_the_file_does_what_the_model_does(self, exporter: Exporter, case: str, tmp_path: Path) -> None:
        """For batches of one and of several, whatever the form of inputs and outputs; the model stays as it is."""
        model, examples, output = _case(case)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        modes = [module.training for module in model.modules()]
        record = export_file(tmp_path, exporter, model, examples, output)
        assert 0 <= record.difference <= TOLERANCE
        assert record.batch_sizes == BATCH_SIZES
        assert record.file == exporter.file
        assert current_exports(tmp_path) == (record,)
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        assert [module.training for module in model.modules()] == modes

    def test_the_file_is_all_that_is_needed(self, exporter: Exporter, tmp_path: Path) -> None:
        model, examples, _ = _case("images")
        export_file(tmp_path, exporter, model, examples)
        elsewhere = tmp_path / "elsewhere" / exporter.file
        elsewhere.parent.mkdir()
        (tmp_path / exporter.file).rename(elsewhere)
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(elsewhere.parent)
            returned = exporter.run(elsewhere, examples)
        (found,) = [returned] if isinstance(returned, Tensor) else returned
        torch.testing.assert_close(found, call_once(model, examples), rtol=1e-3, atol=1e-3)

    def test_no_input_is_kept_in_the_file(self, exporter: Exporter, tmp_path: Path) -> None:
        model, examples, _ = _case("images")
        copy = examples.clone()
        export_file(tmp_path, exporter, model, examples)
        assert examples[0].numpy().tobytes()[:256] not in (tmp_path / exporter.file).read_bytes()
        assert same(copy, examples)

    def test_it_says_what_it_is(self, exporter: Exporter) -> None:
        assert exporter.name.isidentifier()
        assert re.fullmatch(FILE_NAME, exporter.file)
        assert bool(exporter.packages) <= bool(exporter.install)
        compile(exporter.usage("model"), "usage", "exec")
