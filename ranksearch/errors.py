"""The errors that ranksearch raises on purpose; everything else is a defect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ranksearch.visible import visible


class RankSearchError(Exception):
    """Root of all errors raised on purpose."""


class InputError(RankSearchError):
    """Something the user handed in (an option, a file, a model, data) cannot be used as it is."""


class BudgetError(InputError):
    """No plan meets the budget; the message names the smallest budget that can be met."""


class MismatchError(InputError):
    """A plan, a run folder or weights belong to another model or configuration."""


class NonFiniteError(RankSearchError):
    """A layer produced NaN or infinity where finite numbers are required."""


def expected(what: str, wanted: str, got: object, way_out: str = "") -> str:
    """The one template of error messages: what, what was expected, what came, the way out."""
    came = str(got)
    if len(came) > 2 * _CAME:
        came = f"{came[:_CAME]}…{came[-_CAME:]}"
    message = f"{what}: expected {wanted}, got {came}."
    return visible(f"{message} {way_out}" if way_out else message)


_CAME = 1000
"""Characters at either end: names come first, reasons last."""


_TOLD = 400
"""Characters."""


def told(error: BaseException) -> str:
    """The kind of somebody else's error, and what it says, if it says anything, in one line.

    Of one of ours that tells of somebody else's it is theirs.
    """
    if isinstance(error, RankSearchError) and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    kind = type(error).__name__
    return f"{kind}: {text[:_TOLD]}{'…' * (len(text) > _TOLD)}" if text else kind


@contextmanager
def blaming(what: str, wanted: str, way_out: str = "") -> Iterator[None]:
    """Whatever somebody else's code raises becomes an InputError about it; what is raised on purpose passes, and so
    does what is the system's fault."""
    try:
        yield
    except Exception as error:
        if isinstance(error, RankSearchError) or is_of_the_system(error):
            raise
        raise InputError(expected(what, wanted, told(error), way_out)) from error


_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def is_of_the_system(error: BaseException) -> bool:
    """Whether files or memory are to blame, not the code that met with it: the same may work another time."""
    if isinstance(error, OSError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY)
