"""Registries: whose a name is, what is loaded when, and that a broken package stops only who asks for it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ranksearch.costs import COSTS, shown, unit_of
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError
from ranksearch.objectives import OBJECTIVES, score_label, scores_by_price
from ranksearch.planning import CandidateConfig, LayerWeights
from ranksearch.registry import Registry
from ranksearch.runs import candidate_config, load_options
from ranksearch.searching.baselines import ALLOCATORS, check_weights

GROUP = "ranksearch.tools"

Tools: TypeAlias = Registry[Any]
Warned: TypeAlias = Callable[[], list[str]]

CODE = """
class Saw:
    \"\"\"It cuts.

    Slowly.
    \"\"\"

    name, is_tool = "saw", True

class Drill:
    name, is_tool = "drill", True

class Stuck(Drill):
    def __init__(self):
        raise RuntimeError("it is stuck")

number = 3
"""
"""Of a package: two tools, one that cannot be made, and something of another kind."""

BROKEN = {
    "raises": ("saw = {}:Saw", "raise OSError('no blade')", "OSError: no blade"),
    "ends": ("saw = {}:Saw", "raise SystemExit(2)", "SystemExit: 2"),
    "is not there": ("saw = not_there_{}:Saw", CODE, "No module named"),
    "lacks it": ("saw = {}:Hacksaw", CODE, "has no attribute 'Hacksaw'"),
    "cannot be made": ("saw = {}:Stuck", CODE, "RuntimeError: it is stuck"),
    "is no tool": ("saw = {}:number", CODE, "expected a tool, got int"),
    "has another name": ("saw = {}:Drill", CODE, "expected one whose `name` is 'saw', got 'drill'"),
}


@dataclass(frozen=True)
class Site:
    """A folder that packages are installed in."""

    path: Path

    def install(self, package: str, entries: str, code: str = CODE, group: str = GROUP) -> None:
        """As pip does it: a module, and a .dist-info folder that says what it brings."""
        info = self.path / f"{package}-1.0.dist-info"
        info.mkdir()
        (self.path / f"{package}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entries.format(package)}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(str(place))
    for registry in (ALLOCATORS, COSTS, DECOMPOSITIONS, OBJECTIVES):
        monkeypatch.setattr(registry, "_entries", None)
        monkeypatch.setattr(registry, "_left_out", set())
    before = set(sys.modules)
    yield Site(place)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(place)):
            del sys.modules[name]


@pytest.fixture
def tools(site: Site) -> Tools:
    """One is built in, `hammer`."""
    found: Tools = Registry("tool", GROUP, lambda thing: getattr(thing, "is_tool", False), "a tool")
    (site.path / "bench.py").write_text("class Hammer:\n    name, is_tool = 'hammer', True\n")
    found.offer("hammer", "bench:Hammer", "it hits")
    return found


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Warned:
    """What has been warned of so far."""
    caplog.set_level(logging.WARNING, "ranksearch")
    return lambda: [record.getMessage() for record in caplog.records]


class Saw:
    """One's own."""

    name, is_tool = "saw", True


def test_names_and_summaries_load_nothing(tools: Tools, site: Site) -> None:
    site.install("one", "saw = one:Saw\ndrill = one:Drill")
    assert tools.names() == tuple(tools) == ("hammer", "saw", "drill")
    assert (len(tools), "saw" in tools, "axe" in tools) == (3, True, False)
    assert [tools.summary(name) for name in tools] == ["it hits", "from one", "from one"]
    assert not {"one", "bench"} & set(sys.modules)
    assert tools.get("saw").name == "saw"
    assert tools.summary("saw") == "It cuts"


def test_the_order_does_not_depend_on_what_is_loaded(tools: Tools, site: Site) -> None:
    site.install("one", "saw = one:Saw\ndrill = one:Drill")
    before = tools.names()
    tools.get("drill")
    assert tools.names() == tools.usable() == before


