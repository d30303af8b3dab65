"""Planning: candidates of each layer, one of them for each under a budget, and plans in files."""

from __future__ import annotations

from ranksearch.planning.allocation import analytic, balanced_errors, energy, knapsack, uniform
from ranksearch.planning.builder import build, chain_of, skeleton, verify
from ranksearch.planning.fits import Effort, Fits, fit_candidate
from ranksearch.planning.greedy import (
    Choice,
    Front,
    choice_of,
    fronts_of,
    layer_front,
    least_cost,
    lower_hull,
    rates,
    room_for,
    top_up,
    walk,
    walk_on,
    whole,
)
from ranksearch.planning.layer_weights import LayerWeights
from ranksearch.planning.network import Network, inspect_network
from ranksearch.planning.plan import DENSE, Candidate, Plan, Table
from ranksearch.planning.plan_file import check_plan, make_record, read_plan, to_plan, write_plan
from ranksearch.planning.plan_record import LayerRecord, PlanRecord
from ranksearch.planning.problem import Problem, judged, prepare
from ranksearch.planning.refinement import Fit, refine
from ranksearch.planning.tables import CandidateConfig, layer_candidates, usual_multiple

__all__ = [
    "DENSE",
    "Candidate",
    "CandidateConfig",
    "Choice",
    "Effort",
    "Fit",
    "Fits",
    "Front",
    "LayerRecord",
    "LayerWeights",
    "Network",
    "Plan",
    "PlanRecord",
    "Problem",
    "Table",
    "analytic",
    "balanced_errors",
    "build",
    "chain_of",
    "check_plan",
    "choice_of",
    "energy",
    "fit_candidate",
    "fronts_of",
    "inspect_network",
    "judged",
    "knapsack",
    "layer_candidates",
    "layer_front",
    "least_cost",
    "lower_hull",
    "make_record",
    "prepare",
    "rates",
    "read_plan",
    "refine",
    "room_for",
    "skeleton",
    "to_plan",
    "top_up",
    "uniform",
    "usual_multiple",
    "verify",
    "walk",
    "walk_on",
    "whole",
    "write_plan",
]
