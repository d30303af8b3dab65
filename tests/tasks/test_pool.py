"""One vector of many positions: what losses, divergences and moments of sentence encoders are of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import ranksearch
from ranksearch.calibration import computation_digest
from ranksearch.errors import InputError
from ranksearch.planning import inspect_network, prepare


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.first, self.last = nn.Embedding(20, 6), nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(self.embed(input_ids))))  # type: ignore[no-any-return]


class Texts(Dataset[Any]):
    def __len__(self) -> int:
        return 48

    def __getitem__(self, index: int) -> Any:
        drawn = torch.Generator().manual_seed(index)
        mask = (torch.arange(7) < 2 + index % 5).long()
        return {"input_ids": torch.randint(1, 20, (7,), generator=drawn) * mask, "attention_mask": mask}


def task(**settings: Any) -> ranksearch.Task:
    return ranksearch.Task(Encoder().eval(), Texts(), loss="cosine", **settings)


def test_outputs_are_means_of_real_positions() -> None:
    made = task(pool="mean")
    inputs = made.inputs("divergence")
    hidden = made.model(**inputs)
    real = inputs["attention_mask"][..., None]
    wanted = (hidden * real).sum(1) / real.sum(1)
    torch.testing.assert_close(made.outputs(made.model, inputs), wanted)


def test_a_plan_is_chosen_by_the_cosine_of_the_means() -> None:
    made = task(pool="mean")
    problem = prepare(made, network=inspect_network(made))
    result = ranksearch.search(made, 0.6, progress=False)
    compressed = problem.build(result.plan)
    inputs = made.inputs("divergence")
    dense, own = (made.outputs(model, inputs) for model in (made.model, compressed))
    apart = made.loss.divergence(dense, own, 1.0)
    torch.testing.assert_close(apart, 1 - F.cosine_similarity(dense, own), atol=1e-5, rtol=1e-4)
    every = ranksearch.search(task(), 0.6, progress=False)
    assert problem.tables[0].errors().max() != pytest.approx(every.tables.tables[0].errors().max())  # type: ignore[union-attr]


def test_what_is_pooled_is_another_computation() -> None:
    digests = {computation_digest(task(pool=pool)) for pool in (None, "mean", "first")}
    assert len(digests) == 3


def test_what_cannot_be_pooled_so_is_told() -> None:
    with pytest.raises(InputError, match="pool: expected mean or first, got 'max'"):
        task(pool="max")


def test_several_outputs_go_with_losses_of_numbers() -> None:
    """The feature maps of a detector's backbone: it is compressed by itself, and put back."""

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fine, self.coarse = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            fine = torch.relu(self.fine(x))
            return {"0": fine, "1": self.coarse(fine)}

    data = TensorDataset(torch.randn(30, 3, 6, 6))
    made = ranksearch.Task(Maps().eval(), data, loss="squared_error", output="0,1")
    found = ranksearch.search(made, 0.6, progress=False)
    compressed = ranksearch.compress(made, found, epochs=0, progress=False)
    maps = compressed(data.tensors[0])
    assert {name: part.shape for name, part in maps.items()} == {"0": (30, 8, 6, 6), "1": (30, 8, 2, 2)}
    assert any(not candidate.is_dense for candidate in found.plan.choices.values())
    with pytest.raises(InputError, match="output for loss cross_entropy: expected one tensor"):
        ranksearch.Task(Maps(), data, output="0,1")
