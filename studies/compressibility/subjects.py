"""Which networks the study looks at, on which data, and where their weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NETS = HERE / "nets.py"


@dataclass(frozen=True)
class Network:
    """One network. data: a key of the folders that the study is given; weights: a key of the weights that it is
    given, None where the study trains it itself, with these settings of `training.Training`; input_size: side that
    images are resized to, 0 leaves them; filter: one of `frequencies.FILTERS` that they go through, "" for none; probe:
    options of its probe that differ from the study's, where those would take hours."""

    name: str
    model: str
    data: str
    weights: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    input_size: int = 0
    filter: str = ""
    probe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_options(self) -> dict[str, str]:
        """Options of ranksearch that resize the images."""
        return {"input_size": str(self.input_size), "crop_pct": "1"} if self.input_size else {}


GREY: Mapping[str, Any] = {"shift": 2}
BRIEF: Mapping[str, Any] = {"images": 250, "bonds": 4, "recovery_epochs": 1}

NETWORKS = (
    Network("resnet20", f"{HERE.parent}/resnet20_cifar10/resnet20.py:resnet20", "cifar10", "resnet20"),
    Network("resnet50", f"{NETS}:resnet50_small", "cifar10", "resnet50", probe=BRIEF),
    Network("cnn4-32-cifar10", f"{NETS}:cnn4_32_rgb", "cifar10"),
    Network("cnn4-64-cifar10", f"{NETS}:cnn4_64_rgb", "cifar10"),
    Network("cnn4-32-fashion", f"{NETS}:cnn4_32_grey", "fashion", training=GREY),
    Network("cnn4-64-fashion", f"{NETS}:cnn4_64_grey", "fashion", training=GREY),
    Network("vgg8-cifar10", f"{NETS}:vgg8", "cifar10", training={"lr": 0.05}),
    Network("cnn4-64-cifar10-nuclear", f"{NETS}:cnn4_64_rgb", "cifar10", training={"nuclear": 0.1}),
    Network("cnn4-64-cifar10-16px", f"{NETS}:cnn4_64_rgb", "cifar10", training={"shift": 2}, input_size=16),
    Network("cnn4-64-cifar10-lowpass", f"{NETS}:cnn4_64_rgb", "cifar10", filter="lowpass"),
    Network("cnn4-64-cifar10-highpass", f"{NETS}:cnn4_64_rgb", "cifar10", filter="highpass"),
    Network(
        "resnet50-cifar100", f"{NETS}:resnet50_small_100", "cifar100", training={"epochs": 30}, probe=BRIEF
    ),
)


def data_spec(key: str, folder: Path) -> str:
    """The data of a key in a folder: `--data` of ranksearch."""
    prefix = {
        "cifar10": "imagefolder",
        "fashion": "torchvision:FashionMNIST",
        "cifar100": "torchvision:CIFAR100",
    }
    return f"{prefix[key]}:{folder.resolve()}"
