"""Small networks for the comparison beside ResNet-20; all take 32×32 or 28×28 images."""

from __future__ import annotations

from torch import Tensor, nn


class VGG(nn.Module):
    """VGG-style (Simonyan & Zisserman 2015) with BatchNorm: pairs of 3×3 convolutions, pooling in between."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        width = in_channels
        for out in (32, 64, 128):
            blocks += [*_conv(width, out), *_conv(out, out), nn.MaxPool2d(2)]
            width = out
        self.features = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.hidden = nn.Linear(width * 4, 128)
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.features(x)).flatten(1)
        out: Tensor = self.classifier(self.relu(self.hidden(x)))
        return out


class CNN4(nn.Module):
    """Four convolutions with BatchNorm, then average pooling and one Linear layer."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for out, stride in ((32, 1), (64, 2), (64, 1), (128, 2)):
            layers += _conv(width, out, stride)
            width = out
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return out


def _conv(width: int, out: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


def vgg(num_classes: int = 10) -> nn.Module:
    """For colour images."""
    return VGG(num_classes)


def vgg_grey(num_classes: int = 10) -> nn.Module:
    """For grey images, such as Fashion-MNIST."""
    return VGG(num_classes, in_channels=1)


def cnn4(num_classes: int = 10) -> nn.Module:
    """For colour images."""
    return CNN4(num_classes)


def cnn4_grey(num_classes: int = 10) -> nn.Module:
    """For grey images, such as Fashion-MNIST."""
    return CNN4(num_classes, in_channels=1)
