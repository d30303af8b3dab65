"""Every command and all code on a page is run; what needs more than a test has is at least read by what runs it.

Indented blocks are commands. They are parsed by the command line itself; those of README.md and docs/ are also carried
out, in a folder where a small model takes the place of what they name. Fenced Python of a page runs in order, in one
namespace.
"""

from __future__ import annotations

import doctest
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from markdown_it import MarkdownIt
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

from ranksearch.cli.app import app

ROOT = Path(__file__).parent.parent
READ = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = sorted(str(path.relative_to(ROOT)) for path in (*map(ROOT.joinpath, READ), *ROOT.glob("docs/*.md")))
STUDIES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("studies/*/README.md"))

TELLING = ("summary", "summary.ja", "comparison", "deciding", "latency")
"""Pages that tell accuracies."""

CARRIED_OUT_BY = {
    "docs/lightning.md": "tests/test_lightning.py",
    "docs/write_your_own.md": "tests/test_one_file.py",
    "docs/plans_elsewhere.md": "tests/interchange/test_exporters.py",
}
"""Pages whose code has tests of its own, for it needs more than these stand-ins."""

NEEDS = {"docs/other_tools.md": "tensorboard"}
"""Packages without which a page is not carried out."""

NOT_CARRIED_OUT = {
    "worker": "needs a run to join",
    "postgresql": "needs a database",
    "--workers": "starts processes of its own",
    "--install-completion": "changes files of the shell",
    "--runtime": "times that a small model cannot meet",
    "latency": "the same",
    "transformers:": "needs a model of transformers, see tests/cli/test_transformers.py",
    "--ranks": "needs ranks from elsewhere, see tests/cli/test_export_plan.py",
    "| jq": "the digits model at its full length, as in .ci/run",
    "ranksearch run --budget 0.2": "the same",
}
"""What in a command keeps it from being carried out here, and why."""

STANDS_FOR = {
    "torchvision:resnet18": "own.py:model",
    "imagefolder:/data/in1k": "own.py:data",
    "r18.safetensors": "own.safetensors",
}
OF_OPTIONS = {"--model": "own.py:model", "--data": "own.py:data", "--weights": "own.safetensors"}
"""What stands for `…` after an option; alone it stands for a model and its data."""

MORE = {
    "run": ("--epochs=0", "--decompositions=svd", "--export=none"),
    "probe": ("--images=40", "--bonds=4", "--recovery-epochs=0", "--no-plots", "--decompositions=svd"),
    "compress": ("--epochs=0", "--trust"),
    "verify": ("--trust",),
    "export": ("--trust",),
}
"""What these commands get as well, where a page does not say it: less to do, and that the code of stand-ins counts."""

OTHERS = {
    "optuna-dashboard",
    "tensorboard",
    "mkdocs",
    "cd",
    "docker",
    "export",
    "jupyter",
    "pre-commit",
    "pytest",
    "ruff",
    "mypy",
    "unzip",
    "bash",
    ".",
    "jq",
}
"""Programs whose options are not checked."""

OWN = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def model():
    torch.manual_seed(0)
    m = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
                      nn.MaxPool2d(3), nn.Flatten(), nn.Linear(48, 4))
    with torch.no_grad():
        m[-1].weight *= 8  # outputs that differ between images
    return m

def data():
    torch.manual_seed(1)
    found = {}
    for role, count in {"train": 160, "validation": 3000, "test": 40}.items():
        images = torch.randn(count, 3, 6, 6)
        found[role] = TensorDataset(images, model()(images).argmax(1))
    return found
"""


# --- what is on a page


@dataclass(frozen=True)
class Block:
    """Code on a page. kind: the language of a fence, "" for an indented block."""

    kind: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    tokens = MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8"))
    return [
        Block(token.info if token.type == "fence" else "", token.content, (token.map or [0])[0] + 1)
        for token in tokens
        if token.type in ("fence", "code_block")
    ]


def commands(page: str) -> Iterator[list[str]]:
    """The words of each command, without comments, what it is piped to, and where its output goes."""
    for block in blocks(page):
        if not block.kind:
            for line in block.text.replace("\\\n", " ").splitlines():
                yield from split(line)


def split(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, "&&"):
        if word in ("&&", "|", ";"):
            if words:
                yield words
            words = []
        elif word == ">":
            words = [*(words[:-1] if words[-1] == "2" else words), ">"]
        elif words[-1:] == [">"]:
            words.pop()
        else:
            words.append(word)


# --- every page, read


@pytest.mark.parametrize("page", [*PAGES, *STUDIES])
def test_every_command_is_understood(page: str) -> None:
    for words in commands(page):
        while words and re.fullmatch(r"[A-Z_0-9]+=.*", words[0]):
            words = words[1:]
        program, *rest = words
        if program == "ranksearch":
            parse(
                [
                    word
                    for before, word in zip(words, rest, strict=False)
                    if word != "…" or before.startswith("-")
                ]
            )
        elif program in ("pip", "python"):
            check_known(page, words)
        else:
            assert program in OTHERS, words


def parse(words: list[str]) -> None:
    """By the command line itself, which ends with an error at what it does not know."""
    group: Any = typer.main.get_command(app)
    if words == ["--install-completion"]:
        assert words[0] in {name for option in group.params for name in option.opts}
        return
    context = group.make_context("ranksearch", list(words))
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)


def check_known(page: str, words: list[str]) -> None:
    """Extras are those of the package; scripts are there, and their text names their options."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words:
        if found := re.fullmatch(r"(?:\.|ranksearch|/src)\[([\w,]+)\]", word):
            assert set(found[1].split(",")) <= project["optional-dependencies"].keys(), words
    if words[0] == "python" and words[1].endswith(".py"):
        places = (ROOT / words[1], (ROOT / page).parent / words[1])
        (path,) = [place for place in places if place.is_file()]
        texts = [file.read_text(encoding="utf-8") for file in (path, ROOT / "studies" / "subject.py")]
        for option in (word.removeprefix("--") for word in words if word.startswith("--")):
            assert re.search(rf"\b({option}|{option.replace('-', '_')})\b", "".join(texts)), (option, words)


