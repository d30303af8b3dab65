"""`ranksearch init`: a file that a run takes as it stands, with what was given and found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import pytest
from typer.testing import Result

from ranksearch.runs import load_options

Invoke = Callable[..., Result]


def test_the_file_is_taken_by_a_run(
    invoke: Invoke, own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    copyfile(own_folder / "own.py", folder / "own.py")
    monkeypatch.chdir(folder)
    given = (
        "--model",
        "own.py:model",
        "--data",
        "own.py:data",
        "--batch-size",
        "32",
        "--ignore",
        "7",
        "--quiet",
    )
    made = invoke("init", "study.toml", *given, "-b", "0.6", "50%")
    assert made.exit_code == 0, made.output
    text = Path("study.toml").read_text()
    assert 'model = "own.py:model"' in text, "as seen from the file"
    assert "2 of 3 layers can be factorised" in text
    assert "validation examples" in text
    monkeypatch.chdir(tmp_path)
    options = load_options({}, folder / "study.toml")
    assert (options.model, options.data) == (f"{folder}/own.py:model", f"{folder}/own.py:data")
    assert ([kept.name for kept in options.budget], options.batch_size) == (["0.6", "0.5"], 32)
    assert options.ignore == ("7",)
    quick = ("--decompositions", "svd", "--epochs", "0", "--export", "none", "--out", tmp_path / "run")
    ran = invoke("run", "--config", folder / "study.toml", *quick)
    assert ran.exit_code == 0, ran.output
    again = invoke("init", folder / "study.toml")
    assert again.exit_code == 2
    assert "expected a new file" in again.stderr


def test_every_line_that_is_commented_out_is_an_option(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("init", "--quiet").exit_code == 0
    text = Path("study.toml").read_text()
    assert load_options({}, Path("study.toml")).budget
    names = [x[2:].partition(" = ")[0] for x in text.splitlines() if x.startswith("# ") and " = " in x]
    assert names == ["max_drop", "ignore", "n_trials", "export"]
    lines = [
        line[2:] if line.startswith(tuple(f"# {name} =" for name in names)) else line
        for line in text.splitlines()
    ]
    Path("all.toml").write_text("\n".join(lines))
    assert load_options({}, Path("all.toml")).export == ("onnx", "pt2")


def test_with_a_largest_drop_there_is_no_budget(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("init", "a.toml", "--max-drop", "2", "--quiet").exit_code == 0
    options = load_options({}, Path("a.toml"))
    assert (options.max_drop, options.budget) == (2.0, ())


def test_what_does_not_fit_leaves_no_file(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("init", "--model", "resnet18")
    assert result.exit_code == 2
    assert "Did you mean 'torchvision:resnet18'?" in result.stderr
    assert not list(tmp_path.iterdir())
