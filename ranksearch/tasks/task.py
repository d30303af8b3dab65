"""A task: the trained model, the data that each step may see, the loss, and the metric of the final evaluation."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ranksearch.cache import digest
from ranksearch.errors import InputError, RankSearchError, expected
from ranksearch.glance import AtAGlance
from ranksearch.keywords import checks_keywords
from ranksearch.networks import (
    POOLS,
    Batch,
    Joined,
    Mask,
    Output,
    Reading,
    call_once,
    cat,
    check_plain,
    copy_model,
    eval_mode,
    fast_layout,
    first_example,
    head,
    mask_of,
    one_tensor,
    output_of,
    part,
    real_positions,
    run,
    same,
    seeded,
    size,
    takes_fast_layout,
    tensors,
    to,
)
from ranksearch.rewriting import plain_form
from ranksearch.tasks.arrays import as_dataset
from ranksearch.tasks.items import Collate, Reader
from ranksearch.tasks.losses import CROSS_ENTROPY, Loss, MetricFn, without_targets
from ranksearch.tasks.named import ignored_by, losses_of, metric_of
from ranksearch.tasks.several import Part, packed, summed_loss
from ranksearch.tasks.splits import Splits, make_splits

log = logging.getLogger(__name__)

_READ_AGAIN = 16
"""Examples: a mirror image of every other one is missed once in 65,536 times."""

Role = Literal["moments", "divergence", "finetune", "validation", "test"]

_CALIBRATION: tuple[Role, ...] = ("moments", "divergence")
_FINAL: tuple[Role, ...] = ("validation", "test")


@checks_keywords
@dataclass(frozen=True, repr=False)
class Task(AtAGlance):
    """What is compressed, on which data.

    `train`, `validation` and `test` yield (input, target) pairs; (input,), (input, None) or bare inputs where there
    are no labels. Tensors and NumPy arrays are data sets too: of inputs, or a tuple of inputs and targets.
    An input is a tensor, a tuple of positional or a dict of keyword arguments (see `items.Reader`).
    Calibration sees inputs as `train` gives them, so that random augmentation does not belong there.
    `splits` says which of the training images serve what; where it is None it is made from `seed`,
    `calibration_size` and, without a `validation` set, `val_split`. The task has a copy of its own of the model, as it
    is when the task is made: the model handed in is never run, and never changed.
    """

    model: nn.Module
    train: Dataset[Any]
    validation: Dataset[Any] | None = None
    test: Dataset[Any] | None = None
    splits: Splits = None  # type: ignore[assignment]  # made in __post_init__
    loss: Loss = CROSS_ENTROPY
    """Also by its name (`squared_error`, `mse`), or as one of torch (`nn.MSELoss()`). Several outputs may have one
    each: `cross_entropy,squared_error`, or a tuple."""
    metric_fn: MetricFn = None  # type: ignore[assignment]  # the loss's own, from __post_init__
    """Also by its name: `miou`."""
    output: Output = one_tensor
    """Makes one tensor (N, …) of what the model returns: what losses, divergences and metrics are of. Also the path of
    one: `logits`, `0`, `decoder.logits`, of several that count together, `0,1`, or the sum of whose losses counts, by
    weight: `logits:1,aux:0.4`. Becomes a `Reading`."""
    mask: Mask | str | int | None = None
    """Which positions of the inputs are real, and which are padding: the path of a tensor (N, …) among the inputs, or a
    function of them. None takes `attention_mask`, where they have it."""
    pool: str | None = None
    """Makes one vector of those of an example's positions, as sentence encoders do: `mean`, of the positions that are
    real, or `first`. Losses, divergences and metrics are then of that vector. None leaves every position."""
    collate: Collate | None = None
    """Makes a batch of a list of examples, as `collate_fn` of a DataLoader does: where they have to be padded."""
    ignore_index: int | None = None
    """The label of what counts for nothing (255 in many segmentation masks), beside -100."""
    model_name: str | None = None
    """Where the model comes from (`torchvision:resnet18`), so that a compressed one can be loaded by itself."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 128
    workers: int = 0
    seed: int = 0
    calibration_size: int = 1536
    val_split: float = 0.1
    cache: Path | None = None
    """Folder where moments and candidates are kept, so that the next run need not compute them; None keeps none."""

    def __post_init__(self) -> None:
        check_plain(self.model)
        object.__setattr__(self, "model", plain_form(copy_model(self.model)))
        if self.ignore_index is None:
            object.__setattr__(self, "ignore_index", ignored_by(self.loss))
        losses = losses_of(self.loss)
        object.__setattr__(self, "loss", losses[0])
        object.__setattr__(self, "output", self._reading(len(losses)))
        for role in ("train", "validation", "test"):
            object.__setattr__(self, role, as_dataset(role, getattr(self, role)))
            _check_dataset(role, getattr(self, role))
        if self.cache is not None:
            object.__setattr__(self, "cache", Path(self.cache))
        if self.splits is None:
            splits = make_splits(
                len(cast(Sized, self.train)),
                calibration_size=self.calibration_size,
                val_split=self.val_split if self.validation is None else 0.0,
                seed=self.seed,
            )
            object.__setattr__(self, "splits", splits)
        if (joined := self._of_several(losses)) is not None:
            object.__setattr__(self, "loss", joined)
        metric = self.loss.metric_fn if self.metric_fn is None else metric_of(self.metric_fn)
        object.__setattr__(self, "metric_fn", metric)
        object.__setattr__(self, "_cache", {})
        object.__setattr__(self, "_digests", {})

    def glance(self) -> dict[str, str]:
        s = self.splits
        counts: dict[str, int] = {
            "moments": len(s.moments),
            "divergence": len(s.divergence),
            "fine-tuning": len(s.finetune),
        }
        counts |= {role: len(cast(Sized, self.dataset(role) or ())) for role in _FINAL}
        return {
            "model": self.model_name or type(self.model).__name__,
            "loss": self.loss.name,
            "examples": ", ".join(f"{count:,} for {name}" for name, count in counts.items()),
            "device": str(self.device),
        }

    @property
    def takes_masks(self) -> bool:
        """Whether the model has an optional argument that is a mask, by its name."""
        return self._reader.masks > 0

    @property
    def reading(self) -> Reading:
        """The output, with the mask."""
        return cast(Reading, self.output)

    def _reading(self, losses: int) -> Reading:
        known = self.output if isinstance(self.output, Reading) else None
        picked = known.output if known else output_of(self.output)
        count = len(picked.parts) if isinstance(picked, Joined) else 1
        if losses not in (1, count):
            got = f"{losses} for {count} output{'s' * (count != 1)}"
            raise InputError(
                expected("loss", "one, or one for each output", got, "Name the outputs: `output`.")
            )
        if isinstance(picked, Joined) and not picked.weights and losses == 1 and self.loss.axis is not None:
            wanted = "one tensor, of which one axis holds the classes"
            way_out = (
                "Several go with losses of numbers, such as squared_error, with a loss for each, "
                "`loss=cross_entropy,squared_error`, or with weights, `output=logits:1,aux:0.4`."
            )
            got = ", ".join(part.path for part in picked.parts)
            raise InputError(expected(f"output for loss {self.loss.name}", wanted, got, way_out))
        mask = known.mask if known and self.mask is None else mask_of(self.mask)
        pool = known.pool if known and self.pool is None else self.pool
        if pool is not None and pool not in POOLS:
            raise InputError(expected("pool", f"{' or '.join(POOLS)}", repr(pool)))
        return Reading(picked, mask, second=self.loss.axis == 1, pool=pool)

    def _of_several(self, losses: Sequence[Loss]) -> Loss | None:
        """The sum of the losses of several outputs; None where one loss is of all that counts, or is that sum."""
        picked = self.reading.output
        if not isinstance(picked, Joined) or self.loss.parts or not (picked.weights or len(losses) > 1):
            return None
        with eval_mode(self.model):
            returned = call_once(self.model, first_example(self.model, self.example))
        weights = picked.weights or (1.0,) * len(picked.parts)
        every = zip(
            picked.parts, weights, losses if len(losses) > 1 else [*losses] * len(weights), strict=True
        )
        return summed_loss(
            [Part(path.path, tuple(path(returned).shape[1:]), weight, loss) for path, weight, loss in every]
        )

    def with_model(self, model: nn.Module) -> Task:
        """The task for another model with the same inputs and outputs, for a while: nothing of it goes to the cache."""
        other = replace(self, model=model, cache=None)
        for name in ("_cache", "_digests"):  # the images are the same: none is read anew
            object.__setattr__(other, name, getattr(self, name))
        return other

    @cached_property
    def _reader(self) -> Reader:
        return Reader.of(self.model, self.collate)

    @cached_property
    def _channels_last(self) -> bool:
        return takes_fast_layout(self.model, to(self.example, self.device), self.output)

    def laid_out(self, model: nn.Module) -> nn.Module:
        """A copy of the task's model or a part of one, compressed or not, on the task's device and in the order of
        memory in which it runs fastest; in place, and what it computes stays."""
        return (fast_layout(model) if self._channels_last else model).to(self.device)

    def outputs(self, model: nn.Module, inputs: Batch) -> Tensor:
        """Outputs of the task's model, or of a compressed one, in evaluation mode: inputs of N examples → (N, …)."""
        return run(model, inputs, batch_size=self.batch_size, device=self.device, output=self.output)

    def dataset(self, role: Role) -> Dataset[Any] | None:
        """The data of a role; None where there is none."""
        own = {"test": self.test, "validation": self.validation}.get(role)
        if own is not None:
            return own if len(cast(Sized, own)) else None
        if role == "test":
            return None
        indices = getattr(self.splits, role)
        return Subset(self.train, indices) if indices else None

    def loader(
        self, role: Role, *, shuffle_seed: int | None = None, labelled: bool = True
    ) -> DataLoader[tuple[Batch, Any]]:
        """Batches (inputs, targets) of a role; shuffled, without a smaller last batch, where `shuffle_seed` is given.
        Targets are None where there are none, or where none are wanted."""
        dataset = self.dataset(role)
        if dataset is None:
            raise InputError(expected(f"{role} data", "at least one example", "none"))
        shuffle = shuffle_seed is not None
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and len(cast(Sized, dataset)) >= self.batch_size,
            num_workers=self.workers,
            collate_fn=self._reader.batch if labelled else self._reader.inputs,
            generator=torch.Generator().manual_seed(shuffle_seed or 0),
        )

    def batches(
        self, role: Role, *, shuffle_seed: int | None = None, labelled: bool = True
    ) -> Iterator[tuple[Batch, Tensor | None]]:
        """(inputs, targets) on the task's device, targets None where the data has no labels, or none are wanted.
        Raises InputError where they are not one number or tensor per example."""
        for inputs, targets in _read(self.loader(role, shuffle_seed=shuffle_seed, labelled=labelled)):
            yield self.placed(role, inputs, targets)

    def placed(self, role: Role, inputs: Batch, targets: Any) -> tuple[Batch, Tensor | None]:
        """A batch on the task's device; targets that count for nothing are what losses and metrics leave out."""
        if targets is None and self.loss.own_targets is not None:
            targets = self.loss.own_targets(inputs)
        if self.loss.parts and targets is not None and not isinstance(targets, Tensor):
            targets = packed(targets)
        if targets is not None and not isinstance(targets, Tensor):
            wanted = "targets that are one number or tensor per example"
            way_out = "Wrap the data; None stands for no label."
            raise InputError(expected(f"{role} data", wanted, type(targets).__name__, way_out))
        if targets is not None:
            real = real_positions(self.output, inputs)
            classes = self.loss.axis is not None
            targets = without_targets(targets, real, self.ignore_index, classes=classes).to(self.device)
        return to(inputs, self.device), targets

    def inputs(self, role: Role) -> Batch:
        """All inputs of a role as one batch on the CPU; read once and kept, for the calibration roles."""
        cache: dict[Role, Batch] = self._cache  # type: ignore[attr-defined]
        if role not in cache:
            with seeded(self.seed, self.device):
                cache.update(self._all_inputs(role))
                if role == "moments" and not self._repeats(cache[role]):
                    log.warning(
                        "training data: examples differ each time they are read; calibration and validation see them "
                        "so. Pass data without random augmentation"
                    )
        return cache[role]

    def _all_inputs(self, role: Role) -> dict[Role, Batch]:
        """The inputs of a role; if a function of the user's makes batches, those of all roles that are joined later,
        made one batch, since it may pad each to a length of its own."""
        if self.collate is None:
            batches = [to(inputs, "cpu") for inputs, _ in _read(self.loader(role, labelled=False))]
            return {role: cat(batches)}
        roles: tuple[Role, ...] = _CALIBRATION if role in _CALIBRATION else (role,)
        items = {each: _items(self.dataset(each)) for each in roles}
        inputs, _ = self.read([item for each in roles for item in items[each]], labelled=False)
        ends = [sum(len(items[each]) for each in roles[: k + 1]) for k in range(len(roles))]
        return {
            each: to(part(inputs, end - len(items[each]), end), "cpu")
            for each, end in zip(roles, ends, strict=True)
        }

    def _repeats(self, inputs: Batch) -> bool:
        """Whether the first of the moments images are the same when they are read again."""
        if self.collate is not None:
            return True
        count = min(_READ_AGAIN, size(inputs))
        again, _ = self.read([self.train[k] for k in self.splits.moments[:count]], labelled=False)
        return same(to(again, "cpu"), head(inputs, count))

    def inputs_digest(self, role: Role) -> str:
        """What tells the inputs of a role from others; made once."""
        digests: dict[Role, str] = self._digests  # type: ignore[attr-defined]
        if role not in digests:
            digests[role] = digest(self.inputs(role))
        return digests[role]

    def first(self, role: Role) -> tuple[Batch, Tensor | None] | None:
        """The first example of a role as a batch of size 1 on the task's device; None where the role has no data."""
        dataset = self.dataset(role)
        if dataset is None:
            return None
        return self.placed(role, *self.read([dataset[0]]))

    def read(self, items: Sequence[Any], *, labelled: bool = True) -> tuple[Batch, Any]:
        """Examples of a data set as one batch, (inputs, targets), as `loader` reads them."""
        return self._reader.batch(items, labelled=labelled)

    @property
    def example(self) -> Batch:
        """One input as a batch of size 1: costs are measured on it."""
        inputs, _ = self.read([self.train[self.splits.moments[0]]], labelled=False)
        if not tensors(inputs):
            way_out = "Wrap the data so that examples are (input, target)."
            wanted = "examples whose input is a tensor, or a tuple or dict of tensors"
            raise InputError(expected("training data", wanted, type(inputs).__name__, way_out))
        return inputs


def _read(loader: DataLoader[tuple[Batch, Any]]) -> Iterator[tuple[Batch, Any]]:
    """A loader's batches. Of an error that a worker process hands on with its traceback, the last line is the error."""
    try:
        yield from loader
    except RankSearchError as error:
        text = str(error)
        if "Traceback" not in text:
            raise
        raise type(error)(text.strip().splitlines()[-1].partition(": ")[2]) from None


def _items(dataset: Any) -> list[Any]:
    return [] if dataset is None else [dataset[k] for k in range(len(dataset))]


def _check_dataset(role: str, dataset: Any) -> None:
    """That a dataset can be indexed, as split and shuffled ones are."""
    if dataset is not None and not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        way_out = "For a DataLoader, pass its .dataset."
        wanted = "a map-style dataset with a length"
        raise InputError(expected(f"{role} data", wanted, type(dataset).__name__, way_out))
