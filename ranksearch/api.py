"""The library in three calls: search for a plan, compress by it, save the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import torch
from torch import Tensor, nn

from ranksearch.compression import (
    PLAN_FILE,
    WEIGHTS_FILE,
    Compressed,
    check_sums,
    load_compressed,
    planned_layers,
    save_compressed,
)
from ranksearch.costs import Cost, Kept
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.exporting import export_file, exporters
from ranksearch.keywords import checks_keywords
from ranksearch.networks import Batch, Output, copy_model, draws_alone, load_weights, one_tensor
from ranksearch.planning import (
    CandidateConfig,
    LayerWeights,
    inspect_network,
    make_record,
    prepare,
    read_plan,
    usual_multiple,
)
from ranksearch.searching import SearchResult, SearchSettings
from ranksearch.searching import search as search_problem
from ranksearch.searching.baselines import check_weights
from ranksearch.tasks import Task
from ranksearch.timing import TimingSettings


@overload
def search(  # type: ignore[overload-overlap]  # a text, though a sequence of texts, is one budget
    task: Task,
    budget: float | str,
    *,
    metric: str = ...,
    limits: Mapping[str, float | str] | None = ...,
    decompositions: str | Sequence[str] | None = ...,
    min_rank: int = ...,
    rank_multiple: int | Mapping[str, int] | None = ...,
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
    seed: int = ...,
) -> SearchResult: ...


@overload
def search(
    task: Task,
    budget: Sequence[float | str],
    *,
    metric: str = ...,
    limits: Mapping[str, float | str] | None = ...,
    decompositions: str | Sequence[str] | None = ...,
    min_rank: int = ...,
    rank_multiple: int | Mapping[str, int] | None = ...,
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
    seed: int = ...,
) -> list[SearchResult]: ...


@checks_keywords
@draws_alone
def search(
    task: Task,
    budget: float | str | Sequence[float | str],
    *,
    metric: str = "params",
    limits: Mapping[str, float | str] | None = None,
    decompositions: str | Sequence[str] | None = None,
    min_rank: int = 1,
    rank_multiple: int | Mapping[str, int] | None = None,
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
    seed: int = 0,
) -> SearchResult | list[SearchResult]:
    """The best plan within a budget; several budgets give a list.

    budget: how much to keep of the model in the cost metric `metric`: a fraction, 0.2, or a text, "20%" or "54k".
    limits: by other cost metrics, what else the plan has to keep to. Cost metrics are params, flops, and what else is
    registered. decompositions: names to choose from, all where None. rank_multiple: what ranks are multiples of, or a
    mapping from layer patterns to that, of which the last match counts; where None 1, or 8 if latency counts. runtime,
    latency_batch: what runs the model, and on how many examples at once, where the cost metric is `latency`. ignore:
    patterns of layers that stay dense. protect_early: how many of the first layers stay dense, or (how many, what their
    errors are multiplied by).
    probe: folder of a finished probe of the same model, whose measurements say which layers' errors weigh more.
    allocator: a name of `ranksearch.searching.baselines`, whose plan takes the place of a search. The parameters from
    n_trials on are those of `SearchSettings`.

    Raises BudgetError where a budget cannot be met, and InputError for parameters and models that do not fit.
    """
    several = isinstance(budget, Sequence) and not isinstance(budget, str)
    wanted = SearchSettings(
        budgets=tuple(map(Kept.parse, budget if several else (budget,))),  # type: ignore[arg-type]
        metric=metric,
        limits=tuple((name, Kept.parse(kept)) for name, kept in (limits or {}).items()),
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
    network = inspect_network(task, ignore=patterns, metrics=wanted.metrics, timing=timing)
    if probe is not None:
        # What it reads with takes a second to import.
        from ranksearch.probing import read_prior

        layer_weights = replace(layer_weights, prior=read_prior(Path(probe), task.model, network.layers))
    check_weights(layer_weights, wanted.allocator)
    problem = prepare(task, network=network, config=config, layer_weights=layer_weights, seed=seed)
    results = search_problem(problem, wanted)
    return results if several else results[0]


def _several(names: str | Sequence[str]) -> Sequence[str]:
    return (names,) if isinstance(names, str) else names


@checks_keywords
@draws_alone
def save(folder: str | Path, task: Task, result: SearchResult, compressed: Compressed) -> None:
    """Write `model.safetensors` and `plan.json`, for `ranksearch.load`.

    `compressed` is what `compress` made of `result.plan`. Raises MismatchError where the plan is not for the
    task's model.
    """
    network = inspect_network(task, metrics=tuple(compressed.cost.amounts))
    limits = {each.metric: each.dense for each in result.budget.every}
    measured = {name: dense for name, dense in limits.items() if name not in network.cost.amounts}
    planned_layers(network.layers, [compressed.plan])
    record = make_record(
        task.model,
        network.layers,
        compressed.plan,
        example=task.example,
        dense=Cost(**network.cost.amounts, **measured),
        budget=result.budget,
        seed=task.splits.seed,
        model_name=task.model_name,
        scores={
            **result.scores,
            "factorised": compressed.factorised.mean,
            "delivered": compressed.delivered.mean,
        },
    )
    save_compressed(Path(folder), compressed.model, record)


@checks_keywords
def load(folder: str | Path, model: nn.Module | None = None, *, trust: bool = False) -> nn.Module:
    """The compressed model that a folder holds, in evaluation mode.

    `model` is the dense model; its weights do not matter and it is not changed. It can be left out where the
    plan names a built-in one (`torchvision:NAME`, `timm:NAME`, `digits`) by numbers and switches alone. Other names can
    have code imported and files read: with `trust` they are followed as well.
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
    output: Output = one_tensor,
) -> Path | list[Path]:
    """Write a model to files in a folder that run without ranksearch; several names give a list of paths.

    Each file is compared with the model, on batches of 1 and of 5 of the inputs in `example`, and written down in
    `exports.json` and `SHA256SUMS`. model: what `compress` or `load` returned. Where the folder holds a compressed
    model, it has to be that one. example: a batch of inputs as the data gives them, such as `task.example`. to:
    `onnx`, `pt2`, `torchscript`, and what else is registered. output: as for `Task`.

    Raises InputError where the model cannot be exported, or the file's outputs are not the model's.
    """
    folder, module = Path(folder), model.model if isinstance(model, Compressed) else model
    several = not isinstance(to, str)
    wanted = exporters(_several(to))
    if (folder / WEIGHTS_FILE).is_file():
        _check_same(folder, module)
    records = [export_file(folder, exporter, module, example, output) for exporter in wanted]
    paths = [folder / record.file for record in records]
    return paths if several else paths[0]


def _check_same(folder: Path, module: nn.Module) -> None:
    check_sums(folder)
    held = copy_model(module).cpu()
    load_weights(held, folder / WEIGHTS_FILE)
    stored, own = held.state_dict(), module.state_dict()
    if any(isinstance(own[key], Tensor) and not torch.equal(stored[key], own[key].cpu()) for key in own):
        way_out = "Choose another folder, or pass ranksearch.load(folder, …)."
        raise MismatchError(expected("model", f"the model in {folder}", "one with other weights", way_out))


def _named(folder: Path, name: str | None, trust: bool) -> nn.Module:
    from ranksearch.tasks.sources import is_plain, make_model

    if name is None or not (trust or is_plain(name)):
        got = "none" if name is None else f"none, and {name} can import code or read files"
        trusted = "" if name is None else ", or trust=True if you trust the folder"
        way_out = f"Pass it: ranksearch.load(folder, model=…); its weights do not matter{trusted}."
        raise InputError(expected(f"{folder}, model", "the dense model", got, way_out))
    with torch.random.fork_rng(devices=[]):
        return make_model(name)
