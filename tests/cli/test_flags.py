"""Messages of the library in the words of the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main

from ranksearch.cli.app import app
from ranksearch.cli.flags import in_flags, with_flags
from ranksearch.cli.signature import SHORT


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("Use `epochs=0`.", "Use --epochs 0."),
        ("Keep it dense: `ignore`.", "Keep it dense: --ignore."),
        ("without it: `augment=False`, `resume=True`", "without it: --no-augment, --resume"),
        ("`finetune_trials=0` and `bonds`", "--finetune-trials 0 and --bonds"),
        ("`stem.0` is no option, nor is `width=3`", "`stem.0` is no option, nor is `width=3`"),
        ("budget: expected more", "--budget: expected more"),
        ("val_split: expected a fraction", "--val-split: expected a fraction"),
        ("`probe=runs/a`: expected a folder", "--probe runs/a: expected a folder"),
        ("layer data: expected finite inputs", "layer data: expected finite inputs"),
        ("plan, layer 0: expected a layer", "plan, layer 0: expected a layer"),
        ("interrupted.", "interrupted."),
    ],
)
def test_parameters_become_options(message: str, wanted: str) -> None:
    assert in_flags(message) == wanted


def test_facts_keep_what_they_begin_with() -> None:
    assert with_flags("model: digits, `epochs=2`") == "model: digits, --epochs 2"


@pytest.mark.parametrize("name", ["run", "compress", "plan", "verify", "probe", "layers"])
def test_short_forms_are_those_of_their_options(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    found = {own.name: own.opts for own in command.params}
    for option, short in SHORT.items():
        if f"--{option}" in found.get(option, ()) and (name, option) != ("plan", "out"):
            assert found[option] == [f"--{option}", short]
    every = [text for own in command.params for text in own.opts]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("command", ["run", "layers"])
def test_options_are_checked_all_together_before_torch_is_loaded(command: str) -> None:
    wrong = {
        "run": [
            "--loss",
            "typo",
            "--budget",
            "2",
            "--objective",
            "y",
            "--epochs",
            "x",
            "--export",
            "onx",
            "--track",
            "z",
        ],
        "layers": ["--num-classes", "x", "--input-size", "0"],
    }
    code = (
        "import sys; from ranksearch.cli import main\n"
        f"sys.argv = ['ranksearch', {command!r}, *{wrong[command]!r}]\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert [line.split()[1] for line in done.stderr.splitlines()] == [
        f"{flag}:" for flag in wrong[command][::2]
    ]