def test_what_is_built_in_is_loaded_when_it_is_asked_for(tools: Tools) -> None:
    assert tools.usable() == ("hammer",)
    assert "bench" not in sys.modules
    assert tools.get("hammer") is tools.get("hammer") is tools.find("hammer") is tools.resolve("hammer")


def test_an_unknown_name(tools: Tools, site: Site) -> None:
    site.install("one", "saw = {}:Saw")
    wanted = r"^tool: expected hammer or saw, got 'hamer'\. Did you mean 'hammer'\?$"
    for look_up in (tools.get, tools.resolve):
        with pytest.raises(InputError, match=wanted):
            look_up("hamer")
    assert tools.find("hamer") is None


def test_registering(tools: Tools) -> None:
    assert tools.register(Saw) is Saw, "as a decorator"
    assert tools.names() == ("hammer", "saw")
    assert isinstance(tools.get("saw"), Saw)
    assert tools.summary("saw") == "One's own"
    for again in (Saw, Saw()):
        with pytest.raises(InputError, match="tool: expected an unused name, got 'saw'"):
            tools.register(again)
    with pytest.raises(InputError, match="tool: expected a tool, got int"):
        tools.register(3)


def test_what_is_built_in_keeps_its_name(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Mallet:\n    name, is_tool = 'hammer', True\n")
    with pytest.raises(
        InputError, match=r"the name of own\.py:Mallet: expected an unused name, got 'hammer'"
    ):
        tools.resolve("own.py:Mallet")
    with pytest.raises(InputError, match="an unused name"):
        tools.register(tools.get("hammer"))


def test_an_object_may_be_named_several_times(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CODE)
    assert tools.resolve("own.py:Saw") is tools.resolve("own.py:Saw") is tools.get("saw")
    with pytest.raises(InputError, match=r"tool: expected a tool, got int \(own.py:number\)"):
        tools.resolve("own.py:number")


def test_classes_may_stand_for_themselves() -> None:
    kinds: Tools = Registry("kind", "", lambda thing: thing is Saw, "a saw", instances=False)
    kinds.register(Saw)
    assert kinds.get("saw") is Saw
    assert kinds.usable() == ("saw",)


# --- names that packages bring


def test_a_package_takes_no_name_from_what_is_built_in(tools: Tools, site: Site, warned: Warned) -> None:
    site.install("one", "hammer = {}:Saw")
    assert tools.names() == tools.usable() == ("hammer",)
    assert type(tools.get("hammer")).__module__ == "bench"
    assert tools.summary("hammer") == "it hits"
    assert warned() == ["tool 'hammer' of the package one is ignored: one that is built in has that name."]


@pytest.mark.parametrize("code", [CODE, "raise OSError"], ids=["works", "broken"])
@pytest.mark.parametrize("known", [True, False], ids=["seen before", "not seen before"])
def test_a_package_takes_no_name_from_what_is_registered(
    known: bool, code: str, tools: Tools, site: Site, warned: Warned
) -> None:
    site.install("one", "saw = {}:Saw", code)
    if known:
        assert "saw" in tools
    tools.register(Saw)
    assert isinstance(tools.get("saw"), Saw)
    assert tools.names() == tools.usable() == ("hammer", "saw")
    assert warned() == ["tool 'saw' of the package one is ignored: another one is registered by that name."]
    assert "one" not in sys.modules


def test_a_package_takes_no_name_from_a_file(
    tools: Tools, site: Site, tmp_path: Path, warned: Warned
) -> None:
    site.install("one", "saw = {}:Saw", "raise OSError")
    (tmp_path / "own.py").write_text(CODE)
    assert tools.resolve("own.py:Saw") is tools.resolve("own.py:Saw") is tools.get("saw")
    assert "tool 'saw' of the package one is ignored" in warned()[0]


def test_what_is_in_use_keeps_its_name(tools: Tools, site: Site, tmp_path: Path) -> None:
    site.install("one", "saw = {}:Saw")
    (tmp_path / "own.py").write_text(CODE)
    used = tools.get("saw")
    with pytest.raises(InputError, match="an unused name"):
        tools.register(Saw)
    with pytest.raises(InputError, match="which is taken"):
        tools.resolve("own.py:Saw")
    assert tools.get("saw") is used


def test_what_a_package_brings_may_be_named_by_its_place(tools: Tools, site: Site, warned: Warned) -> None:
    site.install("one", "saw = {}:Saw")
    assert tools.resolve("one:Saw") is tools.resolve("saw") is tools.get("saw")
    assert not warned()


def test_of_two_packages_the_first_by_name_counts(tools: Tools, site: Site, warned: Warned) -> None:
    for package in ("two", "one"):
        site.install(package, "saw = {}:Saw")
    assert type(tools.get("saw")).__module__ == "one"
    assert tools.names() == ("hammer", "saw")
    assert warned() == ["tool 'saw' of the package two is ignored: one brings one of that name too."]


# --- broken packages


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_one_is_left_out_and_raised_where_it_is_asked_for(
    kind: str, tools: Tools, site: Site, warned: Warned
) -> None:
    entry, code, said = BROKEN[kind]
    site.install("broken", entry, code)
    site.install("works", "drill = {}:Drill")
    assert tools.names() == ("hammer", "saw", "drill"), "it can be asked for"
    for _ in range(2):
        assert tools.usable() == ("hammer", "drill")
        assert tools.find("saw") is None
    (warning,) = warned()
    assert warning.startswith("tool 'saw' of the package broken: expected ")
    assert warning.endswith("It is left out.")
    assert said in warning
    for ask in (tools.get, tools.resolve):
        with pytest.raises(InputError, match=r"^tool 'saw' of the package broken: expected ") as raised:
            ask("saw")
        assert said in str(raised.value)
    assert len(warned()) == 1


def test_a_broken_one_that_is_mended_is_used(tools: Tools, site: Site) -> None:
    site.install("one", "saw = {}:Saw", "raise OSError")
    assert "saw" not in tools.usable()
    (site.path / "one.py").write_text(CODE)
    assert tools.get("saw") is tools.find("saw")
    assert "saw" in tools.usable()


def test_defaults_go_on_without_a_broken_decomposition(site: Site, warned: Warned) -> None:
    offered = tuple(DECOMPOSITIONS._offered)
    usual = tuple(name for name in offered if name != "grouped_svd")  # which defaults do not take
    site.install("broken", "saw = {}:Saw", "raise OSError('no blade')", "ranksearch.decompositions")
    assert DECOMPOSITIONS.names() == (*offered, "saw")
    assert CandidateConfig().decompositions == load_options({}).decompositions == usual
    assert candidate_config(load_options({})).decompositions == usual
    assert len(warned()) == 1
    with pytest.raises(InputError, match=r"decompositions 'saw' of the package broken.*no blade"):
        candidate_config(load_options({"decompositions": ["svd,saw"]}))


def test_tables_go_on_without_a_broken_objective_or_cost_metric(site: Site, warned: Warned) -> None:
    site.install("broken", "saw = {}:Saw", "raise OSError", "ranksearch.objectives")
    site.install("broken_too", "saw = {}:Saw", "raise OSError", "ranksearch.costs")
    for _ in range(2):
        assert scores_by_price(["saw", "divergence", "error"]) == ["error", "divergence"]
        assert score_label("saw") == "saw"
        assert (unit_of("saw"), shown("saw", 1234)) == ("saw", "1,234")
    assert [warning.partition(":")[0] for warning in warned()] == [
        "objective 'saw' of the package broken",
        "metric 'saw' of the package broken_too",
    ]


def test_what_else_could_be_chosen_is_said_without_a_broken_allocator(site: Site) -> None:
    site.install("broken", "saw = {}:Saw", "raise OSError", "ranksearch.allocators")
    with pytest.raises(InputError, match=r"allocator: expected knapsack.*got 'evbmf'"):
        check_weights(LayerWeights(1, 2.0), "evbmf")
