from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model

from ranksearch.errors import InputError, MismatchError
from ranksearch.networks import read_weights
from ranksearch.tasks.sources import make_model, models
from ranksearch.tasks.sources.models import classes_in_weights, full_name, load_model

OWN = """
from torch import nn
def plain():
    return nn.Linear(4, 3)
def sized(num_classes=7):
    return nn.Linear(4, num_classes)
def training():
    return nn.BatchNorm1d(4).train()
def wrong():
    return "no model"
def failing():
    raise ValueError("out of paper")
INSTANCE = nn.Linear(4, 2)
NUMBER = 3
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)


def test_torchvision() -> None:
    model = load_model("torchvision:squeezenet1_1", num_classes=6)
    assert type(model).__name__ == "SqueezeNet"
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 6)
    assert not model.training


def test_builder_keywords() -> None:
    model = make_model("torchvision:shufflenet_v2_x0_5:num_classes=3")
    assert model.get_submodule("fc").out_features == 3
    # what is given apart goes before
    assert make_model("torchvision:shufflenet_v2_x0_5:num_classes=3", num_classes=4).fc.out_features == 4


def test_timm() -> None:
    pytest.importorskip("timm")
    model = make_model("timm:resnet10t:in_chans=1", num_classes=5)
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 5)
    wishes = models.wishes("timm:resnet10t")
    assert wishes["input_size"] == (3, 176, 176)
    assert wishes["interpolation"] == "bicubic"
    assert models.wishes("torchvision:resnet18") == {}


def test_typos_in_timm_names() -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"Did you mean 'resnet18'\?"):
        load_model("timm:resnet81")


def test_timm_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'ranksearch\[timm\]'"):
        load_model("timm:resnet18")


@pytest.mark.parametrize("spec", ["timm:hf-hub:timm/resnet18.a1_in1k", "timm:hf_hub:x/y"])
def test_timm_never_asks_a_hub(spec: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError):
        load_model(spec)


def test_factories() -> None:
    assert load_model("own.py:plain").out_features == 3
    assert load_model("own.py:sized").out_features == 7
    assert load_model("own.py:sized", num_classes=5).out_features == 5
    assert load_model("own.py:INSTANCE").out_features == 2
    assert not load_model("own.py:training").training
    assert load_model("torchvision.models:squeezenet1_1", num_classes=2).num_classes == 2


def test_weights(tmp_path: Path) -> None:
    weights = {"weight": torch.randn(3, 4), "bias": torch.randn(3)}
    save_file(weights, tmp_path / "w.safetensors")
    torch.save(weights, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        model = load_model("own.py:plain", weights=tmp_path / name)
        assert torch.equal(model.weight, weights["weight"])
    with pytest.raises(MismatchError):
        load_model("own.py:sized", weights=tmp_path / "w.pt")


def test_number_of_classes_from_weights(tmp_path: Path) -> None:
    trained = get_model("shufflenet_v2_x0_5", num_classes=11)
    path = tmp_path / "w.safetensors"
    save_file(trained.state_dict(), path)
    stored = read_weights(path)
    assert classes_in_weights("torchvision:shufflenet_v2_x0_5", stored) == 11
    assert classes_in_weights("torchvision:shufflenet_v2_x0_5:num_classes=11", stored) is None
    assert (
        classes_in_weights("torchvision:shufflenet_v2_x1_0", stored) is None
    )  # other widths: not the classes
    assert classes_in_weights("own.py:plain", stored) is None


@pytest.mark.parametrize(
    ("spec", "classes", "full"),
    [
        ("torchvision:resnet18", 10, "torchvision:resnet18:num_classes=10"),
        ("torchvision:resnet18", None, "torchvision:resnet18"),
        ("timm:resnet18:in_chans=1", 2, "timm:resnet18:in_chans=1,num_classes=2"),
        ("torchvision:resnet18:num_classes=5", 10, "torchvision:resnet18:num_classes=10"),
        ("digits", 10, "digits"),
        ("own.py:plain", 3, "own.py:plain"),
    ],
)
def test_full_name(spec: str, classes: int | None, full: str) -> None:
    assert full_name(spec, classes) == full
    assert full_name(full, None) == full


@pytest.mark.parametrize(
    ("spec", "classes", "message"),
    [
        ("torchvision:resnet81", None, "Did you mean 'resnet18'?"),
        ("resnet18", None, "Did you mean 'torchvision:resnet18'?"),
        ("digit", None, "Did you mean 'digits'?"),
        ("digits", 5, "num_classes: expected 10 for digits, got 5"),
        ("torchvision:resnet18:depth=3", None, "unexpected keyword argument 'depth'"),
        ("torchvision:resnet18:open('x')", None, "NAME:key=value"),
        ("torchvision:resnet18:num_classes=len('x')", None, "NAME:key=value"),
        ("own.py:plain", 4, "num_classes: expected a factory that has it"),
        ("own.py:INSTANCE", 4, "num_classes: expected none"),
        ("own.py:wrong", None, "to return a torch.nn.Module, got str"),
        ("own.py:failing", None, "got ValueError: out of paper"),
        ("own.py:NUMBER", None, "to be a function, got int"),
    ],
)
def test_errors(spec: str, classes: int | None, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_model(spec, num_classes=classes)
    assert message in str(error.value)


def test_architecture_of_digits_needs_no_training(tmp_path: Path) -> None:
    assert isinstance(make_model("digits"), nn.Module)
    assert not (tmp_path / "cache").exists()
