"""The embedded default: a small CNN for scikit-learn's digits, trained on first use in seconds and cached.

The images (8×8, 1,797 of them) ship with scikit-learn, so that nothing has to be fetched.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ranksearch.cache import cache_dir
from ranksearch.files import whole_file
from ranksearch.tasks.sources.images import Preprocess

log = logging.getLogger(__name__)

CLASSES = 10
DIGITS_SHAPE = (1, 8, 8)
SCALED = Preprocess(channels=1, size=(8, 8), mean=(0.0,), std=(1.0,), crop_pct=1.0)
"""What the images are: grey values in [0, 1], as they are."""


@dataclass(frozen=True)
class Recipe:
    """Everything that the trained weights depend on; its digest names the file in the cache."""

    version: int = 1
    channels: tuple[int, ...] = (32, 64, 64, 64)
    seed: int = 0
    epochs: int = 12
    batch_size: int = 64
    lr: float = 4e-3
    weight_decay: float = 1e-3

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:12]


RECIPE = Recipe()


class DigitsNet(nn.Sequential):
    """Four 3×3 convolutions with BatchNorm and one Linear: (N, 1, 8, 8) → (N, 10), 93,546 parameters."""

    def __init__(self, channels: tuple[int, ...] = RECIPE.channels) -> None:
        c1, c2, c3, c4 = channels
        super().__init__(
            *_conv(1, c1),
            *_conv(c1, c2),
            nn.MaxPool2d(2),
            *_conv(c2, c3),
            *_conv(c3, c4),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(c4, CLASSES),
        )


def _conv(i: int, o: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()


@dataclass(frozen=True)
class Digits:
    """The images, (N, 1, 8, 8) float32 in [0, 1], with labels (N,) int64; a fixed, stratified split."""

    train: TensorDataset
    validation: TensorDataset
    test: TensorDataset


def digits_data() -> Digits:
    """70 % training, 10 % validation, 20 % test images."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    train, validation = train_test_split(rest, test_size=0.125, stratify=labels[rest], random_state=0)
    inputs = torch.tensor(images, dtype=torch.float32).view(-1, *DIGITS_SHAPE) / 16
    targets = torch.tensor(labels, dtype=torch.int64)
    return Digits(*(TensorDataset(inputs[i], targets[i]) for i in (train, validation, test)))


def digits_is_trained(recipe: Recipe = RECIPE) -> bool:
    """Whether the trained model is in the cache."""
    return _cached(recipe).is_file()


def _cached(recipe: Recipe) -> Path:
    return cache_dir() / f"digits-{recipe.digest}.safetensors"


def digits_model(recipe: Recipe = RECIPE) -> DigitsNet:
    """The trained model in evaluation mode: from the cache, or trained now and put there."""
    model = DigitsNet(recipe.channels)
    path = _cached(recipe)
    if path.is_file():
        try:
            model.load_state_dict(load_file(path))
            return model.eval()
        except (SafetensorError, RuntimeError, OSError) as error:
            log.warning("cached model %s cannot be used (%s): training it again", path, error)
    log.info("training the digits model (once; cached in %s)", path)
    model = train_digits(recipe)
    try:
        with whole_file(path) as partial:
            save_file(model.state_dict(), partial)
    except (OSError, SafetensorError) as error:
        log.warning("the digits model cannot be cached (%s): it is trained again in every run", error)
    return model


def train_digits(recipe: Recipe = RECIPE) -> DigitsNet:
    """Train from scratch, deterministically: one thread, generators of its own, the caller's untouched."""
    inputs, targets = digits_data().train.tensors
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = DigitsNet(recipe.channels)
            _fit(model, inputs, targets, recipe)
    finally:
        torch.set_num_threads(threads)
    return model


def _fit(model: nn.Module, inputs: Tensor, targets: Tensor, recipe: Recipe) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * (len(inputs) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps)
    model.train()
    for _ in range(recipe.epochs):
        order = torch.randperm(len(inputs))
        for batch in order[: len(order) // recipe.batch_size * recipe.batch_size].view(-1, recipe.batch_size):
            loss = F.cross_entropy(model(_shifted(inputs[batch])), targets[batch])
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    model.eval()


def _shifted(images: Tensor) -> Tensor:
    """The batch moved by up to one pixel each way."""
    dy, dx = cast(list[int], torch.randint(0, 3, (2,)).tolist())
    return F.pad(images, (1, 1, 1, 1))[..., dy : dy + images.shape[-2], dx : dx + images.shape[-1]]
