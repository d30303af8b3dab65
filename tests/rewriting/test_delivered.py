"""Models with attention, folded and foreign layers are searched, delivered and loaded as any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.data import TensorDataset

import ranksearch
from tests.rewriting.test_plain import Transposed


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = parametrizations.weight_norm(nn.Linear(6, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = Transposed(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)).mean(dim=1))


def test_it_is_delivered(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Encoder()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train = TensorDataset(torch.randn(96, 5, 6), torch.randint(4, (96,)))
    task = ranksearch.Task(model, train, calibration_size=48)
    result = ranksearch.search(task, budget=0.4, decompositions="svd")
    chosen = {name for name, candidate in result.plan.choices.items() if not candidate.is_dense}
    assert any(name.endswith("self_attn.q_proj") for name in result.plan.choices)
    compressed = ranksearch.compress(task, result.plan, config=ranksearch.CompressConfig(epochs=0))
    assert sum(p.numel() for p in compressed.model.parameters()) == result.plan.cost.params
    whole = [
        k
        for k, layer in enumerate(compressed.model.encoder.layers)
        if isinstance(layer.self_attn, nn.MultiheadAttention)
    ]
    for k in range(2):
        cut = any(name.startswith(f"encoder.layers.{k}.self_attn.") for name in chosen)
        assert cut == (k not in whole)
    ranksearch.save(tmp_path, task, result, compressed)
    loaded = ranksearch.load(tmp_path, Encoder())
    inputs = torch.randn(3, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(loaded(inputs), compressed.model.eval()(inputs))
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())


def test_a_plan_that_keeps_everything_keeps_the_modules() -> None:
    torch.manual_seed(0)
    model = Encoder()
    train = TensorDataset(torch.randn(48, 5, 6), torch.randint(4, (48,)))
    task = ranksearch.Task(model, train, calibration_size=24)
    result = ranksearch.search(task, budget=1.0, decompositions="svd")
    compressed = ranksearch.compress(task, result.plan, config=ranksearch.CompressConfig(epochs=0))
    inputs = torch.randn(3, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(compressed.model.eval()(inputs), model.eval()(inputs))
    assert all(type(layer.self_attn) is nn.MultiheadAttention for layer in compressed.model.encoder.layers)


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    train = TensorDataset(torch.randn(48, 5, 6), torch.randint(4, (48,)))
    task = ranksearch.Task(Encoder(), train, calibration_size=24)
    result = ranksearch.search(task, budget=0.6, decompositions="svd")
    compressed = ranksearch.compress(task, result.plan, config=ranksearch.CompressConfig(epochs=0))
    ranksearch.save(tmp_path, task, result, compressed)
    with pytest.raises(ranksearch.RankSearchError, match=r"expected an nn\.Module, got int"):
        ranksearch.load(tmp_path, 5)  # type: ignore[arg-type]
