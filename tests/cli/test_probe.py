"""`ranksearch probe`: its files, its words, and going on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod
from pathlib import Path

import pytest
from typer.testing import Result

from ranksearch.cli.verdict import sentences
from ranksearch.probing import ProbeRecord, read_probe
from ranksearch.probing.rows import read_rows
from ranksearch.probing.spectrafile import read_spectra
from ranksearch.runs import parse_probe
from ranksearch.runs.probe_options import ProbeOptions
from ranksearch.searching import read_front

Invoke = Callable[..., Result]

LIGHT = ("--images", "24", "--bonds", "4", "--decompositions", "svd", "--batch-size", "16", "--threads", "1")


@pytest.fixture
def probe(own_folder: Path, invoke: Invoke) -> Invoke:
    own = own_folder / "own.py"
    return lambda *more: invoke("probe", "--model", f"{own}:model", "--data", f"{own}:data", *LIGHT, *more)


def test_files_and_words(probe: Invoke, invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "probe"
    result = probe("--out", out, "--recovery-epochs", "1", "--no-plots")
    assert result.exit_code == 0, result.output
    record = read_probe(out / "probe.json")
    assert record.verdict is not None
    assert [layer.name for layer in record.layers] == ["0", "3", "7"]
    speed = record.verdict.speed
    assert speed is not None
    assert (speed.batch, speed.threads, speed.device) == (1, 1, "cpu")
    measured = {p.budget for p in record.verdict.front if p.measured} | {record.verdict.trouble.budget}
    assert {x.budget for x in speed.plans} == measured
    assert all(x.seconds > 0 for x in speed.plans)
    assert record.recovery is not None
    assert [(e.way, e.epoch) for e in record.recovery.epochs] == [
        ("projected", 0), ("projected", 1), ("factorised", 0), ("factorised", 1),
    ]  # fmt: skip
    assert {r.scope for r in read_rows(out / "sweep.csv")} == {"layer", "all", "prefix", "suffix", "plan"}
    kinds = {s.coordinates for s in read_spectra(out / "spectra.csv")}
    assert kinds == {"plain", "moments", "moments, approximate"}
    for words in ("How compressible is", "score", "Next: ", "ranksearch run", "layer by layer"):
        assert words in result.output
    assert not (out / "figures").exists()
    for path in (out, out / "probe.json"):
        shown = invoke("show", path)
        assert shown.exit_code == 0, shown.output
        assert set(shown.output.splitlines()) <= set(result.output.splitlines())


def test_killed_probe_goes_on(probe: Invoke, invoke: Invoke, tmp_path: Path) -> None:
    options = ("--recovery-epochs", "1", "--no-plots")
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert probe("--out", whole, *options).exit_code == 0
    assert probe("--out", part, *options).exit_code == 0
    sweep = (part / "sweep.csv").read_text()
    (part / "sweep.csv").write_text(sweep[: len(sweep) // 2])
    recovery = json.loads((part / "recovery.json").read_text())
    recovery["epochs"] = recovery["epochs"][:2]
    (part / "recovery.json").write_text(json.dumps(recovery))
    (part / "probe.json").unlink()
    again = invoke("probe", "--resume", "--trust", "--out", part)
    assert again.exit_code == 0, again.output
    assert sorted((part / "sweep.csv").read_text().splitlines()) == sorted(
        (whole / "sweep.csv").read_text().splitlines()
    )
    found = [json.loads((path / "probe.json").read_text()) for path in (part, whole)]
    for record in found:
        assert record["verdict"].pop("speed")["dense"] > 0  # times differ each time
    assert found[0] == found[1]


def test_recovery_is_added_to_a_probe_that_had_none(probe: Invoke, invoke: Invoke, tmp_path: Path) -> None:
    whole, added = tmp_path / "whole", tmp_path / "added"
    assert probe("--out", whole, "--recovery-epochs", "1", "--no-plots").exit_code == 0
    assert probe("--out", added, "--recovery-epochs", "0", "--no-plots").exit_code == 0
    assert read_probe(added / "probe.json").recovery is None
    sweep = (added / "sweep.csv").read_text()
    again = invoke("probe", "--resume", "--trust", "--out", added, "--recovery-epochs", "1")
    assert again.exit_code == 0, again.output
    assert (added / "sweep.csv").read_text() == sweep
    assert read_probe(added / "probe.json").recovery == read_probe(whole / "probe.json").recovery
    refused = invoke("probe", "--resume", "--trust", "--out", added, "--recovery-epochs", "2")
    assert refused.exit_code == 2
    assert "--recovery-epochs 1, as it was started, got --recovery-epochs 2" in refused.output.replace(
        "\n", " "
    )
    assert invoke("probe", "--resume", "--trust", "--out", added).exit_code == 0


@pytest.mark.parametrize(
    ("means", "wanted"),
    [
        ((50.0, 61.0), "it falls to 50.0; 1 epoch of retraining brings it to 61.0 projected."),
        ((50.0, None), "it falls to 50.0."),
        ((None, 61.0), None),
    ],
)
def test_accuracies_that_are_no_numbers_are_not_told(
    means: tuple[float | None, ...], wanted: str | None
) -> None:
    epochs = [
        {"way": "projected", "epoch": k, "params": 9, "accuracy": {"mean": mean, "stderr": None},
         "kl": {"mean": 0.1, "stderr": None}}
        for k, mean in enumerate(means)
    ]  # fmt: skip
    recovery = {"cut": "o|ihw", "norm": 0.9, "layers": 1, "project_each": "epoch", "epochs": epochs}
    dense = {"params": 9, "flops": 9, "accuracy": None, "loss": None, "chance": 0.1}
    content = {"version": 2, "model": None, "task_metric": "top-1 %", "images": None, "dense": dense}
    record = ProbeRecord.model_validate_json(
        json.dumps({**content, "layers": [], "verdict": None, "recovery": recovery})
    )
    told = [*sentences(record)]
    assert len(told) == (wanted is not None)
    assert wanted is None or told[0].endswith(wanted)


def test_another_configuration_is_refused(probe: Invoke, invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "probe"
    assert probe("--out", out, "--recovery-epochs", "0", "--no-sweep", "--no-plots").exit_code == 0
    for more, words in (
        (("--images", "12"), "--images 24, as it was started, got --images 12"),
        (("--seed", "3"), "--seed 0, as it was started, got --seed 3"),
    ):
        refused = invoke("probe", "--resume", "--trust", "--out", out, *more)
        assert refused.exit_code == 2
        assert words in refused.output.replace("\n", " ")
    assert probe("--out", out).exit_code == 2
    free = invoke("probe", "--resume", "--trust", "--out", out, "--plots")
    assert free.exit_code == 0, free.output


def test_only_spectra(probe: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "probe"
    result = probe("--out", out, "--no-sweep", "--no-moments", "--no-plots")
    assert result.exit_code == 0, result.output
    record = read_probe(out / "probe.json")
    assert record.verdict is None
    assert record.images is None
    assert {s.coordinates for s in read_spectra(out / "spectra.csv")} == {"plain"}
    assert not (out / "sweep.csv").exists()


def test_a_layer_without_gradient_says_so(invoke: Invoke, tmp_path: Path) -> None:
    """It has spectra all the same, but no metric of errors to be factorised by."""
    (tmp_path / "detached.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Detached(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        return self[1](self[0](x).detach())\n"
        "def model():\n"
        "    torch.manual_seed(0)\n"
        "    return Detached(nn.Linear(8, 12), nn.Linear(12, 3))\n"
        "def data():\n"
        "    return [(x, k % 3) for k, x in enumerate(torch.randn(120, 8))]\n"
    )
    out, own = tmp_path / "probe", tmp_path / "detached.py"
    options = ("--recovery-epochs", "0", "--no-plots", "--out", out, *LIGHT)
    result = invoke("probe", "--model", f"{own}:model", "--data", f"{own}:data", *options)
    assert result.exit_code == 0, result.output
    record = read_probe(out / "probe.json")
    reason = "no gradient comes to it on the calibration images"
    assert [layer.reason for layer in record.layers] == [reason, None]
    assert {s.layer for s in read_spectra(out / "spectra.csv") if s.coordinates == "plain"} == {"0", "1"}


def test_none_takes_back_what_the_probe_was_started_with() -> None:
    stored = {"recovery_norm": 0.5, "recovery_cut": "ow|ih", "sweep": False}
    assert parse_probe({"recovery_norm": None}, stored).recovery_norm == 0.5
    options = parse_probe({"recovery_norm": "none", "recovery_cut": "none", "sweep": True}, stored)
    assert options == ProbeOptions()


def test_mistakes_name_the_option_and_leave_nothing(probe: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "probe"
    for more, flag in (
        (("--images-from", "moon"), "--images-from"),
        (("--bonds", "1"), "--bonds"),
        (("--input-size", "8"), "--input-size"),
        (("--recovery-norm", "most"), "--recovery-norm"),
        (("--out", f"{__file__}/x"), "--out: expected a folder that can be made and written to"),
    ):
        result = probe("--out", out, *more)
        assert result.exit_code == 2
        assert flag in result.output.replace("\n", " ")
        assert not out.exists()


def test_figures(probe: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "probe"
    assert probe("--out", out, "--recovery-epochs", "1").exit_code == 0
    names = {p.name for p in (out / "figures").iterdir()}
    stems = ("spectra", "entropy", "heatmap", "norm", "depth", "recovery")
    assert names == {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")}
    assert all((out / "figures" / name).stat().st_size > 5000 for name in names)


def test_a_run_takes_the_probe_as_a_prior(
    probe: Invoke, run: Invoke, invoke: Invoke, own_folder: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "probe", tmp_path / "run"
    # Without labels the divergence alone says when a row ends: the labels are random, and a row ends at once.
    unlabelled = ("--data", f"{own_folder}/own.py:unlabelled")
    assert probe("--out", folder, "--recovery-epochs", "0", "--no-plots", *unlabelled).exit_code == 0
    result = run("--budget", "0.6", "--epochs", "0", "--probe", folder, "--out", out, *unlabelled)
    assert result.exit_code == 0, result.output
    assert "prior: raises " in result.stdout
    front = read_front(out / "front.json")
    assert set(front.weights) == {"0", "3", "7"}
    assert prod(front.weights.values()) == pytest.approx(1)
    assert len(set(front.weights.values())) > 1
    origins = [line.split(",")[3] for line in (out / "trials.csv").read_text().splitlines()]
    assert {"analytic", "plain"} <= set(origins)
    trials = (out / "trials.csv").read_bytes()
    again = invoke("run", "--resume", "--trust", "--out", out)
    assert again.exit_code == 0, again.output
    assert (out / "trials.csv").read_bytes() == trials
    refused = run("--budget", "0.6", "--seed", "1", "--probe", tmp_path / "nowhere", "--out", tmp_path / "no")
    assert refused.exit_code == 2
    assert "expected the folder of a finished probe" in refused.output.replace("\n", " ")
