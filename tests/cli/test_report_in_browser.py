"""Pages in a browser: axe-core finds nothing, no errors, and everything can be reached and done by keyboard."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from ranksearch.reports import REPORT_FILE

Invoke = Callable[..., Result]

SCRIPT = Path(__file__).with_name("browse.js")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PACKAGES = "npm install axe-core playwright-core, and name their node_modules in NODE_PATH"


def _missing() -> str:
    """What keeps these tests from being run; "" for nothing."""
    if CHROMIUM is None:
        return "no chromium"
    if shutil.which("node") is None:
        return "no node"
    packages = "require.resolve('axe-core'), require.resolve('playwright-core')"
    found = subprocess.run(["node", "-e", packages], capture_output=True, check=False, cwd=SCRIPT.parent)
    return PACKAGES if found.returncode else ""


@pytest.fixture(scope="module")
def browsed(
    finished_run: tuple[Path, Result],
    own_folder: Path,
    invoke: Invoke,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the browser found in the page of a run, of a probe, and in Japanese."""
    if missing := _missing():
        pytest.skip(missing)
    folder, own = tmp_path_factory.mktemp("pages"), own_folder / "own.py"
    assert finished_run[1].exit_code == 0, finished_run[1].output
    shutil.copytree(finished_run[0], folder / "ja")
    assert invoke("report", folder / "ja", "--lang", "ja").exit_code == 0
    found = invoke(
        "probe", "--model", f"{own}:model", "--data", f"{own}:data", "--images", "24", "--bonds", "4",
        "--decompositions", "svd", "--batch-size", "16", "--threads", "1", "--out", folder / "probe",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    pages = {"run": finished_run[0], "probe": folder / "probe", "ja": folder / "ja"}
    words = ["node", SCRIPT, CHROMIUM, *(path / REPORT_FILE for path in pages.values())]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(zip(pages, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("page", ["run", "probe", "ja"])
def test_no_rule_is_broken(browsed: dict[str, Any], page: str) -> None:
    """In light and dark, on wide and narrow screens."""
    views = browsed[page]["views"]
    assert len(views) == 4
    for view in views:
        assert view["errors"] == []
        assert view["violations"] == []
        assert view["passes"] > 40, "axe-core looked at the page"


@pytest.mark.parametrize("page", ["run", "probe"])
def test_the_focus_goes_through_the_page_and_is_seen(browsed: dict[str, Any], page: str) -> None:
    stops = browsed[page]["keyboard"]["stops"]
    assert stops[0]["name"] == "a.skip"
    assert {stop["name"].partition(".")[0] for stop in stops} >= {"a", "button", "input", "div"}
    assert [stop for stop in stops if not (stop["seen"] and stop["outlined"] and stop["inOrder"])] == []


@pytest.mark.parametrize("page", ["run", "probe"])
def test_a_table_is_sorted_by_keyboard(browsed: dict[str, Any], page: str) -> None:
    up, down = browsed[page]["keyboard"]["sorted"]
    assert (up["sort"], down["sort"]) == ("ascending", "descending")
    assert len(up["names"]) > 1
    assert up["names"] == down["names"][::-1]
    assert all(int(a) <= int(b) for a, b in pairwise(up["names"]))


@pytest.mark.parametrize("page", ["run", "probe"])
def test_points_are_read_by_keyboard(browsed: dict[str, Any], page: str) -> None:
    found = browsed[page]["keyboard"]
    first, second, home, end, beyond, before = found["points"]
    assert set(found["points"]) <= set(found["titles"])
    assert first == home != second
    assert end == beyond != first
    assert before in found["titles"]
