"""Checksums of the files in a folder, in a file that `sha256sum -c SHA256SUMS` checks too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from ranksearch.errors import MismatchError, expected
from ranksearch.files import FILE_NAME, write_text
from ranksearch.reading import OPTIONS_BYTES, read_text

SUMS_FILE = "SHA256SUMS"

_LINE = re.compile(rf"([0-9a-f]{{64}})  ({FILE_NAME}(?:/{FILE_NAME}){{0,2}})")
"""A file of the folder, or of one in it, two deep at most."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_sums(folder: Path, way_out: str = "") -> dict[str, str]:
    """The stated checksums by file name. Raises MismatchError where there are none, or where a line is damaged."""
    path = folder / SUMS_FILE
    try:
        lines = read_text(path, OPTIONS_BYTES).splitlines()
    except (OSError, ValueError) as error:
        raise MismatchError(expected(str(path), "checksums", "none that can be read", way_out)) from error
    found = [_LINE.fullmatch(line) for line in lines]
    if None in found:
        got = f"another line {found.index(None) + 1}"
        raise MismatchError(expected(str(path), "lines with a checksum and a file name", got, way_out))
    return {line[2]: line[1] for line in found if line is not None}


def write_sums(folder: Path, names: Iterable[str], *, keep: bool = True) -> None:
    """State the checksums of some files of a folder, in one step. With `keep` those of other files stay."""
    try:
        before = read_sums(folder) if keep else {}
    except MismatchError:
        before = {}
    sums = before | {name: sha256_of(folder / name) for name in names}
    write_text(folder / SUMS_FILE, "".join(f"{found}  {name}\n" for name, found in sums.items()))


def check_sum(folder: Path, name: str, stated: str | None, way_out: str = "") -> None:
    """Raise MismatchError where a file of a folder is not the one whose checksum is stated."""
    file = folder / name
    got = sha256_of(file) if file.is_file() else "no file"
    if stated != got:
        wanted = f"the file of {SUMS_FILE}, {stated[:12]}…" if stated else f"a file that {SUMS_FILE} names"
        shown = f"{got[:12]}…" if file.is_file() else got
        raise MismatchError(expected(str(file), wanted, shown, way_out))
