"""The prepared problem: everything that calibration yields and that searching and compressing start from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ranksearch.build import build
from ranksearch.candidates import CandidateConfig, Fits, held_out_error, layer_candidates
from ranksearch.costs import Cost, measure_cost
from ranksearch.errorkind import simplify
from ranksearch.errors import InputError, expected
from ranksearch.layers import Layer, discover
from ranksearch.metric import whiten
from ranksearch.modules import fast_layout
from ranksearch.moments import Moments, task_moments
from ranksearch.plan import Candidate, Plan, Table
from ranksearch.task import Role, Task

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Problem:
    """A task with its layers, the dense model's cost, and one table of candidates per factorisable layer."""

    task: Task
    layers: tuple[Layer, ...]
    dense: Cost
    tables: tuple[Table, ...]
    fits: Fits

    def plan(self, choice: Sequence[int]) -> Plan:
        """The plan that takes candidate `choice[k]` of table k."""
        picked = [table.candidates[k] for table, k in zip(self.tables, choice, strict=True)]
        return Plan({t.layer.name: c for t, c in zip(self.tables, picked, strict=True)}, self.cost(picked))

    def cost(self, picked: Iterable[Candidate]) -> Cost:
        """Cost of the whole model, one candidate per table: measured dense − layers + candidates."""
        total = self.dense
        for table, candidate in zip(self.tables, picked, strict=True):
            total = total - table.layer.cost + candidate.cost
        return total

    def build(self, plan: Plan) -> nn.Module:
        """A compressed copy of the task's model; BatchNorm statistics are still the dense model's."""
        return fast_layout(build(self.task.model, self.layers, plan, self.fits)).to(self.task.device)


def prepare(
    task: Task,
    *,
    ignore: Sequence[str] = (),
    config: CandidateConfig | None = None,
    seed: int = 0,
    progress: Progress = lambda stage, done, total: None,
) -> Problem:
    """Find the layers, measure the dense model, collect moments, and make the candidates of every layer.

    The fits use the moments images; their errors are checked on moments of the divergence images.
    """
    config = config or CandidateConfig()
    layers = discover(task.model, task.example, ignore=ignore)
    dense = measure_cost(task.model, task.example)
    able = [layer for layer in layers if layer.reason is None]
    if not able:
        reasons = "; ".join(sorted({layer.reason for layer in layers if layer.reason}))
        raise InputError(
            expected("model", "at least one layer that can be factorised", f"none ({reasons or 'no layers'})")
        )

    def moments_of(role: Role, stage: str) -> dict[str, Moments]:
        return task_moments(
            task, able, (role,), seed=seed, on_batch=lambda done, total: progress(stage, done, total)
        )

    fitted_to = moments_of("moments", "moments")
    checked_on = moments_of("divergence", "held-out moments")
    tables, grid, whitened = [], {}, {}
    for done, layer in enumerate(able):
        progress("candidates", done, len(able))
        kernel = _kernel(task.model, layer).to(task.device)
        white = whiten(kernel, *simplify(*fitted_to[layer.name].shrunk(), config.error))
        other = checked_on[layer.name]
        held_out = held_out_error(kernel, white, *simplify(other.A, other.G, config.error))
        table, fits = layer_candidates(layer, white, config, held_out)
        tables.append(table)
        grid[layer.name] = fits
        whitened[layer.name] = white
    progress("candidates", len(able), len(able))
    return Problem(task, layers, dense, tuple(tables), Fits(whitened, grid, config.iterations))


def _kernel(model: nn.Module, layer: Layer) -> Tensor:
    weight = model.get_submodule(layer.name).weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()
