"""`report.html`: one file that says what the records say, in valid markup, whatever names and files hold."""

from __future__ import annotations

import json
import re
import shutil
import string
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import Result

import ranksearch
from ranksearch.cli.console import ConsoleReporter
from ranksearch.cli.run import report_written
from ranksearch.costs import briefly
from ranksearch.errors import InputError
from ranksearch.planning import read_plan, read_tables
from ranksearch.probing import read_probe
from ranksearch.reports import LANGUAGES, REPORT_FILE
from ranksearch.searching import read_front

Invoke = Callable[..., Result]

MOST_BYTES = 300_000
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
HOSTILE = "</td><script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """A page, read strictly: what is opened is closed, in order; `cells` are the texts of all cells of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.cells: list[str] = []
        self.titles: list[str] = []
        self.scripts = 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.attributes.append((tag, dict(attrs)))
        self.scripts += tag == "script"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "title":
            self.titles.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data
        if self.open and self.open[-1] == "title":
            self.titles[-1] += data


@pytest.fixture(scope="module")
def finished(finished_run: tuple[Path, Result]) -> Path:
    """The folder of a run, with the page that it wrote."""
    assert finished_run[1].exit_code == 0, finished_run[1].output
    return finished_run[0]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run's folder."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def checked(path: Path) -> Page:
    """The page in a file, in which everything that every page has to keep to was checked."""
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    page = Page(text)
    for tag, given in page.attributes:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = given.get(name)
            assert value is None or re.match(r"#|\./|data:image/", value), (tag, value)
            assert tag == "a" or value is None or value[0] == "#" or tag == "img"
        assert not any(name.startswith("on") for name in given), given
        if tag == "th":
            assert given.get("scope") in ("row", "col")
        if tag == "svg":
            assert given.get("aria-hidden") == "true" or given.get("aria-label")
        if tag == "img":
            assert given.get("alt")
    assert not re.search(r"url\(|@import|https?://", text)
    ids = [given["id"] for _, given in page.attributes if "id" in given]
    assert len(set(ids)) == len(ids)
    for _, given in page.attributes:
        assert given.get("href", "")[:1] != "#" or str(given["href"])[1:] in ids
        assert given.get("aria-labelledby", ids[0]) in ids
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
    assert [tag for tag, _ in page.attributes].count("main") == 1
    assert page.scripts == 1
    return page


def test_a_run_writes_one_and_says_where(finished: Path) -> None:
    checked(finished / REPORT_FILE)
    assert f"report            {finished / REPORT_FILE}" in (finished / "log.txt").read_text()


def test_the_same_bytes_again(copy: Path, finished: Path, invoke: Invoke, tmp_path: Path) -> None:
    (again := tmp_path / "again").mkdir()
    shutil.copytree(copy, again / finished.name)
    first = ranksearch.report(again / finished.name)
    assert first == again / finished.name / REPORT_FILE
    assert first.read_bytes() == (finished / REPORT_FILE).read_bytes()


def test_figures_are_those_of_the_records(finished: Path) -> None:
    page = checked(finished / REPORT_FILE)
    text = (finished / REPORT_FILE).read_text()
    for place in finished.glob("compressed/*/plan.json"):
        record = read_plan(place)
        for metric, cost in record.cost.items():
            share = 100 * cost / record.dense[metric]
            assert f"{briefly(metric, cost)} ({share:.1f} %)" in page.cells
            assert briefly(metric, record.dense[metric]) in page.cells
        score, stderr = record.scores["test"], record.scores["test_stderr"]
        assert f"{score:.2f} ± {stderr:.2f}" in page.cells
        drop = record.behaviour["test"].drop
        assert drop is not None
        assert drop.low is not None
        assert f"{-drop.low:+.2f}".replace("-", "−") in text
        for layer in record.layers:
            if layer.ranks:
                ranks = "·".join(map(str, layer.ranks))
                assert any(layer.decomposition in cell and ranks in cell for cell in page.cells)
    front, tables = read_front(finished / "front.json"), read_tables(finished / "tables.json")
    dots = [title for title in page.titles if title.startswith("budget") and "parameters: " in title]
    assert len(dots) == sum(plan.scores.get(front.score) is not None for plan in front.plans)
    assert text.count("candidates</span>") == len(tables.tables)
    command = next(finished.glob("compressed/*/plan.json"))
    told = read_plan(command).delivery
    assert told is not None
    assert str(told.command) in text


def test_links_lead_to_files(copy: Path, tmp_path: Path) -> None:
    elsewhere = ranksearch.report(copy, out=tmp_path / "pages" / "run.html")
    for path in (ranksearch.report(copy), elsewhere):
        hrefs = [str(given["href"]) for tag, given in checked(path).attributes if tag == "a"]
        files_ = [href for href in hrefs if href[0] != "#"]
        assert len(files_) > 5
        assert all((path.parent / href).is_file() for href in files_)


