"""The library in three calls: search for a plan, compress by it, save the result."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from ranksearch.bars import showing
from ranksearch.calibration import Moments
from ranksearch.cards import write_card
from ranksearch.compression import (
    PLAN_FILE,
    WEIGHTS_FILE,
    CompressConfig,
    Compressed,
    check_sums,
    load_compressed,
    outputs_record,
    planned_layers,
    save_compressed,
)
from ranksearch.compression import compress as compress_plan
from ranksearch.costs import Budget, Cost, Kept
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.exporting import export_file, exporters
from ranksearch.folders import TABLES
from ranksearch.interchange import DEFAULT, PLAN_EXPORTERS, PlanExport, export_of, export_plan_file, plan_of
from ranksearch.interchange import read_ranks as read_ranks_file
from ranksearch.keywords import checks_keywords
from ranksearch.networks import (
    Batch,
    Layer,
    Output,
    copy_model,
    draws_alone,
    load_weights,
    one_tensor,
    output_of,
)
from ranksearch.planning import (
    CandidateConfig,
    DeliveryRecord,
    FootprintRecord,
    Gauge,
    LayerWeights,
    Plan,
    PlanRecord,
    Problem,
    further_budgets,
    further_plan,
    input_records,
    inspect_network,
    make_record,
    preferred,
    prepare,
    read_plan,
    read_tables,
    to_plan,
    usual_multiple,
)
from ranksearch.progress import Progress, no_progress
from ranksearch.quantization import TOLERANCE, quantize_file
from ranksearch.searching import (
    SearchResult,
    SearchSettings,
    check_max_drop,
    predicted_errors,
    shared,
    smallest_within,
)
from ranksearch.searching import search as search_problem
from ranksearch.searching import work as join_search
from ranksearch.searching.baselines import check_weights
from ranksearch.searching.studies import TIMEOUT, Artifacts, open_storage
from ranksearch.tasks import Behaviour, Drop, Role, Task, answers, compare_answers, metric_name
from ranksearch.timing import TimingSettings


@overload
def search(  # type: ignore[overload-overlap]  # a text, though a sequence of texts, is one budget
    task: Task,
    budget: float | str,
    *,
    metric: str = ...,
    limits: Mapping[str, float | str] | None = ...,
    budget_of: str | None = ...,
    decompositions: str | Sequence[str] | None = ...,
    min_rank: int = ...,
    rank_multiple: int | str | Mapping[str, int | str] | None = ...,
    runtime: str = ...,
    latency_batch: int = ...,
    ignore: str | Sequence[str] = ...,
    protect_early: int | tuple[int, float] = ...,
    probe: str | Path | None = ...,
    allocator: str = ...,
    n_trials: int | None = ...,
    objective: str = ...,
    space: str = ...,
    sampler: str = ...,
    timeout: float | None = ...,
    refit_trials: int = ...,
    finetune_trials: int = ...,
    finetune_steps: int = ...,
    finetune_lr: float = ...,
    storage: str | None = ...,
    study_name: str = ...,
    artifacts: str | Path | None = ...,
    seed: int = ...,
    progress: Progress | bool | None = ...,
) -> SearchResult: ...


@overload
def search(
    task: Task,
    budget: Sequence[float | str],
    *,
    metric: str = ...,
    limits: Mapping[str, float | str] | None = ...,
    budget_of: str | None = ...,
    decompositions: str | Sequence[str] | None = ...,
    min_rank: int = ...,
    rank_multiple: int | str | Mapping[str, int | str] | None = ...,
    runtime: str = ...,
    latency_batch: int = ...,
    ignore: str | Sequence[str] = ...,
    protect_early: int | tuple[int, float] = ...,
    probe: str | Path | None = ...,
    allocator: str = ...,
    n_trials: int | None = ...,
    objective: str = ...,
    space: str = ...,
    sampler: str = ...,
    timeout: float | None = ...,
    refit_trials: int = ...,
    finetune_trials: int = ...,
    finetune_steps: int = ...,
    finetune_lr: float = ...,
    storage: str | None = ...,
    study_name: str = ...,
    artifacts: str | Path | None = ...,
    seed: int = ...,
    progress: Progress | bool | None = ...,
) -> list[SearchResult]: ...


@checks_keywords
@draws_alone
def search(
    task: Task,
    budget: float | str | Sequence[float | str],
    *,
    metric: str = "params",
    limits: Mapping[str, float | str] | None = None,
    budget_of: str | None = None,
    decompositions: str | Sequence[str] | None = None,
    min_rank: int = 1,
    rank_multiple: int | str | Mapping[str, int | str] | None = None,
    runtime: str = "torch",
    latency_batch: int = 1,
    ignore: str | Sequence[str] = (),
    protect_early: int | tuple[int, float] = 0,
    probe: str | Path | None = None,
    allocator: str = "knapsack",
    n_trials: int | None = None,
    objective: str = "divergence",
    space: str = "sensitivities",
    sampler: str = "tpe",
    timeout: float | None = None,
    refit_trials: int = 2,
    finetune_trials: int = 4,
    finetune_steps: int = 60,
    finetune_lr: float = 5e-4,
    storage: str | None = None,
    study_name: str = "ranksearch",
    artifacts: str | Path | None = None,
    seed: int = 0,
    progress: Progress | bool | None = True,
) -> SearchResult | list[SearchResult]:
    """The best plan within a budget; several budgets give a list.

    budget: how much to keep of the model in the cost metric `metric`: a fraction, 0.2, or a text, "20%" or "54k".
    limits: by other cost metrics, what else the plan has to keep to. budget_of: what budget and limits count of the
    model, None for all: "factorisable", "blocks" (the repeated ones of a transformer), or patterns over names of
    layers; those outside stay dense. Cost metrics are params, flops, and what else is
    registered. decompositions: names to choose from, all where None. rank_multiple: what ranks are multiples of, or a
    mapping from layer patterns to that, of which the last match counts; "auto" has it measured. Where None it is 8 or 4
    where that costs next to nothing, else 1; and 8 if latency counts. runtime, latency_batch: what runs the model, and
    on how many examples at once, where the cost metric is `latency`. ignore: patterns of layers that stay dense.
    protect_early: how many of the first layers stay dense, or (how many, what their errors are multiplied by).
    probe: folder of a finished probe of the same model, whose measurements say which layers' errors weigh more.
    allocator: a name of `ranksearch.searching.baselines`, whose plan takes the place of a search. The parameters from
    n_trials to seed are those of `SearchSettings`. artifacts: a folder that is shared with processes that may join the
    search by `work`, through the storage; the task needs a `cache`. progress: bars in a terminal or a notebook, or a
    function of your own, called as `progress(stage, done, total, best)`; None or False for none.

    Raises BudgetError where a budget cannot be met, and InputError for parameters and models that do not fit.
    """
    several = isinstance(budget, Sequence) and not isinstance(budget, str)
    wanted = SearchSettings(
        multiples=preferred(rank_multiple),
        budgets=tuple(map(Kept.parse, budget if several else (budget,))),  # type: ignore[arg-type]
        metric=metric,
        limits=tuple((name, Kept.parse(kept)) for name, kept in (limits or {}).items()),
        budget_of=budget_of,
        allocator=allocator,
        n_trials=n_trials,
        objective=objective,
        space=space,
        sampler=sampler,
        timeout=timeout,
        refit_trials=refit_trials,
        finetune_trials=finetune_trials,
        finetune_steps=finetune_steps,
        finetune_lr=finetune_lr,
        storage=storage,
        study_name=study_name,
        seed=seed,
    )
    with showing(progress) as told:
        problem = _prepared(
            task,
            wanted,
            decompositions,
            min_rank,
            rank_multiple,
            runtime,
            latency_batch,
            ignore,
            protect_early,
            probe,
            told,
        )
        if artifacts is None:
            results = search_problem(problem, wanted, progress=told)
        else:
            kept = open_storage(storage)
            with shared(problem, wanted, kept, Artifacts.in_folder(Path(artifacts))) as board:
                results = search_problem(problem, wanted, storage=kept, progress=told, board=board)
    return results if several else results[0]


@checks_keywords
@draws_alone
def work(
    task: Task,
    *,
    storage: str,
    study_name: str = "ranksearch",
    artifacts: str | Path,
    timeout: float = TIMEOUT,
    progress: Progress | bool | None = True,
) -> int:
    """Join a search that another process leads, and run its trials until it has ended; the number of trials.

    task: the same as where the search is led: model, data, loss and splits are compared. storage, study_name,
    artifacts: those of the search. timeout: for how many seconds to wait for a search, for its leader, or for a
    database that is away.

    Raises MismatchError, which names the differences, where task or versions of packages are others, and InputError
    where nobody leads such a search.
    """
    with tempfile.TemporaryDirectory() as folder, showing(progress) as told:
        own = task if task.cache is not None else replace(task, cache=Path(folder))
        kept = open_storage(storage, timeout)
        place = Artifacts.in_folder(Path(artifacts))
        return join_search(own, kept, study_name, artifacts=place, timeout=timeout, progress=told)


@checks_keywords
@draws_alone
def compress(
    task: Task,
    plan: Plan | SearchResult,
    *,
    config: CompressConfig | None = None,
    epochs: int | None = None,
    match_epochs: int | None = None,
    rounds: int | None = None,
    seed: int | None = None,
    moments: Mapping[str, Moments] | None = None,
    layers: Sequence[Layer] | None = None,
    progress: Progress | bool | None = True,
) -> Compressed:
    """Factorise, re-estimate BatchNorm statistics, fine-tune by distillation from the dense model.

    plan: also the result of a search, for its plan. epochs, match_epochs, rounds, seed: in place of those of `config`.
    moments: of all calibration images, from `calibration_moments`, to share between plans of a task; layers: all of its
    model, likewise. progress: as for `search`.

    Raises MismatchError if the plan names layers that the model does not have, or if its cost differs.
    """
    if not isinstance(wanted := plan.plan if isinstance(plan, SearchResult) else plan, Plan):
        raise InputError(expected("plan", "a plan, or the result of one search", type(plan).__name__))
    own: dict[str, Any] = {"epochs": epochs, "match_epochs": match_epochs, "rounds": rounds, "seed": seed}
    changed = {name: value for name, value in own.items() if value is not None}
    settings = replace(config or CompressConfig(), **changed)
    with showing(progress) as told:
        return compress_plan(task, wanted, config=settings, moments=moments, layers=layers, progress=told)


@dataclass(frozen=True)
class Smallest:
    """The smallest model that keeps to a drop, or the nearest one.

    kept: whether `bound`, the upper end of the drop's confidence interval on the validation data, is within what was
    allowed. drop, test_drop: what it loses on the validation and the test data, the latter None without labelled data.
    looks: by budget, the drop of every model that was made and its bound.
    """

    result: SearchResult
    compressed: Compressed
    kept: bool
    drop: Drop
    bound: float
    test_drop: Drop | None
    looks: Mapping[str, tuple[Drop, float]]


@checks_keywords
@draws_alone
def smallest(
    task: Task,
    max_drop: float,
    *,
    metric: str = "params",
    limits: Mapping[str, float | str] | None = None,
    budget_of: str | None = None,
    config: CompressConfig | None = None,
    decompositions: str | Sequence[str] | None = None,
    min_rank: int = 1,
    rank_multiple: int | str | Mapping[str, int | str] | None = None,
    runtime: str = "torch",
    latency_batch: int = 1,
    ignore: str | Sequence[str] = (),
    protect_early: int | tuple[int, float] = 0,
    probe: str | Path | None = None,
    allocator: str = "knapsack",
    seed: int = 0,
) -> Smallest:
    """The model of the smallest budget that loses at most `max_drop` of the task metric, after at most six models.

    The upper end of a confidence interval of the drop counts, on the validation data, which nothing is fitted to: with
    97.5 % confidence, over all models that are looked at, the one that is taken keeps to the drop. config: how models
    are compressed, as for `compress`. The others are those of `search`.

    Raises InputError where there are no labelled validation data, or too few to show so small a drop.
    """
    check_max_drop(task, max_drop)
    wanted = SearchSettings(
        multiples=preferred(rank_multiple),
        budgets=(Kept(fraction=1.0),),
        metric=metric,
        limits=tuple((name, Kept.parse(kept)) for name, kept in (limits or {}).items()),
        budget_of=budget_of,
        allocator=allocator,
        seed=seed,
    )
    problem = _prepared(
        task,
        wanted,
        decompositions,
        min_rank,
        rank_multiple,
        runtime,
        latency_batch,
        ignore,
        protect_early,
        probe,
    )

    def make(kept: Kept) -> tuple[tuple[SearchResult, Compressed], Drop]:
        (result,) = search_problem(problem, replace(wanted, budgets=(kept,)))
        compressed = compress_plan(task, result.plan, config=config, layers=problem.layers)
        found = behaviour(task, compressed, "validation")
        assert found is not None  # the data were checked
        return (result, compressed), found.drop

    found = smallest_within(predicted_errors(problem, wanted), make, max_drop)
    result, compressed = found.chosen.made
    test = behaviour(task, compressed, "test")
    return Smallest(
        result,
        compressed,
        found.chosen.kept,
        found.chosen.drop,
        found.chosen.bound,
        None if test is None else test.drop,
        {look.budget.name: (look.drop, look.bound) for look in found.looks},
    )


@checks_keywords
@draws_alone
def behaviour(task: Task, model: nn.Module | Compressed, on: Role = "test") -> Behaviour | None:
    """How a compressed model behaves beside the dense one, on data that both answer in one pass; None without labels.

    For classification it has the share of predictions that changed, the classes that lost most, and both expected
    calibration errors; for every task metric the drop, example by example, whose `interval()` is paired.
    """
    module = model.model if isinstance(model, Compressed) else model
    found = answers([task.model, module], task, on)
    return None if found is None else compare_answers(*found)


def _prepared(
    task: Task,
    wanted: SearchSettings,
    decompositions: str | Sequence[str] | None,
    min_rank: int,
    rank_multiple: int | str | Mapping[str, int | str] | None,
    runtime: str,
    latency_batch: int,
    ignore: str | Sequence[str],
    protect_early: int | tuple[int, float],
    probe: str | Path | None,
    progress: Progress = no_progress,
) -> Problem:
    multiples = dict(usual_multiple(wanted.metrics))
    if rank_multiple is not None:
        multiples = dict(rank_multiple) if isinstance(rank_multiple, Mapping) else {"*": rank_multiple}
    patterns = _several(ignore)
    names = DECOMPOSITIONS.usable() if decompositions is None else _several(decompositions)
    config = CandidateConfig(
        decompositions=tuple(DECOMPOSITIONS.resolve(name).name for name in names),
        min_rank=min_rank,
        rank_multiple=tuple(multiples.items()),
        metrics=wanted.metrics,
    )
    early = protect_early if isinstance(protect_early, tuple | list) else (protect_early,)
    layer_weights = LayerWeights(*early)
    timing = TimingSettings(runtime, latency_batch)
    network = inspect_network(
        task, ignore=patterns, metrics=wanted.metrics, timing=timing, budget_of=wanted.budget_of
    )
    if probe is not None:
        # What it reads with takes a second to import.
        from ranksearch.probing import read_prior

        layer_weights = replace(layer_weights, prior=read_prior(Path(probe), task.model, network.layers))
    check_weights(layer_weights, wanted.allocator)
    return prepare(
        task, network=network, config=config, layer_weights=layer_weights, seed=wanted.seed, progress=progress
    )


@checks_keywords
def plan(
    source: SearchResult | str | Path,
    budget: float | str,
    *,
    metric: str | None = None,
    limits: Mapping[str, float | str] | None = None,
) -> SearchResult:
    """The analytic plan for another budget, in seconds, from what a search has found out already.

    source: the result of a search, or the folder of a finished `ranksearch run`. budget, metric, limits: as for
    `search`; where neither a metric nor limits are given, those of the source hold. A plan within a budget of time is
    not measured: its score `time_predicted` says what it is expected to take.

    Raises BudgetError where the budget cannot be met, and InputError where the source did not count the metric.
    """
    if isinstance(source, SearchResult):
        also = tuple((each.metric, each.kept) for each in source.budget.also)
        tables, of_run, multiples = source.tables, (source.budget.metric, also), source.multiples
        if tables is None:
            raise InputError(expected("source", "the result of `ranksearch.search`", "one without tables"))
    else:
        record = read_tables(Path(source) / TABLES)
        tables, of_run, multiples = record.content(), record.of_run, record.multiples
    asked = None if limits is None else tuple((name, Kept.parse(kept)) for name, kept in limits.items())
    (wanted,) = further_budgets(tables.dense, [Kept.parse(budget)], of_run, metric, asked, tables.part)
    found = further_plan(tables, wanted, multiples)
    return SearchResult(wanted, found.plan, "analytic", found.scores, (), tables, multiples)


def _several(names: str | Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names


@checks_keywords
@draws_alone
def save(
    folder: str | Path,
    task: Task,
    result: SearchResult,
    compressed: Compressed,
    *,
    footprint: FootprintRecord | None = None,
) -> None:
    """Write `model.safetensors` and `plan.json`, for `ranksearch.load`, and a model card, `README.md`.

    `compressed` is what `compress` made of `result.plan`. footprint: what `footprint` measured of it, to be kept in
    `plan.json`. Raises MismatchError where the plan is not for the task's model.
    """
    scores = {
        **result.scores,
        "factorised": compressed.factorised.mean,
        "delivered": compressed.delivered.mean,
    }
    record = _record(task, compressed.plan, result.budget, scores)
    told = DeliveryRecord(
        command=None,
        epochs=None,
        data=None,
        task_metric=metric_name(task),
        dense={},
        inputs=dict(input_records(task.example)),
        images=None,
    )
    found = {
        "delivery": told,
        "footprint": footprint,
        "outputs": outputs_record(compressed.model, task.example),
    }
    save_compressed(Path(folder), compressed.model, record.model_copy(update=found))
    write_card(Path(folder))


def _record(
    task: Task, plan: Plan, budget: Budget, scores: Mapping[str, float | None] | None = None
) -> PlanRecord:
    """What a plan file holds of a plan. Raises MismatchError where the plan is not for the task's model."""
    network = inspect_network(task, metrics=tuple(plan.cost.amounts))
    limits = {each.metric: each.dense for each in budget.every}
    measured = {name: dense for name, dense in limits.items() if name not in network.cost.amounts}
    planned_layers(network.layers, [plan])
    return make_record(
        task.model,
        network.layers,
        plan,
        example=task.example,
        dense=Cost(**network.cost.amounts, **measured),
        budget=budget,
        seed=task.splits.seed,
        model_name=task.model_name,
        scores=scores,
    )


