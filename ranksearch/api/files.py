"""Files from Python: exported models and plans, ranks from elsewhere, int8 files, reports."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

import torch
from torch import Tensor, nn

from ranksearch.api.models import plan_record
from ranksearch.api.names import listed
from ranksearch.cards import write_card
from ranksearch.compression import (
    PLAN_FILE,
    WEIGHTS_FILE,
    Compressed,
    check_sums,
)
from ranksearch.costs import Kept
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.exporting import export_file, exporters
from ranksearch.interchange import DEFAULT, PLAN_EXPORTERS, PlanExport, export_of, export_plan_file, plan_of
from ranksearch.interchange import read_ranks as read_ranks_file
from ranksearch.keywords import checks_keywords
from ranksearch.networks import (
    Batch,
    Output,
    copy_model,
    draws_alone,
    load_weights,
    one_tensor,
    output_of,
)
from ranksearch.planning import (
    inspect_network,
    read_plan,
    to_plan,
)
from ranksearch.quantization import TOLERANCE, quantize_file
from ranksearch.searching import SearchResult
from ranksearch.tasks import Task


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
    wanted = exporters(listed(to))
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
        record = plan_record(task, plan.plan, plan.budget)
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
    network = inspect_network(task, ignore=listed(ignore))
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
