"""How often a promised drop holds on data that nobody looked at: `python studies/promise/promises.py --help`.

The images that nothing was fitted to, those for validation and for the final evaluation, are pooled. Each seed deals
them anew: some decide which budget keeps the drop, as `ranksearch run --max-drop` does, and the rest say whether it
held. Models depend on the budget alone, so each is made once for all seeds; what was made is kept, and a study that
was stopped goes on. Without fine-tuning.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ranksearch.compression import CompressConfig, compress
from ranksearch.costs import Kept
from ranksearch.networks import threads
from ranksearch.planning import Problem, prepare
from ranksearch.searching import SearchSettings, WithinDrop, predicted_errors, search, smallest_within
from ranksearch.tasks import Drop, answers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what studies share
from subject import parser, read_rows, task_of, write_rows


class Pool:
    """The unseen images, and by budget which of them a model lost or gained against the dense one."""

    def __init__(self, problem: Problem, settings: SearchSettings, path: Path) -> None:
        self.problem, self.settings, self.path = problem, settings, path
        self.rows = {row["budget"]: row for row in read_rows(path)}
        self.dense = self._scores(problem.task.model)

    def _scores(self, model: torch.nn.Module) -> Tensor:
        found = [answers([model], self.problem.task, role) for role in ("validation", "test")]
        return torch.cat([each[0].scores for each in found if each is not None])

    def scores(self, kept: Kept) -> Tensor:
        """The scores of the model of a budget on the pool, (N,)."""
        if kept.name not in self.rows:
            settings = SearchSettings(budgets=(kept,), metric=self.settings.metric)
            (result,) = search(self.problem, settings)
            model = compress(
                self.problem.task,
                result.plan,
                config=CompressConfig(epochs=0),
                layers=self.problem.layers,
            ).model
            apart = self.dense - self._scores(model)
            self.rows[kept.name] = {
                "budget": kept.name,
                "cost": result.plan.cost.amounts,
                "lost": apart.gt(0).nonzero().flatten().tolist(),
                "gained": apart.lt(0).nonzero().flatten().tolist(),
            }
            write_rows(self.path, [*self.rows.values()])
            print(f"made {kept.name}: loses {apart.mean():.2f} on the pool", flush=True)
        row, found = self.rows[kept.name], self.dense.clone()
        found[row["lost"]], found[row["gained"]] = 0.0, 100.0
        return found


def one_split(
    dense: Tensor,
    scores: Callable[[Kept], Tensor],
    curve: Sequence[tuple[float, float]],
    *,
    seed: int,
    deciding: int,
    max_drop: float,
) -> dict[str, Any]:
    """What a split comes to: which budget was chosen, whether it keeps the drop, and what the rest says.

    dense: An (N,) tensor, the dense model's scores of the pool.
    """
    order = torch.randperm(len(dense), generator=torch.Generator().manual_seed(seed))
    own, rest = order[:deciding], order[deciding:]

    def make(kept: Kept) -> tuple[Tensor, Drop]:
        found = scores(kept)
        return found, Drop.of(dense[own], found[own])

    found: WithinDrop[Tensor] = smallest_within(curve, make, max_drop)
    unseen = Drop.of(dense[rest], found.chosen.made[rest]).mean
    return {
        "seed": seed,
        "deciding": deciding,
        "unseen": len(rest),
        "max_drop": max_drop,
        "budget": found.chosen.budget.name,
        "looks": len(found.looks),
        "kept": found.chosen.kept,
        "drop": found.chosen.drop.mean,
        "bound": found.chosen.bound,
        "unseen_drop": unseen,
        "held": unseen <= max_drop,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The splits by how many images decide, and by the drop."""
    lines = [
        "| images that decide | drop allowed | budget found | median | range | lost on unseen | at most | held |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for deciding, max_drop in dict.fromkeys((row["deciding"], row["max_drop"]) for row in rows):
        cell = [row for row in rows if (row["deciding"], row["max_drop"]) == (deciding, max_drop)]
        kept = [row for row in cell if row["kept"]]
        start = f"| {deciding:,} | {max_drop:g} | {len(kept)} of {len(cell)} |"
        if not kept:
            lines.append(f"{start} – | – | – | – | – |")
            continue
        budgets = sorted(float(row["budget"]) for row in kept)
        drops = [row["unseen_drop"] for row in kept]
        lines.append(
            f"{start} {median(budgets):.3g} | {budgets[0]:g} to {budgets[-1]:g} | {sum(drops) / len(drops):.2f} | "
            f"{max(drops):.2f} | {sum(row['held'] for row in kept)} of {len(kept)} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    p = parser(__doc__)
    p.add_argument("--out", type=Path, required=True, help="folder of what is found")
    p.add_argument("--splits", type=int, default=20)
    p.add_argument("--metric", default="params")
    p.add_argument("--deciding", type=int, nargs="+", default=[5000, 2000])
    p.add_argument("--max-drop", type=float, nargs="+", default=[2.0, 1.0])
    p.add_argument(
        "--split-seed", type=int, default=42, help="whose validation images the weights were not trained on"
    )
    given = p.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    with threads(given.threads):
        _study(given)
    return 0


def _study(given: argparse.Namespace) -> None:
    problem = prepare(task_of(given, given.split_seed), seed=given.seed)
    settings = SearchSettings(budgets=(Kept(fraction=1.0),), metric=given.metric)
    curve = predicted_errors(problem, settings)
    pool = Pool(problem, settings, given.out / "models.jsonl")
    rows: list[dict[str, Any]] = []
    for max_drop in given.max_drop:
        for deciding in given.deciding:
            for seed in range(given.splits):
                cell = {"seed": seed, "deciding": deciding, "max_drop": max_drop}
                rows.append(one_split(pool.dense, pool.scores, curve, **cell))
                write_rows(given.out / "splits.jsonl", rows)
            text = table(rows)
            (given.out / "results.md").write_text(text + "\n", encoding="utf-8")
            print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
