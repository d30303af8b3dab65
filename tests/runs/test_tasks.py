from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torchvision.models import get_model

from ranksearch.errors import InputError
from ranksearch.runs.config import parse
from ranksearch.runs.tasks import build_task, build_task_and_data
from ranksearch.tasks import Task, make_splits
from ranksearch.tasks.losses import SQUARED_ERROR, top1

OWN = """
import torch
from torch import nn
from torch.utils.data import TensorDataset
from ranksearch.tasks import CROSS_ENTROPY, Loss
def part(n, classes=4):
    g = torch.Generator().manual_seed(n)
    data = TensorDataset(torch.randn(n, 3, 8, 8, generator=g), torch.arange(n) % classes)
    data.classes = [str(k) for k in range(classes)]
    return data
def data():
    return {"train": part(40), "test": part(10)}
def with_validation():
    return {"train": part(40), "validation": part(12), "test": part(10)}
def unlabelled():
    return torch.randn(40, 3, 8, 8)
def model(num_classes=4):
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(6, num_classes))
def one_logit():
    return model(1)
def two_outputs():
    class M(nn.Module):
        def forward(self, x):
            return x, x
    return M()
def named():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model()
        def forward(self, x, attention_mask=None):
            found = self.net(x)
            return {"scores": found, "features": found * 2}
    return M()
def in_words():
    return [{"x": torch.randn(3, 8, 8), "labels": k % 4} for k in range(40)]
def batched(items):
    return {"x": torch.stack([i["x"] for i in items]) * 0 + 3, "labels": torch.tensor([i["labels"] for i in items])}
def mask(inputs):
    return torch.ones(len(inputs), 8)
def silent():
    class M(nn.Module):
        def forward(self, x):
            assert len(x) > 100
    return M()
def tags():
    class M(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 5)
        def forward(self, x):
            return self.head(x[:, 0])  # (N, 8, 5), the classes last
    return M()
def tagged():
    return TensorDataset(torch.randn(40, 3, 8, 8), torch.zeros(40, 8, dtype=torch.long))
def top2(outputs, targets):
    return (outputs.topk(2).indices == targets[:, None]).any(1).float()
def mean_score(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean()
def failing(outputs, targets):
    return outputs + targets.nothing
LOSS = Loss("own", CROSS_ENTROPY.value, CROSS_ENTROPY.sample, CROSS_ENTROPY.divergence)
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)


def task(**options: Any) -> Task:
    return build_task(parse({"model": "own.py:model", "data": "own.py:data"} | options))


def test_defaults() -> None:
    made = task()
    assert made.model_name == "own.py:model"
    assert made.metric_fn is top1
    assert made.loss.name == "cross_entropy"
    assert (made.batch_size, made.workers, made.seed) == (128, 0, 0)
    assert made.device == torch.device("cpu")
    assert made.splits == make_splits(40, calibration_size=1536, val_split=0.1, seed=0)
    assert made.test is not None
    assert not made.model.training


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"batch_size": 7}, lambda t: t.batch_size == 7),
        ({"loader_workers": 1}, lambda t: t.workers == 1),
        ({"seed": 5}, lambda t: t.seed == 5 and t.splits.seed == 5),
        ({"seed": 5, "split_seed": 6}, lambda t: t.seed == 5 and t.splits.seed == 6),
        ({"val_split": 0.5}, lambda t: len(t.splits.validation) == 20),
        ({"val_split": 0}, lambda t: t.dataset("validation") is None),
        ({"data": "own.py:with_validation"}, lambda t: not t.splits.validation and len(t.validation) == 12),
        ({"calibration_size": 9}, lambda t: (len(t.splits.moments), len(t.splits.divergence)) == (6, 3)),
        ({"loss": "squared_error", "data": "own.py:unlabelled"}, lambda t: t.loss is SQUARED_ERROR),
        ({"loss": "own.py:LOSS"}, lambda t: t.loss.name == "own"),
        ({"metric_fn": "own.py:top2"}, lambda t: t.metric_fn.__name__ == "top2"),
        ({"metric_fn": "top1"}, lambda t: t.metric_fn.label == "top-1 %"),
        ({"loss": "mse", "data": "own.py:unlabelled"}, lambda t: t.loss is SQUARED_ERROR),
        (
            {"model": "own.py:named", "output": "features"},
            lambda t: t.output({"features": 1 + t.example}).shape == (1, 3, 8, 8),
        ),
        (
            {"model": "own.py:named", "data": "own.py:in_words", "output": "scores"},
            lambda t: next(t.batches("finetune"))[1] is not None and list(t.example) == ["x"],
        ),
        (
            {
                "model": "own.py:named",
                "data": "own.py:in_words",
                "output": "scores",
                "collate": "own.py:batched",
            },
            lambda t: float(t.example["x"].mean()) == 3,
        ),
        ({"mask": "own.py:mask"}, lambda t: t.reading.real(torch.zeros(2, 3)).shape == (2, 8)),
        ({"ignore_index": 3}, lambda t: -100 in next(t.batches("finetune"))[1]),
        ({"device": "cpu"}, lambda t: t.device.type == "cpu"),
        ({"data": "own.py:unlabelled"}, lambda t: len(t.train) == 36 and len(t.test) == 4),
        ({"data": "own.py:unlabelled", "test_split": 0.5}, lambda t: len(t.test) == 20),
        ({"data": "own.py:unlabelled", "test_split": 0}, lambda t: t.test is None),
    ],
)
def test_every_option_changes_what_it_says(options: dict[str, Any], check: Any) -> None:
    assert check(task(**options))


def test_test_split_follows_the_split_seed() -> None:
    def split(**options: Any) -> Any:
        return build_task_and_data(parse({"model": "own.py:model", "data": "own.py:unlabelled"} | options))[
            1
        ].test_split

    assert split(seed=1) == split(seed=2, split_seed=1) != split(seed=2)


def test_image_options_reach_the_data(tmp_path: Path) -> None:
    from PIL import Image

    for k in range(8):
        folder = tmp_path / "images" / f"{k % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (30 * k, 10, 10)).save(folder / f"{k}.png")
    options = {"input_size": 16, "mean": 0, "std": 1, "crop_pct": 1, "interpolation": "nearest"}
    made = task(data=f"imagefolder:{tmp_path}/images", test_split=0, val_split=0, **options)
    assert made.example.shape == (1, 3, 16, 16)
    preprocess = made.train.preprocess
    assert (preprocess.crop_pct, preprocess.interpolation) == (1.0, "nearest")
    assert (preprocess.mean, preprocess.std) == ((0.0,) * 3, (1.0,) * 3)


def test_what_is_taken_of_a_checkpoint_is_told(tmp_path: Path) -> None:
    from ranksearch.tasks.sources import make_model

    plain = make_model("own.py:model").state_dict()
    averaged = {f"module.{name}": tensor + 1 for name, tensor in plain.items()}
    torch.save({"state_dict": plain, "model_ema": averaged}, tmp_path / "last.ckpt")
    for entry, lines, change in (
        (None, ["weights: entry state_dict; model_ema.module would fit as well (`weights_entry`)"], 0),
        ("model_ema", ["weights: entry model_ema; prefix module. stripped"], 1),
    ):
        told: list[str] = []
        options = {
            "model": "own.py:model",
            "data": "own.py:data",
            "weights": "last.ckpt",
            "weights_entry": entry,
        }
        made, _ = build_task_and_data(parse(options), told.append)
        assert told == lines
        assert torch.equal(made.model.get_parameter("4.bias"), plain["4.bias"] + change)


def test_digits_need_no_data_option(monkeypatch: pytest.MonkeyPatch) -> None:
    from ranksearch.tasks.sources import digits

    monkeypatch.setattr(digits, "train_digits", lambda recipe: digits.DigitsNet().eval())
    made = build_task(parse({}))
    assert made.model_name == "digits"
    assert made.example.shape == (1, 1, 8, 8)
    assert made.test is not None
    assert len(made.test) == 360


def test_classes_of_a_builtin_model_come_from_weights_then_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    whole = safe_open
    monkeypatch.setattr(
        "safetensors.safe_open", lambda path, **more: opened.append(path) or whole(path, **more)
    )
    spec = {"model": "torchvision:shufflenet_v2_x0_5", "data": "own.py:data"}
    made = build_task(parse(spec | {"weights": "none"}))
    assert made.model_name == "torchvision:shufflenet_v2_x0_5:num_classes=4"
    save_file(get_model("shufflenet_v2_x0_5", num_classes=4).state_dict(), tmp_path / "w.safetensors")
    opened.clear()
    made = build_task(parse(spec | {"weights": "w.safetensors"}))
    assert len(opened) == 1  # large files are read once
    assert made.model_name == "torchvision:shufflenet_v2_x0_5:num_classes=4"
    save_file(get_model("shufflenet_v2_x0_5", num_classes=9).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="--model: expected 4 classes, as in the data, got 9"):
        build_task(parse(spec | {"weights": "w.safetensors"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": None}, "--data: expected the data that own.py:model was trained for, got none"),
        ({"model": "torchvision:resnet18"}, "--weights: expected a file with trained weights"),
        ({"weights": "missing.pt"}, "missing.pt"),
        ({"num_classes": 3}, "--model: expected 4 classes, as in the data, got 3 of own.py:model"),
        (
            {"model": "own.py:two_outputs"},
            "model: expected a Tensor as output, got tuple (0, 1). Say which counts: `output=0`.",
        ),
        (
            {"model": "own.py:one_logit", "data": "own.py:unlabelled"},
            "--loss cross_entropy: expected a model with two outputs or more, got one. For one logit use --loss "
            "binary_cross_entropy",
        ),
        (
            {"model": "own.py:silent"},
            "--data: expected inputs that own.py:silent accepts, got (1, 3, 8, 8): AssertionError.",
        ),
        (
            {"model": "own.py:tags", "data": "own.py:tagged"},
            "loss cross_entropy: expected outputs with the classes on axis 1, (8, 'classes', 8), got (8, 8, 5). "
            "Where they are last, take token_cross_entropy",
        ),
        ({"data": "digits"}, "--data: expected inputs that own.py:model accepts, got (1, 1, 8, 8)"),
        ({"device": "gpu"}, "--device: expected an available device, got 'gpu'"),
        ({"loss": "cross_entropi"}, "loss: expected cross_entropy or binary_cross_entropy or squared_error"),
        ({"loss": "own.py:top2"}, "loss: expected a ranksearch.Loss, got function"),
        (
            {"model": "own.py:named", "output": "logits"},
            "output: expected the path of a tensor (scores, features), got 'logits'",
        ),
        (
            {"mask": "attention_mask"},
            "mask: expected the path of a tensor of the inputs (which are one tensor), got 'attention_mask'",
        ),
        ({"collate": "own.py:LOSS"}, "--collate: expected a function, got Loss"),
        ({"metric_fn": "top-1"}, "--metric-fn: expected top1 or "),
        ({"metric_fn": "own.py:tpo2"}, "Did you mean 'top2'?"),
        ({"metric_fn": "own.py:LOSS"}, "metric_fn: expected a function, or one of top1, "),
        ({"metric_fn": "own.py:mean_score"}, "to give one score per example, (1,), got ()"),
        ({"metric_fn": "own.py:failing"}, "AttributeError"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        task(**options)
    assert message in str(error.value)
