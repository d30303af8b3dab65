"""How commands end that cannot go on: one line, an exit code, and the way on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError
from typer.testing import Result

import ranksearch.cli.console
import ranksearch.cli.probe
import ranksearch.cli.run
import ranksearch.runs.deliver
import ranksearch.runs.probe
import ranksearch.runs.run
from ranksearch.cli.endings import Ending, ending
from ranksearch.errors import InputError, NonFiniteError
from ranksearch.runs import RunFolder

Invoke = Callable[..., Result]

MEMORY = "out of memory. Choose a smaller --batch-size or --calibration-size, or free some memory."


def system(number: int, *files: str) -> OSError:
    return OSError(number, os.strerror(number), *files)


def raising(error: BaseException) -> Callable[..., Any]:
    """Raises a copy each time, since what is noted on an error stays there."""

    def stop(*_: object, **__: object) -> None:
        raise caused(copy(error), error.__cause__)

    return stop


def told(result: Result, code: int = 1) -> list[str]:
    """What a command that ended early says after its last progress, without a traceback."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    (first,) = [k for k, line in enumerate(lines) if line.startswith("error: ")]
    return lines[first:]


# what is told of an error


def caused(error: BaseException, cause: BaseException | None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (system(errno.ENOSPC), Ending("No space left on device. Free some space.", 1, True)),
        (system(errno.ENOSPC, "/a/b"), Ending("/a/b: No space left on device. Free some space.", 1, True)),
        (system(errno.EROFS, "/a/b"), Ending("/a/b: Read-only file system.", 1, True)),
        (system(errno.EIO), Ending("Input/output error.", 1, True)),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded", "/a/.b.1.tmp", None, "/a/b"),
            Ending("/a/b: Disk quota exceeded. Free some space.", 1, True),
        ),
        (
            system(errno.EMFILE, "/a/b"),
            Ending("/a/b: Too many open files. Raise the limit on open files (ulimit -n).", 1, True),
        ),
        (OSError("disk on fire"), Ending("disk on fire.", 1, True)),
        (OSError(), Ending("OSError.", 1, True)),
        (OSError("Caught\nOriginal Traceback\nOSError: disk on fire\n"), Ending("OSError: disk on fire.", 1, True)),
        (MemoryError(), Ending(MEMORY, 1, True)),
        (system(errno.ENOMEM), Ending(MEMORY, 1, True)),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), Ending(MEMORY, 1, True)),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), Ending(MEMORY, 1, True)),
        (caused(InputError("model: expected"), MemoryError()), Ending(MEMORY, 1, False)),
        (InputError("x"), Ending("x", 2)),
        (NonFiniteError("x"), Ending("x", 1)),
        (KeyboardInterrupt(), Ending("interrupted.", 130, True)),
        (
            OperationalError("INSERT", {"a": "secret"}, ValueError("database is locked")),
            Ending("storage: the database failed (ValueError: database is locked).", 1, True),
        ),
        (
            caused(StorageInternalError("x"), OperationalError("INSERT", {}, ValueError("gone away"))),
            Ending("storage: the database failed (ValueError: gone away).", 1, True),
        ),
        (RuntimeError("a defect"), None),
        (KeyError("a defect"), None),
        (SystemExit(3), None),
    ],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_ending(error: BaseException, expected: Ending | None) -> None:
    assert ending(error) == expected


# commands


ERRORS = [
    (system(errno.ENOSPC, "x.json"), "error: x.json: No space left on device. Free some space."),
    (MemoryError(), f"error: {MEMORY}"),
]


@pytest.mark.parametrize(("error", "line"), ERRORS)
@pytest.mark.parametrize("where", ["run.deliver", "run.record_search", "deliver.evaluated"])
def test_run(
    run: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str, where: str
) -> None:
    monkeypatch.setattr(f"ranksearch.runs.{where}", raising(error))
    result = run("--budget", "0.5", "--out", "o")
    assert told(result) == [line, "continue with: ranksearch run --resume --out o --trust"]
    assert "Traceback" in (tmp_path / "o" / "log.txt").read_text()


def test_run_after_its_results(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranksearch.cli.run, "_where", raising(system(errno.EIO)))
    result = run("--budget", "0.5", "--out", "o o", "--n-trials", "0", "--epochs", "0")
    assert told(result) == [
        "error: Input/output error.",
        "continue with: ranksearch run --resume --out 'o o' --trust",
    ]


