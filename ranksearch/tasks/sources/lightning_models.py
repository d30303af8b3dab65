"""`lightning:FILE.py:CLASS[:CHECKPOINT]`: a LightningModule of the user's own, made as its checkpoint says.

The class is called with the hyper-parameters that `save_hyperparameters` left in the checkpoint, as far as it takes
them. They are read as data: a checkpoint names no code that is run. Lightning itself is needed only where the class
imports it.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ranksearch.errors import InputError, expected, told
from ranksearch.networks import stored_beside
from ranksearch.objects import load_object

SOURCE = "lightning"
_HYPER_PARAMETERS = "hyper_parameters"
_PLAIN = bool | int | float | str | None


@dataclass(frozen=True)
class Named:
    """What `lightning:FILE.py:CLASS[:CHECKPOINT]` names; `kind` as `load_object` takes it."""

    kind: str
    checkpoint: Path | None = None

    @classmethod
    def of(cls, spec: str, base: Path | None = None) -> Named:
        """Raises InputError for a name of another form."""
        where, _, rest = spec.partition(":")[2].partition(":")
        name, _, checkpoint = rest.partition(":")
        if not where or not name:
            raise InputError(expected("model", "lightning:FILE.py:CLASS[:CHECKPOINT]", repr(spec)))
        path = (base or Path()) / Path(checkpoint).expanduser() if checkpoint else None
        return cls(f"{where}:{name}", path)


def build(named: Named, base: Path | None = None) -> nn.Module:
    """The module that a class makes of the hyper-parameters in its checkpoint, without its weights."""
    kind = load_object(named.kind, option="model", base=base)
    if not callable(kind):
        raise InputError(expected("model", f"{named.kind} to be a class", type(kind).__name__))
    given = {} if named.checkpoint is None else _hyper_parameters(named.checkpoint)
    keywords = {name: value for name, value in given.items() if _takes(kind, name)}
    if odd := [name for name, value in keywords.items() if not _is_plain(value)]:
        way_out = (
            f"Give a function of your own that makes the model: {named.kind.partition(':')[0]}:FUNCTION."
        )
        got = f"{odd[0]}, which is something else"
        raise InputError(
            expected(f"hyper-parameters in {named.checkpoint}", "numbers, texts and lists", got, way_out)
        )
    try:
        model = kind(**keywords)
    except Exception as error:
        way_out = "" if given else "Its checkpoint may say with what: lightning:FILE.py:CLASS:CHECKPOINT."
        raise InputError(expected("model", f"{named.kind} to make a model", told(error), way_out)) from error
    if not isinstance(model, nn.Module):
        raise InputError(expected("model", f"{named.kind} to be a LightningModule", type(model).__name__))
    return model


def _hyper_parameters(checkpoint: Path) -> dict[str, Any]:
    found = stored_beside(checkpoint, _HYPER_PARAMETERS)
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    return isinstance(value, _PLAIN)


def _takes(kind: Any, name: str) -> bool:
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)
