"""From the options of a run to the settings of its steps."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ranksearch.compression import CompressConfig
from ranksearch.compression.training import FinetuneConfig
from ranksearch.costs import COSTS, Kept, counted
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, expected
from ranksearch.networks import threads
from ranksearch.planning import CandidateConfig, LayerWeights, preferred, usual_multiple
from ranksearch.runs.config import flag
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import RunFolder
from ranksearch.searching import SearchSettings
from ranksearch.timing import TimingSettings

WHOLE = Kept(fraction=1.0)
"""Stands for the budgets that are looked for."""


def torch_threads(options: RunOptions) -> AbstractContextManager[None]:
    """Torch's CPU threads for a while; on something as small as digits more than one get in the way."""
    return threads(options.threads or (1 if options.model == "digits" else None))


def search_settings(options: RunOptions, folder: RunFolder) -> SearchSettings:
    """The options that the search is about; the journal lies in the run folder unless a storage is named."""
    if not options.budget and options.max_drop is None:
        way_out = "For example --budget 0.2, which keeps a fifth, or --max-drop 1."
        raise InputError(expected("--budget", "how much to keep, or --max-drop", "none", way_out))
    if options.budget and options.max_drop is not None:
        got = f"--max-drop {options.max_drop:g} and --budget {','.join(kept.name for kept in options.budget)}"
        way_out = "Leave one out; --budget none takes back that of a file."
        raise InputError(expected("--max-drop", "either a drop or a budget", got, way_out))
    settings = SearchSettings(
        budgets=options.budget or (WHOLE,),
        metric=options.metric,
        limits=options.limit,
        allocator=options.allocator,
        space=options.space,
        sampler=options.sampler,
        n_trials=options.n_trials,
        objective=options.objective,
        timeout=options.timeout,
        refit_trials=options.refit_trials,
        finetune_trials=options.finetune_trials,
        finetune_steps=options.finetune_steps,
        finetune_lr=options.lr,
        seed=options.seed,
        study_name=options.study_name,
        storage=options.storage or str(folder.study),
        multiples=preferred(options.rank_multiple),
        budget_of=options.budget_of,
    )
    _check_trials(options)
    return settings


OF_SEARCH: tuple[str, ...] = ("space", "sampler", "timeout", "workers")
"""Options that say how the knapsack's search goes."""

OF_TRIALS: tuple[str, ...] = (*OF_SEARCH, "objective", "finetune_trials", "finetune_steps")
"""Options that say how trials go, of which other allocators have some too."""


def _check_trials(options: RunOptions) -> None:
    """That nothing is asked of trials where there are none, nor of the search where an allocator takes its place."""
    if options.allocator != "knapsack":
        unused, wanted, got = OF_SEARCH, "--allocator knapsack", options.allocator
        way_out = "Other allocators do not use this option."
    elif options.n_trials is None:
        unused, wanted, got = OF_TRIALS, "--n-trials", "none"
        way_out = "For example --n-trials 40; --n-trials 0 still takes the analytic plan."
    else:
        return
    default = RunOptions()
    for name in unused:
        if (value := getattr(options, name)) not in (getattr(default, name), 0):
            raise InputError(
                expected(f"{flag(name)} {value}", f"{wanted}, without which it has no effect", got, way_out)
            )


def candidate_config(options: RunOptions) -> CandidateConfig:
    """The options that candidates are about; decompositions of the user's own are registered."""
    metrics = counted(*(COSTS.resolve(name).name for name in (options.metric, *dict(options.limit))))
    return CandidateConfig(
        decompositions=tuple(DECOMPOSITIONS.resolve(name).name for name in options.decompositions),
        min_rank=options.min_rank,
        rank_multiple=options.rank_multiple or usual_multiple(metrics),
        metrics=metrics,
    )


def timing_settings(options: RunOptions, folder: RunFolder | None = None) -> TimingSettings:
    """The options that times are about; what is measured is kept in the run folder, where there is one."""
    times = None if folder is None else folder.times
    return TimingSettings(options.runtime, options.latency_batch, options.threads, times)


def compress_config(options: RunOptions) -> CompressConfig:
    """The options that full compression is about."""
    return CompressConfig(
        match_epochs=options.match_epochs,
        epochs=delivery_epochs(options),
        finetune=FinetuneConfig(lr=options.lr, label_weight=options.label_weight, augment=options.augment),
        rounds=options.rounds,
        seed=options.seed,
    )


def delivery_epochs(options: RunOptions) -> int:
    """Epochs of fine-tuning: where nothing is said as many as in Python. An epoch of digits is a handful of steps."""
    if options.epochs is not None:
        return options.epochs
    return 20 if options.model == "digits" else CompressConfig.epochs


def early_weights(options: RunOptions) -> LayerWeights:
    """The option that favours early layers."""
    return LayerWeights() if options.protect_early is None else LayerWeights(*options.protect_early)


NOT_RECORDED = {
    *("resume", "trust", "quiet", "verbose", "out", "cache", "storage", "study_name"),
    *("storage_timeout", "workers", "artifacts"),
    *("export", "quantize", "quantize_tolerance", "track"),
}
"""Options that are about one machine's folders and one run's output: nobody else has a use for them."""


def recorded(options: RunOptions) -> dict[str, Any]:
    """The options as plan files keep them."""
    return options.model_dump(mode="json", exclude_none=True, exclude=NOT_RECORDED)
