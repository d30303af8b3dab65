"""The options that only a probe has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from ranksearch.errors import InputError, expected
from ranksearch.files import write_text
from ranksearch.reading import OPTIONS_BYTES, parse_toml, read_text
from ranksearch.records import in_words, shortened
from ranksearch.runs.config import flag, unset
from ranksearch.runs.option_values import option

FREE = frozenset({"plots"})
"""Options that a resumed probe may change: they decide only what is made of the measurements."""

RECOVERY = frozenset({"recovery_epochs", "recovery_norm", "recovery_cut", "project_each"})
"""Options that a resumed probe may change as long as nothing of the recovery is measured."""


class ProbeOptions(BaseModel):
    """The options of `ranksearch probe` beside those of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    images: int = option("Probe", 1000, "N", ge=2)
    """Number of images to evaluate on."""

    images_from: Literal["validation", "test"] = option("Probe", "validation", "ROLE")
    """Which images: validation or test."""

    bonds: int = option("Probe", 8, "N", ge=2)
    """Maximum number of bond dimensions per layer and cut."""

    sweep: bool = option("Probe", True)
    """Measure truncations; without it, only the spectra."""

    moments: bool = option("Probe", True)
    """Compute spectra in the metric of the moments, and the verdict."""

    recovery_epochs: int = option("Probe", 2, "N", ge=0)
    """Epochs of retraining in each of two ways; 0 = none."""

    recovery_norm: float | None = option(
        "Probe", None, "F", "the mildest that costs half the accuracy", gt=0, le=1
    )
    """Fraction of the norm that every layer keeps before retraining."""

    recovery_cut: str | None = option("Probe", None, "CUT", "o|…")
    """Cut across which layers are truncated before retraining, such as 'ow|ih'."""

    project_each: Literal["epoch", "step"] = option("Probe", "epoch", "WHEN")
    """When to truncate again: after each epoch or step."""

    trouble: float = option("Probe", 0.1, "F", gt=0, allow_inf_nan=False)
    """Divergence, in nats, at which trouble starts."""

    plots: bool = option("Probe", True)
    """Draw figures."""


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
            expected(
                flag(shortened(str(d["loc"][0]))),
                "a known option" if d["type"] == "extra_forbidden" else in_words(d["msg"]),
                shortened(repr(d["input"]), 200),
            )
            for d in error.errors()
        ]
        raise InputError("\n".join(lines)) from error


def write_probe_options(path: Path, options: ProbeOptions) -> None:
    """Write them as TOML."""
    write_text(path, tomli_w.dumps(options.model_dump(mode="json", exclude_none=True)))


def read_probe_options(path: Path) -> dict[str, Any]:
    """Stored options by name. Raises InputError."""
    try:
        return parse_toml(read_text(path, OPTIONS_BYTES))
    except OSError as error:
        raise InputError(expected(str(path), "the options of a probe", error.strerror)) from error
    except ValueError as error:
        raise InputError(expected(str(path), "the options of a probe", error)) from error
