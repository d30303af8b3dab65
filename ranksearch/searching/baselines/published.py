"""The candidates that a method was published with: its own decomposition, its own error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ranksearch.planning import CandidateConfig, Network, Problem, prepare
from ranksearch.progress import Progress, no_progress
from ranksearch.tasks import Task


def prepare_published(
    task: Task,
    config: CandidateConfig,
    *,
    ignore: Sequence[str] = (),
    network: Network | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Problem:
    """As `prepare`, but a layer has candidates of one decomposition: the first in `config` that applies to it."""
    problems = [
        prepare(
            task,
            ignore=ignore,
            network=network,
            config=replace(config, decompositions=(name,)),
            seed=seed,
            progress=progress,
        )
        for name in config.decompositions
    ]
    first = problems[0]
    tables = []
    for k in range(len(first.tables)):
        able = next((p for p in problems if len(p.tables[k].candidates) > 1), first)
        tables.append(able.tables[k])
    return replace(first, tables=tuple(tables))
