"""README.md is the front page; what pages link to outside docs/ becomes part of the site: no text is there twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FRONT = ROOT / "README.md"
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the front page, and files that pages link to."""
    files.append(File.generated(config, place_of(FRONT), abs_src_path=str(FRONT)))
    waiting = [
        Path(file.abs_src_path) for file in files if file.abs_src_path and file.is_documentation_page()
    ]
    while waiting:
        for target in linked(waiting.pop()):
            place = place_of(target)
            if files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(target)))
                waiting += [target] * (target.suffix == ".md")
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they work in the repository, as they work in the site."""
    here, there = Path(page.file.abs_src_path or "").parent, Path(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
        return relpath(place_of(target), there) if target.is_file() else link[1]

    return LINK.sub(moved, markdown)


def linked(page: Path) -> Iterator[Path]:
    """Files of the repository that a page links to."""
    if page.suffix == ".md":
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            if target.is_file() and target.is_relative_to(ROOT):
                yield target


def place_of(file: Path) -> str:
    """Where a file of the repository is in the site; docs/ is its root."""
    return file.relative_to(DOCS if file.is_relative_to(DOCS) else ROOT).as_posix()
