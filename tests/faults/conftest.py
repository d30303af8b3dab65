"""Commands in processes of their own, in which a chosen system call on files fails, or is the last."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..searching.conftest import _postgres, postgres  # noqa: TID252  (a server for both)

__all__ = ["_postgres", "postgres"]

HERE = Path(__file__).parent

FAIL_ONCE, FAIL_FROM_THEN_ON, KILL, KILL_HALFWAY = range(4)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal; what it printed; its calls, `write /a/b`."""

    code: int
    output: str
    events: tuple[str, ...]


@dataclass
class Victim:
    """A process that runs commands, each in a fork."""

    process: subprocess.Popen[str]
    logs: Path
    count: int = 0

    def run(
        self,
        words: Sequence[object],
        under: Path,
        *,
        number: int = 0,
        how: int = FAIL_ONCE,
        error: int = errno.EIO,
        here: bool = False,
    ) -> Ended:
        """How a command ends whose call of some number, of those on files in a folder, fails; 0 for none.

        here: in the process itself, so that all that is imported on the way is there for the commands that follow.
        """
        self.count += 1
        output = self.logs / f"{self.count}.txt"
        request = {
            "words": [str(word) for word in words], "under": str(under), "output": str(output), "number": number,
            "how": how, "errno": error, "here": here,
        }  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        printed = output.read_text() if output.is_file() else ""
        return Ended(found["code"], printed, tuple(found["events"]))


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("shim")
    shim = folder / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", shim, HERE / "shim.c", "-ldl"], check=True)
    own = {"LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    with subprocess.Popen(
        [sys.executable, str(HERE / "victim.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **own},
    ) as process:  # fmt: skip
        yield Victim(process, folder)
        process.kill()
