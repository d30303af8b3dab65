"""What to type next: whole commands, with the model, the data and everything else that they need, to be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksearch.cli.paths import shown
from ranksearch.cli.taken import DELIVERY, VERIFY
from ranksearch.costs import Kept
from ranksearch.errors import InputError
from ranksearch.runs import RunFolder, RunOptions, needs_trust, parse

if TYPE_CHECKING:
    from ranksearch.planning import PlanRecord
    from ranksearch.probing import ProbeRecord
    from ranksearch.runs import FurtherPlan

ALIKE = 0.05
"""Relative difference of two times that a machine's noise may account for."""

FASTER = 0.8
"""Fraction of the dense time to try where plans of few parameters turned out slower."""


@dataclass(frozen=True)
class Step:
    """A command, and what it is good for."""

    what: str
    command: str

    def __str__(self) -> str:
        return f"{f'Next: {self.what}':<21}  {self.command}"


def print_steps(steps: Iterable[Step], line: Callable[[str], None]) -> None:
    """One line each."""
    for step in steps:
        line(str(step))


def after_run(options: RunOptions, folder: Path, records: Iterable[PlanRecord]) -> Iterator[Step]:
    """What follows a run. records: of the models that it is for, at least one."""
    chosen = [*records]
    smallest, run = chosen[-1], RunFolder(folder)
    model = run.compressed(smallest.asked)
    yield look_at(model)
    yield verify(options, folder, smallest, model)
    yield from train_longer(options, run.plan(smallest.asked))
    if "onnx" not in (options.export or ()):
        yield to_onnx(options, model)
    yield other_budgets(options, folder)
    if any(map(is_slower, chosen)):
        yield run_for_time(options)


def after_compress(options: RunOptions, folder: Path, record: PlanRecord) -> Iterator[Step]:
    """What follows a plan that was carried out."""
    yield look_at(folder)
    yield verify(options, folder, record, folder)
    if is_slower(record):
        yield run_for_time(options)


def after_plan(plans: Iterable[FurtherPlan]) -> Iterator[Step]:
    """What carries out plans, with the options that they keep."""
    for plan in plans:
        kept = {name: x for name, x in plan.record.options.items() if name in RunOptions.model_fields}
        try:
            options = parse(kept)
        except InputError:  # of another version
            options = RunOptions()
        yield Step("deliver it", _compress(options, plan.path))


def after_probe(options: RunOptions, record: ProbeRecord) -> Iterator[Step]:
    """What follows a probe: a run at the budget where trouble starts, and one for time where that is not faster."""
    verdict = record.verdict
    if verdict is None or verdict.trouble.params >= record.dense.params:
        return
    budget = min(0.99, max(0.01, round(verdict.trouble.budget, 2)))
    gain = None if verdict.speed is None else verdict.speed.gain(verdict.trouble.budget)
    faster = gain is None or gain >= 1 + ALIKE
    slower = gain is not None and gain < 1 - ALIKE
    what = "compress" if faster else "smaller, slower" if slower else "smaller"
    yield Step(what, run_again(options, budget=budget))
    if not faster:
        yield run_for_time(options)


def look_at(folder: Path) -> Step:
    """A plan layer by layer."""
    return Step("layer by layer", f"ranksearch show {_path(folder)}")


def verify(options: RunOptions, folder: Path, record: PlanRecord, model: Path) -> Step:
    """What was delivered, measured again on the same data. model: the folder of one of the models."""
    from ranksearch.runs import NOT_RECORDED, command_here
    from ranksearch.tasks.sources import dense_name

    changes: dict[str, Any] = {"data": options.data_spec}
    if dense_name(model, record.model.name) is not None:  # the folder says how the dense model is made
        changes["model"] = RunOptions().model
    given = command_here(
        f"ranksearch verify {_path(folder)}", options.model_copy(update=changes), {*VERIFY} - {"trust"}
    )
    return Step("measure again", given + _trust(options, {*VERIFY, *NOT_RECORDED, "weights", "probe"}))


def to_onnx(options: RunOptions, model: Path) -> Step:
    """A file for onnxruntime."""
    others = {*RunOptions.model_fields} - {"model"}  # which is all that an export takes from a plan
    return Step("ONNX file", f"ranksearch export {_path(model)} --to onnx{_trust(options, others)}")


def other_budgets(options: RunOptions, folder: Path) -> Step:
    """The front over all budgets."""
    others = {*RunOptions.model_fields} - {
        "decompositions"
    }  # which is all that further plans take from a run
    return Step("other budgets", f"ranksearch plan {_path(folder)} --front{_trust(options, others)}")


def train_longer(options: RunOptions, plan: Path) -> Iterator[Step]:
    """The same plan with twice the fine-tuning, where there was some."""
    from ranksearch.runs import delivery_epochs

    if epochs := delivery_epochs(options):
        yield Step("train longer", _compress(options.model_copy(update={"epochs": 2 * epochs}), plan))


def _compress(options: RunOptions, plan: Path) -> str:
    from ranksearch.runs import NOT_RECORDED, command_here

    begin = f"ranksearch compress {_path(plan)}"
    return command_here(begin, options, DELIVERY) + _trust(options, {*DELIVERY, *NOT_RECORDED})


def run_for_time(options: RunOptions) -> Step:
    """A run whose budget is the time.

    In PyTorch small networks hardly get faster, since each operation takes a while however small its factors are.
    """
    changes: dict[str, Any] = {"metric": "latency", "budget_of": None}
    if options.runtime == "torch" and not options.device.startswith("cuda") and find_spec("onnxruntime"):
        changes["runtime"] = "onnxruntime"
    return Step("try for speed", run_again(options, budget=FASTER, **changes))


def run_again(options: RunOptions, *, budget: float, **changes: Any) -> str:
    """A run with another budget and a folder of its own."""
    from ranksearch.runs import command_here

    changes |= {"budget": (Kept(fraction=budget),), "max_drop": None, "limit": (), "accept": ()}
    return command_here("ranksearch run", options.model_copy(update=changes), RunOptions.model_fields)


def is_slower(record: PlanRecord) -> bool:
    """Whether a model was measured to take longer than the dense one, beyond noise, and time was not what counted."""
    time = None if record.footprint is None else record.footprint.time
    return time is not None and time.low > 1 and time.ratio >= 1 + ALIKE and "latency" not in record.cost


def kept_options(config: Path) -> RunOptions | None:
    """The options in a folder's config.toml; None where it cannot be read."""
    from ranksearch.runs import read_toml

    try:
        return parse(read_toml(config))
    except InputError:
        return None


def _trust(options: RunOptions, given: Collection[str]) -> str:
    return " --trust" if needs_trust(options, given) else ""


def _path(path: Path) -> str:
    return shlex.quote(shown(path))
