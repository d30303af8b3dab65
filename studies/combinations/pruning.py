"""Structured pruning by Torch-Pruning (Fang et al. 2023, arXiv:2301.12900), to a number of FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import torch
import torch_pruning
from torch import nn

from ranksearch.compression import recalibrate
from ranksearch.costs import measure_cost
from ranksearch.networks import call, copy_model
from ranksearch.tasks import Task

STEPS = 50
"""Steps in which all but a twentieth of the channels would go; gradients are computed anew for each."""


def residual_ends(model: nn.Module) -> list[nn.Module]:
    """Of ResNet-20: the layers, or last factors of layers, that write to the residual stream, and the classifier. The
    channels of the stream stay, since the shortcuts pad them by fixed numbers."""
    ends = {"conv1", "conv2", "linear"}
    inner = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)]
    found = [m for name, m in model.named_modules() if name.split(".")[-1] in ends and name not in inner]
    return [m[-1] if isinstance(m, nn.Sequential) else m for m in found]


def classifier(model: nn.Module) -> list[nn.Module]:
    """The last linear layer."""
    return [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]


def prune(
    task: Task,
    model: nn.Module,
    flops: int,
    spared: Callable[[nn.Module], list[nn.Module]] = residual_ends,
) -> nn.Module:
    """A copy of a model without its least important channels, at most so many FLOPs, BatchNorm re-estimated.

    Importance is the first-order Taylor estimate over a group (Molchanov et al. 2019, arXiv:1906.10771), all groups
    compared with each other, at targets drawn from the model itself: like the moments it needs no labels. spared: the
    layers of a model whose output channels stay.
    """
    pruned = copy_model(model).eval().requires_grad_(True)
    pruner = torch_pruning.pruner.BasePruner(
        pruned,
        task.example,
        importance=torch_pruning.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=0.95,
        iterative_steps=STEPS,
        ignored_layers=spared(pruned),
    )
    generator = torch.Generator().manual_seed(task.seed)
    batches = cycle([inputs for inputs, _ in task.batches("moments", labelled=False)])
    while flops_of(task, pruned) > flops:
        pruned.zero_grad()
        outputs = call(pruned, next(batches))
        task.loss.value(outputs, task.loss.sample(outputs.detach(), generator)).mean().backward()
        pruner.step()
    pruned.zero_grad()
    held_out = task.inputs("divergence")
    return recalibrate(
        pruned.requires_grad_(False),
        task.inputs("moments"),
        held_out,
        task.outputs(task.model, held_out),
        task.loss,
        batch_size=task.batch_size,
        device=task.device,
    ).model


def flops_of(task: Task, model: nn.Module) -> int:
    """The FLOPs of a model for one example."""
    return measure_cost(model, task.example, ("flops",)).of("flops")
