"""The shoot-out: the field's ways to choose ranks against this project's, on one model, data and budget.

python studies/shootout/shootout.py --data imagefolder:DIR --weights FILE --out DIR

Cells (method × variant × budget × metric × seed) are kept in the folder; a run that was stopped goes on where
it was, and one with more methods, budgets or seeds adds to it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from cells import Cell, Record, Store, described, pack
from measure import Images, accuracy, correct, load_images, measure, measure_tuned
from methods import METHODS, VARIANTS, Bench, choose, config_of, prepare_bench, variants
from report import strongest, write_report

from ranksearch.calibration import Moments, calibration_moments
from ranksearch.errors import BudgetError, InputError, RankSearchError, expected
from ranksearch.memory import keep_freed_memory
from ranksearch.networks import threads
from ranksearch.runs import RunOptions
from ranksearch.runs.tasks import build_task
from ranksearch.tasks import Task

RESNET20 = f"{Path(__file__).resolve().parents[1] / 'resnet20_cifar10' / 'resnet20.py'}:resnet20"


def parser() -> argparse.ArgumentParser:
    """Options; lists are separated by commas."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="as for ranksearch run, such as imagefolder:DIR")
    p.add_argument("--weights", required=True, help="of the model")
    p.add_argument("--out", required=True, type=Path, help="folder of cells and results")
    p.add_argument("--model", default=RESNET20, help="file.py:factory, by default ResNet-20")
    p.add_argument("--methods", type=_list(str), default=list(METHODS), help=", ".join(METHODS))
    p.add_argument("--variants", type=_list(str), default=list(VARIANTS), help="published, ours")
    p.add_argument("--budgets", type=_list(float), default=[0.5, 0.3, 0.2, 0.1])
    p.add_argument("--metrics", type=_list(str), default=["params", "flops"])
    p.add_argument("--seeds", type=_list(int), default=[0, 1, 2])
    p.add_argument("--test-images", type=int, help="so many, drawn once; all by default")
    p.add_argument("--trials", type=int, default=40, help="evaluations of methods that search")
    p.add_argument("--calibration-size", type=int, default=1536)
    p.add_argument("--finetune-steps", type=int, default=0, help="of the strongest rows; 0 leaves that out")
    p.add_argument("--finetune-budgets", type=_list(float), default=[0.3, 0.2, 0.1], help="of the parameters")
    p.add_argument("--finetune-rows", type=_list(str), help="method/variant, by default the five strongest")
    p.add_argument("--reference", default="ranksearch", help="what differences are taken to")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--report-only", action="store_true", help="write the results of the cells that are there")
    return p


def _list(kind: type) -> Any:
    return lambda text: [kind(part) for part in text.split(",") if part]


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        with threads(given.threads):
            shoot_out(given)
    except RankSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def cells_of(given: argparse.Namespace) -> list[Cell]:
    """Every cell that was asked for, those that share candidates next to each other."""
    for metric in given.metrics:
        if metric not in ("params", "flops"):
            raise InputError(expected("--metrics", "params or flops", repr(metric)))
    rows = [(m, v) for m in given.methods for v in variants(m) if v in given.variants]
    keys = [config_of(*row) for row in rows]
    rows = [row for _, row in sorted(zip(keys, rows, strict=True), key=lambda pair: keys.index(pair[0]))]
    return [
        Cell(method, variant, budget, metric, seed)
        for seed, (method, variant), metric, budget in product(
            given.seeds, rows, given.metrics, given.budgets
        )
    ]


def shoot_out(given: argparse.Namespace) -> None:
    """Measure what is missing, then write the results."""
    setup = {
        "model": Path(given.model.rpartition(":")[0]).name + ":" + given.model.rpartition(":")[2],
        "weights": Path(given.weights).name,
        "test_images": given.test_images,
        "trials": given.trials,
        "calibration_size": given.calibration_size,
    }
    store = Store(given.out, setup)
    cells = cells_of(given)
    if not given.report_only:
        lab = Lab(given, store)
        for number, cell in enumerate(cells, 1):
            if store.read("cells", cell.name) is None:
                started = time.monotonic()
                record = lab.record(cell)
                store.write("cells", cell.name, record)
                told = record.get("infeasible") or f"{record['accuracy']:.2f} %"
                print(
                    f"{number}/{len(cells)} {cell.name}: {told} ({time.monotonic() - started:.0f} s)",
                    flush=True,
                )
        if given.finetune_steps:
            lab.tune(cells)
    write_report(store, cells, given.reference, given.finetune_budgets)