@checks_keywords
@draws_alone
def footprint(
    task: Task, compressed: Compressed, *, runtime: str = "torch", latency_batch: int = 1
) -> FootprintRecord:
    """What a compressed model takes, next to the dense one: bytes of its file, memory of activations, and time.

    The time of a forward pass is measured in turns with the dense model, on this machine, with torch's current number
    of threads. runtime: `torch`, `onnxruntime`, or what else is registered. latency_batch: how many examples at once.
    What cannot be measured is None, and a warning gives the reason. Raises InputError for a runtime that is not known.
    """
    settings = TimingSettings(runtime, latency_batch)
    return Gauge(task, inspect_network(task), settings).footprint(compressed.model, compressed.plan)


@checks_keywords
def load(folder: str | Path, model: nn.Module | None = None, *, trust: bool = False) -> nn.Module:
    """The compressed model that a folder holds, in evaluation mode.

    `model` is the dense model; its weights do not matter and it is not changed. It can be left out where the
    plan names a built-in one (`torchvision:NAME`, `timm:NAME`, `digits`) by numbers and switches alone, and for a
    model of transformers, whose config is in the folder. Other names can have code imported and files read: with
    `trust` they are followed as well.
    """
    folder = Path(folder)
    record = read_plan(folder / PLAN_FILE)
    dense = _named(folder, record.model.name, trust) if model is None else model
    return load_compressed(folder, record, dense)


