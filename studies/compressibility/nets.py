"""The study's networks: a vanilla four-layer CNN in two widths, a VGG-style net, ResNet-50 for small images."""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet50


def cnn4(channels: int, width: int, num_classes: int) -> nn.Module:
    """Four 3×3 convolutions with BatchNorm, each halving the image but for the first, and one Linear."""
    layers: list[nn.Module] = []
    before = channels
    for k, after in enumerate((width, width, 2 * width, 2 * width)):
        layers += [
            nn.Conv2d(before, after, 3, 1 if k == 0 else 2, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


def cnn4_32_rgb(num_classes: int = 10) -> nn.Module:
    """Width 32 and 64, for colour images."""
    return cnn4(3, 32, num_classes)


def cnn4_64_rgb(num_classes: int = 10) -> nn.Module:
    """Width 64 and 128, for colour images."""
    return cnn4(3, 64, num_classes)


def cnn4_32_grey(num_classes: int = 10) -> nn.Module:
    """Width 32 and 64, for grey images."""
    return cnn4(1, 32, num_classes)


def cnn4_64_grey(num_classes: int = 10) -> nn.Module:
    """Width 64 and 128, for grey images."""
    return cnn4(1, 64, num_classes)


def vgg8(num_classes: int = 10, channels: int = 3, side: int = 32) -> nn.Module:
    """Six 3×3 convolutions in pairs with max-pooling (Simonyan & Zisserman 2014, in small), two Linear layers."""
    layers: list[nn.Module] = []
    before = channels
    for after in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
        layers.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(before * (side // 8) ** 2, 256), nn.ReLU(), nn.Linear(256, num_classes)]
    return nn.Sequential(*layers, *head)


def vgg8_grey(num_classes: int = 10) -> nn.Module:
    """The same for grey images of 28 pixels."""
    return vgg8(num_classes, channels=1, side=28)


def resnet50_small(num_classes: int = 10) -> nn.Module:
    """torchvision's ResNet-50 with a 3×3 stem of stride 1, for 32×32 images; the max-pooling stays."""
    model: nn.Module = resnet50(weights=None, num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    return model


def resnet50_small_100(num_classes: int = 100) -> nn.Module:
    """The same for a hundred classes."""
    return resnet50_small(num_classes)
