"""Every registered allocator keeps the contract."""

from __future__ import annotations

import pytest

from ranksearch.costs import Budget
from ranksearch.errors import InputError
from ranksearch.searching.baselines import ALLOCATORS, Allocator
from ranksearch.testing import AllocatorContract, made_up_context, paper_problems


class TestEveryAllocator(AllocatorContract):
    @pytest.fixture(params=ALLOCATORS.names())
    def allocator(self, request: pytest.FixtureRequest) -> Allocator:
        return ALLOCATORS.get(request.param)


@pytest.mark.parametrize(("name", "most"), [("aimet", 55), ("bayes_layer", 20), ("optuna_tpe", 12),
                                            ("optuna_nsgaii", 12), ("optuna_random", 12)])  # fmt: skip
@pytest.mark.parametrize("kind", ["full", "svd"])
def test_evaluations_are_kept_to_what_was_asked(name: str, most: int, kind: str) -> None:
    """Eleven ratios, or four trials, for each of the five layers; otherwise as many as were asked for."""
    problem = paper_problems()[kind]
    context = made_up_context(problem, Budget.of(problem.dense, 0.4), evaluations=12)
    ALLOCATORS.get(name).allocate(context)
    assert 0 < context.evaluate.used <= most


def test_names_are_registered_once() -> None:
    with pytest.raises(InputError, match="allocator: expected an unused name, got 'alds'"):
        ALLOCATORS.register(ALLOCATORS.get("alds"))
    with pytest.raises(InputError, match=r"allocator: expected knapsack or uniform or .*, got 'best'"):
        ALLOCATORS.get("best")
    assert all(ALLOCATORS.get(name).name == name for name in ALLOCATORS)
