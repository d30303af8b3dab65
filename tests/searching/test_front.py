from __future__ import annotations

from ranksearch.costs import Budget, Cost
from ranksearch.planning import Candidate, Plan
from ranksearch.searching.front import Evaluated, State, merged, pareto_front

HALF = Budget.of(Cost(params=100, flops=1000), 0.5)


def evaluated(
    params: int, score: float, *, rank: int = 1, state: State = "complete", **scores: float
) -> Evaluated:
    plan = Plan(
        {"fc": Candidate("svd", "", (rank,), Cost(params=params, flops=0), 0.5)},
        Cost(params=params, flops=1_000 - params),
    )
    return Evaluated(
        plan, HALF, "analytic", "divergence", {"error": 0.5, "divergence": score, **scores}, state=state
    )


def test_front_is_what_no_other_plan_beats() -> None:
    a, b, c = evaluated(10, 3.0), evaluated(20, 1.0), evaluated(40, 0.5)
    beaten = [evaluated(20, 1.5), evaluated(25, 1.0), evaluated(40, 0.6), evaluated(15, 3.0)]
    assert pareto_front([c, *beaten, a, b], "params") == [a, b, c]
    # By FLOPs the order of costs turns around, and the best plan is also the cheapest.
    assert pareto_front([c, *beaten, a, b], "flops") == [c]


def test_front_counts_only_complete_plans_with_that_score() -> None:
    a = evaluated(10, 3.0, finetune=0.2)
    others = [evaluated(5, 0.0, state="infeasible"), evaluated(6, 0.0, state="pruned"), evaluated(7, 0.0)]
    assert pareto_front([a, *others], "params", "finetune") == [a]
    assert pareto_front(others[:2], "params") == []


def test_merged_has_one_record_per_plan_with_all_its_scores() -> None:
    first = evaluated(10, 3.0)
    other = evaluated(10, 2.0, rank=2)
    again = Evaluated(first.plan, HALF, "sensitivities", "finetune", {"error": 0.5, "finetune": 1.0}, trial=3)
    found = merged([first, other, again])
    assert [record.plan for record in found] == [first.plan, other.plan]
    assert found[0].scores == {"error": 0.5, "divergence": 3.0, "finetune": 1.0}
    assert (found[0].origin, found[0].stage, found[0].trial) == ("analytic", "divergence", None)


def test_merged_is_complete_if_any_evaluation_was() -> None:
    first = evaluated(10, 3.0, state="pruned")
    assert merged([first])[0].state == "pruned"
    assert merged([first, evaluated(10, 3.0)])[0].state == "complete"


def test_ranks_are_readable() -> None:
    assert evaluated(10, 1.0, rank=7).ranks == {"fc": "svd 7"}
