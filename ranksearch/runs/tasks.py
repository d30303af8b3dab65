"""Options to a task: model, data, splits, loss and metric put together and checked on one example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ranksearch.cache import cache_dir
from ranksearch.errors import InputError, expected, told
from ranksearch.networks import (
    Batch,
    call,
    one_tensor,
    outputs_of,
    read_weights,
    remedy,
    shapes_of,
    stored_tensors,
    to,
)
from ranksearch.objects import load_object
from ranksearch.progress import Progress
from ranksearch.runs.options import RunOptions
from ranksearch.tasks import (
    CROSS_ENTROPY,
    Loss,
    Role,
    Task,
    check_fit,
    check_targets,
    losses_of,
    make_splits,
    way_to_scores,
)
from ranksearch.tasks.sources import (
    PACKAGES,
    Data,
    ImageOptions,
    check_name,
    classes_in_weights,
    full_name,
    is_builtin,
    load_data,
    load_model,
    look_through,
    make_model,
    pooling_of,
    text_options,
    wishes,
)


def build_task(options: RunOptions) -> Task:
    """The task that the options describe. Raises InputError that names the option."""
    return build_task_and_data(options)[0]


def build_task_and_data(
    options: RunOptions,
    tell: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> tuple[Task, Data]:
    """The task, and what its data source yielded; `tell` hears of what was chosen without being asked for.

    progress: of looking for damaged images, which is left out without it.
    """
    check_name(options.model)
    device = pick_device(options.device)
    losses = losses_of(options.loss)
    num_classes = options.num_classes
    has_weights = options.weights is not None and str(options.weights) != "none"
    if options.weights is None and options.model != "digits" and is_builtin(options.model):
        way_out = f"Nothing is downloaded. {_saving(options.model)} --weights none uses random weights."
        raise InputError(
            expected("--weights", f"a file with trained weights for {options.model}", "none", way_out)
        )
    weights = read_weights(cast(Path, options.weights), options.weights_entry) if has_weights else None
    if num_classes is None and weights is not None:
        num_classes = classes_in_weights(options.model, weights)
    data = load_data(
        options.data_spec,
        images=image_options(options, wishes(options.model)),
        texts=text_options(options.model, options.input_size, blocks=losses[0].name == "causal_lm"),
        test_split=options.test_split,
        seed=options.splitting_seed,
    )
    if num_classes is None and weights is None and is_builtin(options.model) and data.classes:
        num_classes = len(data.classes)
    untrained = str(options.weights) == "none" and options.model != "digits"
    model = (
        make_model(options.model, num_classes=num_classes)
        if untrained
        else load_model(options.model, weights=weights, num_classes=num_classes, tell=tell)
    )
    task = Task(
        model=model.to(device),
        train=data.train,
        validation=data.validation,
        test=data.test,
        splits=make_splits(
            len(cast(Any, data.train)),
            calibration_size=options.calibration_size,
            val_split=0.0 if data.validation is not None else options.val_split,
            seed=options.splitting_seed,
        ),
        loss=cast(Any, losses),
        metric_fn=cast(Any, options.metric_fn),
        output=cast(Any, one_tensor if options.output is None else options.output),
        mask=options.mask,
        pool=pool_of(options, losses[0]),
        collate=data.collate if options.collate is None else load_collate(options.collate),
        ignore_index=options.ignore_index,
        model_name=full_name(options.model, num_classes),
        device=device,
        batch_size=options.batch_size,
        workers=options.loader_workers,
        seed=options.seed,
        calibration_size=options.calibration_size,
        val_split=options.val_split,
        cache=pick_cache(options.cache),
    )
    stored_tensors(task.model)  # raises for a state that could not be saved in the end
    if data.preprocess is not None and options.data_spec != "digits":
        tell(f"inputs: {data.preprocess}")
    for note in (*data.notes, *check_task(task, data)):
        tell(note)
    if progress is not None:
        look_through(data, progress=progress)
    return task, data


def _saving(model: str) -> str:
    """How the pretrained weights of a built-in model come into a file, where there are some."""
    source, name, *_ = model.split(":")
    if not (made := PACKAGES[source].trained.format(name=name)):
        return "Name those that it was trained to."
    file = f"{name.replace('/', '-')}.pth"
    saved = f"import torch, {source}; torch.save({made}.state_dict(), '{file}')"
    return f'To fetch those of {source}: python -c "{saved}", then --weights {file}.'


def pick_device(name: str) -> torch.device:
    """A device that is there; `auto` is cuda where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # each backend raises its own kind where it is missing
        got = f"{name!r} ({told(error)})"
        raise InputError(expected("--device", "an available device", got, "Use cpu.")) from error
    return device


