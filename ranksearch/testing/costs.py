"""Contract tests of cost metrics.

Subclass `CostContract` under a name that begins with `Test`, with a fixture `metric` that returns yours.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ranksearch.costs import CostMetric
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import chain_module, copy_model, discover, replace_modules
from ranksearch.testing.decompositions import CASES, GROUPED, LayerCase


class CostContract:
    """Checks of one cost metric."""

    @pytest.mark.parametrize("case", [*CASES, *GROUPED], ids=lambda case: case.id)
    def test_amounts_are_whole_numbers(self, metric: CostMetric, case: LayerCase) -> None:
        amounts = [metric.of_layer(case.layer), metric.of_model(case.module, case.example)]
        for name in DECOMPOSITIONS.usable():
            decomposition = DECOMPOSITIONS.get(name)
            for form in decomposition.forms(case.layer):
                ranks = tuple(1 for _ in decomposition.max_ranks(case.layer, form))
                amounts.append(metric.of_chain(case.layer, decomposition.chain(case.layer, form, ranks)))
        assert all(type(amount) is int and amount >= 0 for amount in amounts)
        assert all(metric.show(amount) for amount in amounts)

    @pytest.mark.parametrize("case", [*CASES, *GROUPED], ids=lambda case: case.id)
    def test_a_model_costs_what_its_layers_do(self, metric: CostMetric, case: LayerCase) -> None:
        """Replacing a layer changes the model's cost by the cost of the chain minus that of the layer."""
        if not metric.exact:
            return
        layer, example = case.layer, case.example
        model = nn.Sequential(case.module, nn.ReLU())
        before = metric.of_model(model, example)
        (own,) = discover(model, example)
        for name in DECOMPOSITIONS.usable():
            decomposition = DECOMPOSITIONS.get(name)
            for form in decomposition.forms(layer):
                ranks = tuple(max(1, most // 3) for most in decomposition.max_ranks(layer, form))
                chain = decomposition.chain(layer, form, ranks)
                factors = [torch.zeros(factor.shape(layer.kernel_size)) for factor in chain]
                bias = torch.zeros(layer.out_channels) if layer.bias else None
                copied = copy_model(model)
                built = replace_modules(copied, {copied[0]: chain_module(own, chain, factors, bias)})  # type: ignore[index]
                after = metric.of_model(built, example)
                assert after - before == metric.of_chain(own, chain) - metric.of_layer(own)

    def test_measuring_changes_nothing(self, metric: CostMetric) -> None:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        first = metric.of_model(model, torch.randn(2, 3, 6, 6))
        assert metric.of_model(model, torch.randn(1, 3, 6, 6)) == first, "of one example"
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
        assert all(module.training for module in model.modules())

    def test_it_says_what_it_is(self, metric: CostMetric) -> None:
        assert metric.name.isidentifier()
        assert metric.unit
