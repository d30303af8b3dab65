"""Every registered runtime keeps the contract, and so does the one on paper."""

from __future__ import annotations

import shutil

import pytest

from ranksearch.testing import PaperRuntime, RuntimeContract
from ranksearch.timing import RUNTIMES, Runtime


class TestEveryRuntime(RuntimeContract):
    @pytest.fixture(params=("paper", *RUNTIMES.names()))
    def runtime(self, request: pytest.FixtureRequest) -> Runtime:
        if request.param == "paper":
            return PaperRuntime()
        if request.param == "onnxruntime":
            pytest.importorskip("onnxruntime")
            pytest.importorskip("onnxscript")
        if request.param == "compile" and shutil.which("g++") is None:
            pytest.skip("needs a C++ compiler")
        return RUNTIMES.get(request.param)
