"""The command that options stand for: it gives them again, and says nothing about the machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from ranksearch.redaction import without_folders
from ranksearch.runs import RunOptions
from ranksearch.runs.command import OF_A_DELIVERY, command
from ranksearch.runs.config import load_options, parse
from ranksearch.runs.settings import NOT_RECORDED

SAMPLES: dict[str, Any] = {
    "model": "torchvision:vgg11:dropout=0.1",
    "weights": "w of mine.pt",
    "num_classes": 9,
    "ignore": ["fc", "a.*"],
    "data": "imagefolder:d",
    "input_size": [3, 5, 7],
    "mean": [0.25, 0.5, 0.75],
    "crop_pct": 0.5,
    "interpolation": "bicubic",
    "budget": [0.5, "54k"],
    "limit": ["flops=0.5", "params=54k"],
    "metric": "flops",
    "decompositions": ["cp", "own.py:X"],
    "rank_multiple": ["8", "x=y=4"],
    "protect_early": "4=2.5",
    "n_trials": 0,
    "timeout": 1.5,
    "augment": True,
    "export": ["onnx", "pt2"],
    "epochs": 0,
    "lr": 0.25,
    "seed": 8,
}


def typed(line: str) -> RunOptions:
    """The options that a command line gives, as `ranksearch` reads them."""
    words, given = shlex.split(line)[2:], {}
    while words:
        name = words.pop(0).removeprefix("--").replace("-", "_")
        if RunOptions.model_fields[name].annotation is bool:
            given[name] = True
        elif name in ("limit", "rank_multiple"):
            given[name] = [*given.get(name, []), words.pop(0)]
        else:
            given[name] = words.pop(0)
    return load_options(given)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_option_comes_back(name: str, tmp_path: Path) -> None:
    options = load_options({name: SAMPLES[name]})  # relative paths start here
    line = command("ranksearch run", options)
    assert str(tmp_path) not in line
    assert typed(line) == options


def test_all_together_and_none_at_all() -> None:
    options = load_options(SAMPLES)
    assert typed(command("ranksearch run", options)) == options
    assert command("ranksearch run", RunOptions()) == "ranksearch run"
    assert command("ranksearch run", parse({"export": "none"})) == "ranksearch run --export none"


def test_what_is_about_a_machine_is_left_out() -> None:
    secret = "postgresql://me:hunter2@host/db"
    values = {
        "storage": secret,
        "study_name": "s",
        "out": "/o",
        "cache": "/c",
        "verbose": True,
        "resume": True,
    }
    assert values.keys() <= NOT_RECORDED
    assert command("ranksearch run", parse({"budget": 0.2, **values})) == "ranksearch run --budget 0.2"


def test_a_delivery_has_no_options_of_the_search() -> None:
    line = command("ranksearch compress plan.json", load_options(SAMPLES), OF_A_DELIVERY)
    for flag in ("--budget", "--n-trials", "--rank-multiple", "--limit"):
        assert flag not in line
    for flag in ("--weights", "--data", "--epochs 0", "--seed 8"):
        assert flag in line


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("imagefolder:/data/in1k", "imagefolder:in1k"),
        ("torchvision:FashionMNIST:/data/f", "torchvision:FashionMNIST:f"),
        ("/home/me/a study/net.py:make", "net.py:make"),
        ("/home/o'brien/w, b.pt", "w, b.pt"),
        ("timm:vgg11:a='/home/me/y.pth',num_classes=3", "timm:vgg11:a='y.pth',num_classes=3"),
        (r"C:\Users\me\net.py:make", "net.py:make"),
        ("imagefolder:D:/data/in1k", "imagefolder:in1k"),
        ("torchvision:vgg11:dropout=0.1", "torchvision:vgg11:dropout=0.1"),
        ("package.module:factory", "package.module:factory"),
        ("digits", "digits"),
    ],
)
def test_folders_are_left_out(text: str, left: str) -> None:
    assert without_folders(text) == left