@checks_keywords
@draws_alone
def export(
    folder: str | Path,
    model: nn.Module | Compressed,
    example: Batch,
    *,
    to: str | Sequence[str] = "onnx",
    output: Output | str | int = one_tensor,
) -> Path | list[Path]:
    """Write a model to files in a folder that run without ranksearch; several names give a list of paths.

    Each file is compared with the model, on batches of 1 and of 5 of the inputs in `example`, and written down in
    `exports.json`, in `SHA256SUMS`, and in the model card where there is one. model: what `compress` or `load`
    returned. Where the folder holds a compressed model, it has to be that one. example: a batch of inputs as the data
    gives them, such as `task.example`. to: `onnx`, `pt2`, `torchscript`, and what else is registered. output: as for
    `Task`, a path or a function.

    Raises InputError where the model cannot be exported, or the file's outputs are not the model's.
    """
    folder, module = Path(folder), model.model if isinstance(model, Compressed) else model
    several = not isinstance(to, str)
    wanted = exporters(_several(to))
    if (folder / WEIGHTS_FILE).is_file():
        _check_same(folder, module)
    picked = output_of(output)
    records = [export_file(folder, exporter, module, example, picked) for exporter in wanted]
    if (folder / PLAN_FILE).is_file():
        write_card(folder)
    paths = [folder / record.file for record in records]
    return paths if several else paths[0]


