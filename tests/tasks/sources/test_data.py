from __future__ import annotations

import gzip
import struct
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST

from ranksearch.errors import InputError
from ranksearch.tasks import Task
from ranksearch.tasks.sources import ImageOptions, load_data
from ranksearch.tasks.sources.data import IMAGENET_MEAN, IMAGENET_STD
from ranksearch.tasks.sources.idx import read_idx
from ranksearch.tasks.sources.images import ImageSet, Preprocess

OWN = """
import torch
from torch.utils.data import TensorDataset
def part(n):
    return TensorDataset(torch.arange(float(n)).view(n, 1), torch.zeros(n, dtype=torch.int64))
def only():
    return part(20)
def pair():
    return part(20), part(5)
def triple():
    return part(20), part(6), part(5)
def named():
    return {"train": part(20), "validation": part(6)}
def typo():
    return {"train": part(20), "tets": part(6)}
def stream():
    return iter([1, 2])
def failing():
    raise KeyError("disk")
"""


def write_image(path: Path, size: tuple[int, int] = (6, 4), value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_folder(root: Path, per_class: int = 5, classes: tuple[str, ...] = ("ant", "bee")) -> None:
    for k, name in enumerate(classes):
        for n in range(per_class):
            write_image(root / name / f"{n}.png", value=100 * k + n)


def write_idx(path: Path, values: np.ndarray, *, packed: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def write_mnist(folder: Path, *, packed: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, n in (("train", 12), ("t10k", 7)):
        arrays[prefix] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-labels"] = rng.integers(0, 10, n, dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", arrays[prefix], packed=packed)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", arrays[f"{prefix}-labels"], packed=packed)
    return arrays


# folders of images


@pytest.mark.parametrize(
    ("labels", "classes", "first"),
    [
        ({"Bee": 0, "ant": 1}, ("bee", "ant"), 1),
        ({"ant": 0, "bee": 1}, ("ant", "bee"), 0),
        ({"ant": 1, "bee": 2, "cat": 0}, ("ant", "bee"), 0),
        ({"LABEL_0": 0, "LABEL_1": 1}, ("ant", "bee"), 0),
        ({}, ("ant", "bee"), 0),
    ],
)
def test_classes_are_numbered_as_in_the_model_where_it_knows_them(
    tmp_path: Path, labels: dict[str, int], classes: tuple[str, ...], first: int
) -> None:
    for name in ("train", "val"):
        write_folder(tmp_path / name, 2)
    data = load_data(f"imagefolder:{tmp_path}", images=ImageOptions(model={"labels": labels}))
    assert data.classes == data.train.classes == classes
    for images in (data.train, data.test):
        assert [label for _, label in (images[k] for k in range(4))] == [first, first, 1 - first, 1 - first]
    assert bool(data.notes) == (first == 1)


@pytest.mark.parametrize(
    ("folders", "validation", "test"),
    [
        (("train", "test"), None, 4),
        (("train", "val"), None, 4),  # ImageNet's layout: the labelled images that are not for training
        (("train", "val", "test"), 4, 4),
        (("training", "validation", "testing"), 4, 4),
    ],
)
def test_imagefolder_layouts(
    tmp_path: Path, folders: tuple[str, ...], validation: int | None, test: int
) -> None:
    for name in folders:
        write_folder(tmp_path / name, 5 if name.startswith("train") else 2)
    data = load_data(f"imagefolder:{tmp_path}")
    assert len(data.train) == 10
    assert data.classes == ("ant", "bee")
    assert (data.validation and len(data.validation)) == validation
    assert data.test is not None
    assert len(data.test) == test
    assert data.test_split is None


def test_plain_class_folders_are_split(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    data = load_data(f"imagefolder:{tmp_path}", test_split=0.25, seed=3)
    assert (len(data.train), len(data.test)) == (15, 5)
    assert data.test_split == tuple(data.test.indices)
    assert set(data.train.indices) | set(data.test.indices) == set(range(20))
    again = load_data(f"imagefolder:{tmp_path}", test_split=0.25, seed=3)
    other = load_data(f"imagefolder:{tmp_path}", test_split=0.25, seed=4)
    assert again.test_split == data.test_split != other.test_split
    assert load_data(f"imagefolder:{tmp_path}", test_split=0).test is None


def test_pixels_are_normalised_as_by_torchvision(tmp_path: Path) -> None:
    from torchvision.transforms import v2

    write_folder(tmp_path)
    dataset = load_data(f"imagefolder:{tmp_path}", test_split=0).train
    reference = v2.Compose(
        [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )
    image = Image.open(tmp_path / "bee" / "2.png")
    inputs, label = dataset[7]
    assert label == 1
    assert inputs.shape == (3, 4, 6)
    torch.testing.assert_close(inputs, reference(image))


def test_resizing_is_torchvisions_usual(tmp_path: Path) -> None:
    from torchvision.transforms import v2

    write_image(tmp_path / "ant" / "0.png", (50, 40))
    write_image(tmp_path / "bee" / "0.png", (31, 45))
    options = ImageOptions(input_size=(28,), interpolation="bicubic")
    dataset = load_data(f"imagefolder:{tmp_path}", images=options, test_split=0).train
    for k, name in enumerate(("ant", "bee")):
        image = v2.functional.pil_to_tensor(
            v2.Compose([v2.Resize(32, v2.InterpolationMode.BICUBIC), v2.CenterCrop(28)])(
                Image.open(tmp_path / name / "0.png").convert("RGB")
            )
        )
        assert torch.equal(dataset.preprocess.pixels(Image.open(tmp_path / name / "0.png")), image)
        assert dataset[k][0].shape == (3, 28, 28)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (ImageOptions(), (3, 4, 6)),
        (ImageOptions(input_size=(8,)), (3, 8, 8)),
        (ImageOptions(input_size=(8, 10)), (3, 8, 10)),
        (ImageOptions(input_size=(1, 8, 10)), (1, 8, 10)),
        (ImageOptions(model={"input_size": (3, 12, 12)}), (3, 12, 12)),
        (ImageOptions(input_size=(8,), model={"input_size": (3, 12, 12)}), (3, 8, 8)),
    ],
)
def test_input_size(tmp_path: Path, options: ImageOptions, shape: tuple[int, ...]) -> None:
    write_folder(tmp_path)
    dataset = load_data(f"imagefolder:{tmp_path}", images=options, test_split=0).train
    assert dataset[0][0].shape == shape
    # what is kept in memory is what was decoded
    assert torch.equal(dataset[0][0], dataset[0][0])


def test_mean_std_and_crop(tmp_path: Path) -> None:
    write_folder(tmp_path)
    spec = f"imagefolder:{tmp_path}"
    plain = load_data(spec, test_split=0, images=ImageOptions(mean=(0.0,), std=(1.0,))).train[0][0]
    assert 0 <= float(plain.min()) < float(plain.max()) <= 1
    scaled = load_data(spec, test_split=0, images=ImageOptions(mean=(0.0, 0.5, 1.0), std=(0.5,))).train[0][0]
    torch.testing.assert_close(scaled, (plain - torch.tensor([0, 0.5, 1]).view(3, 1, 1)) / 0.5)
    wide = load_data(spec, test_split=0, images=ImageOptions(input_size=(3,), crop_pct=1.0)).train[0][0]
    tight = load_data(spec, test_split=0, images=ImageOptions(input_size=(3,), crop_pct=0.5)).train[0][0]
    assert not torch.equal(wide, tight)
    wish = ImageOptions(
        model={"mean": (0.1,) * 3, "std": (0.2,) * 3, "interpolation": "bicubic", "crop_pct": 1.0}
    )
    made = wish.resolve((3, 4, 4), IMAGENET_MEAN, IMAGENET_STD)
    assert made == Preprocess(3, (4, 4), (0.1,) * 3, (0.2,) * 3, 1.0, "bicubic")


def test_images_of_differing_sizes_need_a_size(tmp_path: Path) -> None:
    write_image(tmp_path / "ant" / "0.png", (6, 4))
    write_image(tmp_path / "bee" / "0.png", (7, 4))
    with pytest.raises(InputError, match="input_size: expected a size, for images that differ in size"):
        load_data(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_and_single_items_agree(tmp_path: Path, workers: int) -> None:
    write_folder(tmp_path)
    dataset = load_data(f"imagefolder:{tmp_path}", test_split=0).train
    inputs, labels = next(iter(DataLoader(dataset, batch_size=10, num_workers=workers)))
    assert labels.tolist() == [0] * 5 + [1] * 5
    for k in range(10):
        assert torch.equal(inputs[k], dataset[k][0])


def test_small_sets_are_decoded_once() -> None:
    reads = []

    def read(index: int) -> tuple[torch.Tensor, int]:
        reads.append(index)
        return torch.full((1, 2, 2), index, dtype=torch.uint8), index

    dataset = ImageSet(read, 3, ("a",), Preprocess(1, (2, 2), (0.0,), (1.0,)))
    for _ in range(2):
        assert [dataset[k][1] for k in range(3)] == [0, 1, 2]
    assert reads == [0, 1, 2]


# the MNIST family


@pytest.mark.parametrize("place", ["", "raw", "FashionMNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_fashion_mnist_in_every_usual_place(tmp_path: Path, place: str, packed: bool) -> None:
    arrays = write_mnist(tmp_path / place, packed=packed)
    data = load_data(f"torchvision:FashionMNIST:{tmp_path}")
    assert len(data.train) == 12
    assert data.classes == tuple(FashionMNIST.classes)
    inputs, label = data.test[3]
    assert label == arrays["t10k-labels"][3]
    expected = (torch.tensor(arrays["t10k"][3][None]) / 255 - 0.2860) / 0.3530
    torch.testing.assert_close(inputs, expected)


def test_fashion_mnist_is_read_as_by_torchvision(tmp_path: Path) -> None:
    write_mnist(tmp_path / "FashionMNIST" / "raw")
    images = ImageOptions(mean=(0.0,), std=(1.0,))
    data = load_data(f"torchvision:FashionMNIST:{tmp_path}", images=images)
    reference = FashionMNIST(tmp_path, train=True)
    for k in range(12):
        image, label = reference[k]
        assert data.train[k][1] == label
        assert torch.equal((data.train[k][0][0] * 255).round().byte(), torch.tensor(np.array(image)))


def test_grey_images_for_a_model_that_wants_three_channels(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    images = ImageOptions(input_size=(3, 32, 32))
    inputs = load_data(f"torchvision:FashionMNIST:{tmp_path}", images=images).train[0][0]
    assert inputs.shape == (3, 32, 32)
    assert torch.equal(inputs[0], inputs[2])


def test_idx_errors(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"", b"\0\0\x0d\1", b"\0\0\x08\1\0\0\0\5ab"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="an idx file"):
            read_idx(path)


# the user's own


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("only", (18, None, 2)),
        ("pair", (20, None, 5)),
        ("triple", (20, 6, 5)),
        ("named", (18, 6, 2)),
    ],
)
def test_factories(tmp_path: Path, name: str, sizes: tuple[int | None, ...]) -> None:
    (tmp_path / "own.py").write_text(OWN)
    data = load_data(f"own.py:{name}")
    assert tuple(None if d is None else len(d) for d in (data.train, data.validation, data.test)) == sizes


def test_digits() -> None:
    data = load_data("digits")
    assert len(data.classes) == 10
    assert data.validation is not None
    with pytest.raises(
        InputError, match="`input_size`, `mean`: expected none, digits yields finished inputs"
    ):
        load_data("digits", images=ImageOptions(input_size=(8,), mean=(0.0,)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("imagefolder:pictures", "an existing folder"),
        ("imagefolder:imgaes", "Did you mean 'images'?"),
        ("imagefolder:", "an existing folder"),
        ("imagefolder:empty", "a folder of images per class"),
        ("imagefolder:mixed", "the same class folders in"),
        ("imagefolder:headless", "a folder train/ in"),
        ("imagefolder:torn", "an image file that can be read"),
        ("images", "Did you mean 'imagefolder:images'?"),
        ("digit", "Did you mean 'digits'?"),
        ("torchvision:FashonMNIST:.", "Did you mean 'FashionMNIST'?"),
        ("torchvision:FashionMNIST", "expected torchvision:NAME:DIR"),
        ("torchvision:FashionMNIST:images", "Nothing is downloaded"),
        ("torchvision:CIFAR10:images", "nothing is downloaded"),
        ("own.py:typo", "train[, validation][, test], got train, tets"),
        ("own.py:stream", "data sets with len() and [index]"),
        ("own.py:failing", "KeyError: 'disk'"),
        ("own.py:onyl", "Did you mean 'only'?"),
    ],
)
def test_errors(tmp_path: Path, spec: str, message: str) -> None:
    write_folder(tmp_path / "images", 1)
    (tmp_path / "empty" / "ant").mkdir(parents=True)
    write_folder(tmp_path / "mixed" / "train", 1)
    write_folder(tmp_path / "mixed" / "test", 1, ("ant", "wasp"))
    write_folder(tmp_path / "headless" / "test", 1)
    write_folder(tmp_path / "torn", 1)
    (tmp_path / "torn" / "ant" / "0.png").write_bytes(b"no image")
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(InputError) as error:
        load_data(spec)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (ImageOptions(mean=(0.1, 0.2)), "mean: expected one value, or 3 for 3 channels, got 2"),
        (ImageOptions(std=(0.1, 0.0, 1.0)), "std: expected values above 0"),
        (ImageOptions(input_size=(2, 8, 8)), "input_size: expected 1 or 3 channels"),
    ],
)
def test_image_option_errors(tmp_path: Path, images: ImageOptions, message: str) -> None:
    write_folder(tmp_path, 1)
    with pytest.raises(InputError) as error:
        load_data(f"imagefolder:{tmp_path}", images=images)
    assert message in str(error.value)


# damaged files


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_grey_images_of_16_bits_keep_their_upper_8(tmp_path: Path, suffix: str) -> None:
    values = (np.arange(24).reshape(4, 6) * 2500).astype(np.uint16)
    write_folder(tmp_path)
    for name in ("ant", "bee"):
        for path in (tmp_path / name).iterdir():
            Image.fromarray(values).save(path.with_suffix(suffix))
            if suffix != path.suffix:
                path.unlink()
    dataset = load_data(f"imagefolder:{tmp_path}", test_split=0).train
    dataset[0]
    assert torch.equal(dataset._pixels[0], torch.from_numpy(values >> 8).to(torch.uint8).expand(3, 4, 6))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_told_by_its_path(tmp_path: Path, workers: int) -> None:
    write_folder(tmp_path, 12)
    (tmp_path / "ant" / "7.png").write_bytes((tmp_path / "ant" / "7.png").read_bytes()[:60])
    data = load_data(f"imagefolder:{tmp_path}", images=ImageOptions(input_size=(4, 6)), test_split=0)
    task = Task(torch.nn.Flatten(), data.train, batch_size=4, val_split=0, workers=workers)
    batches = chain.from_iterable(map(task.batches, ("moments", "divergence", "finetune")))  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        list(batches)
    assert str(caught.value).startswith("data: expected an image file that can be read, got ")
    assert "7.png" in str(caught.value)
    assert str(caught.value).isprintable()


def test_links_that_lead_back_and_stripes_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "a")
    (tmp_path / "a" / "ant" / "back").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="back, a link to a folder that it is in"):
        load_data(f"imagefolder:{tmp_path / 'a'}")
    write_folder(tmp_path / "b")
    write_image(tmp_path / "b" / "ant" / "0.png", (1, 3000))
    data = load_data(f"imagefolder:{tmp_path / 'b'}", images=ImageOptions(input_size=(64,)), test_split=0)
    with pytest.raises(InputError, match="can be resized to 64 × 64, got one of 3000 × 1 pixels"):
        data.train[0]


def test_labels_beyond_the_classes_and_broken_packing(tmp_path: Path) -> None:
    arrays = write_mnist(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", arrays["t10k-labels"] + 9)
    with pytest.raises(InputError, match="t10k labels below 10 in"):
        load_data(f"torchvision:FashionMNIST:{tmp_path}")
    packed = bytearray(gzip.compress(bytes(99)))
    packed[12] ^= 0xFF
    (tmp_path / "a.gz").write_bytes(packed)
    with pytest.raises(InputError, match=r"an idx file \("):
        read_idx(tmp_path / "a.gz")
