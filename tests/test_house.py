"""How the house is built: rooms in the order of the data, each imported through its door, none from above."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ROOMS = (
    "networks",
    "rewriting",
    "costs",
    "tasks",
    "tasks.sources",
    "calibration",
    "decompositions",
    "timing",
    "planning",
    "compression.training",
    "compression",
    "objectives",
    "search_spaces",
    "searching.studies",
    "searching.baselines",
    "searching",
    "exporting",
    "interchange",
    "cards",
    "quantization",
    "tracking",
    "testing",
    "probing",
    "reports",
    "api",
    "runs",
    "cli",
    "__main__",
)
"""From the ground up; files beside the rooms lie below them all."""


@cache
def modules() -> dict[str, Path]:
    """Every file by its module name, without the package's."""
    found = {}
    for top, prefix in (("ranksearch", ""), ("objectives", "objectives"), ("search_spaces", "search_spaces")):
        for path in (ROOT / top).rglob("*.py"):
            parts = [prefix, *path.relative_to(ROOT / top).with_suffix("").parts]
            found[".".join(part for part in parts if part and part != "__init__")] = path
    return found


def room_of(module: str) -> str:
    """The innermost room that a module is in, "" for a file beside the rooms."""
    return max((r for r in ROOMS if f"{module}.".startswith(f"{r}.")), key=len, default="")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of what a file imports from the package, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ranksearch":
            module = (node.module or "").removeprefix("ranksearch").lstrip(".")
            for alias in node.names:
                name = f"{module}.{alias.name}".lstrip(".")
                is_module = name in modules() and alias.name not in offered(module)
                yield (name, "") if is_module else (module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("ranksearch."):
                    yield alias.name.removeprefix("ranksearch."), ""


def offered(room: str) -> tuple[str, ...]:
    """The names that a room offers; none for a file."""
    return (
        tuple(getattr(importlib.import_module(f"ranksearch.{room}"), "__all__", ())) if room in ROOMS else ()
    )


def test_every_folder_is_a_room() -> None:
    folders = {name for name, path in modules().items() if path.name == "__init__.py" and name}
    assert folders == set(ROOMS) - {"__main__"}


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_nothing_is_imported_from_above(module: str) -> None:
    own = room_of(module)
    for other, _ in imports(modules()[module]):
        theirs = room_of(other)
        if own != theirs and theirs:
            assert own, f"{module}, which lies below the rooms, imports {other}"
            assert ROOMS.index(theirs) < ROOMS.index(own), f"{module} imports {other}"


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_other_rooms_are_entered_by_the_door(module: str) -> None:
    for other, name in imports(modules()[module]):
        room = room_of(other)
        if room and room != room_of(module):
            assert other == room, f"{module} imports {name} from {other}"
            if name:
                assert name in offered(room), f"{module} imports {name} from {room}"


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_files_of_a_room_import_each_other_in_no_circle(room: str) -> None:
    # The door itself imports all files, and none imports it.
    files = {name for name in modules() if room_of(name) == room and name != room}
    graph = {name: {other for other, _ in imports(modules()[name]) if other in files} for name in files}
    assert len(list(TopologicalSorter(graph).static_order())) == len(files)
    for name in files:
        assert not any(other == room and room for other, _ in imports(modules()[name])), name


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_has_the_name_of_what_its_room_offers(room: str) -> None:
    assert not {f"{room}.{name}" for name in offered(room)} & modules().keys()


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_offers_is_there_and_documented(room: str) -> None:
    door = importlib.import_module(f"ranksearch.{room}")
    assert door.__doc__
    assert len(set(offered(room))) == len(offered(room))
    for name in offered(room):
        thing = getattr(door, name)
        if callable(thing) and str(getattr(thing, "__module__", "")).startswith("ranksearch"):
            assert thing.__doc__, f"{room}.{name}"


@pytest.mark.parametrize("module", [name for name in modules() if room_of(name) not in ("runs", "cli")])
def test_the_core_does_not_speak_command_line(module: str) -> None:
    """Below the runs messages name parameters, which the command line says as flags."""
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"(^|[\s\"'`(])--[a-z]", node.value), node.value


def test_every_package_is_installed() -> None:
    """An editable install finds those that are not listed too."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "ranksearch").rglob("*.py")}
    moved = {"ranksearch.objectives", "ranksearch.search_spaces"}
    assert {".".join(folder.parts) for folder in folders} | moved == set(listed["packages"])