@checks_keywords
def export_plan(
    plan: str | Path | SearchResult, to: str, path: str | Path | None = None, *, task: Task | None = None
) -> PlanExport:
    """A plan as another compressor reads it; written to `path`, if there is one.

    plan: a plan file, or the result of a search, which needs the `task` that it was made for. to: `chains`, `ranks`,
    `tensorly_torch`, and what else is registered. What is returned has the `content` of the file, the `ranks` and
    `params` of the layers that it expresses, and `left_out`: those that it cannot, with the reason. They stay dense.

    Raises InputError for a format that is not known, and for plan files of version 1.
    """
    exporter = PLAN_EXPORTERS.resolve(to)
    if not isinstance(plan, SearchResult):
        record = read_plan(Path(plan))
    elif task is None:
        raise InputError(expected("task", "the task that the plan was made for", "none"))
    else:
        record = _record(task, plan.plan, plan.budget)
    return export_of(exporter, record) if path is None else export_plan_file(record, exporter, Path(path))


@checks_keywords
@draws_alone
def read_ranks(
    path: str | Path,
    task: Task,
    *,
    decomposition: str = DEFAULT,
    budget: float | str | None = None,
    metric: str = "params",
    ignore: str | Sequence[str] = (),
) -> SearchResult:
    """Ranks from elsewhere as the plan of a task's model, for `compress`; its errors are not known, and 0.

    path: JSON with a rank for each module, `{module: rank}`, or a file of chains; or AIMET's greedy scores,
    `{layer: {ratio: score}}`, of which a `budget` in the cost metric `metric` chooses the ratios. decomposition: what a
    rank alone stands for. ignore: patterns of layers that stay dense.

    Raises InputError for a file that holds neither, and MismatchError where it does not fit the model. A pickle is not
    read.
    """
    given = read_ranks_file(Path(path), DECOMPOSITIONS.resolve(decomposition).name)
    network = inspect_network(task, ignore=_several(ignore))
    kept = None if budget is None else Kept.parse(budget)
    found, own = plan_of(given, network.layers, network.cost, kept, metric)
    return SearchResult(own, found, "elsewhere", {}, (), None)


