"""Several outputs, each with a loss and a weight, as one loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.calibration import computation_digest, task_moments
from ranksearch.errors import InputError
from ranksearch.networks import discover
from ranksearch.runs import RunOptions
from ranksearch.runs.trust import check_trusted
from ranksearch.tasks import CROSS_ENTROPY, Loss, Task, evaluate, metric_name
from ranksearch.tasks.losses import SQUARED_ERROR, kl
from ranksearch.tasks.several import Part, packed, summed_loss

WEIGHTS = (1.0, 0.4, 2.0)
PARTS = [
    Part("logits", (5,), 1.0, CROSS_ENTROPY),
    Part("boxes", (2, 4), 0.4, SQUARED_ERROR),
    Part("map", (3, 2, 2), 2.0, CROSS_ENTROPY),
]


class Detector(nn.Module):
    """Heads for classes and boxes, and a map of classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.logits, self.boxes, self.map = nn.Linear(16, 5), nn.Linear(16, 8), nn.Conv2d(16, 3, 3, stride=2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.relu(self.trunk(x))
        pooled = y.mean((2, 3))
        boxes = self.boxes(pooled).unflatten(1, (2, 4))
        return {"logits": 3 * self.logits(pooled), "boxes": boxes, "map": self.map(y)}


IMAGES = torch.randn(120, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def task(**options: Any) -> Task:
    options = {"output": "logits:1,boxes:0.4", "loss": "cross_entropy,squared_error"} | options
    data = options.pop("data", TensorDataset(IMAGES))
    return Task(Detector(), data, calibration_size=96, **options)


def outputs(count: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, *part.shape, generator=generator) for part in PARTS]


def flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def test_value_and_divergence_are_weighted_sums() -> None:
    loss, one, two = summed_loss(PARTS), outputs(), [part + 0.3 for part in outputs()]
    two[0][:, 0] += 1
    classes, numbers, pixels = torch.arange(6) % 5, torch.zeros(6, 2, 4), torch.ones(6, 2, 2).long()
    wanted = packed((classes, numbers, pixels))
    assert wanted is not None
    value = F.cross_entropy(one[0], classes, reduction="none") + 0.4 * one[1].square().sum((1, 2)) / 2
    value += 2 * F.cross_entropy(one[2], pixels, reduction="none").sum((1, 2))
    torch.testing.assert_close(loss.value(flat(one), wanted), value)
    torch.testing.assert_close(
        loss.value(flat(one), classes), F.cross_entropy(one[0], classes, reduction="none")
    )
    apart = kl(one[0], two[0]) + 0.4 * (one[1] - two[1]).square().sum((1, 2)) / 2 + 2 * kl(one[2], two[2])
    torch.testing.assert_close(loss.divergence(flat(one), flat(two), 1.0), apart)
    wanted[:, 5] = torch.nan  # a number without a target does not count
    assert bool(loss.value(flat(one), wanted).isfinite().all())


def test_drawn_targets_are_of_each_output() -> None:
    loss, own = summed_loss(PARTS), flat(outputs(4000))
    drawn = loss.sample(own, torch.Generator().manual_seed(0))
    assert drawn.shape == (4000, 1 + 8 + 4)
    assert set(drawn[:, 0].tolist()) == {0, 1, 2, 3, 4}
    assert set(drawn[:, -1].tolist()) == {0, 1, 2}
    assert float((drawn[:, 1:9] - own[:, 5:13]).var()) == pytest.approx(1, abs=0.05)


def test_second_moments_of_gradients_are_weighted_sums() -> None:
    """Of what all outputs share; the rest has those of its own output."""
    images = TensorDataset(torch.randn(4000, 3, 6, 6, generator=torch.Generator().manual_seed(2)))

    def moments(**options: Any) -> dict[str, Tensor]:
        made = Task(Detector(), images, calibration_size=3000, batch_size=500, **options)
        layers = [x for x in discover(made.model, made.example, output=made.output) if x.name != "map"]
        found = task_moments(made, layers, ("moments",), seed=0)
        return {name: torch.as_tensor(m.G) for name, m in found.items()}

    both = moments(output="logits:1,boxes:0.25", loss="cross_entropy,squared_error")
    one = moments(output="logits")
    two = moments(output="boxes", loss="squared_error")
    wanted = one["trunk"] + 0.25 * two["trunk"]
    assert float((both["trunk"] - wanted).norm()) < 0.2 * float(wanted.norm())
    assert float((both["boxes"] - 0.25 * two["boxes"]).norm()) < 0.2 * float(both["boxes"].norm())
    assert not one["boxes"].any()


@pytest.mark.parametrize("weights", [(1, 1e-6), (1e-6, 1)])
def test_ranks_go_where_the_weight_is(weights: tuple[float, float]) -> None:
    made = task(output=f"logits:{weights[0]},boxes:{weights[1]}")
    found = ranksearch.search(made, 0.6, progress=False)
    kept = {name: found.plan.choices[name].cost.params for name in ("logits", "boxes")}
    dense = {"logits": 85, "boxes": 136}
    more, less = ("logits", "boxes") if weights[0] > weights[1] else ("boxes", "logits")
    assert kept[more] / dense[more] > kept[less] / dense[less]
    assert found.plan.choices["map"].unused


def test_from_the_search_to_the_delivered_folder(tmp_path: Path) -> None:
    """With labels of the first output, which the model is measured by, and fine-tuning by distillation."""
    labels = Detector()(IMAGES)["logits"].argmax(1)
    data = TensorDataset(IMAGES, labels)
    made = task(data=data, validation=data)
    assert made.loss.name == "cross_entropy of logits + 0.4 × squared_error of boxes"
    assert metric_name(made) == "top-1 % of logits"
    found = ranksearch.search(made, 0.7, progress=False)
    compressed = ranksearch.compress(made, found, epochs=1, progress=False)
    score = evaluate(compressed.model, made, "validation")
    assert score is not None
    assert 50 < score.mean <= 100
    ranksearch.save(tmp_path / "small", made, found, compressed)
    loaded = ranksearch.load(tmp_path / "small", Detector())
    torch.testing.assert_close(loaded(IMAGES)["boxes"], compressed(IMAGES)["boxes"])
    again = made.with_model(made.model)
    assert again.loss is made.loss


def test_targets_of_all_outputs() -> None:
    dense = {name: part.detach() for name, part in Detector()(IMAGES).items()}
    targets = list(zip(dense["logits"].argmax(1), dense["boxes"], strict=True))
    data = [(image, pair) for image, pair in zip(IMAGES, targets, strict=True)]
    made = task(data=data, validation=data, metric_fn=lambda o, t: -SUM.value(o, t))
    SUM = made.loss
    score = evaluate(made.model, made, "validation")
    assert score is not None
    assert score.mean == pytest.approx(
        float(-F.cross_entropy(dense["logits"], dense["logits"].argmax(1))), 1e-3
    )


def test_what_a_loss_is_made_of_is_part_of_the_computation() -> None:
    own = Loss("squared_error", SQUARED_ERROR.value, SQUARED_ERROR.sample, kl)
    specs: list[dict[str, Any]] = [
        {},
        {"output": "logits:1,boxes:0.41"},
        {"loss": "cross_entropy,binary_cross_entropy"},
        {"loss": (CROSS_ENTROPY, own)},
    ]
    digests = {computation_digest(task(**spec)) for spec in specs}
    assert len(digests) == len(specs)
    assert computation_digest(task()) == computation_digest(task(loss=(CROSS_ENTROPY, SQUARED_ERROR)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "logits:1,boxes:-1"}, "output: expected a positive weight for each"),
        ({"output": "logits:0"}, "output: expected a positive weight"),
        ({"output": "logits,boxes,map"}, "loss: expected one, or one for each output, got 2 for 3 outputs"),
        ({"output": "logits"}, "loss: expected one, or one for each output, got 2 for 1 output"),
        (
            {"output": "logits:1,box:1"},
            "output: expected the path of a tensor .logits, boxes, map., got 'box'",
        ),
        ({"output": "logits,boxes", "loss": "cross_entropy"}, "with weights, `output=logits:1,aux:0.4`"),
        ({"loss": "cross_entropy,mean"}, "loss: expected"),
    ],
)
def test_what_makes_no_sense_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        task(**options)


def test_outputs_of_another_size_are_told() -> None:
    loss = summed_loss(PARTS)
    with pytest.raises(InputError, match="outputs: expected those of 3 outputs, of the shapes"):
        loss.divergence(torch.zeros(2, 7), torch.zeros(2, 7), 1.0)
    with pytest.raises(InputError, match="targets: expected those of 3 outputs"):
        loss.value(flat(outputs()), torch.zeros(6, 3))
    assert packed(["a"]) is None


def test_weights_are_no_code() -> None:
    fine = RunOptions(output="logits:1,boxes:0.4", loss="cross_entropy,squared_error")
    check_trusted(fine.model_dump(), "plan")
    with pytest.raises(InputError, match="name neither code nor files"):
        check_trusted({"output": "logits:1,own.py:fn"}, "plan")
