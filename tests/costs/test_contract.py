"""Every registered cost metric keeps the contract."""

from __future__ import annotations

import pytest

from ranksearch.costs import COSTS, CostMetric, computed
from ranksearch.testing import CostContract


class TestEveryCost(CostContract):
    @pytest.fixture(params=computed(COSTS.names()))
    def metric(self, request: pytest.FixtureRequest) -> CostMetric:
        return COSTS.get(request.param)