@checks_keywords
@draws_alone
def quantize(
    folder: str | Path,
    model: nn.Module | Compressed,
    task: Task,
    *,
    tolerance: float = TOLERANCE,
    latency_batch: int = 1,
) -> Path:
    """Write a model to `model.int8.onnx` in a folder, beside `model.onnx`, quantised by onnxruntime.

    Ranges of activations come from the task's calibration images. Layers that lose too much stay float: the divergence
    of the file's outputs from the model's is at most `tolerance` times that of a model that always returns the mean
    output. A plan for the metric `int8_bytes` says itself which layers are int8. `exports.json` holds the divergence,
    the task metric, the size, and the time over that of `model.onnx` on `latency_batch` examples. model: what
    `compress` or `load` returned. Where the folder holds a compressed model, it has to be that one.

    Raises InputError where onnxruntime lacks what is needed, or where no layer can be quantised.
    """
    folder, module = Path(folder), model.model if isinstance(model, Compressed) else model
    if not 0 < tolerance < inf:
        raise InputError(expected("tolerance", "a number greater than 0", tolerance))
    if latency_batch < 1:
        raise InputError(expected("latency_batch", "a whole number, 1 or more", latency_batch))
    if (folder / WEIGHTS_FILE).is_file():
        _check_same(folder, module)
    planned = model.plan.int8 if isinstance(model, Compressed) else _int8_of(folder)
    record = quantize_file(folder, module, task, planned=planned, tolerance=tolerance, batch=latency_batch)
    return folder / record.file