@pytest.mark.parametrize(("error", "line"), ERRORS)
def test_probe(
    invoke: Invoke, own_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    monkeypatch.setattr(ranksearch.runs.probe, "write_spectra", raising(error))
    own = f"{own_folder}/own.py"
    result = invoke("probe", "--model", f"{own}:model", "--data", f"{own}:data", "--out", "p")
    assert told(result) == [line, "continue with: ranksearch probe --resume --out p --trust"]


def test_other_commands(
    finished_run: tuple[Path, Result], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = finished_run[0] / "plan-0.4.json"
    monkeypatch.setattr(ranksearch.runs.deliver, "compress", raising(system(errno.ENOSPC)))
    assert told(invoke("compress", "--trust", plan, "--out", "o")) == [
        "error: No space left on device. Free some space.",
        "continue with: the same command",
    ]
    assert "Traceback" in Path("o/log.txt").read_text()
    monkeypatch.setattr(Path, "is_file", raising(system(errno.EIO, "x")))
    assert told(invoke("show", plan)) == ["error: x: Input/output error."]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EMFILE])
@pytest.mark.parametrize("name", ["plan-0.5.json", "front.json", "model.safetensors"])
def test_a_write_that_fails(
    run: Invoke, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    out = tmp_path / "o"
    own = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise OSError(number, os.strerror(number), str(source), None, str(target))
        own(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        result = run("--budget", "0.5", "--out", out, "--n-trials", "0", "--epochs", "0")
    line, way_on = told(result)
    assert f"{name}: {os.strerror(number)}." in line
    assert way_on == "continue with: ranksearch run --resume --out o --trust"
    again = invoke(*way_on.split()[3:])
    assert again.exit_code == 0, again.output
    assert RunFolder(out).front.is_file()


def test_the_journal_cannot_be_synced(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.fsync

    def sync(descriptor: int) -> None:
        study = Path("o/study.jsonl")
        if study.exists() and os.fstat(descriptor).st_ino == study.stat().st_ino:
            raise system(errno.ENOSPC)
        own(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    line, way_on = told(run("--budget", "0.5", "--out", "o"))
    assert line.endswith("No space left on device. Free some space.")
    assert way_on == "continue with: ranksearch run --resume --out o --trust"


def test_the_database_goes_away(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = OperationalError("UPDATE", {}, ValueError("server closed the connection"))
    storage = ("--storage", "sqlite:///s.db", "--storage-timeout", "0.1")
    for own in (gone, caused(StorageInternalError("x"), gone)):
        with monkeypatch.context() as patched:
            patched.setattr(RDBStorage, "set_trial_state_values", raising(own))
            result = run("--budget", "0.5", "--out", "o", "--resume", *storage)
        assert told(result) == [
            "error: --storage: the database failed (ValueError: server closed the connection).",
            "continue with: ranksearch run --resume --out o --trust",
        ]
    assert run("--budget", "0.5", "--out", "o", "--resume", *storage).exit_code == 0


def test_what_is_no_use_to_repeat_names_no_way_on(run: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranksearch.runs.run, "deliver", raising(NonFiniteError("layer 0: NaN")))
    assert told(run("--budget", "0.5", "--out", "o")) == ["error: layer 0: NaN"]


def test_a_log_that_cannot_be_written_to(
    run: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    monkeypatch.setattr(RunFolder, "log", Path("/dev/full"))
    monkeypatch.setattr(ranksearch.cli.console, "open_own", os.open)  # which refuses devices
    result = run("--budget", "0.5", "--out", tmp_path / "o", "--n-trials", "0", "--epochs", "0")
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.output
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert "warning: full cannot be written to (No space left on device)" in warnings
    monkeypatch.setattr(ranksearch.runs.run, "deliver", raising(system(errno.ENOSPC)))
    result = run("--budget", "0.5", "--out", tmp_path / "p", "--n-trials", "0", "--epochs", "0")
    assert told(result)[0] == "error: No space left on device. Free some space."


# processes


def ranksearch_process(*arguments: object, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ranksearch", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more)


def test_nobody_reads_the_output(finished_run: tuple[Path, Result]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = ranksearch_process("show", finished_run[0], stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 141


@pytest.mark.parametrize("arguments", [("show", "."), ("--version",)])
def test_the_output_is_full(finished_run: tuple[Path, Result], arguments: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "w") as full:
        process = ranksearch_process(*arguments, stdout=full, cwd=finished_run[0])
        assert process.communicate(timeout=60)[1] == "error: No space left on device. Free some space.\n"
    assert process.returncode == 1


def test_as_a_module() -> None:
    process = ranksearch_process("--version", stdout=subprocess.PIPE)
    assert process.communicate(timeout=60)[0].startswith("ranksearch ")
    assert process.returncode == 0