def pick_cache(folder: Path | None) -> Path | None:
    """The folder of calibrations; None where nothing shall be kept."""
    if folder is None:
        return cache_dir() / "calibration"
    return None if str(folder) == "none" else folder


def pool_of(options: RunOptions, loss: Loss) -> str | None:
    """How embeddings are pooled: as asked for, else as the folder of a sentence encoder says; None for not at all."""
    if options.pool is not None:
        return None if options.pool == "none" else options.pool
    return pooling_of(options.model) if loss.name == "cosine" and options.output is None else None


def load_collate(name: str) -> Callable[[list[Any]], Any]:
    """A function of the user's own that makes batches."""
    collate = load_object(name, option="--collate")
    if not callable(collate):
        raise InputError(expected("--collate", "a function", f"{type(collate).__name__} ({name})"))
    return cast(Callable[[list[Any]], Any], collate)


def image_options(options: RunOptions, wishes: dict[str, Any]) -> ImageOptions:
    """How images become inputs; `wishes` are the model's."""
    return ImageOptions(
        input_size=options.input_size,
        mean=options.mean,
        std=options.std,
        crop_pct=options.crop_pct,
        interpolation=options.interpolation,
        model=wishes,
    )


def check_task(task: Task, data: Data) -> tuple[str, ...]:
    """Run the model, the loss and the metric on a few examples of each kind, so that what does not fit together shows
    at once; what was chosen without being asked for, in a line each."""
    outputs = _outputs(task, to(task.example, task.device))
    notes = check_fit(task)
    if task.loss is CROSS_ENTROPY and outputs.dim() == 2:
        _check_classes(task, data, outputs.shape[1])
    for role in ("moments", "validation", "test"):
        first = task.first(role)
        if first is not None and (targets := first[1]) is not None:
            _check_metric(task, _outputs(task, first[0]), targets)
    finals: tuple[Role, ...] = ("validation", "test")
    for final in finals:
        check_targets(task, final)
    return notes


def _outputs(task: Task, inputs: Batch) -> Tensor:
    try:
        with torch.no_grad():
            returned = call(task.model, inputs)
    except Exception as error:
        what = f"inputs that {task.model_name} accepts"
        got = f"{shapes_of(inputs)}: {told(error)}"
        way_out = remedy(error.__cause__ or error) or "See --input-size and --model."
        raise InputError(expected("--data", what, got, way_out)) from error
    return outputs_of(returned, inputs, task.output)


def _check_classes(task: Task, data: Data, outputs: int) -> None:
    if outputs == 1:
        way_out = "For one logit use --loss binary_cross_entropy, for one number --loss squared_error."
        raise InputError(expected("--loss cross_entropy", "a model with two outputs or more", "one", way_out))
    if data.classes and len(data.classes) != outputs:
        got = f"{outputs} of {task.model_name}"
        way_out = "See --num-classes, --weights and --data."
        raise InputError(expected("--model", f"{len(data.classes)} classes, as in the data", got, way_out))
    labels = getattr(task.train, "targets", None)
    if labels is not None and len(labels) and int(max(labels)) >= outputs:
        got = f"label {int(max(labels))}"
        raise InputError(expected("--data", f"labels below {outputs}, the model's classes", got))


def _check_metric(task: Task, outputs: Tensor, targets: Tensor) -> None:
    name = getattr(task.metric_fn, "__name__", getattr(task.metric_fn, "name", "the metric"))
    shapes = f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}"
    what = f"{name}({shapes}) to give one score per example, (1,)"
    try:
        scores = task.metric_fn(outputs, targets)
    except Exception as error:
        raise InputError(expected("--metric-fn", what, told(error))) from error
    if not isinstance(scores, Tensor) or scores.shape != (1,):
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(expected("--metric-fn", what, got, way_to_scores(scores)))
