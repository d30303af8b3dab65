"""`ranksearch show`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ranksearch.cli.text import TextConsole, output_console
from ranksearch.errors import InputError, expected

if TYPE_CHECKING:
    from ranksearch.runs import RunFolder

PROBE = "probe.json"


def show_command(path: Path, *, every: bool) -> None:
    """Print the plan, the front or the verdict of a probe that lies at a path."""
    from ranksearch.cards import CARD_FILE
    from ranksearch.cli.models import models_view
    from ranksearch.cli.tables import front_view, plan_view
    from ranksearch.compression import PLAN_FILE
    from ranksearch.planning import read_plan
    from ranksearch.runs import RunFolder
    from ranksearch.searching import read_front

    console = output_console()
    folder = RunFolder(path)
    if path.is_file() and path.name == folder.front.name:
        console.print(front_view(read_front(path), every=every))
    elif (record := _probe(path)).is_file():
        from ranksearch.cli.verdict import verdict_view
        from ranksearch.probing import read_probe

        console.print(verdict_view(read_probe(record)))
    elif path.is_file():
        console.print(plan_view(read_plan(path)))
    elif folder.front.is_file():
        console.print(front_view(read_front(folder.front), every=every))
        if delivered := [read_plan(place) for place in folder.delivered()]:
            console.print(models_view("delivered", delivered))
        for line in _delivered(folder):
            console.print(line, soft_wrap=True)
        for plan in folder.plans():
            console.print(f"ranksearch show {shlex.quote(str(plan))}", soft_wrap=True)
        _print_cards(sorted(path.glob(f"compressed/*/{CARD_FILE}")), console)
    elif (path / PLAN_FILE).is_file():
        console.print(plan_view(read_plan(path / PLAN_FILE)))
        _print_cards([card for card in [path / CARD_FILE] if card.is_file()], console)
    else:
        got = f"{path}, which holds neither" if path.is_dir() else f"{path}, which is not there"
        way_out = "A run that is not finished has no front yet: ranksearch run --resume --out DIR."
        raise InputError(
            expected(
                "PATH",
                "a plan file, or a folder with front.json, plan.json or probe.json",
                got,
                way_out if path.is_dir() else "",
            )
        )


def _print_cards(cards: Sequence[Path], console: TextConsole) -> None:
    for card in cards:
        console.print(f"model card: {card}", soft_wrap=True)


def _delivered(folder: RunFolder) -> Iterator[str]:
    """How the delivered models of a run behave, the largest budget first."""
    from ranksearch.cli.behaviour import behaviour_lines
    from ranksearch.compression import PLAN_FILE
    from ranksearch.planning import read_plan

    for plan in folder.plans():
        file = folder.compressed(plan.stem.removeprefix("plan-")) / PLAN_FILE
        if file.is_file():
            yield from behaviour_lines(read_plan(file))


def _probe(path: Path) -> Path:
    """Where the verdict of a probe lies, if it is one's file or folder."""
    return path if path.name == PROBE else path / PROBE
