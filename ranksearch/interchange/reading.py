"""Files of other compressors, read as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ranksearch.errors import InputError, expected
from ranksearch.reading import decoded, parse_json, read_bytes

_PICKLES = (b"\x80", b"PK\x03\x04")
"""How pickles begin, and files of torch.save, which are archives of them."""

AS_JSON = (
    "A pickle can run code when it is read, so it is not read here. Write it as JSON with what made it: "
    "import json, pickle; json.dump(pickle.load(open(FILE, 'rb')), open('ranks.json', 'w'), default=str)."
)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object. Raises InputError where a file is none; a pickle is told apart, and never read."""
    try:
        content = read_bytes(path)
    except OSError as error:
        raise InputError(expected(str(path), f"a file of {what}", error.strerror)) from error
    if content.startswith(_PICKLES):
        raise InputError(expected(str(path), "JSON", "a pickle", AS_JSON))
    try:
        data = parse_json(decoded(content))
    except ValueError as error:
        raise InputError(expected(str(path), "JSON", error)) from error
    if not isinstance(data, dict):
        raise InputError(expected(str(path), "a JSON object", type(data).__name__))
    return data
