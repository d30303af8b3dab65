"""Options from the command line and TOML files to one checked `RunOptions`, and back to TOML."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.folders import CONFIG, usable
from ranksearch.reading import OPTIONS_BYTES, parse_toml, read_text
from ranksearch.records import in_words, shortened
from ranksearch.redaction import HIDDEN, conceal
from ranksearch.runs.option_values import as_recipe, listed
from ranksearch.runs.options import RunOptions
from ranksearch.runs.trust import LOCATIONS, OBJECTS, PATHS, check_trusted

FREE = frozenset(
    {
        *("out", "resume", "trust", "quiet", "verbose", "timeout", "loader_workers", "cache"),
        *("workers", "artifacts", "storage_timeout"),
        *("accept", "export", "quantize", "quantize_tolerance", "track"),
    }
)
"""Options that a resumed run may change: none of them decides what a finished trial found."""

MEANS_NONE = frozenset({"weights", "cache", "export", "pool"})
"""Options of which `none` is a value of its own: random weights, nothing kept, nothing exported, every position."""

STORAGE_VARIABLE = "RANKSEARCH_STORAGE"
"""Environment variable that names the storage where no option does, so that its password is not on the screen."""


def load_options(
    given: Mapping[str, Any],
    config: Path | None = None,
    *,
    under: Mapping[str, Any] | None = None,
    under_name: str = "",
) -> RunOptions:
    """Options of the command line (by field name, None where not given) over those of a TOML file.

    With `resume`, both over those that the run in `out` was started with; both over those in `under`, which
    came from `under_name`. Of these two nothing that names code, or a place to read or write, counts without `trust`,
    which the command line alone can say. `none` takes back what is underneath (see `unset`). Relative paths start at
    the working directory, those in the file at the file's folder; all come back absolute. Raises InputError that
    names the option.
    """
    values: dict[str, Any] = {}
    source = {key: f"{key} in {under_name}" for key in under or {}}
    if config is not None:
        stated = absolute(as_recipe(unset(read_toml(config))), config.resolve().parent)
        if "trust" in stated:
            raise InputError(
                expected(f"trust in {config.name}", "it on the command line alone", "it in a file")
            )
        values |= stated
        source |= {key: f"{key} in {config.name}" for key in stated}
    explicit = as_recipe({key: value for key, value in given.items() if value is not None})
    if location := os.environ.get(STORAGE_VARIABLE):
        explicit = {"storage": location} | explicit
    values |= absolute(unset(explicit), Path.cwd())
    source |= {key: flag(key) for key in explicit}
    values = _over(values, under or {}, under_name)
    if values.get("resume"):
        if values.get("out") is None:
            raise InputError(expected("--resume", "--out DIR, the folder of the run to continue", "none"))
        stored = Path(values["out"]) / CONFIG
        with usable(Path(values["out"])):
            begun = stored.is_file()
        if not begun and not values.keys() & {"budget", "max_drop"}:
            got = f"{values['out']}, which holds none"
            raise InputError(expected("--out", "the folder of the run to continue", got))
        if begun:
            values = _over(values, absolute(read_toml(stored), stored.parent), str(stored))
    if HIDDEN in str(values.get("storage")):
        way_out = f"Give it again, or set {STORAGE_VARIABLE}: passwords are not kept."
        raise InputError(expected("--storage", "a URL with its password", values["storage"], way_out))
    conceal(str(values.get("storage")))
    return parse(values, source)


def _over(values: Mapping[str, Any], stored: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values over stored ones, of which those that are left have to be harmless, or trusted."""
    left = {key: value for key, value in of_now(stored).items() if key not in values and key != "trust"}
    if values.get("trust") is not True:
        check_trusted(left, where)
    return left | dict(values)


