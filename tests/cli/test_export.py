"""Exports from the command line: after a run, after `compress`, and of folders that are there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import Result

import ranksearch.runs.deliver
from ranksearch.exporting import EXPORTERS, read_exports

Invoke = Callable[..., Result]

FAILS = """
from ranksearch.exporting import Exporter

class Fails(Exporter):
    name = "fails"
    file = "model.fails"

    def export(self, model, example, path):
        raise ValueError("no such operator")

    def run(self, path, example):
        return None
"""


@pytest.fixture(scope="module")
def exported(own_folder: Path, run: Invoke) -> tuple[Path, Result]:
    """The folder of a run with one export that works and one that does not, and what it printed."""
    (own_folder / "fails.py").write_text(FAILS)
    folder = own_folder / "exported"
    names = f"pt2,{own_folder}/fails.py:Fails"
    result = run("--budget", "0.6", "--out", folder, "--export", names)
    EXPORTERS._known.pop("fails", None)  # other tests list what is registered
    return folder, result


@pytest.fixture
def folder(exported: tuple[Path, Result], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(exported[0], tmp_path / "run"))


def names(path: Path) -> list[str]:
    return [record.exporter for record in read_exports(path / "compressed" / "0.6")]


def test_a_run_exports_what_it_delivers(exported: tuple[Path, Result]) -> None:
    path, result = exported
    assert result.exit_code == 1, result.output
    file = path / "compressed" / "0.6" / "model.pt2"
    (exact,) = re.findall(
        rf"exported +{re.escape(str(file))} \(outputs differ by (.*) of the largest\)", result.stdout
    )
    assert float(exact) <= 1e-6
    assert f"not exported      {file.parent} as fails, see the warning" in result.stdout
    assert "run it            import torch\n" in result.stdout
    assert " x = torch.zeros((1, 3, 6, 6))  # float32, any batch size\n" in result.stdout
    assert f" torch.export.load('{file}').module()(x)\n" in result.stdout
    assert "done in" in result.stdout
    assert torch.export.load(file).module()(torch.zeros(3, 3, 6, 6)).shape == (3, 4)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    told = "expected a model that it can export, got ValueError: no such operator. It is left out."
    assert [line for line in warnings if "export" in line] == [f"warning: export fails: {told}"]
    assert names(path) == ["pt2"]


def test_without_a_word_about_it_runs_export_what_they_can(
    run: Invoke, invoke: Invoke, own_folder: Path, tmp_path: Path
) -> None:
    """A format that nobody asked for costs one line where it fails, however many models there are."""
    plain = ("--n-trials", "0", "--epochs", "0", "--export")
    first, second = tmp_path / "first", tmp_path / "second"
    made = run("--budget", "0.6", "--out", first, *plain, "none")
    assert made.exit_code == 0, made.output
    file = first / "compressed" / "0.6" / "model.pt2"
    assert not file.exists()
    assert f"ranksearch.load('{file.parent.relative_to(tmp_path)}', dense)(x)" in made.stdout
    made = invoke("compress", first / "plan-0.6.json", "--trust", "--epochs", "0", "--out", second)
    assert made.exit_code == 0, made.output
    assert (second / "model.pt2").is_file()
    (tmp_path / "own.py").write_text(f"{(own_folder / 'own.py').read_text()}{UNFIT}")
    model = ("--model", "own.py:unfit", "--data", "own.py:data", "--decompositions", "svd", "--epochs", "0")
    made = invoke("run", *model, "--budget", "0.6,0.5", "--out", "unfit")
    assert made.exit_code == 0, made.output
    assert "warning: export" not in made.output
    (told,) = (line for line in made.stdout.splitlines() if line.startswith("not exported"))
    assert told.startswith(
        "not exported      pt2: the model cannot be exported (export pt2: expected a model that"
    )
    assert not list((tmp_path / "unfit").rglob("*.pt2"))
    assert invoke("verify", "unfit").exit_code == 0


UNFIT = """
class Unfit(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = model()
    def forward(self, x):
        return self.own(x) * (2 if float(x.sum()) > 1e9 else 1)

def unfit():
    return Unfit()
"""


def test_a_delivered_model_gets_missing_exports_on_resume(
    folder: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranksearch.runs.deliver, "compress", lambda *_, **__: 1 / 0)
    file = folder / "compressed" / "0.6" / "model.pt2"
    before = file.stat().st_mtime_ns
    again = ("run", "--resume", "--trust", "--out", folder, "--export")
    result = invoke(*again, "torchscript", "--export", "pt2")
    assert result.exit_code == 0, result.output
    assert names(folder) == ["pt2", "torchscript"]
    assert file.stat().st_mtime_ns == before
    file.write_bytes(b"damaged")
    assert invoke("verify", folder).exit_code == 2
    assert invoke(*again, "pt2").exit_code == 0
    assert invoke("verify", folder).exit_code == 0
    assert invoke(*again, "none").exit_code == 0


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_verify_checks_every_file(damage: str, folder: Path, invoke: Invoke) -> None:
    for name in ("model.pt2", "exports.json"):
        file = folder / "compressed" / "0.6" / name
        content = file.read_bytes()
        file.unlink()
        if damage == "changed":
            file.write_bytes(content[:-1])
        result = invoke("verify", folder)
        assert result.exit_code == 2
        assert f"{name}: expected the file of SHA256SUMS" in result.stderr
        assert "export the model again" in result.stderr
        file.write_bytes(content)
    assert invoke("verify", folder).exit_code == 0


def test_compress_exports_too(exported: tuple[Path, Result], invoke: Invoke, tmp_path: Path) -> None:
    plan = exported[0] / "plan-0.6.json"
    out = tmp_path / "out"
    result = invoke("compress", plan, "--trust", "--epochs", "0", "--out", out, "--export", "pt2")
    assert result.exit_code == 0, result.output
    assert "exported          out/model.pt2" in result.stdout
    assert [record.exporter for record in read_exports(out)] == ["pt2"]


def test_a_folder_that_is_there(folder: Path, own_folder: Path, invoke: Invoke) -> None:
    shutil.copyfile(own_folder / "fails.py", "fails.py")
    model = ("--model", f"{own_folder}/own.py:model")
    formats = ("--to", f"{own_folder}/fails.py:Fails,pt2", "--to", "torchscript")
    result = invoke("export", folder, *formats, *model)
    assert result.exit_code == 1
    assert result.stderr.count("warning: export fails: expected a model that it can export") == 1
    assert names(folder) == ["pt2", "torchscript"]
    assert "torch.jit.load('run/compressed/0.6/model.torchscript')(x)" in result.stdout
    one = folder / "compressed" / "0.6"
    result = invoke("export", one, "--to", "pt2", "--trust", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("exported  ")
    assert "run it" not in result.stdout
    assert invoke("verify", folder).exit_code == 0


def test_a_plan_from_elsewhere_does_not_name_code(folder: Path, invoke: Invoke) -> None:
    result = invoke("export", folder, "--to", "torchscript")
    assert result.exit_code == 2
    assert "expected a plan that names a built-in model, got" in result.stderr
    assert "Name the dense model with --model, or add --trust if you trust it." in result.stderr
    assert names(folder) == ["pt2"]


def test_nothing_is_exported_through_a_link(folder: Path, invoke: Invoke, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / "compressed" / "0.6").rename(elsewhere)
    (folder / "compressed" / "0.6").symlink_to(elsewhere)
    result = invoke("export", folder, "--to", "pt2", "--trust")
    assert result.exit_code == 2
    assert "expected a plain file or folder, got a link" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("export", "nowhere", "--to", "pt2"),
            "nowhere: expected the folder of a compressed model, or of a run, got none",
        ),
        (("export", ".", "--to", "onx"), "--to: expected onnx or pt2 or torchscript, got 'onx'"),
        (("run", "--budget", "0.5", "--export", "onx"), "--export: expected onnx or pt2 or torchscript"),
        (("run", "--budget", "0.5", "--export", "pt2,a.py:X"), "--export: expected an existing Python file"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, invoke: Invoke) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
