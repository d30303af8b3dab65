"""The models that are compared: low-rank, pruned, both in either order, and low-rank planned for int8."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from pruning import flops_of, prune
from torch import nn

from ranksearch.compression import CompressConfig, compress
from ranksearch.compression.training import FinetuneConfig, finetune, follow, steps_per_epoch
from ranksearch.costs import INT8_BYTES
from ranksearch.networks import copy_model
from ranksearch.tasks import Estimate, Task, divergence

Make = Callable[[], nn.Module]
Memo = Callable[[str, Make], nn.Module]
"""Makes the model of a name, or returns the one that was made before."""

BYTES = (0.15, 0.1)
"""Of the dense float model, what plans for the int8 file keep."""


def makers(task: Task, mild: float, strong: float, memo: Memo) -> Mapping[str, Make]:
    """By name, what makes each model.

    mild, strong: how much of the parameters the low-rank models keep. Pruned ones have at most their FLOPs; those that
    combine two methods go to the FLOPs of the mild model by the first, and to those of the strong one by the second.
    Those planned for int8 have their layers in int8 as `planned`.
    """

    def low_rank_of(kept: float) -> nn.Module:
        return memo(f"low-rank {kept}", lambda: low_rank(task, "params", kept))

    def pruned_of(kept: float) -> nn.Module:
        return memo(
            f"pruned, FLOPs of low-rank {kept}",
            lambda: prune(task, task.model, flops_of(task, low_rank_of(kept))),
        )

    def target() -> int:
        return flops_of(task, low_rank_of(strong))

    return {
        "dense": lambda: task.model,
        f"low-rank {mild}": lambda: low_rank_of(mild),
        f"low-rank {strong}": lambda: low_rank_of(strong),
        f"pruned, FLOPs of low-rank {mild}": lambda: pruned_of(mild),
        f"pruned, FLOPs of low-rank {strong}": lambda: pruned_of(strong),
        **{
            planned_name(kept): partial(memo, planned_name(kept), partial(planned, task, kept))
            for kept in BYTES
        },
        "low-rank, then pruned": lambda: memo(
            "low-rank, then pruned", lambda: prune(task, low_rank_of(mild), target())
        ),
        "pruned, then low-rank": lambda: memo(
            "pruned, then low-rank",
            lambda: low_rank(task.with_model(pruned_of(mild)), "flops", str(target())),
        ),
    }


def low_rank(task: Task, metric: str, kept: float | str) -> nn.Module:
    """The task's model by the analytic plan, without fine-tuning."""
    import ranksearch

    result = ranksearch.search(task, kept, metric=metric)
    return compress(task, result.plan, config=CompressConfig(epochs=0)).model


def planned_name(kept: float) -> str:
    """What a model is called whose plan is for the bytes of the int8 file."""
    return f"planned for int8, {kept} of the bytes"


def planned(task: Task, kept: float) -> nn.Module:
    """The model of the plan for the bytes of an int8 file, which says itself which of its layers are int8."""
    import ranksearch

    result = ranksearch.search(task, kept, metric=INT8_BYTES)
    model = compress(task, result.plan, config=CompressConfig(epochs=0)).model
    model.planned = result.plan.int8  # type: ignore[assignment]
    return model


def distilled(task: Task, model: nn.Module, epochs: int) -> nn.Module:
    """A model after some epochs of distillation from the dense one, as delivered models are fine-tuned."""
    steps = epochs * steps_per_epoch(task)
    held_out = task.inputs("divergence")
    wanted = task.outputs(task.model, held_out)

    def score(each: nn.Module) -> Estimate:
        return divergence(wanted, task.outputs(each, held_out), task.loss)

    trained = finetune(
        copy_model(model), task.model, task, steps=steps, seed=task.seed, config=FinetuneConfig()
    )
    followed = follow(model, trained, score)
    return followed.model if followed.divergence.mean <= score(model).mean else model
