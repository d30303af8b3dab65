"""Contract suites for extensions of ranksearch, and small problems to test them on. Needs pytest.

Each suite is a class: subclass it under a name that begins with `Test`, and provide the fixture that it requires.
"""

from __future__ import annotations

from ranksearch.testing.allocators import AllocatorContract, cheapest, made_up_context, paper_problems
from ranksearch.testing.costs import CostContract
from ranksearch.testing.decompositions import DecompositionContract
from ranksearch.testing.exporters import ExporterContract
from ranksearch.testing.material import paper_problem, tiny_problem, tiny_task
from ranksearch.testing.objectives import ObjectiveContract
from ranksearch.testing.plan_exporters import PlanExporterContract, made_up_plan
from ranksearch.testing.runtimes import PaperRuntime, RuntimeContract, registered
from ranksearch.testing.search_spaces import MANY, SVD, SearchSpaceContract, cost_of, made, network, sampled
from ranksearch.testing.trackers import Held, TrackerContract

__all__ = [
    "MANY",
    "SVD",
    "AllocatorContract",
    "CostContract",
    "DecompositionContract",
    "ExporterContract",
    "Held",
    "ObjectiveContract",
    "PaperRuntime",
    "PlanExporterContract",
    "RuntimeContract",
    "SearchSpaceContract",
    "TrackerContract",
    "cheapest",
    "cost_of",
    "made",
    "made_up_context",
    "made_up_plan",
    "network",
    "paper_problem",
    "paper_problems",
    "registered",
    "sampled",
    "tiny_problem",
    "tiny_task",
]
