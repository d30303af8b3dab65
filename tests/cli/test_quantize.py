"""int8 files from the command line: after a run, on resume, and of folders that are there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import ranksearch.runs.deliver
from ranksearch.exporting import QuantizedRecord, read_exports

pytest.importorskip("onnxruntime")

Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def quantized(own_folder: Path, run: Invoke) -> tuple[Path, Result]:
    """The folder of a run with an int8 file, and what it printed."""
    folder = own_folder / "quantized"
    return folder, run("--budget", "0.6", "--out", folder, "--quantize", "int8")


@pytest.fixture
def folder(quantized: tuple[Path, Result], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(quantized[0], tmp_path / "run"))


def figures(path: Path) -> QuantizedRecord:
    (found,) = [r.quantized for r in read_exports(path / "compressed" / "0.6") if r.quantized is not None]
    return found


def test_a_run_delivers_both_files(quantized: tuple[Path, Result], invoke: Invoke) -> None:
    path, result = quantized
    assert result.exit_code == 0, result.output
    compressed = path / "compressed" / "0.6"
    assert f"exported          {compressed}/model.onnx (outputs differ by" in result.stdout
    assert f"exported          {compressed}/model.int8.onnx (int8 in " in result.stdout
    found = figures(path)
    assert f"{found.bytes:,} bytes" in result.stdout
    assert result.stdout.count("run it") == 1
    assert invoke("verify", path).exit_code == 0


def test_on_resume_it_is_made_again_for_another_tolerance_alone(
    folder: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranksearch.runs.deliver, "compress", lambda *_, **__: 1 / 0)
    file = folder / "compressed" / "0.6" / "model.int8.onnx"
    before = file.stat().st_mtime_ns
    again = ("run", "--resume", "--trust", "--out", folder)
    assert invoke(*again).exit_code == 0
    assert file.stat().st_mtime_ns == before
    result = invoke(*again, "--quantize-tolerance", "0.25")
    assert result.exit_code == 0, result.output
    assert figures(folder).tolerance == 0.25
    file.unlink()
    assert invoke(*again).exit_code == 0
    assert file.is_file()
    assert invoke("verify", folder).exit_code == 0


def test_a_folder_that_is_there(folder: Path, own_folder: Path, invoke: Invoke) -> None:
    stated = figures(folder)
    own = f"{own_folder}/own.py"
    for path in (folder / "compressed" / "0.6").glob("*.onnx"):
        path.unlink()
    named = ("--model", f"{own}:model", "--data", f"{own}:data")
    assert invoke("export", folder, "--quantize", "int8", *named).exit_code == 0
    assert figures(folder).divergence == pytest.approx(stated.divergence, rel=1e-6)
    assert figures(folder).scores == stated.scores
    result = invoke("export", folder / "compressed" / "0.6", "--quantize", "int8", "--trust", "--quiet")
    assert result.exit_code == 0, result.output
    assert invoke("verify", folder).exit_code == 0


def test_a_plan_from_elsewhere_names_no_data(folder: Path, own_folder: Path, invoke: Invoke) -> None:
    result = invoke("export", folder, "--quantize", "int8", "--model", f"{own_folder}/own.py:model")
    assert result.exit_code == 2
    assert "expected options that name neither code nor files" in result.stderr
    assert "--data" in result.stderr


def test_what_cannot_be_int8_costs_a_warning(folder: Path, invoke: Invoke) -> None:
    arguments = ("--quantize", "int8", "--quantize-tolerance", "1e-12", "--trust")
    result = invoke("export", folder, *arguments)
    assert result.exit_code == 1
    assert "warning: --quantize: expected a layer that can be int8" in result.stderr
    assert "Raise --quantize-tolerance." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--budget", "0.5", "--quantize", "int4"), "--quantize: expected 'int8', got 'int4'"),
        (
            ("run", "--budget", "0.5", "--quantize-tolerance", "0.1"),
            "--quantize-tolerance: expected --quantize",
        ),
        (("export", ".", "--quantize-tolerance", "0.1"), "--quantize-tolerance: expected --quantize"),
        (("export", ".", "--data", "digits"), "--data digits: expected --quantize"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, invoke: Invoke) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