@checks_keywords
def report(
    runs: str | Path | Sequence[str | Path], *, out: str | Path | None = None, lang: str = "en"
) -> Path:
    """Write the page of a run or a probe, one HTML file that needs nothing else; its path.

    runs: the folder of a `ranksearch run` or `ranksearch probe`, or several of runs for a comparison. out: the file;
    report.html in the folder where None, which several do not allow. lang: `en` or `ja`. Only files of the folders are
    read, neither model nor data.

    Raises InputError where a folder holds nothing of a run that can be read.
    """
    from ranksearch.reports import write_report  # what it draws with takes a second to import

    several = [runs] if isinstance(runs, str | Path) else runs
    return write_report([Path(run) for run in several], None if out is None else Path(out), lang)


def _int8_of(folder: Path) -> tuple[str, ...]:
    """The layers that are int8 by the plan in a folder; none without one."""
    path = folder / PLAN_FILE
    return to_plan(read_plan(path)).int8 if path.is_file() else ()


def _check_same(folder: Path, module: nn.Module) -> None:
    check_sums(folder)
    held = copy_model(module).cpu()
    load_weights(held, folder / WEIGHTS_FILE)
    stored, own = held.state_dict(), module.state_dict()
    if any(isinstance(own[key], Tensor) and not torch.equal(stored[key], own[key].cpu()) for key in own):
        way_out = "Choose another folder, or pass ranksearch.load(folder, …)."
        raise MismatchError(expected("model", f"the model in {folder}", "one with other weights", way_out))


def _named(folder: Path, name: str | None, trust: bool) -> nn.Module:
    from ranksearch.tasks.sources import dense_name, make_model

    if (found := dense_name(folder, name, trust=trust)) is None:
        got = "none" if name is None else f"none, and {name} can import code or read files"
        trusted = "" if name is None else ", or trust=True if you trust the folder"
        way_out = f"Pass it: ranksearch.load(folder, model=…); its weights do not matter{trusted}."
        raise InputError(expected(f"{folder}, model", "the dense model", got, way_out))
    with torch.random.fork_rng(devices=[]):
        return make_model(found)
