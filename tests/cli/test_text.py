"""Names, paths and reasons are text on the screen and in the log, whatever is in them."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from typer.testing import Result

import ranksearch.cli
from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.text import PLAIN_WIDTH, TextConsole, labelled, paragraph, print_traceback, styled
from ranksearch.progress import renamed
from ranksearch.runs import RunFolder
from ranksearch.visible import visible, visible_lines

Invoke = Callable[..., Result]

NAMES = (
    "[red]x[/red]", "[/]", "\x1b[31mESC\x1b]0;title\x07", "\x9b2J", ":smile:", "\u202eevil", "a\nerror: forged",
    "\u2028", "$\\frac{$", "{0}",
)  # fmt: skip

HOSTILE = f"""
import torch
from torch import nn
from torch.utils.data import TensorDataset

NAMES = {NAMES!r}

class Hostile(nn.Module):
    def __init__(self):
        super().__init__()
        for name in NAMES:
            self.add_module(name, nn.Linear(8, 8))

    def forward(self, x):
        for name in NAMES:
            x = x + torch.relu(self._modules[name](x))
        return x

class Failing(Hostile):
    def forward(self, x):
        raise RuntimeError(" ".join(NAMES))

def model():
    torch.manual_seed(0)
    return Hostile()

def failing():
    return Failing()

def data():
    g = torch.Generator().manual_seed(0)
    def part(n):
        return TensorDataset(torch.randn(n, 8, generator=g), torch.arange(n) % 4)
    return {{"train": part(80), "validation": part(20), "test": part(20)}}
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "hostile.py").write_text(HOSTILE)
    return folder


@pytest.fixture
def options(hostile: Path) -> tuple[str, ...]:
    return ("--model", f"{hostile}/hostile.py:model", "--data", f"{hostile}/hostile.py:data")


def harmless(text: str) -> bool:
    """Whether a terminal would print all of a text as it is."""
    return all(line.isprintable() for line in text.split("\n"))


def names_of(text: str) -> list[str]:
    """The names that rows of a table begin with."""
    known = {visible(name) for name in NAMES}
    return [found for line in text.split("\n") if (found := re.split(r"\s{2,}", line.strip())[0]) in known]


# the commands


def test_layers(invoke: Invoke, options: tuple[str, ...]) -> None:
    result = invoke("layers", *options)
    assert result.exit_code == 0, result.output
    assert harmless(result.output)
    assert names_of(result.stdout) == [visible(name) for name in NAMES]


