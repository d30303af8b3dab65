"""Whatever has happened to a run's folder, commands on it end in success or in lines of their own, and run nothing that
the folder names.

RANKSEARCH_FUZZ says how many damaged folders to try.
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from damage import BINARY, JSON, TEXT, damaged
from endings import USER_MISTAKE, check_ending, invoke
from torch import nn

import ranksearch
from ranksearch.errors import RankSearchError
from ranksearch.objects import load_object

pytestmark = pytest.mark.fuzz

COUNT = int(os.environ.get("RANKSEARCH_FUZZ", "60"))

EVIL = 'open("EXECUTED", "w").close()\n'

WAYS = ("damaged", "damaged", "damaged", "named", "named", "gone", "empty", "folder", "link", "swapped")


@pytest.fixture(scope="session")
def finished(own_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    out = tmp_path_factory.mktemp("finished") / "run"
    words = ["--budget", "0.6,0.4", "--decompositions", "svd", "--n-trials", "2", "--finetune-trials", "0"]
    words += ["--epochs", "0", "--export", "none"]
    own = f"{own_folder}/own.py"
    result = invoke(["run", "--model", f"{own}:model", "--data", f"{own}:data", *words, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


def spoil(folder: Path, random: Random) -> str:
    """Damage one file of a folder, or two; what was done."""
    told = []
    for _ in range(random.choice((1, 1, 2))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            continue
        path = random.choice(files)
        content = path.read_bytes()
        how = random.choice(WAYS)
        told.append(f"{path.relative_to(folder)} {how}")
        match how:
            case "damaged":
                as_text = path.suffix in (".json", ".toml", ".csv", ".jsonl", ".txt", ".md", ".html")
                kind = next((n for n in (*JSON, *TEXT, *BINARY) if n.endswith(path.suffix)), "w.pt")
                path.write_bytes(damaged(kind if as_text else "w.pt", content, random) if content else b"x")
            case "named":
                named = options_changed(path.suffix, content, random)
                path.write_bytes(named)
            case "gone" | "folder" | "link":
                path.unlink()
                if how == "folder":
                    path.mkdir()
                elif how == "link":
                    path.symlink_to(random.choice((str(folder.parent / "victim"), "nowhere", ".")))
            case "empty":
                path.write_bytes(b"")
            case _:
                path.write_bytes(random.choice(files).read_bytes())
    return ", ".join(told)


def options_changed(suffix: str, content: bytes, random: Random) -> bytes:
    """An option, among those that a plan or a folder keeps, that now names code or a file."""
    value = random.choice(
        ("evil.py:x", "evil:x", "../victim", "/dev/null", "sqlite:///victim", "pickle:evil.pkl")
    )
    try:
        if suffix == ".json":
            found = json.loads(content)
            options = found["options"]
            options[random.choice([*options, "loss", "metric_fn", "collate", "out", "decompositions"])] = (
                value
            )
            if random.random() < 0.3:
                found["model"]["name"] = value
            return json.dumps(found).encode()
        if suffix == ".toml":
            name = random.choice([*tomllib.loads(content.decode()), "loss", "objective", "weights", "cache"])
            kept = [line for line in content.decode().splitlines() if not line.startswith(f"{name} =")]
            return "\n".join([f"{name} = {json.dumps(value)}", *kept, ""]).encode()
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    return content.replace(b"own.py:", b"evil.py:")


def commands(run: Path, own: str) -> list[list[str]]:
    """What is done with a run's folder, and with what is in it."""
    model, data, folder = ["--model", f"{own}:model"], ["--data", f"{own}:data"], str(run)
    plan, one = f"{folder}/plan-0.4.json", f"{folder}/compressed/0.4"
    delivered = ["--epochs", "0", "--export", "none", "--quiet"]
    return [
        ["show", folder],
        ["show", folder, "--all", "--json"],
        ["show", plan],
        ["show", one],
        ["plan", folder, "--budget", "0.5"],
        ["plan", folder, "--front"],
        ["report", folder],
        ["compare", folder, folder],
        ["verify", folder, *model],
        ["verify", one, *model, *data, "--json"],
        ["verify", folder],
        ["export", plan, "--to", "chains"],
        ["export", one, *model, "--to", "torchscript"],
        ["compress", plan, *model, *data, *delivered, "--out", "made"],
        ["compress", plan, *delivered, "--out", "made"],
        ["run", "--resume", "--out", folder, *model, *data],
        ["run", "--resume", "--out", folder],
        ["worker", folder, "--storage-timeout", "0"],
    ]


def calls(run: Path, model: Callable[[], nn.Module]) -> list[Callable[[], object]]:
    """What Python does with a run's folder."""
    one = run / "compressed" / "0.4"
    return [
        lambda: ranksearch.load(one, model()),
        lambda: ranksearch.load(one),
        lambda: ranksearch.plan(run, 0.3),
        lambda: ranksearch.report(run),
        lambda: ranksearch.export_plan(run / "plan-0.4.json", to="ranks"),
    ]


@pytest.mark.parametrize("case", range(COUNT))
def test_commands_on_a_damaged_folder(case: int, finished: Path, own_folder: Path, tmp_path: Path) -> None:
    random = Random(case)
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "victim").write_text("precious")
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    about = spoil(run, random)
    weights = run / "compressed" / "0.4" / "model.safetensors"
    whole = weights.is_file() and weights.read_bytes() == (finished / weights.relative_to(run)).read_bytes()
    for words in random.sample(commands(run, f"{own_folder}/own.py"), 3):
        result = invoke(words)
        check_ending(result, f"case {case}, {about}: {' '.join(words)}")
        if words[0] == "verify" and not whole:
            assert result.exit_code == USER_MISTAKE, about
        if words[0] in ("run", "compress", "export"):
            break  # these may have repaired it
    with suppress(RankSearchError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        random.choice(calls(run, load_object(f"{own_folder}/own.py:model", option="model")))()
    assert not (tmp_path / "EXECUTED").exists(), about
    assert (tmp_path / "victim").read_text() == "precious", about
