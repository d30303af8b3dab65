from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ranksearch.errors import InputError, MismatchError
from ranksearch.runs import RunFolder, RunOptions, open_run
from ranksearch.runs.config import parse, read_toml
from ranksearch.runs.run_folder import SplitsRecord, default_path


def options(out: Path, **more: object) -> RunOptions:
    return parse({"budget": 0.2, "out": str(out)} | more)


def test_a_new_run_writes_its_options(tmp_path: Path) -> None:
    made = options(tmp_path / "a" / "b", seed=3)
    with open_run(made) as folder:
        assert folder.path == tmp_path / "a" / "b"
        assert parse(read_toml(folder.config)) == made
    assert not list(folder.path.glob("*.tmp"))


def test_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_run(parse({"model": "torchvision:resnet18"})) as folder:
        assert folder.path.parent == tmp_path / "runs"
        assert folder.path.name.startswith("torchvision-resnet18-")
    assert default_path("/some/where/net.py:make").name.startswith("net-py-make-")


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    with open_run(options(tmp_path)):
        pass
    with (
        pytest.raises(InputError, match=r"holds a run\. Continue it with `resume`"),
        open_run(options(tmp_path)),
    ):
        pass


@pytest.mark.parametrize("resume", [False, True])
def test_other_content_is_not_touched(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with (
        pytest.raises(InputError, match=r"holds thesis\.tex. Choose another `out`"),
        open_run(options(tmp_path, resume=resume)),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(InputError, match="out: expected a folder"), open_run(options(path)):
        pass


def test_what_cannot_be_made_or_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    told = r"^out: expected a folder that can be made and written to, got .* \(%s\)\. Choose another `out`\.$"
    with (
        pytest.raises(InputError, match=told % "Not a directory"),
        open_run(options(tmp_path / "file" / "x")),
    ):
        pass
    with (
        pytest.raises(InputError, match=told % "File name too long"),
        open_run(options(tmp_path / ("x" * 999))),
    ):
        pass

    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    # The superuser, whom tests may run as, may write everywhere.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=told % "Permission denied"), open_run(options(tmp_path / "locked")):
        pass


def test_resume_goes_on_and_clears_what_a_killed_run_left_half_written(tmp_path: Path) -> None:
    with open_run(options(tmp_path)) as folder:
        folder.study.write_text("journal\n")
        (tmp_path / "compressed" / "0.2").mkdir(parents=True)
        (tmp_path / "compressed" / "0.2" / ".model.safetensors.0123abcd.ranksearch.tmp").write_text("half")
        (tmp_path / ".front.json.0123abcd.ranksearch.tmp").write_text("half")
        (tmp_path / ".mine").mkdir()
        (tmp_path / ".mine" / ".notes.tmp").write_text("somebody else's")
    with open_run(options(tmp_path, resume=True, workers=2, loader_workers=2, timeout=9)) as folder:
        assert folder.study.read_text() == "journal\n"
        assert [path.name for path in tmp_path.rglob(".*.tmp")] == [".notes.tmp"]
        assert read_toml(folder.config)["loader_workers"] == 0


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """Whoever made the folder may have put links in it to files of the user who goes on with it."""
    precious = tmp_path / "precious"
    for name, link in (
        (".lock", Path.symlink_to),
        (".lock", Path.hardlink_to),
        ("log.txt", Path.symlink_to),
        ("log.txt", Path.hardlink_to),
        ("study.jsonl", Path.symlink_to),
        ("splits.json", Path.symlink_to),
        ("compressed", Path.symlink_to),
        ("compressed/0.2", Path.symlink_to),
    ):
        precious.write_text("precious")
        folder = tmp_path / "run"
        (folder / name).parent.mkdir(parents=True)
        link(folder / name, precious)
        with pytest.raises(InputError, match="expected a plain file or folder, got a link"):
            open_run(options(folder, resume=True)).__enter__()
        assert precious.read_text() == "precious"
        shutil.rmtree(folder)


def test_resume_refuses_another_configuration(tmp_path: Path) -> None:
    with open_run(options(tmp_path)):
        pass
    with (
        pytest.raises(MismatchError, match="expected --seed 0, as it was started, got --seed 4"),
        open_run(options(tmp_path, resume=True, seed=4)),
    ):
        pass


def test_resume_of_a_run_that_was_killed_before_it_wrote_anything(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 1")
    (tmp_path / ".config.toml.1.tmp").write_text("budg")
    with open_run(options(tmp_path, resume=True)) as folder:
        assert folder.config.is_file()


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        open_run(options(tmp_path)),
        pytest.raises(InputError, match=r"which process \d+ is using"),
        open_run(options(tmp_path, resume=True)),
    ):
        pass
    with open_run(options(tmp_path, resume=True)):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom ranksearch.runs import open_run, parse\n"
        "with open_run(parse({'budget': 0.2, 'out': sys.argv[1]})):\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    with open_run(options(tmp_path, resume=True)):
        pass


SPLITS = SplitsRecord(seed=0, moments=(1, 4), divergence=(0,), finetune=(5, 3), validation=(2,), test=(7, 9))


def test_splits_are_written_once_and_compared(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_splits(SPLITS)
    before = folder.splits.read_bytes()
    folder.write_splits(SPLITS)
    # as it was written by older versions
    folder.splits.write_text(json.dumps(SPLITS.model_dump()) + "\n")
    folder.write_splits(SPLITS)
    for other in ({"moments": (1, 0), "divergence": (4,)}, {"seed": 1}, {"test": None}):
        with pytest.raises(MismatchError, match="the training images that the run was started with"):
            folder.write_splits(SPLITS.model_copy(update=other))
    folder.splits.write_bytes(before)
    folder.write_splits(SPLITS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "splits.json: expected JSON, got "),
        ({}, "seed: expected a value, got none. And 5 more. If the data is the same"),
        (SPLITS.model_dump() | {"moments": (1, 6)}, "got image 4 in no role. If the data"),
        (SPLITS.model_dump() | {"moments": (1, 4, 4)}, "got image 4 in several roles. If the data"),
        (SPLITS.model_dump() | {"moments": (1, 4), "validation": (0, 2)}, "got image 0 in several roles."),
        (SPLITS.model_dump() | {"moments": (1, -4)}, "moments[1]: expected a number greater than"),
        (SPLITS.model_dump() | {"moments": (1, 4.0)}, "moments[1]: expected a valid integer, got 4.0."),
        (SPLITS.model_dump() | {"test": (7, 7)}, "got a test image named twice"),
    ],
)
def test_splits_that_are_damaged_are_said_to_be(
    tmp_path: Path, change: dict[str, object] | None, message: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.write_splits(SPLITS)
    whole = folder.splits.read_text()
    folder.splits.write_text(whole[: len(whole) // 2] if change is None else json.dumps(change))
    with pytest.raises(InputError) as caught:
        folder.write_splits(SPLITS)
    assert message in str(caught.value)
    assert str(caught.value).endswith("remove the file: it is written anew.")
    folder.splits.unlink()
    folder.write_splits(SPLITS)
    assert folder.splits.read_text() == whole


def test_paths_by_budget(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.plan("0.2").name == "plan-0.2.json"
    assert folder.compressed("0.125") == tmp_path / "compressed" / "0.125"
    for budget in ("0.05", "0.5", "0.2", "54k"):
        folder.plan(budget).write_text("")
    (tmp_path / "plan-0.2-mine.json").write_text("")  # a copy of the user's own
    assert [p.name for p in folder.plans()] == [
        f"plan-{budget}.json" for budget in ("54k", "0.5", "0.2", "0.05")
    ]
