"""The options that only a probe has."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ranksearch.errors import InputError, expected
from ranksearch.files import write_text
from ranksearch.runs.config import flag, unset

FREE = frozenset({"plots"})
"""Options that a resumed probe may change: they decide only what is made of the measurements."""

RECOVERY = frozenset({"recovery_epochs", "recovery_norm", "recovery_cut", "project_each"})
"""Options that a resumed probe may change as long as nothing of the recovery is measured."""


class ProbeOptions(BaseModel):
    """The options of `ranksearch probe` beside those of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(default=1000, ge=2)
    images_from: Literal["validation", "test"] = "validation"
    bonds: int = Field(default=8, ge=2)
    sweep: bool = True
    moments: bool = True
    recovery_epochs: int = Field(default=2, ge=0)
    recovery_norm: float | None = Field(default=None, gt=0, le=1)
    recovery_cut: str | None = None
    project_each: Literal["epoch", "step"] = "epoch"
    trouble: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    plots: bool = True


def parse_probe(given: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> ProbeOptions:
    """Options of the command line (None where not given) over stored ones, which `none` takes back.

    Raises InputError that names the option.
    """
    explicit = {key: value for key, value in given.items() if value is not None}
    values = dict(stored or {}) | unset(explicit, ProbeOptions)
    try:
        return ProbeOptions.model_validate(values)
    except ValidationError as error:
        lines = [
            expected(flag(str(d["loc"][0])), d["msg"].removeprefix("Input should be "), repr(d["input"]))
            for d in error.errors()
        ]
        raise InputError("\n".join(lines)) from error


def write_probe_options(path: Path, options: ProbeOptions) -> None:
    """Write them as TOML."""
    write_text(path, tomli_w.dumps(options.model_dump(mode="json", exclude_none=True)))


def read_probe_options(path: Path) -> dict[str, Any]:
    """Stored options by name. Raises InputError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(expected(str(path), "the options of a probe", str(error))) from error
