"""Sentences of English from the documentation in some folders, each once, in a shuffled order: train.txt and test.txt.

python sentences.py OUT FOLDER…
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TRAIN, TEST = 4000, 1000
PLAIN = {".md", ".rst", ".txt", ".html"}
BY_NAME = {"LICENSE", "copyright", "NEWS", "README"}


def sentences(text: str) -> Iterator[str]:
    """Of 6 to 60 words, without markup, and mostly of letters."""
    for paragraph in re.split(r"\n\s*\n", text):
        for found in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
            letters = sum(c.isalpha() or c == " " for c in found)
            if (
                6 <= len(found.split()) <= 60
                and found[0].isupper()
                and found[-1] in ".!?"
                and letters > 0.9 * len(found)
                and not re.search(r"[<>{}|\\=_*`#@]", found)
            ):
                yield found


def texts(path: Path) -> Iterator[str]:
    """What a file of documentation says, and the docstrings of a module."""
    documents = path.suffix in PLAIN or path.name in BY_NAME
    if not path.is_file() or not (documents or path.suffix == ".py") or path.stat().st_size > 5e6:
        return
    try:
        content = path.read_text("utf-8")
    except UnicodeDecodeError:
        return
    yield from [content] if documents else re.findall(r'"""(.*?)"""', content, re.DOTALL)


def main(out: Path, folders: list[Path]) -> None:
    found = {
        s for folder in folders for path in folder.rglob("*") for text in texts(path) for s in sentences(text)
    }
    order = sorted(found)
    random.Random(0).shuffle(order)
    out.mkdir(parents=True, exist_ok=True)
    (out / "train.txt").write_text("\n".join(order[:TRAIN]) + "\n")
    (out / "test.txt").write_text("\n".join(order[TRAIN : TRAIN + TEST]) + "\n")
    print(f"{len(order):,} sentences, of which {TRAIN:,} and {TEST:,} are taken")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]])
