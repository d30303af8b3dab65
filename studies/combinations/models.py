"""The models that are compared, low-rank, pruned, and both in either order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pruning import flops_of, prune
from torch import nn

from ranksearch.compression import CompressConfig, compress
from ranksearch.compression.training import FinetuneConfig, finetune, follow, steps_per_epoch
from ranksearch.networks import copy_model
from ranksearch.tasks import Estimate, Task, divergence

Make = Callable[[], nn.Module]
Memo = Callable[[str, Make], nn.Module]
"""Makes the model of a name, or returns the one that was made before."""


def makers(task: Task, mild: float, strong: float, memo: Memo) -> Mapping[str, Make]:
    """By name, what makes each model.

    mild, strong: how much of the parameters the low-rank models keep. The others have at most their FLOPs; those that
    combine two methods go to the FLOPs of the mild model by the first, and to those of the strong one by the second.
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
