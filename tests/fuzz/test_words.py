"""Whatever is typed after `ranksearch`, it ends in success or in lines that say what was wrong.

RANKSEARCH_FUZZ says how many command lines to try.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer.main
from endings import check_ending, invoke

from ranksearch.cli.app import app
from ranksearch.errors import InputError

pytestmark = pytest.mark.fuzz

COUNT = int(os.environ.get("RANKSEARCH_FUZZ", "200"))

WORDS = (
    "", "0", "1", "-1", "3", "0.5", "20%", "54k", "1.5", "nan", "inf", "-inf", "1e999", "9" * 30, "9" * 5000, "none",
    "auto", "a,b", ",", ",,", "a=b", "flops=0.5", "=", "a=", "*", "[", "**[", "x:y", ":", "a:b:c=d", "torchvision:",
    "torchvision:nothing", "timm:x", "transformers:.", "imagefolder:", "imagefolder:.", "text:.", "nowhere.py:x",
    "os:system", "own", "./", "..", "/dev/null", "/dev/full", "/proc/self/mem", "\x1b[31m", "[red]", "a\nb", "é",
    "\U0001f600",
    "\udcff", "--", "-", "--out", "-h", "svd", "params", "latency", "onnx", "int8", "top1>=0.5", "top1>=", ">=1",
    "sqlite://", "sqlite:///:memory:", "postgresql://u:p@127.0.0.1:1/x", "s3://x", "cuda:99", "meta", "cpu", "8,16",
    "fc=8", "{}", "%s", "x" * 5000, "2=3", "True", "no", "1_000", "0x10", "３",
)  # fmt: skip

STOPS = (
    "run.inspect_network",
    "compress.inspect_network",
    "probe.inspect_network",
    "initial.inspect_network",
)


def command_line(random: Random, own: str, plan: Path) -> list[str]:
    """A command with some of its options, each with a word of some kind, now and then damaged further."""
    known: Any = typer.main.get_command(app)
    name = random.choice(sorted(known.commands))
    command = known.commands[name]
    words = [name]
    options = [p for p in command.params if p.param_type_name == "option"]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words += [
        random.choice((str(plan), str(plan.parent), *WORDS)) for p in arguments if random.random() < 0.9
    ]
    flags = {flag for option in options for flag in option.opts}
    for flag, value in (("--model", f"{own}:model"), ("--data", f"{own}:data"), ("--budget", "0.5")):
        if flag in flags and random.random() < 0.9:
            words += [flag, value]
    for option in random.sample(options, min(len(options), random.choice((0, 1, 1, 2, 3)))):
        if option.name in ("help", "install_completion", "show_completion"):
            continue
        words.append(random.choice([*option.opts, *option.secondary_opts]))
        if not option.is_flag:
            words.append(random.choice(WORDS))
    if random.random() < 0.1:
        words.insert(random.randrange(len(words) + 1), random.choice(WORDS))
    if random.random() < 0.05:
        word = random.randrange(len(words))
        words[word] = words[word][:-1] or "x"
    return words


@pytest.mark.parametrize("case", range(COUNT))
def test_any_command_line(
    case: int, kinds: dict[str, Any], own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: object, **__: object) -> None:
        raise InputError("this far, and no further")

    for stop in STOPS:
        monkeypatch.setattr(f"ranksearch.runs.{stop}", reached)
    monkeypatch.setattr("ranksearch.searching.studies.board.POLL", 0.01)
    plan = tmp_path / "in" / "plan.json"
    plan.parent.mkdir()
    plan.write_bytes(kinds["plan.json"].content)
    words = command_line(Random(case), f"{own_folder}/own.py", plan)
    if "worker" in words:
        words += ["--storage-timeout", "0"]
    check_ending(invoke(words), f"case {case}: {words!r}"[:2000])
