"""The card of a delivered model, `README.md` in its folder: written, and kept where somebody has edited it.

People fill in a card, so that it is not among the checksums. Its last line is a comment with a checksum of the rest, by
which a card that nobody has edited is known, and may be written anew.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from ranksearch.cards.content import Content
from ranksearch.cards.front_matter import front_matter
from ranksearch.cards.markdown import code, plain
from ranksearch.cards.sections import SECTIONS
from ranksearch.compression import PLAN_FILE
from ranksearch.exporting import current_exports
from ranksearch.files import write_text
from ranksearch.planning import read_plan
from ranksearch.reading import read_text
from ranksearch.tasks.sources import has_architecture

log = logging.getLogger(__name__)

CARD_FILE = "README.md"


def card_text(content: Content) -> str:
    """The card as Markdown: metadata, then what the record has figures for."""
    title = f"{content.model}, compressed to {content.kept}"
    parts = [
        front_matter(content, title),
        f"# {plain(title)}",
        f"A low-rank compression of {code(content.model)}, found by ranksearch: factorised layers are chains of plain "
        "layers of `torch.nn`.",
    ]
    for heading, section in SECTIONS:
        if text := section(content):
            parts += [f"## {heading}", text]
    body = "\n\n".join(parts) + "\n"
    return f"{body}\n{_signature(body)}\n"


def write_card(folder: Path) -> None:
    """Write the card of the delivered model in a folder. One that somebody has edited stays, with a warning where the
    figures are others now. Raises InputError where the plan cannot be read."""
    text = card_text(
        Content(read_plan(folder / PLAN_FILE), current_exports(folder), has_architecture(folder))
    )
    path = folder / CARD_FILE
    try:
        before = read_text(path)
    except FileNotFoundError:
        before = None
    except (OSError, ValueError):
        before = ""
    if before is None or _is_unedited(before):
        if before != text:
            write_text(path, text)
    elif text.splitlines()[-1] not in before:
        log.warning(
            "%s was edited and stays as it is, although what it tells of has changed. Remove it, and run the command "
            "again, for a new one.",
            path,
        )


def _signature(body: str) -> str:
    return f"<!-- ranksearch wrote this card; SHA-256 as written: {hashlib.sha256(body.encode()).hexdigest()} -->"


def _is_unedited(card: str) -> bool:
    body, _, signature = card.removesuffix("\n").rpartition("\n")
    return signature == _signature(body)
