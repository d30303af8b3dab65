"""The plan exporters, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.interchange.base import PlanExporter


def _is_one(thing: Any) -> bool:
    from ranksearch.interchange.base import PlanExporter

    return isinstance(thing, PlanExporter)


PLAN_EXPORTERS: Registry[PlanExporter] = Registry(
    "to", "ranksearch.plan_exporters", _is_one, "a PlanExporter"
)

_HERE = "ranksearch.interchange"
PLAN_EXPORTERS.offer("chains", f"{_HERE}.to_chains:Chains", "plain JSON: every factor of every layer")
PLAN_EXPORTERS.offer("ranks", f"{_HERE}.to_ranks:Ranks", "a flat {module: rank}")
PLAN_EXPORTERS.offer("tensorly_torch", f"{_HERE}.to_tensorly_torch:TensorlyTorch", "for tensorly-torch")
PLAN_EXPORTERS.offer("aimet", f"{_HERE}.to_aimet:Aimet", "for AIMET's spatial and weight SVD")
PLAN_EXPORTERS.offer("musco", f"{_HERE}.to_musco:Musco", "for MUSCO's Tucker-2, CP and SVD")
PLAN_EXPORTERS.offer("peft", f"{_HERE}.to_peft:Peft", "LoRA adapters of the same ranks")
