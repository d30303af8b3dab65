"""Every registered plan exporter keeps the contract."""

from __future__ import annotations

import pytest

from ranksearch.interchange import PLAN_EXPORTERS, PlanExporter
from ranksearch.testing import PlanExporterContract


class TestEveryPlanExporter(PlanExporterContract):
    @pytest.fixture(params=PLAN_EXPORTERS.names())
    def exporter(self, request: pytest.FixtureRequest) -> PlanExporter:
        return PLAN_EXPORTERS.get(request.param)
