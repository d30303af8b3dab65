"""Planning: candidates of each layer, one of them for each under a budget, and plans in files."""

from __future__ import annotations

from ranksearch.planning.allocation import analytic, balanced_errors, energy, knapsack, uniform
from ranksearch.planning.behaviour_records import (
    BehaviourRecord,
    CriterionRecord,
    LookRecord,
    OutputsRecord,
    PromiseRecord,
    behaviour_record,
    dense_estimate,
    drop_of,
    finite,
)
from ranksearch.planning.builder import build, chain_of, chains_of, skeleton, verify
from ranksearch.planning.delivery_record import (
    DeliveryRecord,
    EstimateRecord,
    ImagesRecord,
    InputRecord,
    input_records,
    recorded_batch,
)
from ranksearch.planning.fits import Effort, Fits, fit_candidate
from ranksearch.planning.footprint import Gauge
from ranksearch.planning.footprint_record import FootprintRecord, SizeRecord, TimeRecord
from ranksearch.planning.further import (
    Further,
    corrected,
    further_budgets,
    further_plan,
    metric_in,
    whole_front,
)
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
from ranksearch.planning.network_tables import Tables
from ranksearch.planning.plan import DENSE, Candidate, Plan, Table
from ranksearch.planning.plan_file import (
    check_plan,
    make_record,
    misfit,
    model_record,
    read_plan,
    record_of,
    to_plan,
    write_plan,
)
from ranksearch.planning.plan_record import LayerRecord, PlanRecord
from ranksearch.planning.problem import Problem, judged, prepare
from ranksearch.planning.refinement import Fit, refine
from ranksearch.planning.tables import CandidateConfig, layer_candidates, usual_multiple
from ranksearch.planning.tables_record import (
    TablesRecord,
    read_tables,
    record_of_tables,
    write_tables,
)

__all__ = [
    "DENSE",
    "BehaviourRecord",
    "Candidate",
    "CandidateConfig",
    "Choice",
    "CriterionRecord",
    "DeliveryRecord",
    "Effort",
    "EstimateRecord",
    "Fit",
    "Fits",
    "FootprintRecord",
    "Front",
    "Further",
    "Gauge",
    "ImagesRecord",
    "InputRecord",
    "LayerRecord",
    "LayerWeights",
    "LookRecord",
    "Network",
    "OutputsRecord",
    "Plan",
    "PlanRecord",
    "Problem",
    "PromiseRecord",
    "SizeRecord",
    "Table",
    "Tables",
    "TablesRecord",
    "TimeRecord",
    "analytic",
    "balanced_errors",
    "behaviour_record",
    "build",
    "chain_of",
    "chains_of",
    "check_plan",
    "choice_of",
    "corrected",
    "dense_estimate",
    "drop_of",
    "energy",
    "finite",
    "fit_candidate",
    "fronts_of",
    "further_budgets",
    "further_plan",
    "input_records",
    "inspect_network",
    "judged",
    "knapsack",
    "layer_candidates",
    "layer_front",
    "least_cost",
    "lower_hull",
    "make_record",
    "metric_in",
    "misfit",
    "model_record",
    "prepare",
    "rates",
    "read_plan",
    "read_tables",
    "record_of",
    "record_of_tables",
    "recorded_batch",
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
    "whole_front",
    "write_plan",
    "write_tables",
]
