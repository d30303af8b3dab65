"""How a command ends early: what is told of an error, and with which exit code."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ranksearch.cli.paths import shown
from ranksearch.errors import InputError, RankSearchError, told

FAILURE, USER_MISTAKE, NOT_KEPT, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143
"""NOT_KEPT: everything was delivered, but a promise is not kept, or a criterion not met."""

EXIT_CODES = (
    "Exit codes: 0 done; 1 something failed, such as the disk, the memory or a format of --export; 2 something to "
    "correct, named in the message, or a delivered model that differs; 3 delivered, but --max-drop or --accept is not "
    "met; 130 Ctrl-C; 141 nobody reads the output; 143 SIGTERM."
)
"""What the help says at its end."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: whoever sent it wants what Ctrl-C brings."""


@dataclass(frozen=True)
class Ending:
    """What is told of an error. go_on: whether the same command may get further when it is started again."""

    message: str
    code: int
    go_on: bool = False


def ending(error: BaseException) -> Ending | None:
    """How an error ends a command; None for what nobody foresaw, which is a defect."""
    if any(map(_is_memory, _causes(error))):
        advice = "Choose a smaller --batch-size or --calibration-size, or free some memory."
        return Ending(f"out of memory. {advice}", FAILURE, go_on=not isinstance(error, InputError))
    if isinstance(error, RankSearchError):
        return Ending(str(error), USER_MISTAKE if isinstance(error, InputError) else FAILURE)
    if isinstance(error, Terminated):
        return Ending("ended by SIGTERM.", TERMINATED, go_on=True)
    if isinstance(error, KeyboardInterrupt):
        return Ending("interrupted.", INTERRUPTED, go_on=True)
    if isinstance(error, OSError):
        return Ending(_system(error), FAILURE, go_on=True)
    for what, kinds in _SERVERS.items():
        if _is_one(error, kinds):
            return Ending(f"{what} failed ({_server(error)}).", FAILURE, go_on=True)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


_MEMORY = ("MemoryError", "torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError")
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""What RuntimeErrors of torch say: it has no class for the memory of a CPU, nor for that of some libraries."""

_SERVERS = {
    "storage: the proxy": ("grpc.RpcError",),
    "storage: the database": (
        "optuna.exceptions.StorageInternalError",
        "sqlalchemy.exc.DisconnectionError",
        "sqlalchemy.exc.InterfaceError",
        "sqlalchemy.exc.OperationalError",
        "sqlalchemy.exc.PendingRollbackError",
        "sqlalchemy.exc.TimeoutError",
    ),
    "artifacts: the store": ("botocore.exceptions.BotoCoreError", "botocore.exceptions.ClientError"),
}
"""What other people's servers raise, by what is said to have failed."""


def _is_one(error: BaseException, names: tuple[str, ...]) -> bool:
    """Whether an error is of one of these classes. By name, since their packages take a second to import."""
    found = {
        f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.") for kind in type(error).__mro__
    }
    return not found.isdisjoint(names)


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in _MEMORY_WORDS)
    return said or _is_one(error, _MEMORY)


def _server(error: BaseException) -> str:
    """What the server itself said, without the statement and its values, which SQLAlchemy adds to it."""
    *_, first = _causes(error)
    details = getattr(first, "details", None)  # of gRPC
    return str(details()) if callable(details) else told(getattr(first, "orig", None) or first)


_ADVICE = {
    errno.ENOSPC: "Free some space.",
    errno.EDQUOT: "Free some space.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n).",
}


def _system(error: OSError) -> str:
    """Which file it is about, where that is known, the reason, and what helps."""
    # Of an error in a data loader's worker the last line is the error, and what comes before it the worker's traceback.
    reason = error.strerror or (str(error).strip().splitlines() or [type(error).__name__])[-1]
    path = error.filename if error.filename2 is None else error.filename2
    where = f"{shown(Path(os.fsdecode(path)))}: " if isinstance(path, str | bytes | os.PathLike) else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{where}{str(reason).rstrip('.')}." + (f" {advice}" if advice else "")
