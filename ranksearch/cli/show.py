"""`ranksearch show`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ranksearch.cli.guard import resume_line
from ranksearch.cli.machine import Answer
from ranksearch.cli.next_steps import after_probe, kept_options, look_at, print_steps
from ranksearch.cli.text import TextConsole, output_console, print_line
from ranksearch.errors import InputError, expected
from ranksearch.folders import CONFIG
from ranksearch.runs import needs_trust

PROBE = "probe.json"


def show_command(path: Path, answer: Answer, *, every: bool) -> None:
    """Print the plan, the front or the verdict of a probe that lies at a path."""
    from ranksearch.cards import CARD_FILE
    from ranksearch.cli.behaviour import behaviour_lines
    from ranksearch.cli.models import models_view
    from ranksearch.cli.tables import front_view, plan_view
    from ranksearch.compression import PLAN_FILE
    from ranksearch.planning import read_plan
    from ranksearch.runs import RunFolder, model_summary, models_summary
    from ranksearch.searching import read_front

    console = output_console()
    folder = RunFolder(path)
    if path.is_file() and path.name == folder.front.name:
        console.print(front_view(front := read_front(path), every=every))
        answer.give(front=front.model_dump(mode="json"))
    elif (record := _probe(path)).is_file():
        from ranksearch.cli.verdict import verdict_view
        from ranksearch.probing import read_probe

        probed = read_probe(record)
        console.print(verdict_view(probed))
        answer.give(folder=str(record.parent.absolute()), probe=probed.model_dump(mode="json"))
        if (options := kept_options(record.with_name(CONFIG))) is not None:
            print_steps(after_probe(options, probed), partial(console.print, soft_wrap=True))
    elif path.is_file():
        console.print(plan_view(plan := read_plan(path)))
        answer.give(plan=plan.model_dump(mode="json"))
    elif folder.front.is_file():
        console.print(front_view(front := read_front(folder.front), every=every))
        said: dict[str, Any] = {"front": front.model_dump(mode="json")}
        places = folder.delivered()
        if delivered := [read_plan(place) for place in places]:
            console.print(models_view("delivered", delivered))
            for line in (line for found in delivered for line in behaviour_lines(found)):
                print_line(console, line)
            said |= models_summary(
                [
                    model_summary(
                        found,
                        folder=place.parent,
                        plan=folder.plan(found.asked),
                        chosen=found.promise is not None or not any(each.promise for each in delivered),
                    )
                    for found, place in zip(delivered, places, strict=True)
                ],
                delivered,
            )
        answer.give(**said, run=str(path.absolute()))
        print_steps(map(look_at, folder.plans()), partial(console.print, soft_wrap=True))
        _print_cards(sorted(path.glob(f"compressed/*/{CARD_FILE}")), console)
    elif (path / PLAN_FILE).is_file():
        console.print(plan_view(plan := read_plan(path / PLAN_FILE)))
        answer.give(plan=plan.model_dump(mode="json"))
        _print_cards([card for card in [path / CARD_FILE] if card.is_file()], console)
    else:
        got = f"{path}, which holds neither" if path.is_dir() else f"{path}, which is not there"
        wanted = "a plan file, or a folder with front.json, plan.json or probe.json"
        raise InputError(expected("PATH", wanted, got, _unfinished(path)))


def _print_cards(cards: Sequence[Path], console: TextConsole) -> None:
    for card in cards:
        console.print(f"model card: {card}", soft_wrap=True)


def _unfinished(path: Path) -> str:
    """How the run or probe in a folder goes on, where there is one."""
    from ranksearch.probing import PROBE_CONFIG

    if (options := kept_options(path / CONFIG)) is None:
        return ""
    command = "probe" if (path / PROBE_CONFIG).is_file() else "run"
    line = resume_line(command, path, trust=needs_trust(options))
    return f"The {command} is not finished. Continue it with: {line}"


def _probe(path: Path) -> Path:
    """Where the verdict of a probe lies, if it is one's file or folder."""
    return path if path.name == PROBE else path / PROBE
