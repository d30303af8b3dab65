"""What a command says to type next is whole: it is taken as it stands, and does what it says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from ranksearch.cli.app import app
from ranksearch.cli.next_steps import after_probe, is_slower, run_again
from ranksearch.planning import read_plan
from ranksearch.probing import read_probe
from ranksearch.runs import RunOptions, load_options, needs_trust

Invoke = Callable[..., Result]


def next_lines(output: str) -> dict[str, list[str]]:
    """The commands by what they are for, as a shell reads them, without the name of the program."""
    found = {}
    for line in output.splitlines():
        if line.startswith("Next: "):
            what, command = re.fullmatch(r"Next: (.*?)  +(ranksearch .*)", line).groups()  # type: ignore[union-attr]
            found[what] = shlex.split(command)[1:]
    return found


def parsed(words: list[str]) -> dict[str, object]:
    """The options that a command takes from these words. Raises what click says of words that it does not know."""
    group = typer.main.get_command(app)
    context = group.make_context("ranksearch", [*words], resilient_parsing=False)
    command = group.get_command(context, words[0])  # type: ignore[attr-defined]
    return {
        name: value
        for name, value in command.make_context(words[0], words[1:]).params.items()
        if value not in (None, [], ())
    }


@pytest.fixture
def in_folder(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(own_folder)
    return own_folder


def test_what_a_run_says_is_typed_and_done(
    finished_run: tuple[Path, Result], invoke: Invoke, in_folder: Path
) -> None:
    _, result = finished_run
    steps = next_lines(result.stdout)
    assert {"layer by layer", "measure again", "train longer", "other budgets"} <= steps.keys()
    for words in steps.values():
        parsed(words)
    for cheap in ("layer by layer", "measure again", "other budgets"):
        done = invoke(*steps[cheap])
        assert done.exit_code == 0, (steps[cheap], done.output)
    verified = invoke(*steps["measure again"]).stdout
    assert "not checked" not in verified, "the line names the model and the data"


def test_what_further_plans_say_is_whole(
    finished_run: tuple[Path, Result], invoke: Invoke, in_folder: Path, tmp_path: Path
) -> None:
    path, _ = finished_run
    planned = invoke("plan", path, "--budget", "0.5", "--out", tmp_path / "plan.json")
    assert planned.exit_code == 0, planned.output
    (words,) = next_lines(planned.stdout).values()
    options = parsed(words)
    assert (options["model"], options["data"]) == ("own.py:model", "own.py:data"), (
        "from the working directory"
    )
    done = invoke(*words, "--epochs", "0", "--export", "none")
    assert done.exit_code == 0, done.output
    for step in next_lines(done.stdout).values():
        parsed(step)
        if step[0] in ("show", "verify"):
            assert invoke(*step).exit_code == 0


def test_what_a_probe_says_names_model_data_and_weights(
    invoke: Invoke, in_folder: Path, tmp_path: Path
) -> None:
    light = ("--images", "24", "--bonds", "4", "--decompositions", "svd", "--batch-size", "16", "--no-plots")
    probed = invoke(
        "probe", "--model", "own.py:model", "--data", "own.py:data", *light, "--threads", "1",
        "--out", tmp_path / "probe",
    )  # fmt: skip
    assert probed.exit_code == 0, probed.output
    steps = next_lines(probed.stdout)
    assert steps, probed.stdout
    for words in steps.values():
        options = parsed(words)
        assert words[0] == "run"
        given = load_options({name: x for name, x in options.items() if name in RunOptions.model_fields})
        assert (given.model, given.data) == (f"{in_folder}/own.py:model", f"{in_folder}/own.py:data")
        assert (given.decompositions, given.batch_size, given.threads) == (("svd",), 16, 1)
        assert given.budget
    assert next_lines(invoke("show", tmp_path / "probe").stdout) == steps


def test_a_probe_says_where_its_budget_was_found_slower(
    invoke: Invoke, in_folder: Path, tmp_path: Path
) -> None:
    light = ("--images", "24", "--bonds", "4", "--decompositions", "svd", "--batch-size", "16", "--no-plots")
    out = tmp_path / "probe"
    own = ("--model", "own.py:model", "--data", "own.py:data")
    assert invoke("probe", *own, *light, "--threads", "1", "--out", out).exit_code == 0
    record = read_probe(out / "probe.json")
    assert record.verdict is not None
    assert record.verdict.speed is not None
    for ratio, said in ((2.0, "smaller, slower"), (1.0, "smaller"), (0.5, "compress")):
        plans = tuple(
            x.model_copy(update={"seconds": ratio * record.verdict.speed.dense})
            for x in record.verdict.speed.plans
        )
        speed = record.verdict.speed.model_copy(update={"plans": plans})
        verdict = record.verdict.model_copy(update={"speed": speed})
        steps = [*after_probe(RunOptions(), record.model_copy(update={"verdict": verdict}))]
        assert [step.what for step in steps] == [said, *(["try for speed"] if ratio >= 1 else [])]


def test_paths_with_spaces_and_other_options_survive_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    options = load_options(
        {
            "model": "my nets.py:make", "data": "imagefolder:my images", "weights": "w's.pt", "ignore": "layer4.*",
            "limit": ["flops=0.5"], "rank_multiple": ["8", "layer1.*=4"], "mean": "0.5,0.5,0.5", "std": "1,1,1",
            "augment": True, "cache": "none", "budget": "0.3",
        }
    )  # fmt: skip
    words = shlex.split(run_again(options, budget=0.25))[1:]
    again = load_options({name: x for name, x in parsed(words).items() if name in RunOptions.model_fields})
    assert again == options.model_copy(update={"budget": again.budget, "limit": ()})
    assert [kept.name for kept in again.budget] == ["0.25"]


def test_an_interrupted_run_and_an_unfinished_folder_say_how_to_go_on(
    invoke: Invoke, in_folder: Path, run: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr("ranksearch.runs.run.prepare", interrupt)
        ended = run("--budget", "0.5", "--out", out)
    assert ended.exit_code == 130
    said = f"ranksearch run --resume --out {out} --trust"
    assert said in ended.stderr
    assert said in invoke("show", out).stderr
    assert invoke(*shlex.split(said)[1:]).exit_code == 0


def test_slower_is_what_is_beyond_noise(finished_run: tuple[Path, Result]) -> None:
    record = read_plan(finished_run[0] / "compressed" / "0.4" / "plan.json")
    assert record.footprint is not None
    assert record.footprint.time is not None
    for ratio, low, slower in ((1.2, 1.1, True), (1.2, 0.9, False), (1.02, 1.01, False), (0.8, 0.7, False)):
        time = record.footprint.time.model_copy(update={"ratio": ratio, "low": low})
        timed = record.footprint.model_copy(update={"time": time})
        assert is_slower(record.model_copy(update={"footprint": timed})) is slower


def test_trust_is_asked_for_what_is_not_given() -> None:
    own = RunOptions(model="own.py:model", data="own.py:data", objective="own.py:Mine")
    assert needs_trust(own)
    assert needs_trust(own, {"model", "data"})
    assert not needs_trust(own, {"model", "data", "objective"})