@pytest.mark.parametrize("page", [*PAGES, *STUDIES])
def test_fenced_code_is_of_its_language(page: str) -> None:
    for block in blocks(page):
        if block.kind == "python":
            compile(block.text, f"{page}:{block.line}", "exec")
        elif block.kind == "json":
            json.loads(block.text)
        elif block.kind == "toml":
            tomllib.loads(block.text)
        elif block.kind == "pycon":
            check_doctest(block, page)
        else:
            assert block.kind in ("", "text"), block


def check_doctest(block: Block, page: str) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, {}, page, page, block.line)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_what_is_carried_out_elsewhere_is() -> None:
    for page, test in CARRIED_OUT_BY.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


def test_every_reason_holds_for_a_command() -> None:
    every = [shlex.join(words) for page in PAGES for words in commands(page)]
    text = "\n".join([*every, *(block.text for page in PAGES for block in blocks(page))])
    assert [reason for reason in NOT_CARRIED_OUT if reason not in text] == []


def test_every_command_is_shown_on_some_page() -> None:
    group: Any = typer.main.get_command(app)
    shown = {words[1] for page in PAGES for words in commands(page) if words[0] == "ranksearch"}
    assert shown >= set(group.commands)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{name}.md" for name in TELLING)])
def test_accuracies_are_those_of_a_study(page: str) -> None:
    """Nobody has to remember where else a figure stands. Two pages tell figures that no study has."""
    places = (*STUDIES, "docs/design.md", "docs/plans_elsewhere.md")
    measured = "".join((ROOT / place).read_text(encoding="utf-8") for place in places)
    told = re.findall(r"\b\d\d\.\d\d\b", (ROOT / page).read_text(encoding="utf-8"))
    assert told
    assert [figure for figure in told if figure not in measured] == []


# --- README.md and docs/, carried out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pages take for granted: a model and its weights, and the folders of runs and of a probe."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("world")
    (folder / "own.py").write_text(OWN)
    names: dict[str, Any] = {}
    exec(OWN, names)
    save_file(names["model"]().state_dict(), folder / "own.safetensors")
    own = f"--model {folder}/own.py:model --data {folder}/own.py:data"
    for run in ("r18", "other"):
        carry_out(stand_in(f"run {own} --budget 0.5,0.3 --out {folder}/runs/{run}".split()))
    carry_out(stand_in(f"probe {own} --out {folder}/runs/probe".split()))
    return folder


@pytest.fixture
def place(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to work in."""
    folder = tmp_path / "place"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    return folder


def carry_out(words: list[str], allowed: tuple[int, ...] = (0,)) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code in allowed, f"{shlex.join(words)}\n{result.output}"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in CARRIED_OUT_BY])
def test_a_page_is_carried_out(page: str, place: Path) -> None:
    """In the order of the page, commands and Python."""
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    namespace = given()
    for block in blocks(page):
        if block.kind == "python":
            run_python(block, page, namespace)
        elif not block.kind:
            for line in block.text.replace("\\\n", " ").splitlines():
                for words in split(line):
                    if words[0] == "ranksearch" and not any(reason in line for reason in NOT_CARRIED_OUT):
                        run_command(stand_in(words[1:]))


def stand_in(words: list[str]) -> list[str]:
    """A command of a page for the model that is there, without what takes long."""
    found: list[str] = []
    for word in words:
        if word == "…":
            before = found[-1] if found else ""
            found += (
                [OF_OPTIONS[before]]
                if before in OF_OPTIONS
                else ["--model", "own.py:model", "--data", "own.py:data"]
            )
        elif found[-1:] == ["--input-size"]:
            found.pop()
        else:
            found.append(STANDS_FOR.get(word, word))
    more = () if found[0] == "export" and found[1].endswith(".json") else MORE.get(found[0], ())
    if "--resume" in found:
        more = ("--trust",)
    return [*found, *(option for option in more if option.partition("=")[0] not in found)]


def run_command(words: list[str]) -> None:
    if words[0] in ("run", "probe") and "--out" in words and "--resume" not in words:
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    promised = {"--accept", "--max-drop"} & set(words)
    carry_out(words, allowed=(0, 3) if promised else (0,))


def run_python(block: Block, page: str, namespace: dict[str, Any]) -> None:
    """In the page's namespace; a block that begins with the name of a file becomes that file."""
    if file := re.match(r"# (\w+\.py)\n", block.text):
        Path(file[1]).write_text(block.text)
        namespace = {}
    exec(compile(block.text, f"{page}:{block.line}", "exec"), namespace)


def given() -> dict[str, Any]:
    """What the Python of pages takes for granted."""
    names: dict[str, Any] = {}
    exec(OWN, names)
    data = names["data"]()
    labels = torch.arange(60) % 3
    return {
        "model": names["model"]().eval(),
        "train": TensorDataset(*data["validation"][:1800]),
        "test": data["test"],
        "tagger": nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)),
        "sentences": TensorDataset(torch.randn(60, 5, 6), labels[:, None].repeat(1, 5)),
        "pad": torch.utils.data.default_collate,
    }