def test_run_and_show(invoke: Invoke, options: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ("--budget", "0.7", "--epochs", "0", "--decompositions", "svd", "--verbose")
    ignored = ("--ignore", "[[]/]", "--ignore", ":*", "--protect-early", "2=3")
    result = invoke("run", *options, *more, *ignored, "--out", out)
    assert result.exit_code == 0, result.output
    assert harmless(result.output)
    for text in (
        "kept dense: [/] (ignored by '[[]/]')",
        "kept dense: :smile: (",
        r"\x1b[31mESC\x1b]0;title\x07 count 3",
    ):
        assert text in result.stdout
    assert harmless((out / "log.txt").read_text())
    folder = RunFolder(out)
    for path in (out, folder.plan("0.7"), folder.compressed("0.7")):
        shown = invoke("show", path)
        assert shown.exit_code == 0, shown.output
        assert harmless(shown.output)
        assert path == out or set(names_of(shown.stdout)) == set(map(visible, NAMES))


def test_probe_and_show(invoke: Invoke, options: tuple[str, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    more = ("--images", "16", "--bonds", "2", "--recovery-epochs", "0", "--decompositions", "svd")
    result = invoke("probe", *options, *more, "--out", out)
    assert result.exit_code == 0, result.output
    assert harmless(result.output)
    assert harmless((out / "log.txt").read_text())
    shown = invoke("show", out)
    assert harmless(shown.output)
    assert r"[red]x[/red]" in shown.stdout
    assert ":smile:" in shown.stdout


@pytest.mark.parametrize("command", ["layers", "run", "probe"])
def test_errors(invoke: Invoke, hostile: Path, command: str) -> None:
    own = f"{hostile}/hostile.py"
    more = () if command == "layers" else ("--out", "o")
    more += ("--budget", "0.5") if command == "run" else ()
    result = invoke(command, "--model", f"{own}:failing", "--data", f"{own}:data", *more)
    assert result.exit_code == 2
    assert harmless(result.output)
    for text in ("[red]x[/red] [/]", r"\x1b[31mESC\x1b]0;title\x07", ":smile:", r"\u202eevil"):
        assert text in result.stderr


def test_paths(invoke: Invoke) -> None:
    for name in NAMES:
        result = invoke("show", f"nowhere{name}")
        assert result.exit_code == 2
        assert harmless(result.output)
        assert name.isprintable() <= (f"nowhere{name}" in result.stderr)


# the one place


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("terminal", [False, True])
def test_whatever_is_printed_is_text(name: str, terminal: bool) -> None:
    table = Table(name, title=styled(name))
    table.add_row(name)
    for content in (
        name,
        table,
        Panel(name, title=styled(name)),
        Panel(paragraph([name, name])),
        styled(name, "bold"),
        labelled("error", "red", name),
    ):
        file = io.StringIO()
        TextConsole(file=file, width=PLAIN_WIDTH, force_terminal=terminal).print(content)
        text = file.getvalue()
        if not terminal:
            assert harmless(text)
        assert visible(name) in text
        assert name.isprintable() or name not in text


@pytest.mark.parametrize("name", NAMES)
def test_lines_progress_and_warnings(name: str, tmp_path: Path) -> None:
    for terminal in (False, True):
        out, err = io.StringIO(), io.StringIO()
        reporter = ConsoleReporter(
            out=TextConsole(file=out, width=PLAIN_WIDTH),
            err=TextConsole(file=err, width=PLAIN_WIDTH, force_terminal=terminal),
        )
        path = tmp_path / f"{terminal}.txt"
        with logging_to(path, reporter), reporter.live():
            reporter.line(f"line {name}")
            reporter.result(f"result {name}")
            progress = renamed(reporter.progress, f"{{}} {name}")
            progress("stage", 1, 2)
            progress("stage", 2, 2)
            logging.getLogger("ranksearch").warning("warning %s", name)
        shown = visible(name)
        assert out.getvalue() == f"line {shown}\nresult {shown}\n"
        assert f"warning: warning {shown}" in err.getvalue().replace("\n  ", r"\n")
        assert f"stage {shown}" in err.getvalue()
        log = path.read_text()
        assert harmless(log)
        assert all(re.match(r"\d{4}-|  ", line) for line in log.splitlines())
        assert terminal or harmless(err.getvalue())


def test_what_cannot_be_printed_is_escaped() -> None:
    assert visible("ε × ü 层") == "ε × ü 层"
    assert visible("\x00\t\r\x7f\x85\xa0\u2066\udcff") == r"\x00\t\r\x7f\x85\xa0\u2066\udcff"
    assert visible_lines("one\ntwo\x1b") == "one\n  two\\x1b"


def test_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("\x1b[31m[/]\nerror: forged")
    except ValueError as error:
        print_traceback(error)
    text = capsys.readouterr().err
    assert harmless(text)
    assert "ValueError: \\x1b[31m[/]\n  error: forged" in text


def test_an_encoding_that_lacks_a_character(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = (tmp_path / "out").open("w", encoding="ascii")
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "argv", ["ranksearch", "--version"])
    with pytest.raises(SystemExit):
        ranksearch.cli.main()
    TextConsole(file=file, width=PLAIN_WIDTH).print("ε")
    file.close()
    assert (tmp_path / "out").read_text().endswith("\\u03b5\n")


def test_nothing_else_makes_rich_text() -> None:
    """A console or a text that rich makes by itself would take names for markup."""
    for path in Path(ranksearch.cli.__file__).parent.glob("*.py"):
        source = path.read_text()
        if path.name != "text.py":
            assert not re.search(r"rich\.text|rich\.style|import.*\bConsole\b|\bprint\(.*sys\.", source), path
            assert path.name == "signature.py" or "rich.markup" not in source, path