def of_now(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Options that a run has written, by the names of this version: `loader_workers` was once `workers`."""
    found = dict(stored)
    if "workers" in found and "loader_workers" not in found:
        found["loader_workers"] = found.pop("workers")
    return found


def unset(values: Mapping[str, Any], model: type[BaseModel] = RunOptions) -> dict[str, Any]:
    """The values with `none` as the default, where that is to have none: TOML cannot say so, nor a command line."""
    fields = model.model_fields.items()
    empty = {key: f.default for key, f in fields if f.default in (None, ()) and key not in MEANS_NONE}
    return {k: empty[k] if k in empty and v in ("none", ["none"]) else v for k, v in values.items()}


def parse(values: Mapping[str, Any], source: Mapping[str, str] | None = None) -> RunOptions:
    """Checked options; `source` says what to call each in a message."""
    try:
        return RunOptions.model_validate(values)
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            name = str(detail["loc"][0])
            label = (source or {}).get(name, flag(name))
            lines.append(
                expected(label, _wanted(detail["msg"]), shortened(repr(detail["input"]), 200), _near(name))
            )
        raise InputError("\n".join(dict.fromkeys(lines))) from error


def _wanted(message: str) -> str:
    """pydantic's words to ours."""
    if message.startswith("Extra inputs"):
        return "a known option"
    return in_words(message)


def _near(name: str) -> str:
    if name in RunOptions.model_fields:
        return ""
    found = difflib.get_close_matches(name, RunOptions.model_fields, n=1)
    return f"Did you mean {found[0]!r}?" if found else "`ranksearch run -h` lists the options."


def read_toml(path: Path) -> dict[str, Any]:
    """Options in a TOML file, by field name; dashes count as underscores. Raises InputError."""
    try:
        raw = parse_toml(read_text(path, OPTIONS_BYTES))
    except OSError as error:
        raise InputError(
            expected("--config", "a TOML file that can be read", f"{path} ({error.strerror})")
        ) from error
    except ValueError as error:
        raise InputError(expected("--config", "valid TOML", f"{path}: {error}")) from error
    values = {key.replace("-", "_"): value for key, value in raw.items()}
    for key in values:
        if key not in RunOptions.model_fields:
            raise InputError(expected(path.name, "known options", shortened(repr(key)), _near(key)))
    return values


def write_toml(options: RunOptions) -> str:
    """TOML that reads back as the same options."""
    return tomli_w.dumps(options.model_dump(mode="json", exclude_none=True, exclude={"trust"}))


def absolute(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The values with their relative paths started at `base`: files, and those inside names and URLs."""
    result = dict(values)
    for key in PATHS:
        if isinstance(result.get(key), str | Path) and str(result[key]) != "none":
            result[key] = str(_join(base, str(result[key])))
    for key in OBJECTS:
        if isinstance(result.get(key), str):
            result[key] = _absolute_spec(result[key], base)
    for key in ("decompositions", "accept", "export", "track"):
        if result.get(key) is not None:
            names = listed(result[key])
            result[key] = [_absolute_spec(x, base) if isinstance(x, str) else x for x in names]
    for key in LOCATIONS:
        if isinstance(result.get(key), str | Path):
            result[key] = _absolute_location(str(result[key]), base)
    return result


def _absolute_location(location: str, base: Path) -> str:
    if "://" not in location:
        return str(_join(base, location))
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^/:].*)", location)
    return match[1] + str(_join(base, match[2])) if match else location


def _absolute_spec(spec: str, base: Path) -> str:
    head, _, tail = spec.rpartition(":")
    if spec.startswith("imagefolder:"):
        return f"imagefolder:{_join(base, spec.partition(':')[2])}" if tail else spec
    if spec.startswith(("text:", "jsonl:")):
        source, _, path = spec.partition(":")
        return f"{source}:{_join(base, path)}" if path else spec
    if spec.startswith("transformers:"):  # a name on the hub, which is in no folder, stays as it is
        path = spec.partition(":")[2]
        here = any((base / Path(x).expanduser()).exists() for x in (path, path.rpartition(":")[0]) if x)
        return f"transformers:{_join(base, path)}" if here else spec
    if spec.startswith("lightning:"):
        where, *rest = spec.split(":", 3)[1:]
        where = str(_join(base, where)) if where.endswith(".py") or "/" in where else where
        return ":".join(["lightning", where, *rest[:1], *(str(_join(base, path)) for path in rest[1:])])
    if spec.startswith("torchvision:") and spec.count(":") >= 2 and "=" not in tail:
        source, name, folder = spec.split(":", 2)
        return f"{source}:{name}:{_join(base, folder)}" if folder else spec
    if head.endswith(".py") or ("/" in head and ":" not in head):
        return f"{_join(base, head)}:{tail}"
    return spec


def _join(base: Path, path: str) -> Path:
    return base / Path(path).expanduser()


def flag(name: str) -> str:
    """The option's name on the command line."""
    return f"--{name.replace('_', '-')}"


def check_same(stored: BaseModel, given: BaseModel, where: Path, free: frozenset[str] = FREE) -> None:
    """Raise MismatchError that names every option, but for `free` ones, in which a run to resume differs."""
    before, now = stored.model_dump(mode="json"), given.model_dump(mode="json")
    differing = [key for key in before if key not in free and before[key] != now[key]]
    if differing:
        wanted = ", ".join(f"{flag(key)} {_show(before[key])}" for key in differing)
        got = ", ".join(f"{flag(key)} {_show(now[key])}" for key in differing)
        way_out = "Leave these options out, or choose another --out."
        raise MismatchError(expected(f"--resume of {where}", f"{wanted}, as it was started", got, way_out))


def _show(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
