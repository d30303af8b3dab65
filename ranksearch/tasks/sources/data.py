"""Data by name: `digits`, `imagefolder:DIR`, `torchvision:NAME:DIR`, `text:PATH`, `jsonl:PATH`, or a factory of the
user's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import Dataset, Subset

from ranksearch.errors import InputError, expected, told
from ranksearch.objects import check_source, close_match, load_object
from ranksearch.progress import Progress, no_progress, no_ticks, ticks
from ranksearch.tasks.sources import digits
from ranksearch.tasks.sources.idx import read_mnist
from ranksearch.tasks.sources.images import ImageSet, Preprocess
from ranksearch.tasks.sources.pictures import folder_of, image_set, in_8_bits, native_size
from ranksearch.tasks.sources.texts import SUFFIXES, Collate, TextOptions, read_texts

SOURCES = ("imagefolder", "torchvision", *SUFFIXES)

FORMS = (
    "digits, imagefolder:DIR, torchvision:NAME:DIR, text:PATH, jsonl:PATH, package.module:factory or "
    "file.py:factory"
)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "MNIST": ((0.1307,), (0.3081,)),
    "FashionMNIST": ((0.2860,), (0.3530,)),
    "KMNIST": ((0.1918,), (0.3483,)),
    "CIFAR10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "CIFAR100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
"""Mean and standard deviation of the training images, per channel, of data sets whose own are customary."""

FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Data:
    """What a source yields; `classes` is empty where the data does not say."""

    train: Dataset[Any]
    validation: Dataset[Any] | None = None
    test: Dataset[Any] | None = None
    classes: tuple[str, ...] = ()
    test_split: tuple[int, ...] | None = None
    """Indices of the test images within the source's training images, where they were split off."""
    preprocess: Preprocess | None = None
    """How images become inputs; None where the source yields finished inputs."""
    collate: Collate | None = None
    """What makes batches of the examples; None where they are stacked."""
    notes: tuple[str, ...] = ()
    """What was done without being asked for, in a line each."""


@dataclass(frozen=True)
class ImageOptions:
    """How images become inputs; None leaves it to the model (timm) or the data."""

    input_size: tuple[int, ...] | None = None
    """(side,), (height, width) or (channels, height, width)."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    """The model's own wishes, by the same names; `labels`: the numbers of its classes by their names."""

    def given(self) -> list[str]:
        names = ("input_size", "mean", "std", "crop_pct", "interpolation")
        return [name for name in names if getattr(self, name) is not None]

    def order(self, classes: Sequence[str]) -> tuple[int, ...] | None:
        """The numbers that the model has for classes, where it knows all of them by name in another order."""
        known = {_plain(name): number for name, number in self.model.get("labels", {}).items()}
        found = [known.get(_plain(name), -1) for name in classes]
        own = list(range(len(classes)))
        return tuple(found) if found != own and sorted(found) == own else None

    def resolve(
        self, native: tuple[int, int, int] | None, mean: Sequence[float], std: Sequence[float]
    ) -> Preprocess:
        """An option goes before the model's wish, which goes before the data's own size and statistics."""
        size = self.input_size or self.model.get("input_size") or native
        if size is None:
            raise InputError(
                expected("input_size", "a size, for images that differ in size", "none", "For example 224.")
            )
        channels = size[0] if len(size) == 3 else native[0] if native else 3
        if channels not in (1, 3):
            raise InputError(expected("input_size", "1 or 3 channels", f"{channels} of {tuple(size)}"))
        if channels == 1 and len(mean) != 1:
            mean, std = (0.5,), (0.5,)
        return Preprocess(
            channels=channels,
            size=(size[-2], size[-1]) if len(size) > 1 else (size[0], size[0]),
            mean=_per_channel("mean", self.mean or self.model.get("mean") or mean, channels),
            std=_per_channel("std", self.std or self.model.get("std") or std, channels),
            crop_pct=self.crop_pct or self.model.get("crop_pct") or 0.875,
            interpolation=self.interpolation or self.model.get("interpolation") or "bilinear",
            stretch=self.crop_pct is None and bool(self.model.get("stretch")),
        )


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").replace("-", " ")


def _told(order: Sequence[int] | None) -> tuple[str, ...]:
    return () if order is None else ("classes: numbered as in the model, by their names",)