def test_names_are_text(copy: Path) -> None:
    for path in [copy / "tables.json", copy / "front.json", *copy.glob("**/plan*.json")]:
        text = path.read_text()
        path.write_text(text.replace('"3"', json.dumps(HOSTILE)))
    trials = copy / "trials.csv"
    trials.write_text(trials.read_text().replace(",3,", ',"</td><script>alert(1)</script>",'))
    text = ranksearch.report(copy).read_text()
    assert "<script>alert" not in text
    assert HOSTILE in checked(copy / REPORT_FILE).cells


@pytest.mark.parametrize(
    "missing",
    ["front.json", "front.csv", "tables.json", "trials.csv", "log.txt", "config.toml", "compressed"],
)
def test_what_is_missing_leaves_a_gap(copy: Path, missing: str) -> None:
    gone = copy / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    checked(ranksearch.report(copy))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 99}', "\0", "a,b\n1"])
@pytest.mark.parametrize("name", ["front.json", "tables.json", "trials.csv", "front.csv", "config.toml"])
def test_what_is_damaged_is_named(copy: Path, name: str, content: str) -> None:
    (copy / name).write_text(content)
    page = ranksearch.report(copy)
    checked(page)
    if name.endswith("json"):
        assert re.search(rf"<li>{re.escape(name)}: ", page.read_text())
        assert str(copy) not in page.read_text()


def test_a_folder_of_something_else(invoke: Invoke, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        result = invoke("report", folder)
        assert result.exit_code == 2
        assert result.output.count("\n") == 1
        assert "expected the folder of a run or probe" in result.output
    assert not (tmp_path / REPORT_FILE).exists()


def test_several_runs(copy: Path, finished: Path, invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "both.html"
    result = invoke("report", finished, copy, "--out", out)
    assert result.exit_code == 0, result.output
    assert {"copy", finished.name} <= set(re.findall(r">(?:run )?([\w-]+)</(?:a|h2)>", out.read_text()))
    checked(out)
    with pytest.raises(InputError, match="out: expected a file"):
        ranksearch.report([finished, copy])


def catalogue(language: str) -> dict[str, str]:
    text = files("ranksearch.reports").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def test_every_language_has_the_same_texts_with_the_same_values() -> None:
    english = catalogue("en")
    for language in LANGUAGES:
        own = catalogue(language)
        assert own.keys() == english.keys()
        for key, text in own.items():
            fields = [
                {name for _, name, _, _ in string.Formatter().parse(x) if name} for x in (text, english[key])
            ]
            assert fields[0] == fields[1], key


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    package = files("ranksearch.reports")
    sources = [
        x for folder in (package, package.joinpath("templates")) for x in folder.iterdir() if x.is_file()
    ]
    code = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    used = set(re.findall(r"""\b(?:t|texts)\(\s*["'](\w+)["']""", code))
    assert used <= catalogue("en").keys()
    quoted = set(re.findall(r"""["'](\w+)["']""", code))
    by_name = ("role_", "unit_", "score_", "origin_")
    assert {key for key in catalogue("en") if key not in quoted and not key.startswith(by_name)} == set()


def test_languages(copy: Path, invoke: Invoke) -> None:
    assert invoke("report", copy, "--lang", "ja").exit_code == 0
    page = checked(copy / REPORT_FILE)
    assert ("html", {"lang": "ja"}) in page.attributes
    result = invoke("report", copy, "--lang", "jp")
    assert result.exit_code == 2
    assert "--lang: expected one of en, ja" in result.output


def test_a_probe_leaves_one_too(own_folder: Path, invoke: Invoke, tmp_path: Path) -> None:
    own, out = own_folder / "own.py", tmp_path / "probe"
    found = invoke(
        "probe", "--model", f"{own}:model", "--data", f"{own}:data", "--images", "24", "--bonds", "4",
        "--decompositions", "svd", "--batch-size", "16", "--threads", "1", "--out", out, "--no-plots",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    page, record = checked(out / REPORT_FILE), read_probe(out / "probe.json")
    assert record.verdict is not None
    assert f"Score {record.verdict.score:.2f} of 1" in (out / REPORT_FILE).read_text()
    assert {layer.name for layer in record.layers} <= set(page.cells)
    assert {f"{layer.params:,}" for layer in record.layers} <= set(page.cells)
    before = (out / REPORT_FILE).read_bytes()
    assert invoke("report", out).exit_code == 0
    assert (out / REPORT_FILE).read_bytes() == before


def test_a_page_that_cannot_be_written(
    copy: Path, invoke: Invoke, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (copy / REPORT_FILE).unlink()
    (copy / REPORT_FILE).mkdir()
    result = invoke("report", copy)
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    report_written(copy, ConsoleReporter(quiet=True))  # a run goes on
    report_written(tmp_path, ConsoleReporter(quiet=True))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
