"""Models of segmentation_models_pytorch and of Lightning by name; detectors of torchvision, which are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ranksearch.errors import InputError
from ranksearch.networks import read_weights
from ranksearch.runs.config import absolute
from ranksearch.tasks.sources import (
    classes_in_weights,
    full_name,
    is_builtin,
    is_plain,
    load_model,
    make_model,
)

UNET = "smp:Unet:encoder_name='resnet18',encoder_depth=3,decoder_channels=[16,8,8]"


def test_segmentation_models_are_made_without_fetching_anything(tmp_path: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="needs segmentation_models_pytorch")
    model = make_model(UNET, num_classes=5)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 5, 32, 32)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "u.pth")
    stored = read_weights(tmp_path / "u.pth")
    assert classes_in_weights(UNET, stored) == 5
    name = full_name(UNET, 5)
    loaded = load_model(name, weights=stored)
    torch.testing.assert_close(loaded(torch.ones(1, 3, 32, 32)), model(torch.ones(1, 3, 32, 32)))
    assert is_builtin(name)
    assert is_plain(name)
    assert not is_plain("smp:Unet:encoder_weights='imagenet'")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("smp:Unett", "one of .*Unet.*got 'Unett'. Did you mean 'Unet'"),
        ("smp:Unet:encoder_name='resnet19'", "encoder_name: expected an encoder .*Did you mean 'resnet18'"),
        ("smp:Unet:encoder_name='tu-hf-hub:x/y'", "the name of a timm model"),
    ],
)
def test_names_that_smp_does_not_have(spec: str, message: str) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="needs segmentation_models_pytorch")
    pytest.importorskip("timm", reason="needs timm")
    with pytest.raises(InputError, match=message):
        make_model(spec)


def test_smp_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(InputError, match=r"pip install 'ranksearch\[smp\]'"):
        load_model("smp:Unet")


@pytest.mark.parametrize(
    "name", ["fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"]
)
def test_segmentation_models_of_torchvision_are_made_by_name(name: str) -> None:
    model = make_model(f"torchvision:{name}", num_classes=3)
    assert model(torch.zeros(1, 3, 32, 32))["out"].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "ssd300_vgg16"])
def test_detectors_are_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(InputError, match=rf"got {name}, a detector, .*Compress its `backbone`.*`output="):
        make_model(f"torchvision:{name}")


# --- Lightning

NET = """
import torch
from torch import nn

class Net({base}):
    def __init__(self, width, classes=3, loss=None):
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, classes)
        {keep}

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))
"""


def own(folder: Path, base: str = "nn.Module", keep: str = "pass") -> str:
    text = NET.format(base=base, keep=keep)
    (folder / "net.py").write_text(f"import lightning\n{text}" if base.startswith("lightning") else text)
    return f"lightning:{folder / 'net.py'}:Net"


def test_the_checkpoint_says_how_the_module_is_made(tmp_path: Path) -> None:
    spec = own(tmp_path)
    other = nn.Module()
    other.first, other.last = nn.Linear(4, 6), nn.Linear(6, 2)
    content = {
        "state_dict": other.state_dict(),
        "hyper_parameters": {"width": 6, "classes": 2, "lr": 0.1, "callbacks": [Path("x")]},
        "epoch": 3,
    }
    torch.save(content, tmp_path / "last.ckpt")
    model = load_model(f"{spec}:{tmp_path / 'last.ckpt'}")
    assert not model.training
    for name, parameter in other.named_parameters():
        assert torch.equal(model.get_parameter(name), parameter)
    assert not is_plain(spec)


def test_what_lightning_itself_writes_is_read(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="needs lightning")
    spec = own(tmp_path, "lightning.LightningModule", "self.save_hyperparameters(ignore=['loss'])")
    sys.path.insert(0, str(tmp_path))
    try:
        from net import Net

        made = Net(5, classes=4)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("net", None)
    trainer = lightning.Trainer(
        logger=False, enable_checkpointing=False, accelerator="cpu", enable_model_summary=False
    )
    trainer.strategy.connect(made)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    model = load_model(f"{spec}:{tmp_path / 'last.ckpt'}")
    x = torch.randn(2, 4)
    torch.testing.assert_close(model(x), made.eval()(x))


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("", r"missing 1 required positional argument: 'width'. Its checkpoint may say"),
        (":none.ckpt", "an existing file, got none"),
        (":odd.ckpt", "hyper-parameters in .*odd.ckpt: expected numbers, texts and lists, got loss"),
    ],
)
def test_modules_that_cannot_be_made(tail: str, message: str, tmp_path: Path) -> None:
    spec = own(tmp_path)
    torch.save(
        {"state_dict": {}, "hyper_parameters": {"width": 2, "loss": nn.Linear(2, 2)}}, tmp_path / "odd.ckpt"
    )
    with pytest.raises(InputError, match=message):
        load_model(spec + tail, base=tmp_path)


def test_names_without_a_class_are_told_of_their_form(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected lightning:FILE\.py:CLASS"):
        load_model(f"lightning:{tmp_path / 'net.py'}")


def test_relative_parts_of_a_name_start_where_it_was_given(tmp_path: Path) -> None:
    values = absolute({"model": "lightning:net.py:Net:ckpt/last.ckpt"}, tmp_path)
    assert values["model"] == f"lightning:{tmp_path}/net.py:Net:{tmp_path}/ckpt/last.ckpt"
    assert absolute({"model": "lightning:pkg.net:Net"}, tmp_path)["model"] == "lightning:pkg.net:Net"
