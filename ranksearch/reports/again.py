"""How to do it again: the command, the seed, versions, digests, and where the files are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ranksearch.planning import PlanRecord, TablesRecord
from ranksearch.reports.content import RunContent
from ranksearch.reports.texts import Texts


@dataclass(frozen=True)
class Link:
    """A file, and where it is from the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Again:
    """command: None where no record tells it. facts: names and values. links: files of the run."""

    command: str | None
    facts: tuple[tuple[str, str], ...]
    links: tuple[Link, ...]


def again(run: RunContent, page: Path, texts: Texts) -> Again:
    """What a page says of how a run was made. page: the file that links are relative to."""
    told = [r.delivery.command for r in run.records if r.delivery is not None and r.delivery.command]
    return Again(
        told[0] if told else None, tuple(_facts(run, texts)), tuple(links(run.folder, run.files, page))
    )


def _facts(run: RunContent, texts: Texts) -> Iterator[tuple[str, str]]:
    source: PlanRecord | TablesRecord | None = next(iter(run.records), run.tables)
    if source is not None:
        yield texts("fact_seed"), str(source.seed)
        yield texts("fact_versions"), ", ".join(f"{name} {x}" for name, x in source.versions.items())
        yield texts("fact_model"), source.model.digest
    for model in run.models:
        for name in ("model.safetensors", *(export.file for export in model.exports)):
            if name in model.sums:
                yield f"{model.place}/{name}, SHA-256", model.sums[name]


def links(folder: Path, files: Sequence[str], page: Path) -> list[Link]:
    """Links to the files of a folder from a page."""
    where = os.path.relpath(folder.resolve(), page.resolve().parent)
    begin = "" if where == "." else f"{Path(where).as_posix()}/"
    return [Link(name, quote(f"./{begin}{name}")) for name in files]
