"""`--json`: one object on standard output, with the documented keys, and the same exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from ranksearch.cli import endings, text
from ranksearch.planning import read_plan
from ranksearch.searching import read_front

Invoke = Callable[..., Result]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "command_line.md").read_text(encoding="utf-8")


def answered(result: Result, code: int = 0) -> dict[str, Any]:
    """What a command printed for a program, every key of which is documented."""
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))
    assert found.pop("format") == 1
    documented = set(re.findall(r"`(\w+)`", DOCUMENT))
    assert found.keys() <= documented | {"command"}
    for model in found.get("models", []):
        assert model.keys() <= documented
    return found


def test_a_run_its_folder_and_a_plan_carried_out(
    run: Invoke, invoke: Invoke, own_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = run("--budget", "0.6,0.4", "--out", out, "--seed", "1", "--json", "--accept", "top1>=101")
    found = answered(result, endings.NOT_KEPT)
    assert found["command"] == "run"
    assert found["passed"] is False
    assert "before and after" in result.stderr
    assert [model["budget"] for model in found["models"]] == ["0.6", "0.4"]
    for model in found["models"]:
        record = read_plan(Path(model["folder"]) / "plan.json")
        assert model["cost"] == record.cost
        assert model["cost"]["params"] <= model["limit"]
        assert model["scores"]["test"] == {
            "mean": record.scores["test"], "stderr": record.scores["test_stderr"], "count": 40,
        }  # fmt: skip
        assert model["bytes"] < found["dense"]["bytes"]
        assert read_plan(Path(model["plan"])).asked == model["budget"]
        assert {name: x["decomposition"] for name, x in model["layers"].items()} == {
            layer.name: layer.decomposition for layer in record.layers
        }
    assert found["dense"]["cost"] == record.dense
    shown = answered(invoke("show", out, "--json"))
    assert shown["front"] == read_front(out / "front.json").model_dump(mode="json")
    assert (shown["dense"], shown["models"]) == (found["dense"], found["models"])
    verified = answered(invoke("verify", out, "--model", f"{own_folder}/own.py:model", "--json"))
    assert verified["passed"]
    assert len(verified["models"]) == 2
    (out / "compressed" / "0.4" / "model.safetensors").write_bytes(b"")
    broken = answered(invoke("verify", out, "--json"), endings.USER_MISTAKE)
    assert [model["error"] is None for model in broken["models"]] == [False, True]


def test_plans_layers_and_a_compressed_model(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path
) -> None:
    path, _ = finished_run
    plan = tmp_path / "plan.json"
    (made,) = answered(invoke("plan", path, "--budget", "0.5", "--out", plan, "--json"))["plans"]
    assert Path(made["plan"]) == plan
    assert made["cost"] == read_plan(plan).cost
    assert answered(invoke("show", plan, "--json"))["plan"]["cost"] == made["cost"]
    front = answered(invoke("plan", path, "--front", "--out", tmp_path / "front.csv", "--json"))
    assert len(front["front"]) > 2
    layers = answered(invoke("layers", "--json"))
    assert layers["params"] == 93_546
    assert all(layer["decompositions"] or layer["reason"] for layer in layers["layers"])
    done = invoke("compress", plan, "--trust", "--epochs", "0", "--export", "none", "--json")
    (model,) = answered(done)["models"]
    assert model["folder"] == str(tmp_path / "plan-compressed")
    exported = answered(invoke("export", model["folder"], "--to", "torchscript", "--trust", "--json"))
    (found,) = exported["models"]
    assert [one["format"] for one in found["exports"]] == ["torchscript"]
    assert (Path(found["folder"]) / found["exports"][0]["file"]).is_file()
    assert found["failed"] == {}
    chains = answered(invoke("export", plan, "--to", "chains", "--json"))
    (file,) = chains["exports"]
    assert (file["format"], file["left_out"], file["left_float"]) == ("chains", {}, [])
    assert Path(file["file"]).is_file()
    page = answered(invoke("report", path, "--out", tmp_path / "page.html", "--json"))["report"]
    assert page == str(tmp_path / "page.html")
    probed = answered(
        invoke(
            "probe", "--json", "--images", "24", "--bonds", "4", "--decompositions", "svd", "--no-plots",
            "--out", tmp_path / "probe",
            "--model", f"{path.parent}/own.py:model", "--data", f"{path.parent}/own.py:data",
        )
    )  # fmt: skip
    assert probed["probe"]["verdict"]["score"] <= 1


def test_an_error_is_an_object_too(invoke: Invoke) -> None:
    for command in (("run", "--budget", "20"), ("show", "nowhere"), ("layers", "--model", "resnet18")):
        result = invoke(*command, "--json")
        found = answered(result, endings.USER_MISTAKE)
        assert found["exit_code"] == endings.USER_MISTAKE
        assert found["error"] in result.stderr


def test_an_interrupted_run_says_how_it_goes_on(
    run: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ranksearch.runs.run.prepare", interrupt)
    result = run("--budget", "0.5", "--out", tmp_path / "stopped", "--json")
    found = answered(result, endings.INTERRUPTED)
    assert found["exit_code"] == endings.INTERRUPTED
    assert found["go_on"] in result.stderr
    assert found["go_on"].startswith("ranksearch run --resume --out ")


def test_every_exit_code_is_documented() -> None:
    codes = {
        endings.FAILURE, endings.USER_MISTAKE, endings.NOT_KEPT,
        endings.INTERRUPTED, endings.TERMINATED, text.BROKEN_PIPE,
    }  # fmt: skip
    for code in codes:
        assert re.search(rf"\b{code}\b", endings.EXIT_CODES)
        assert f"| {code} |" in DOCUMENT
