"""Runs commands in processes of its own, with the shim that has system calls fail: one request on each line of the
input, one answer on each line of the output, both JSON.

Everything is imported once, here, and each command runs in a fork.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from matplotlib.figure import Figure

from ranksearch.cli import main as ranksearch
from ranksearch.cli.app import app

SHIM = ctypes.CDLL(os.environ["LD_PRELOAD"])
SHIM.faults_events.restype = ctypes.c_char_p


def command(words: list[str], entry: Callable[[], object]) -> int:
    """The exit code of `ranksearch` with some words."""
    sys.argv = ["ranksearch", *words]
    try:
        entry()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 99
    return 0


def child(request: dict[str, Any], report: int) -> None:
    folder = request["under"]
    os.chdir(folder)
    told = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(told, 1)
    os.dup2(told, 2)
    SHIM.faults_arm(folder.encode(), request["number"], request["how"], request["errno"])
    code = command(request["words"], ranksearch)
    with suppress(ValueError):  # they are closed
        sys.stdout.flush()
        sys.stderr.flush()
    events = SHIM.faults_events().decode(errors="replace").splitlines()
    with os.fdopen(report, "w") as out:
        json.dump({"code": code, "events": events}, out)
    os._exit(0)


def drawn(figure: Figure, target: Any, **options: Any) -> None:
    """A third of a short run is spent in drawing, before anything of it is written."""
    target.write(b"<svg/>")


def main() -> None:
    Figure.savefig = drawn  # type: ignore[method-assign]
    own = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("here"):  # so that what it imports is there for the forks
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 1)
            os.dup2(devnull, 2)
            code = command(request["words"], app)
            print(json.dumps({"code": code, "events": []}), file=own, flush=True)
            continue
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            child(request, write)
        os.close(write)
        with os.fdopen(read) as report:
            found = report.read()
        _, status = os.waitpid(pid, 0)
        ended = {"code": -os.WTERMSIG(status) if os.WIFSIGNALED(status) else 98, "events": []}
        print(found or json.dumps(ended), file=own, flush=True)


if __name__ == "__main__":
    main()