def load_data(
    spec: str,
    *,
    images: ImageOptions | None = None,
    texts: TextOptions | None = None,
    test_split: float = 0.1,
    seed: int = 0,
    base: Path | None = None,
) -> Data:
    """The data sets that `spec` names. Relative paths start at `base`. Raises InputError.

    `imagefolder:DIR` reads DIR/train, DIR/val and DIR/test; where there is `val` but no `test` (ImageNet's
    layout), `val` is the test set. A DIR of class folders is all training data. `text:PATH` and `jsonl:PATH` read a
    file, or train, val and test of a folder, with the tokeniser that `texts` names. Where a source has no test
    set, a fraction `test_split` of its training images, drawn by `seed`, becomes one; 0 goes without.
    """
    images = images or ImageOptions()
    base = base or Path()
    source, _, rest = spec.partition(":")
    if spec == "digits":
        _refuse_image_options(images, spec)
        d = digits.digits_data()
        return Data(
            d.train, d.validation, d.test, tuple(map(str, range(digits.CLASSES))), preprocess=digits.SCALED
        )
    if source == "imagefolder":
        data = _imagefolder(_directory(rest, base), images)
    elif source == "torchvision":
        data = _torchvision(rest, images, base)
    elif source in SUFFIXES:
        _refuse_image_options(replace(images, input_size=None), spec)
        sets, collate = read_texts(source, base / Path(rest).expanduser(), texts or TextOptions())
        data = Data(sets["train"], sets.get("validation"), sets.get("test"), collate=collate)
    elif ":" in spec:
        check_source("data", spec, SOURCES, base)
        _refuse_image_options(images, spec)
        data = _factory(spec, base)
    else:
        is_folder = (base / spec).is_dir()
        way_out = f"Did you mean 'imagefolder:{spec}'?" if is_folder else close_match(spec, ["digits"])
        raise InputError(expected("data", FORMS, repr(spec), way_out))
    return data if data.test is not None else _split_test(data, test_split, seed)


def look_through(data: Data, *, progress: Progress = no_progress) -> None:
    """Find damaged images before anything long: a run evaluates at its end. Raises InputError for the first one."""
    for role in ("validation", "test", "train"):
        images = getattr(data, role)
        images = images.dataset if isinstance(images, Subset) else images
        if isinstance(images, ImageSet):
            tell = ticks(progress, f"looking at {role} images")
            images.look_through(decode=role != "train", progress=tell if len(images) >= MANY else no_ticks)


MANY = 2000
"""Images from which on looking at them is told of."""


def _split_test(data: Data, fraction: float, seed: int) -> Data:
    if not 0 <= fraction < 1:
        raise InputError(expected("test_split", "a fraction from 0 up to 1", fraction))
    size = len(cast(Sized, data.train))
    n_test = round(fraction * size)
    if not n_test:
        return data
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist()
    test, train = tuple(sorted(order[:n_test])), sorted(order[n_test:])
    return replace(data, train=Subset(data.train, train), test=Subset(data.train, test), test_split=test)


# Folders of images


def _imagefolder(root: Path, images: ImageOptions) -> Data:
    folders: dict[str, Path] = {}
    for role, names in FOLDERS.items():
        found = [root / name for name in names if (root / name).is_dir()]
        if found:
            folders[role] = found[0]
    if "train" not in folders:
        if folders:
            others = ", ".join(sorted(p.name for p in folders.values()))
            raise InputError(expected("data", f"a folder train/ in {root}", others))
        folders = {"train": root}
    elif "test" not in folders and "validation" in folders:
        folders["test"] = folders.pop("validation")
    preprocess = images.resolve(native_size(folder_of(folders["train"])), IMAGENET_MEAN, IMAGENET_STD)
    order = images.order(folder_of(folders["train"]).classes)
    sets = {role: image_set(path, preprocess, order) for role, path in folders.items()}
    for role, dataset in sets.items():
        if dataset.classes != sets["train"].classes:
            odd = sorted(set(dataset.classes) ^ set(sets["train"].classes))[:5]
            raise InputError(
                expected(
                    "data",
                    f"the same class folders in {folders['train']} and {folders[role]}",
                    ", ".join(odd),
                )
            )
    train = sets["train"]
    return Data(
        train,
        sets.get("validation"),
        sets.get("test"),
        train.classes,
        preprocess=preprocess,
        notes=_told(order),
    )


# Data sets of torchvision


