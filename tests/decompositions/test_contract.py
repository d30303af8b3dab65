"""Every registered decomposition keeps the contract."""

from __future__ import annotations

import pytest

from ranksearch.decompositions import DECOMPOSITIONS, Decomposition
from ranksearch.testing import DecompositionContract


class TestEveryDecomposition(DecompositionContract):
    @pytest.fixture(params=DECOMPOSITIONS.names())
    def decomposition(self, request: pytest.FixtureRequest) -> Decomposition:
        return DECOMPOSITIONS.get(request.param)
