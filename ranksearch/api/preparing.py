"""From the parameters of a search to the problem that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ranksearch.api.names import listed
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.planning import (
    CandidateConfig,
    LayerWeights,
    Problem,
    inspect_network,
    prepare,
    usual_multiple,
)
from ranksearch.progress import Progress, no_progress
from ranksearch.searching import SearchSettings
from ranksearch.searching.baselines import check_weights
from ranksearch.tasks import Task
from ranksearch.timing import TimingSettings


@dataclass(frozen=True)
class Preparation:
    """What plans are made of: the parameters of `search` by these names."""

    decompositions: str | Sequence[str] | None
    min_rank: int
    rank_multiple: int | str | Mapping[str, int | str] | None
    runtime: str
    latency_batch: int
    ignore: str | Sequence[str]
    protect_early: int | tuple[int, float]
    probe: str | Path | None

    def problem(self, task: Task, wanted: SearchSettings, progress: Progress = no_progress) -> Problem:
        """The problem of a task for a search. Raises InputError for parameters that do not fit."""
        config = self._config(wanted)
        early = self.protect_early if isinstance(self.protect_early, tuple | list) else (self.protect_early,)
        layer_weights = LayerWeights(*early)
        network = inspect_network(
            task,
            ignore=listed(self.ignore),
            metrics=wanted.metrics,
            timing=TimingSettings(self.runtime, self.latency_batch),
            budget_of=wanted.budget_of,
        )
        if self.probe is not None:
            # What it reads with takes a second to import.
            from ranksearch.probing import read_prior

            prior = read_prior(Path(self.probe), task.model, network.layers)
            layer_weights = replace(layer_weights, prior=prior)
        check_weights(layer_weights, wanted.allocator)
        return prepare(
            task,
            network=network,
            config=config,
            layer_weights=layer_weights,
            seed=wanted.seed,
            progress=progress,
        )

    def _config(self, wanted: SearchSettings) -> CandidateConfig:
        multiples = dict(usual_multiple(wanted.metrics))
        if (given := self.rank_multiple) is not None:
            multiples = dict(given) if isinstance(given, Mapping) else {"*": given}
        names = DECOMPOSITIONS.usable() if self.decompositions is None else listed(self.decompositions)
        return CandidateConfig(
            decompositions=tuple(DECOMPOSITIONS.resolve(name).name for name in names),
            min_rank=self.min_rank,
            rank_multiple=tuple(multiples.items()),
            metrics=wanted.metrics,
        )