class Lab:
    """What cells of one seed share, made when it is first needed and let go with the seed."""

    def __init__(self, given: argparse.Namespace, store: Store) -> None:
        self.given, self.store = given, store
        self._images: Images | None = None
        self._seed: int | None = None
        self._task: Task | None = None
        self._moments: dict[str, Moments] | None = None
        self._benches: dict[Any, Bench] = {}
        self._measured: dict[Any, Record] = {}

    def record(self, cell: Cell) -> Record:
        """Choose and measure; a plan that another method already chose is not measured again."""
        bench = self.bench(cell)
        started = time.monotonic()
        try:
            choice, evaluations = choose(
                bench, cell.method, cell.budget, cell.metric, seed=cell.seed, trials=self.given.trials
            )
        except BudgetError as error:
            return {**described(cell), "infeasible": str(error)}
        seconds = time.monotonic() - started
        plan = bench.problem.plan(choice)
        key = (config_of(*cell.row), plan.key)
        if key not in self._measured:
            self._measured[key] = measure(
                bench, choice, cell.metric, self.images(cell.seed), self.moments(bench)
            )
        cost = plan.cost.of(cell.metric) / bench.problem.dense.of(cell.metric)
        return {
            **described(cell),
            **self._measured[key],
            "fraction": cost,
            "error": plan.error,
            "evaluations": evaluations,
            "seconds_prepare": bench.seconds,
            "seconds_choose": seconds,
            "choice": list(choice),
            "plan": plan.ranks,
        }

    def tune(self, cells: Sequence[Cell]) -> None:
        """A short fine-tune of the strongest rows at budgets of the parameters."""
        rows = [tuple(row.split("/")) for row in self.given.finetune_rows or ()]
        rows = rows or strongest(self.store, cells, self.given.finetune_budgets)
        for cell in cells:
            wanted = (
                cell.row in rows and cell.metric == "params" and cell.budget in self.given.finetune_budgets
            )
            chosen = self.store.read("cells", cell.name)
            if not wanted or chosen is None or "infeasible" in chosen:
                continue
            if self.store.read("finetuned", cell.name) is None:
                bench = self.bench(cell)
                found = measure_tuned(
                    bench,
                    tuple(chosen["choice"]),
                    self.images(cell.seed),
                    self.moments(bench),
                    steps=self.given.finetune_steps,
                    seed=cell.seed,
                )
                self.store.write("finetuned", cell.name, {**described(cell), **found})
                print(f"fine-tuned {cell.name}: {found['accuracy']:.2f} %", flush=True)

    def bench(self, cell: Cell) -> Bench:
        task, config = self.task(cell.seed), config_of(*cell.row)
        if config not in self._benches:
            published = cell.variant == "published"
            self._benches[config] = prepare_bench(task, config, published=published, seed=cell.seed)
            print(
                f"candidates of {cell.variant} {cell.method}: {self._benches[config].seconds:.0f} s",
                flush=True,
            )
        return self._benches[config]

    def task(self, seed: int) -> Task:
        if self._task is None or self._seed != seed:
            given = self.given
            options = RunOptions(
                model=given.model,
                weights=given.weights,
                data=given.data,
                calibration_size=given.calibration_size,
                seed=seed,
            )
            self._seed, self._task, self._moments = seed, build_task(options), None
            self._benches, self._measured = {}, {}
        return self._task

    def moments(self, bench: Bench) -> dict[str, Moments]:
        """Those of all calibration images, for the fits that are delivered."""
        if bench.published:
            return {}
        if self._moments is None:
            problem = bench.problem
            layers = [table.layer for table in problem.tables]
            self._moments = calibration_moments(problem.task, layers, seed=self._seed or 0)
        return self._moments

    def images(self, seed: int) -> Images:
        """Of the test; the dense model is measured on them once."""
        if self._images is None:
            task = self.task(seed)
            self._images = load_images(task, self.given.test_images)
            if self.store.read("dense", "dense") is None:
                hits = correct(task.model, task, self._images)
                self.store.write("dense", "dense", {"accuracy": accuracy(hits), "correct": pack(hits)})
        return self._images


if __name__ == "__main__":
    keep_freed_memory()
    torch.manual_seed(0)
    sys.exit(main())
