from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

import ranksearch.runs.deliver
import ranksearch.runs.evaluation
import ranksearch.runs.run
import ranksearch.runs.settings
from ranksearch.api import load
from ranksearch.compression.training import KeptTraining
from ranksearch.compression.training import kept as training
from ranksearch.costs import COSTS, Kept, measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError
from ranksearch.exporting import EXPORTERS
from ranksearch.objectives import OBJECTIVES
from ranksearch.planning import read_plan, write_plan
from ranksearch.registry import Registry
from ranksearch.runs import RunFolder, RunOptions
from ranksearch.runs.options import MAIN_PANEL, PANELS
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching import read_front
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.searching.studies import SAMPLERS
from ranksearch.tasks import LOSSES
from ranksearch.tasks.sources.models import load_model

Invoke = Callable[..., Result]


def refused(result: Result, code: int = 2) -> str:
    """The one error of a command that was refused, without a traceback."""
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


# help


def test_help_lists_every_option_in_its_panel(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for flag in ("-h", "--help"):
        text = invoke("run", flag).output
        for name in RunOptions.model_fields:
            assert f"--{name.replace('_', '-')} " in text
        panels = [text.index(f"─ {panel} ─") for panel in (MAIN_PANEL, *PANELS)]
        assert panels == sorted(panels)
        first = text[panels[0] : panels[1]]
        assert re.findall(r"│ --(?:\w+-)*(\w+)", first)[:5] == [
            "budget",
            "model",
            "weights",
            "data",
            "metric",
        ]
        assert "--config" in text
        assert "[PATTERN=]N" in text  # brackets are not taken for markup
        assert "[1536]" in text


@pytest.mark.parametrize(
    "registry", [ALLOCATORS, COSTS, DECOMPOSITIONS, EXPORTERS, LOSSES, OBJECTIVES, SAMPLERS, SEARCH_SPACES]
)
def test_help_names_what_is_registered(
    registry: Registry[Any], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    text = " ".join(invoke("run", "-h").output.replace("│", " ").split())
    for name in registry:
        assert f"{name} ({registry.summary(name)})" in text


def test_overview(invoke: Invoke) -> None:
    text = invoke().output
    for command in ("run", "compress", "show", "layers"):
        assert command in text
    assert "ranksearch run --budget 0.2" in text


def test_version(invoke: Invoke) -> None:
    from importlib.metadata import version

    assert invoke("--version").output == f"ranksearch {version('ranksearch')}\n"


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [(("run", "--bugdet", "0.2"), "--budget"), (("rnu",), "run"), (("show", "x", "--al"), "--all")],
)
def test_typos_are_answered_with_a_suggestion(
    invoke: Invoke, arguments: tuple[str, ...], suggestion: str
) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert suggestion in result.stderr


# run


def test_run_leaves_everything_in_its_folder(finished_run: tuple[Path, Result]) -> None:
    path, result = finished_run
    assert result.exit_code == 0, result.output
    names = {p.name for p in path.iterdir()} - {".lock"}
    assert names == {
        "config.toml", "splits.json", "study.jsonl", "trials.csv", "tables.json",
        "front.json", "front.csv", "front.svg", "report.html",
        "plan-0.6.json", "plan-0.4.json", "compressed", "log.txt",
    }  # fmt: skip
    for budget in ("0.6", "0.4"):
        assert {p.name for p in (path / "compressed" / budget).iterdir()} == {
            "model.safetensors",
            "plan.json",
            "README.md",
            "SHA256SUMS",
        }


def test_run_says_what_it_did(finished_run: tuple[Path, Result], own_folder: Path) -> None:
    path, result = finished_run
    dense = measure_cost(load_model(f"{own_folder}/own.py:model"), torch.zeros(1, 3, 6, 6))
    assert f"at most {int(0.6 * dense.params):,} of {dense.params:,} parameters" in result.stdout
    assert f"at most {int(0.4 * dense.params):,} of {dense.params:,} parameters" in result.stdout
    assert "before and after" in result.stdout
    for place in ("plan-0.4.json", "compressed/0.6", "front.json", "trials.csv", "log.txt"):
        assert f"{path}/{place}" in result.stdout
    assert "divergence 0.4: 3 of 3" in result.stderr
    log = (path / "log.txt").read_text()
    for text in ("before and after", "divergence 0.4: 3 of 3", "n_trials = 3", "at most"):
        assert text in log


def test_delivered_models_meet_the_budget_and_load_again(
    finished_run: tuple[Path, Result], own_folder: Path
) -> None:
    path, _ = finished_run
    dense = load_model(f"{own_folder}/own.py:model")
    example = torch.zeros(1, 3, 6, 6)
    for budget in ("0.6", "0.4"):
        folder = RunFolder(path)
        model = load(folder.compressed(budget), dense)
        record = read_plan(folder.plan(budget))
        cost = measure_cost(model, example)
        assert cost.amounts == record.cost
        assert cost.params <= float(budget) * measure_cost(dense, example).params
        delivered = read_plan(folder.compressed(budget) / "plan.json")
        assert {"divergence", "finetune", "delivered", "validation", "test"} <= set(delivered.scores)
        assert "test" not in record.scores  # the search never sees the test images
        assert record.options["seed"] == 1


def test_the_card_and_the_record_tell_of_the_dense_model(
    finished_run: tuple[Path, Result], invoke: Invoke, own_folder: Path
) -> None:
    path, result = finished_run
    folder = path / "compressed" / "0.4"
    card, delivery = (folder / "README.md").read_text(), read_plan(folder / "plan.json").delivery
    assert delivery is not None
    (row,) = re.findall("^ dense .*$", result.stdout, re.MULTILINE)
    for role, count in (("validation", 24), ("test", 40)):
        dense = delivery.dense[role]
        assert dense.count == count
        assert f"{dense.mean:.2f} ± {dense.stderr:.2f}" in row
        assert f"| {role} | {count} | {dense.mean:.2f} ± {dense.stderr:.2f} |" in card
    assert str(own_folder) not in card
    assert "ranksearch run --model own.py:model --data own.py:data --batch-size 32 --budget 0.6,0.4" in card
    assert '"delivery": {' not in (path / "plan-0.4.json").read_text()
    assert f"model card: {folder}/README.md" in invoke("show", folder).stdout
    assert f"model card: {folder}/README.md" in invoke("show", path).stdout


def test_front_holds_baselines_and_the_chosen_plans(finished_run: tuple[Path, Result]) -> None:
    record = read_front(finished_run[0] / "front.json")
    for budget in (0.6, 0.4):
        plans = [p for p in record.plans if p.budget == budget]
        assert sum(p.chosen for p in plans) == 1
        assert any(p.on_front for p in plans)
        assert plans[0].origin in ("analytic", "uniform", "energy")


def test_files_of_a_run_tell_the_task_metric_before_and_after(
    finished_run: tuple[Path, Result], invoke: Invoke
) -> None:
    path, _ = finished_run
    front = read_front(path / "front.json")
    assert front.task_metric == "top-1 %"
    table = invoke("show", path).stdout
    for asked in ("0.6", "0.4"):
        delivered = read_plan(path / "compressed" / asked / "plan.json")
        assert delivered.delivery is not None
        assert front.dense_measured == delivered.delivery.dense
        (entry,) = [plan for plan in front.plans if plan.chosen and plan.asked == asked]
        assert entry.delivered.keys() == {"validation", "test"}
        for role, found in entry.delivered.items():
            assert (found.mean, found.stderr) == (delivered.scores[role], delivered.scores[f"{role}_stderr"])
            assert f"{found.mean:.2f} ± {found.stderr:.2f}" in table
            dense = front.dense_measured[role]
            assert f"{dense.mean:.2f} ± {dense.stderr:.2f}" in table
        assert read_plan(path / f"plan-{asked}.json").behaviour == delivered.behaviour
    assert not any(plan.delivered for plan in front.plans if not plan.chosen)


def test_same_seed_same_plan(finished_run: tuple[Path, Result], run: Invoke, tmp_path: Path) -> None:
    path, _ = finished_run
    result = run("--budget", "0.6,0.4", "--out", tmp_path / "b", "--seed", "1")
    assert result.exit_code == 0, result.output
    for name in ("plan-0.6.json", "plan-0.4.json", "front.json", "trials.csv", "splits.json"):
        assert (tmp_path / "b" / name).read_bytes() == (path / name).read_bytes()


def test_a_named_allocator_is_delivered_beside_the_analytic_plan(run: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "a"
    result = run("--budget", "0.5", "--out", out, "--allocator", "lc", "--epochs", "0")
    assert result.exit_code == 0, result.output
    record = read_front(out / "front.json")
    assert {"analytic", "uniform", "energy"} <= {plan.origin for plan in record.plans}
    (chosen,) = [plan for plan in record.plans if plan.chosen]
    assert chosen.scores["evaluations"] == 0
    rows = (out / "trials.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in rows[1:]] == ["analytic", "uniform", "energy", "lc"]
    assert read_plan(out / "plan-0.5.json").options["allocator"] == "lc"
    assert (out / "compressed" / "0.5" / "model.safetensors").is_file()


def test_an_unknown_allocator_is_refused_at_once(run: Invoke, tmp_path: Path) -> None:
    error = refused(run("--budget", "0.5", "--out", tmp_path / "u", "--allocator", "best"))
    assert "allocator: expected knapsack or uniform" in error
    assert "got 'best'" in error


def test_a_budget_that_needs_no_compression(run: Invoke, tmp_path: Path) -> None:
    result = run("--budget", "1", "--out", "w", "--n-trials", "2", "--finetune-trials", "0")
    assert result.exit_code == 0, result.output
    record = read_plan(tmp_path / "w" / "compressed" / "1" / "plan.json")
    assert record.cost == record.dense


def test_quiet_prints_results_only(run: Invoke, tmp_path: Path) -> None:
    result = run("--budget", "0.5", "--out", tmp_path / "q", "--n-trials", "0", "--epochs", "0", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith("before and after")
    assert "candidates" in (tmp_path / "q" / "log.txt").read_text()


def test_verbose_prints_what_goes_to_the_log(run: Invoke, tmp_path: Path) -> None:
    result = run("--budget", "0.5", "--out", tmp_path / "v", "--n-trials", "0", "--epochs", "0", "--verbose")
    assert result.exit_code == 0, result.output
    assert "n_trials = 0" in result.stderr


def test_config_file(run: Invoke, own_folder: Path, tmp_path: Path, invoke: Invoke) -> None:
    study = own_folder / "study.toml"
    study.write_text(
        "model = 'own.py:model'\ndata = 'own.py:data'\nbudget = 0.5\nn_trials = 0\nepochs = 5\n"
        "decompositions = 'svd'\nmetric_fn = 'own.py:first'\nbatch_size = 32\n"
    )
    result = invoke("run", "--config", study, "--epochs", "0", "--out", "c")
    assert result.exit_code == 0, result.output
    assert re.search(r"first, +first, *\n.* validation +test", result.stdout), "the task metric's name"
    record = read_plan(tmp_path / "c" / "plan-0.5.json")
    assert record.options["epochs"] == 0
    assert {x.decomposition for x in record.layers} <= {"svd", "dense"}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """The options of every run and delivery, none of which is carried out."""
    found: list[RunOptions] = []

    def stop(*arguments: Any) -> None:
        found.append(next(x for x in arguments if isinstance(x, RunOptions)))
        raise InputError("seen")

    monkeypatch.setattr(ranksearch.runs, "run_pipeline", stop)
    monkeypatch.setattr(ranksearch.runs, "compress_pipeline", stop)
    return found


def test_the_command_line_undoes_what_a_file_says(
    invoke: Invoke, tmp_path: Path, seen: list[RunOptions]
) -> None:
    switches = [
        name
        for name, field in RunOptions.model_fields.items()
        if field.annotation is bool and name != "trust"
    ]
    on = "".join(f"{name} = true\n" for name in switches)
    (tmp_path / "c.toml").write_text(f"budget = 0.5\nprotect_early = 1\ntimeout = 9\nignore = 'fc'\n{on}")
    refused(invoke("run", "--config", "c.toml", "--out", "a"))
    off = [f"--no-{name}" for name in switches]
    unset = ("--protect-early", "none", "--timeout", "none", "--ignore", "none")
    refused(invoke("run", "--config", "c.toml", "--out", "a", *off, *unset))
    before, after = seen
    assert all(getattr(before, name) for name in (*switches, "protect_early", "timeout", "ignore"))
    assert after == RunOptions(budget=("0.5",), out=tmp_path / "a")


def test_lists_add_up(invoke: Invoke, seen: list[RunOptions]) -> None:
    given = "--budget 0.5,0.3 --budget 0.2 --decompositions svd --decompositions cp,svd"
    refused(invoke("run", *given.split()))
    assert [kept.name for kept in seen[0].budget] == ["0.5", "0.3", "0.2"]
    assert seen[0].decompositions == ("svd", "cp")


def test_storage_and_study_name(run: Invoke, tmp_path: Path) -> None:
    import optuna

    result = run("--budget", "0.5", "--out", "s", "--storage", "sqlite:///s.db", "--study-name", "mine")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "s" / "study.jsonl").exists()
    names = optuna.get_all_study_names(f"sqlite:///{tmp_path}/s.db")
    assert names
    assert all(name.startswith("mine-0.5-") for name in names)


# resume


def test_delivered_models_say_what_they_take(finished_run: tuple[Path, Result], invoke: Invoke) -> None:
    path, first = finished_run
    for budget in ("0.6", "0.4"):
        assert read_plan(path / f"plan-{budget}.json").footprint is None
        out = path / "compressed" / budget
        found = read_plan(out / "plan.json").footprint
        assert found is not None
        assert found.time is not None
        assert (found.batch, found.time.runtime, found.time.batch) == (1, "torch", 1)
        assert found.time.low <= found.time.ratio <= found.time.high
        content = (out / "model.safetensors").read_bytes()
        assert found.compressed.bytes == len(content) - 8 - int.from_bytes(content[:8], "little")
        shown = f"{1e3 * found.time.seconds:.3g} ({found.time.ratio:.0%})"
        for text in (first.stdout, invoke("show", path).stdout, invoke("show", out).stdout):
            assert shown in text
            assert "times: torch" in text


def test_resume_finds_everything_done(finished_run: tuple[Path, Result], invoke: Invoke) -> None:
    path, first = finished_run
    before = {
        p: p.read_bytes()
        for p in path.rglob("*")
        # The report tells how long all starts took.
        if p.is_file() and p.name not in ("log.txt", ".lock", "study.jsonl", "report.html")
    }
    result = invoke("run", "--resume", "--trust", "--out", path)
    assert result.exit_code == 0, result.output
    assert {p: p.read_bytes() for p in before} == before
    table = first.stdout[first.stdout.index("before and after") : first.stdout.index("plan  ")]
    assert table in result.stdout


def test_a_model_is_saved_before_it_is_evaluated(
    run: Invoke, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with the data of the final evaluation costs no compressed model, and resuming goes on from it."""
    out = tmp_path / "out"
    own = ranksearch.runs.evaluation.final_behaviour
    monkeypatch.setattr(ranksearch.runs.evaluation, "final_behaviour", lambda *_: 1 / 0)
    assert run("--budget", "0.5", "--out", out).exit_code == 1
    weights = out / "compressed" / "0.5" / "model.safetensors"
    before = weights.read_bytes()
    monkeypatch.setattr(ranksearch.runs.evaluation, "final_behaviour", own)
    with monkeypatch.context() as patched:
        patched.setattr(ranksearch.runs.deliver, "compress", lambda *_, **__: 1 / 0)
        assert invoke("run", "--resume", "--trust", "--out", out).exit_code == 0
    assert {"validation", "test"} <= read_plan(weights.parent / "plan.json").scores.keys()
    assert weights.read_bytes() == before
    for damage in (b"", before[:-1], None):
        weights.unlink()
        if damage is not None:
            weights.write_bytes(damage)
        assert "model.safetensors: expected the file of SHA256SUMS" in refused(invoke("verify", out))
        assert invoke("run", "--resume", "--trust", "--out", out).exit_code == 0
        assert weights.read_bytes() == before
    assert "compressed/0.5: passed. files as delivered; " in invoke("verify", out).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "2"), "--seed 1, as it was started, got --seed 2"),
        (("--n-trials", "4"), "--n-trials 3, as it was started, got --n-trials 4"),
        (("--budget", "0.4"), "--budget 0.6,0.4, as it was started, got --budget 0.4"),
    ],
)
def test_resume_refuses_another_configuration(
    finished_run: tuple[Path, Result], invoke: Invoke, arguments: tuple[str, ...], message: str
) -> None:
    assert message in refused(invoke("run", "--resume", "--trust", "--out", finished_run[0], *arguments))


def test_a_used_folder_is_refused(finished_run: tuple[Path, Result], run: Invoke) -> None:
    message = refused(run("--budget", "0.5", "--out", finished_run[0]))
    assert "holds a run. Continue it with --resume, or choose another --out." in message


def _killed(own_folder: Path, out: Path, kill: signal.Signals, ready: Callable[[], bool]) -> Any:
    own = own_folder / "own.py"
    command = [
        sys.executable, "-c", "from ranksearch.cli import main; main()", "run",
        "--model", f"{own}:model", "--data", f"{own}:data", "--budget", "0.4,0.6", "--out", str(out),
        "--decompositions", "svd,spatial_svd", "--n-trials", "2000", "--finetune-trials", "0", "--epochs", "0",
        "--threads", "1",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells start background jobs with SIGINT ignored, and tests among them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not ready() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, kill)
        return (*process.communicate(timeout=120), process.returncode)
    finally:
        process.kill()


def _has_trials(out: Path) -> bool:
    journal = out / "study.jsonl"
    return journal.is_file() and journal.read_bytes().count(b"\n") > 100


@pytest.mark.parametrize(
    ("kill", "message", "code"),
    [(signal.SIGINT, "interrupted.", 130), (signal.SIGTERM, "ended by SIGTERM.", 143)],
)
def test_interrupted(own_folder: Path, tmp_path: Path, kill: signal.Signals, message: str, code: int) -> None:
    out = tmp_path / "i"
    _, stderr, found = _killed(own_folder, out, kill, lambda: _has_trials(out))
    assert found == code
    assert stderr.endswith(f"error: {message}\ncontinue with: ranksearch run --resume --out i --trust\n")
    assert "Traceback" not in stderr


# compress


def test_compress_carries_a_plan_out(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path
) -> None:
    plan = finished_run[0] / "plan-0.4.json"
    out = tmp_path / "c"
    result = invoke("compress", "--trust", plan, "--epochs", "2", "--label-weight", "0.5", "--out", out)
    assert result.exit_code == 0, result.output
    assert "before and after" in result.stdout
    record, wanted = read_plan(out / "plan.json"), read_plan(plan)
    assert [x.ranks for x in record.layers] == [x.ranks for x in wanted.layers]
    assert {k: record.options[k] for k in ("epochs", "label_weight")} == {"epochs": 2, "label_weight": 0.5}
    assert {k: wanted.options[k] for k in ("epochs", "label_weight")} == {"epochs": 1, "label_weight": 0.0}
    assert record.scores["delivered"] is not None
    assert "fine-tuning 0.4: 4 of 4" in result.stderr  # two steps an epoch: 80 images, 32 a batch
    example = torch.zeros(1, 3, 6, 6)
    assert (
        measure_cost(load(out, load_model(wanted.model.name or "")), example).params == wanted.cost["params"]
    )
    assert "expected a new or empty folder" in refused(invoke("compress", "--trust", plan, "--out", out))


def test_options_of_the_delivery(
    finished_run: tuple[Path, Result], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def compress(*arguments: Any, config: Any, **more: Any) -> None:
        found.append(config)
        raise InputError("seen")

    monkeypatch.setattr(ranksearch.runs.deliver, "compress", compress)
    plan = finished_run[0] / "plan-0.4.json"
    given = ("--epochs", "7", "--lr", "0.25", "--label-weight", "0.5", "--seed", "9", "--match-epochs", "3")
    given += ("--augment",)
    for options in ((), given):
        refused(invoke("compress", "--trust", plan, "--out", "o", *options))
    epochs = [(config.match_epochs, config.epochs) for config in found]
    seeds = [config.seed for config in found]
    tuning = [(c.finetune.lr, c.finetune.label_weight, c.finetune.augment) for c in found]
    assert (epochs, seeds, tuning) == (
        [(0, 1), (3, 7)],
        [1, 9],
        [(5e-4, 0.0, False), (0.25, 0.5, True)],
    )


def test_compress_undoes_what_the_plan_says(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path, seen: list[RunOptions]
) -> None:
    record = read_plan(finished_run[0] / "plan-0.4.json")
    more = {"augment": True, "protect_early": "1", "threads": 1}
    write_plan(tmp_path / "p.json", record.model_copy(update={"options": record.options | more}))
    refused(invoke("compress", "--trust", "p.json"))
    refused(invoke("compress", "--trust", "p.json", "--no-augment", "--threads", "none"))
    assert [(x.augment, x.threads) for x in seen] == [(True, 1), (False, None)]


def test_compress_says_where_it_cannot_write(finished_run: tuple[Path, Result], invoke: Invoke) -> None:
    message = refused(
        invoke("compress", "--trust", finished_run[0] / "plan-0.4.json", "--out", f"{__file__}/x")
    )
    assert "--out: expected a folder that can be made and written to" in message


def test_compress_needs_the_model_of_the_plan(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text(
        "from torch import nn\n"
        "def model():\n"
        "    return nn.Sequential(nn.Conv2d(3, 9, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 4))\n"
    )
    plan = finished_run[0] / "plan-0.4.json"
    message = refused(invoke("compress", "--trust", plan, "--model", "other.py:model", "--out", "o"))
    assert "layer 0: expected a conv2d with a kernel of shape (12, 3, 3, 3)" in message
    # the folder of the failed attempt does not stand in the way of the next
    assert invoke("compress", "--trust", plan, "--epochs", "0", "--out", "o").exit_code == 0


# show


def test_show_plan(finished_run: tuple[Path, Result], invoke: Invoke) -> None:
    path, _ = finished_run
    record = read_plan(path / "plan-0.4.json")
    for place in (path / "plan-0.4.json", path / "compressed" / "0.4"):
        text = invoke("show", place).stdout
        assert f"{record.cost['params']:,} of at most {record.limit:,}" in text
        for layer in record.layers:
            row = next(line.split() for line in text.splitlines() if line.split()[:1] == [layer.name])
            assert row[1] == "×".join(map(str, layer.shape))
            assert row[2] == layer.decomposition
            assert row[3] == ("×".join(map(str, layer.ranks)) or "–")
            assert row[4:6] == [f"{layer.cost['params']:,}", f"{layer.cost['flops']:,}"]


def test_show_front(finished_run: tuple[Path, Result], invoke: Invoke) -> None:
    path, _ = finished_run
    text = invoke("show", path).stdout
    assert text == invoke("show", path / "front.json").stdout or "ranksearch show" in text
    assert text.count("chosen") == 2
    assert f"ranksearch show {path}/plan-0.4.json" in text
    assert len(invoke("show", path, "--all").stdout.splitlines()) > len(text.splitlines())


@pytest.mark.parametrize("name", ["missing", "empty", "text.json"])
def test_show_says_what_it_can_show(invoke: Invoke, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text("no plan")
    assert name in refused(invoke("show", tmp_path / name))


# layers


def test_layers_of_a_model_without_weights_or_data(invoke: Invoke) -> None:
    result = invoke(
        "layers", "--model", "torchvision:mobilenet_v3_small", "--ignore", "features.0*", "--input-size", "64"
    )
    assert result.exit_code == 0, result.output
    assert "3×64×64" in result.stdout
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "dense: ignored by 'features.0*'" in rows["features.0.0"]
    assert "dense: depthwise convolution" in rows["features.1.block.0.0"]
    assert rows["classifier.0"].split()[-1] == "svd"


def test_layers_of_ones_own_model(invoke: Invoke, own_folder: Path) -> None:
    own = own_folder / "own.py"
    result = invoke(
        "layers", "--model", f"{own}:model", "--data", f"{own}:data", "--decompositions", "svd,cp"
    )
    assert "svd, cp" in result.stdout
    assert "tucker2" not in result.stdout
    assert "3 of 3 layers can be factorised" in result.stdout


# errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--budget: expected how much to keep, or --max-drop, got none. For example --budget 0.2"),
        (("--budget", "2"), "--budget: expected a fraction to keep (0.2), a percentage (20%)"),
        (("--budget", "0.01"), "budget: expected at least 0."),
        (
            ("--budget", "0.5", "--model", "torchvision:resnet81", "--weights", "none"),
            "Did you mean 'resnet18'?",
        ),
        (("--budget", "0.5", "--weights", "nowhere.safetensors"), "nowhere.safetensors"),
        (
            ("--budget", "0.5", "--metric", "macs"),
            "--metric: expected params or flops or bytes or int8_bytes or latency, got 'macs'",
        ),
        (("--budget", "0.5", "--metric-fn", "own:missing"), "--metric-fn: expected"),
        (("--budget", "0.5", "--data", "imagefolder:nowhere"), "--data: expected an existing folder"),
        (("--budget", "0.5", "--decompositions", "svd,cpp"), "--decompositions: expected svd or spatial_svd"),
        (("--budget", "0.5", "--space", "rank"), "space: expected sensitivities or ranks or grouped"),
        (("--budget", "0.5", "--sampler", "tpee"), "sampler: expected"),
        (("--budget", "0.5", "--device", "tpu"), "--device: expected"),
        (("--budget", "0.5", "--config", "nowhere.toml"), "--config: expected a TOML file that can be read"),
        (("--budget", "0.5", "--resume"), "--resume: expected --out DIR"),
        (
            ("--budget", "0.5", "--out", f"{__file__}/x"),
            "--out: expected a folder that can be made and written to",
        ),
        (("--budget", "none"), "--budget: expected how much to keep, or --max-drop, got none."),
        (("--budget", "0.5", "--protect-early", "1=-2"), "--protect-early: expected a number greater than 0"),
        (("--budget", "0.5", "--protect-early", "1="), "--protect-early: expected a valid number"),
        (("--budget", "0.5", "--protect-early", "0"), "--protect-early: expected a number greater"),
        (("--budget", "0.5", "--protect-early", "3"), "protect-early: expected fewer than the 3 layers"),
        (("--budget", "0.2", "--protect-early", "2"), "budget: expected at least"),
        (
            ("--budget", "0.5", "--protect-early", "1=2", "--allocator", "balf"),
            "allocator: expected knapsack or energy",
        ),
        (
            ("--budget", "0.5", "--epochs", "0", "--rounds", "2"),
            "rounds: expected epochs of training to divide among the rounds",
        ),
        (("--budget", "0.5", "--ignore", "*"), "at least one layer that can be factorised"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Invoke, arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(run(*arguments))
    assert not list(Path().glob("runs/*"))  # no litter, and the same --out can be used again


def test_a_mistake_does_not_use_the_folder_up(run: Invoke, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    refused(run("--budget", "0.01", "--out", "o"))
    assert list((tmp_path / "o").iterdir()) == []
    assert run("--budget", "0.5", "--out", "o", "--n-trials", "0", "--epochs", "0").exit_code == 0


def test_what_ends_a_run_keeps_its_traceback_in_the_log(
    run: Invoke, tmp_path: Path, own_folder: Path
) -> None:
    result = run("--budget", "0.5", "--out", "u", "--metric-fn", f"{own_folder}/own.py:broken")
    assert result.exit_code == 1
    assert "disk on fire" in (tmp_path / "u" / "log.txt").read_text()
    assert "Traceback" in (tmp_path / "u" / "log.txt").read_text()


# options reach what they name


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (("--metric", "flops"), "metric", "flops"),
        (("--space", "ranks"), "space", "ranks"),
        (("--sampler", "random"), "sampler", "random"),
        (("--objective", "ordered"), "objective", "ordered"),
        (("--n-trials", "9"), "n_trials", 9),
        (("--timeout", "2.5"), "timeout", 2.5),
        (("--finetune-trials", "8"), "finetune_trials", 8),
        (("--finetune-steps", "7"), "finetune_steps", 7),
        (("--lr", "0.25"), "finetune_lr", 0.25),
        (("--seed", "6"), "seed", 6),
        (("--study-name", "n"), "study_name", "n"),
        (("--budget", "0.5,0.25"), "budgets", (Kept(fraction=0.5), Kept(fraction=0.25))),
    ],
)
def test_options_of_the_search(tmp_path: Path, arguments: tuple[str, ...], name: str, value: object) -> None:
    from ranksearch.runs import load_options

    given = {flag.removeprefix("--").replace("-", "_"): text for flag, text in [arguments]}
    common = {"budget": "0.3", "n_trials": "8"}
    options = load_options(common | given)
    default = ranksearch.runs.settings.search_settings(load_options(common), RunFolder(tmp_path))
    settings = ranksearch.runs.settings.search_settings(options, RunFolder(tmp_path))
    assert getattr(settings, name) == value != getattr(default, name)


def test_options_of_candidates() -> None:
    from ranksearch.runs import load_options

    options = load_options({"min_rank": "2", "rank_multiple": ["8", "a.*=4"], "decompositions": "cp,svd"})
    config = ranksearch.runs.settings.candidate_config(options)
    assert config.min_rank == 2
    assert (config.multiple("b"), config.multiple("a.1")) == (8, 4)
    assert config.decompositions == ("cp", "svd")


# advice


def test_protected_layers_stay_so_on_resume(run: Invoke, invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "protected"
    result = run("--budget", "0.8", "--n-trials", "0", "--epochs", "0", "--protect-early", "1", "--out", out)
    assert result.exit_code == 0, result.output
    assert "kept dense: 0 (one of the first 1 (--protect-early 1))" in result.stdout
    record = read_plan(out / "plan-0.8.json")
    assert record.options["protect_early"] == "1"
    assert [layer.name for layer in record.dense_layers] == ["0"]
    again = invoke("run", "--resume", "--trust", "--out", out)
    assert again.exit_code == 0, again.output
    assert read_plan(out / "plan-0.8.json").layers == record.layers
    message = refused(invoke("run", "--resume", "--trust", "--out", out, "--protect-early", "1=2"))
    assert "expected --protect-early 1, as it was started, got --protect-early 1=2.0" in message
    assert invoke("compress", "--trust", out / "plan-0.8.json", "--out", tmp_path / "again").exit_code == 0


def test_favoured_layers(run: Invoke, tmp_path: Path) -> None:
    errors = {}
    for weight in ("1", "100"):
        out = tmp_path / weight
        result = run(
            "--budget", "0.4", "--n-trials", "0", "--epochs", "0", "--protect-early", f"1={weight}", "--out", out
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        errors[weight] = read_plan(out / "plan-0.4.json").layers[0].error
    assert errors["100"] <= errors["1"]
    assert "errors of 0 count 100 times" in result.stdout


def test_rounds(run: Invoke, invoke: Invoke, own_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rounds"
    result = run("--budget", "0.4", "--n-trials", "0", "--epochs", "2", "--rounds", "2", "--out", out)
    assert result.exit_code == 0, result.output
    assert "budget 0.4: divergence after each round" in result.stdout
    assert "fine-tuning, round 2 of 2 0.4: " in result.stderr
    scores = read_plan(out / "compressed/0.4/plan.json").scores
    assert scores["round-2"] == scores["delivered"]
    assert "round-1" in scores
    assert "round-1" in invoke("show", out / "compressed/0.4").output
    load(out / "compressed/0.4", load_model(f"{own_folder}/own.py:model"))
    again = invoke("compress", "--trust", out / "plan-0.4.json", "--rounds", "1", "--out", tmp_path / "plain")
    assert again.exit_code == 0, again.output
    assert "round-1" not in read_plan(tmp_path / "plain/plan.json").scores


MINE = """
from ranksearch.decompositions.svd import SVD

class Mine(SVD):
    name = "mine"

class Taken(SVD):
    name = "cp"
"""


def test_own_decompositions_from_the_run_to_compress(
    invoke: Invoke, run: Invoke, own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dec.py").write_text(MINE)
    out = tmp_path / "out"
    found = run("--budget", "0.5", "--decompositions", "dec.py:Mine", "--out", out)
    assert found.exit_code == 0, found.output
    assert f"{tmp_path}/dec.py:Mine" in (out / "config.toml").read_text()
    del DECOMPOSITIONS._known["mine"]  # as in a new process
    monkeypatch.chdir(own_folder)
    again = invoke("compress", "--trust", out / "plan-0.5.json", "--epochs", "0", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    taken = refused(
        run("--budget", "0.5", "--decompositions", f"{tmp_path}/dec.py:Taken", "--out", tmp_path / "t")
    )
    assert "expected an unused name, got 'cp', which is taken" in taken


@pytest.mark.parametrize(
    "more",
    [("--objective", "ordered"), ("--sampler", "random"), ("--finetune-trials", "8"), ("--timeout", "9")],
)
def test_what_is_asked_of_trials_needs_trials(
    invoke: Invoke, own_folder: Path, more: tuple[str, str]
) -> None:
    own = own_folder / "own.py"
    given = ("run", "--model", f"{own}:model", "--data", f"{own}:data", "--budget", "0.5", *more)
    error = refused(invoke(*given))
    assert f"{more[0]} {more[1]}" in error
    assert "expected --n-trials, without which it has no effect, got none" in error


@pytest.mark.parametrize("more", [("--space", "ranks"), ("--sampler", "random"), ("--timeout", "9")])
def test_what_is_asked_of_the_search_needs_the_search(
    invoke: Invoke, own_folder: Path, more: tuple[str, str]
) -> None:
    own = own_folder / "own.py"
    given = ("run", "--model", f"{own}:model", "--data", f"{own}:data", "--budget", "0.5", "--n-trials", "4")
    error = refused(invoke(*given, "--allocator", "optuna_tpe", *more))
    assert f"{more[0]} {more[1]}" in error
    assert "expected --allocator knapsack, without which it has no effect, got optuna_tpe" in error


def test_an_interrupted_training_goes_on_with_the_same_command(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "compress",
        finished_run[0] / "plan-0.4.json",
        "--trust",
        "--epochs",
        "4",
        "--export",
        "none",
        "--out",
    )
    assert invoke(*words, tmp_path / "whole").exit_code == 0
    whole, kept = KeptTraining.keep, list[Path]()

    def interrupted(self: KeptTraining, state: Any) -> None:
        whole(self, state)
        kept.append(self.path)
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "SECONDS", 0.0)
    monkeypatch.setattr(KeptTraining, "keep", interrupted)
    out = tmp_path / "out"
    ended = invoke(*words, out)
    assert ended.exit_code == 130
    assert ended.stderr.splitlines()[-2:] == ["error: interrupted.", "continue with: the same command"]
    assert kept[-1].is_file()
    assert invoke(*words, out).exit_code == 0
    assert len(kept) == 4  # of four epochs
    assert not (out / ".training").exists()
    model = "model.safetensors"
    assert (out / model).read_bytes() == (tmp_path / "whole" / model).read_bytes()
