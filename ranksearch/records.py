"""Records in files: JSON, checked by a pydantic model on the way in and on the way out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from ranksearch.errors import InputError, expected
from ranksearch.files import write_text
from ranksearch.reading import parse_json, read_text

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""From what a file of an older version holds to what one of the current version holds."""

_SHOWN = 60
"""Characters of a value in a message."""


class Record(BaseModel):
    """Something that is kept in a file: nothing but the stated fields gets in, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Terse(Record):
    """A record that leaves out the fields that have their default value."""

    @model_serializer(mode="wrap")
    def _stated(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value for name, value in write(self).items() if getattr(self, name) != fields[name].default
        }


_Kind = TypeVar("_Kind", bound=Record)


def write_record(path: Path, record: Record, *, compact: bool = False, without: Collection[str] = ()) -> None:
    """Write a record as JSON, lists of whole numbers on one line; a reader sees the old file or the new one.

    compact: everything on one line. without: names of fields to leave out, which have a default. Raises ValueError, and
    leaves the old file, where a number is not finite.
    """
    values = record.model_dump(mode="json", exclude={*without})
    if compact:
        write_text(
            path, json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"
        )
        return
    content = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, re.sub(r"\[\n\s+(\d+(?:,\n\s+\d+)*)\n\s+\]", _on_one_line, content) + "\n")


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{', '.join(numbers[1].replace(',', ' ').split())}]"


def read_record(
    path: Path,
    kind: type[_Kind],
    what: str,
    upgrades: Mapping[int, Upgrade] | None = None,
    *,
    way_out: str = "",
) -> _Kind:
    """Read a record of some kind.

    what: what to call one in a message, `plan`. upgrades: by version, how to read older files; what is malformed they
    leave as it is, for the check that follows. way_out: what to do about a file that is damaged. Raises InputError, one
    line that names the file, the field, what was expected and what came.
    """
    try:
        data = parse_json(read_text(path))
    except OSError as error:
        raise InputError(expected(str(path), f"a {what} file", error.strerror)) from error
    except ValueError as error:
        raise InputError(expected(str(path), "JSON", error, way_out)) from error
    if not isinstance(data, dict):
        raise InputError(expected(str(path), "a JSON object", type(data).__name__, way_out))
    if "version" in kind.model_fields:
        data = _current(path, kind, data, upgrades or {})
    try:
        # From text, since JSON has neither tuples nor whole floats and a strict model takes nothing else from Python.
        return kind.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise InputError(_one_line(path, what, error, way_out)) from error


def _current(
    path: Path, kind: type[Record], data: dict[str, Any], upgrades: Mapping[int, Upgrade]
) -> dict[str, Any]:
    (current,) = get_args(kind.model_fields["version"].annotation)
    got = data.get("version", "none")
    if type(got) is int and got in upgrades:
        return upgrades[got](data)
    if type(got) is not int or got != current:
        way_out = "Another version of ranksearch wrote it: make it again, or use that version."
        older = "".join(f", or {version} from before" for version in upgrades)
        raise InputError(expected(f"{path}, version", f"{current}{older}", got, way_out))
    return data


def _one_line(path: Path, what: str, error: ValidationError, way_out: str) -> str:
    """The first of pydantic's complaints in the project's form."""
    first, *others = error.errors(include_url=False)
    parts = [part if isinstance(part, int) else shortened(part) for part in first["loc"]]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    got = shortened(repr(first["input"]))
    match first["type"]:
        case "missing":
            wanted, got = "a value", "none"
        case "extra_forbidden":
            wanted = "no such field"
        case "value_error":
            wanted, got = f"a {what} that makes sense", shortened(in_words(first["msg"]), 200)
        case _:
            wanted = in_words(first["msg"])
    more = f"And {len(others)} more." if others else ""
    return expected(f"{path}, {field}" if field else str(path), wanted, got, f"{more} {way_out}".strip())


def shortened(text: str, most: int = _SHOWN) -> str:
    """A text that somebody else chose, no longer than fits into a message."""
    return text if len(text) <= most else f"{text[: most - 3]}…"


def in_words(message: str) -> str:
    """pydantic's words for what it expected, or what is wrong, as they stand after `expected`."""
    message = message.removeprefix("Value error, ")
    message = re.sub(r"^(Input|Value|Tuple) should (be|have) ", "", message)
    message = re.sub(r"^String should match pattern", "a text that matches", message)
    message = re.sub(r" after validation, not \d+$", "", message).replace("item", "value")
    return re.sub(r"^(greater|less) than", r"a number \1 than", message)