def _torchvision(rest: str, images: ImageOptions, base: Path) -> Data:
    from torchvision import datasets

    name, _, folder = rest.partition(":")
    if not name or not folder:
        raise InputError(expected("data", "torchvision:NAME:DIR", repr(f"torchvision:{rest}")))
    if name not in datasets.__all__:
        way_out = close_match(name, datasets.__all__)
        raise InputError(expected("data", "the name of a torchvision data set", repr(name), way_out))
    kind: Any = getattr(datasets, name)
    root = _directory(folder, base)
    if name in ("MNIST", "FashionMNIST", "KMNIST"):
        return _mnist(name, tuple(kind.classes), root, images)
    parameters = inspect.signature(kind.__init__).parameters
    if "train" in parameters:
        parts: list[dict[str, Any]] = [{"train": True}, {"train": False}]
    elif "split" in parameters:
        parts = [{"split": "train"}, {"split": "test"}]
    else:
        raise InputError(expected("data", "a torchvision data set with a training and a test part", name))
    fixed: dict[str, Any] = {"download": False} if "download" in parameters else {}
    try:
        train, test = (kind(root=root, **part, **fixed) for part in parts)
        first = train[0][0]
        native = (1 if getattr(first, "mode", "RGB") in ("1", "L") else 3, first.height, first.width)
    except Exception as error:  # each data set reads its files in its own way, and fails in its own way
        raise InputError(
            expected("data", f"{name} in {root} (nothing is downloaded)", told(error))
        ) from error
    preprocess = images.resolve(native, *STATISTICS.get(name, (IMAGENET_MEAN, IMAGENET_STD)))
    classes = tuple(getattr(train, "classes", ()))
    order = images.order(classes)
    sets = [ImageSet(_Items(part), len(part), classes, preprocess, numbers=order) for part in (train, test)]
    return Data(sets[0], None, sets[1], sets[0].classes, preprocess=preprocess, notes=_told(order))


@dataclass(frozen=True)
class _Items:
    dataset: Any

    def __call__(self, index: int) -> tuple[Any, int]:
        try:
            image, label = self.dataset[index][:2]
            return in_8_bits(image), int(label)
        except Exception as error:
            name = type(self.dataset).__name__
            wanted = f"an image and a class at {index} of {name}"
            raise InputError(expected("data", wanted, told(error))) from error


def _mnist(name: str, classes: tuple[str, ...], root: Path, images: ImageOptions) -> Data:
    sets = []
    for prefix in ("train", "t10k"):
        part = read_mnist(root, name, prefix, len(classes))
        preprocess = images.resolve((1, part.pixels.shape[1], part.pixels.shape[2]), *STATISTICS[name])
        sets.append(ImageSet(part, len(part.pixels), classes, preprocess))
    return Data(sets[0], None, sets[1], classes, preprocess=preprocess)


# The user's own data


def _factory(spec: str, base: Path) -> Data:
    found = load_object(spec, option="data", base=base)
    try:
        made = found() if callable(found) else found
    except InputError:
        raise
    except Exception as error:
        raise InputError(expected("data", f"{spec} to return data sets", told(error))) from error
    roles = ("train", "validation", "test")
    if isinstance(made, Mapping):
        unknown = sorted(set(made) - set(roles))
        if unknown or "train" not in made:
            got = ", ".join(map(str, made))
            raise InputError(expected("data", f"{spec} to return train[, validation][, test]", got))
        sets = dict(made)
    elif isinstance(made, tuple | list) and 1 <= len(made) <= 3:
        sets = dict(zip({1: ("train",), 2: ("train", "test"), 3: roles}[len(made)], made, strict=True))
    else:
        sets = {"train": made}
    for role, dataset in sets.items():
        if dataset is not None and not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            what = f"{spec} to return data sets with len() and [index]"
            raise InputError(expected("data", what, f"{type(dataset).__name__} for {role}"))
    classes = tuple(map(str, getattr(sets["train"], "classes", ())))
    return Data(sets["train"], sets.get("validation"), sets.get("test"), classes)


def _directory(folder: str, base: Path) -> Path:
    path = base / Path(folder).expanduser()
    if not folder or not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise InputError(expected("data", "an existing folder", str(path), close_match(path.name, siblings)))
    return path


# Checks


def _refuse_image_options(images: ImageOptions, spec: str) -> None:
    if images.given():
        names = ", ".join(f"`{name}`" for name in images.given())
        raise InputError(expected(names, f"none, {spec} yields finished inputs", "a value", "Leave it out."))


def _per_channel(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        values = tuple(values) * channels
    if len(values) != channels:
        raise InputError(
            expected(name, f"one value, or {channels} for {channels} channels", f"{len(values)}")
        )
    if name == "std" and min(values) <= 0:
        raise InputError(expected(name, "values above 0", tuple(values)))
    return tuple(values)
