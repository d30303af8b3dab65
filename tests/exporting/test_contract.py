"""Every registered exporter keeps the contract."""

from __future__ import annotations

import pytest

from ranksearch.exporting import EXPORTERS, Exporter
from ranksearch.testing import ExporterContract


class TestEveryExporter(ExporterContract):
    @pytest.fixture(params=EXPORTERS.names())
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        return EXPORTERS.get(request.param)
