"""The compressibility study's own code: networks, training that can be killed, tensor-train orders, CIFAR-100."""

from __future__ import annotations

import importlib
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorly as tl
import torch
from safetensors.torch import load_file
from tensorly.decomposition import tensor_train

from ranksearch.planning import CandidateConfig
from ranksearch.probing import Measured, ProbedLayer, ProbeRecord
from ranksearch.probing.record import DenseScores
from ranksearch.probing.rows import Row
from ranksearch.tasks.sources import load_data

FOLDER = Path(__file__).resolve().parents[2] / "studies" / "compressibility"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Imports a module of the study, which is a folder of scripts and no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return lambda name: importlib.import_module(name)


@pytest.fixture
def cifar100(tmp_path: Path) -> Path:
    """A small data set in CIFAR-100's own layout on disk."""
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    names = [f"class {k}" for k in range(100)]
    for part, count in (("train", 300), ("test", 100)):
        content = {
            "data": generator.integers(0, 256, (count, 3 * 32 * 32), dtype=np.uint8),
            "fine_labels": [k % 100 for k in range(count)],
            "coarse_labels": [k % 20 for k in range(count)],
            "filenames": [f"{k}.png" for k in range(count)],
        }
        (folder / part).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names, "coarse_label_names": names[:20]}))
    return tmp_path / "data"


@pytest.fixture
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision compares the files with checksums of the real ones."""
    from torchvision.datasets import CIFAR100

    monkeypatch.setattr(CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


@pytest.mark.usefixtures("_lenient")
def test_cifar100_on_disk_is_read_and_trained_on(module, cifar100: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    networks, train = module("subjects"), module("training")
    spec = networks.data_spec("cifar100", cifar100)
    data = load_data(spec)
    assert len(data.classes) == 100
    assert data.train[0][0].shape == (3, 32, 32)
    config = train.Training(f"{FOLDER}/nets.py:cnn4_32_rgb", spec, epochs=1, batch_size=100)
    weights = load_file(train.train(config, tmp_path / "w.safetensors"))
    assert weights["14.weight"].shape == (100, 64)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A handful of images in ten class folders."""
    from PIL import Image

    generator = np.random.default_rng(1)
    for part, count in (("train", 40), ("test", 20)):
        for k in range(count):
            folder = tmp_path / "images" / part / f"class{k % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{k}.png")
    return tmp_path / "images"


def test_killed_training_ends_as_if_undisturbed(
    module,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    train = module("training")
    config = train.Training(
        f"{FOLDER}/nets.py:cnn4_32_rgb", f"imagefolder:{images}", epochs=3, batch_size=4, nuclear=0.1
    )
    whole = load_file(train.train(config, tmp_path / "whole.safetensors"))
    epoch, calls = train.one_epoch, []

    def killed(*args: object) -> float:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return float(epoch(*args))

    out = tmp_path / "part.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(train, "one_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            train.train(config, out)
    assert not out.exists()
    with pytest.raises(ValueError, match="of another training"):
        train.train(replace(config, lr=0.01), out)
    part = load_file(train.train(config, out))
    for name, tensor in whole.items():
        torch.testing.assert_close(part[name], tensor, rtol=1e-5, atol=1e-6)
    assert not out.with_suffix(".state").exists()


def test_nuclear_norm_by_hand(module) -> None:  # type: ignore[no-untyped-def]
    train = module("training")
    layer = torch.nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight.copy_(3 * torch.eye(4))
    assert train.relative_nuclear_norm(layer).item() == pytest.approx(2)  # 12 / 6
    with torch.no_grad():
        layer.weight.fill_(1)
    assert train.relative_nuclear_norm(layer).item() == pytest.approx(1)


@pytest.mark.parametrize(
    "name",
    ["cnn4_32_rgb", "cnn4_64_rgb", "cnn4_32_grey", "cnn4_64_grey", "vgg8", "vgg8_grey", "resnet50_small"],
)
def test_networks_take_small_images(module, name: str) -> None:  # type: ignore[no-untyped-def]
    model = getattr(module("nets"), name)().eval()
    image = (1, 28, 28) if name.endswith("grey") else (3, 32, 32)
    with torch.no_grad():
        assert model(torch.randn(2, *image)).shape == (2, 10)
    if name == "resnet50_small":
        assert sum(p.numel() for p in model.parameters()) == 23_520_842


def test_twelve_orders_of_which_two_are_plain(module) -> None:  # type: ignore[no-untyped-def]
    orders = module("orders")
    assert len(orders.ORDERS) == 12
    assert {orders.name(o) for o in orders.ORDERS if orders.is_plain(o)} == {"i-h-w-o", "i-w-h-o"}
    assert len({frozenset({o, o[::-1]}) for o in orders.ORDERS}) == 12


@pytest.mark.parametrize("error", [0.1, 0.3, 0.6])
def test_trains_keep_their_promise(module, error: float) -> None:  # type: ignore[no-untyped-def]
    """tensorly's TT-SVD at the ranks that were found stays within the error, and stores what was said."""
    orders = module("orders")
    torch.manual_seed(0)
    kernel = torch.randn(6, 5, 3, 3, dtype=torch.float64)
    spectra = orders.spectra_of(kernel)
    for order in orders.ORDERS:
        found = orders.cheapest(spectra, (6, 5, 3, 3), order, error)
        assert found.error <= error + 1e-9
        permuted = kernel.permute(order)
        with tl.backend_context("pytorch", local_threadsafe=True):
            train = tensor_train(permuted, rank=[1, *found.ranks, 1])
            full = tl.tt_to_tensor(train)
        assert float((full - permuted).norm() / kernel.norm()) <= found.error + 1e-9
        if tuple(train.rank[1:-1]) == found.ranks:
            assert sum(core.numel() for core in train.factors) == found.params


def test_no_error_takes_the_full_ranks(module) -> None:  # type: ignore[no-untyped-def]
    orders = module("orders")
    kernel = torch.randn(6, 5, 3, 3)
    found = orders.cheapest(orders.spectra_of(kernel), (6, 5, 3, 3), (1, 2, 3, 0), 0.0)
    assert found.ranks == (5, 15, 6)


def test_an_order_finds_the_structure_that_it_suits(module) -> None:  # type: ignore[no-untyped-def]
    orders = module("orders")
    torch.manual_seed(0)
    kernel = torch.einsum("ow,ih->oihw", torch.randn(8, 3), torch.randn(8, 3))  # rank one across ow|ih
    found = orders.compare({"a": kernel}, 1e-5)
    suited = [row for row in found["orders"] if row["cheapest"]]
    pairs = ({"o", "w"}, {"i", "h"})
    assert {row["order"] for row in suited} <= {
        row["order"] for row in found["orders"] if set(row["order"].split("-")[:2]) in pairs
    }
    assert found["best"] <= found["best_plain"]


def test_a_row_that_ended_counts_on(module) -> None:  # type: ignore[no-untyped-def]
    claims = module("claims")

    def row(scope: str, layers: int, accuracy: float) -> Row:
        return Row(
            scope, str(layers), layers, "o|ihw", 0.8, None, None, 0.8, None, accuracy, 0, 0, 0, 0, 0, 0, 0
        )  # type: ignore[arg-type]

    rows = [
        row("prefix", 1, 50),
        row("prefix", 3, 10),
        row("suffix", 1, 88),
        row("suffix", 3, 80),
        row("suffix", 5, 60),
    ]
    found = claims.ends(rows, 90.0)
    assert found.holds
    assert "66.7 points for the first layers, 14.0 for as many of the last" in found.measured
    assert "100% of 3 comparisons" in found.measured


def test_p_values_of_few_are_exact(module) -> None:  # type: ignore[no-untyped-def]
    """Of four values 2 of the 24 orders are as far from none, of five 2 of 120; ten swapped once are certain enough."""
    claims = module("claims")
    assert claims.rank_correlation([1, 2, 3, 4], [10, 20, 30, 70]) == pytest.approx((1, 2 / 24))
    assert claims.rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]) == pytest.approx((-1, 2 / 120))
    rho, p = claims.rank_correlation(list(range(10)), [1, 0, *range(2, 10)])
    assert rho == pytest.approx(1 - 6 * 2 / 990)
    assert 0 < p < 1e-6
    assert claims.rank_correlation([1, 1, 1], [1, 2, 3]) == (0, 1)


def test_the_whole_study_on_a_handful_of_images(
    module,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    study = module("study")
    arguments = [
        "study.py", "--out", tmp_path / "out", "--cifar10", images, "--only", "cnn4-32-cifar10", "cnn4-64-fashion",
        "--epochs", 1, "--images", 4, "--batch-size", 4, "--recovery-epochs", 0, "--threads", 1,
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    quick = CandidateConfig(decompositions=("svd",), fits_per_form=2)
    monkeypatch.setattr("ranksearch.runs.probe.candidate_config", lambda options: quick)
    study.main()
    results = tmp_path / "out" / "results.md"
    first = results.read_text()
    assert "| cnn4-32-cifar10 | " in first
    assert "cnn4-64-fashion" not in first
    assert "The paper's claims on cnn4-32-cifar10" in first
    assert "| i-h-w-o | yes |" in first
    assert r"o\|ihw" in first
    study.main()  # everything is there: nothing changes
    assert results.read_text() == first


# frequencies


def test_high_frequency_content_by_hand(module) -> None:  # type: ignore[no-untyped-def]
    frequencies = module("frequencies")
    checkers = np.indices((16, 16)).sum(axis=0) % 2 * 255.0
    ramp = np.broadcast_to(np.linspace(0, 255, 16), (16, 16))
    share = {name: frequencies.high_share(x[None, None]) for name, x in (("c", checkers), ("r", ramp))}
    assert share["c"] > 0.95
    assert share["r"] < 0.01
    assert frequencies.high_share(np.full((2, 3, 8, 8), 7.0)) == 0  # a mean level is no frequency
    noise = np.random.default_rng(0).normal(size=(50, 3, 32, 32))
    beyond = float((frequencies.radii(32, 32) > 0.5).mean())  # white noise has the same of each
    assert frequencies.high_share(noise) == pytest.approx(beyond, abs=0.01)


def test_filters_leave_their_side_and_add_up(module) -> None:  # type: ignore[no-untyped-def]
    frequencies = module("frequencies")
    image = np.random.default_rng(0).integers(64, 192, (16, 16, 3), dtype=np.uint8)
    low, high = (frequencies.filtered(image, kind).astype(float) for kind in frequencies.FILTERS)
    share = {k: frequencies.high_share(x.transpose(2, 0, 1)[None]) for k, x in (("low", low), ("high", high))}
    assert share["low"] < 0.01
    assert share["high"] > 0.99
    np.testing.assert_allclose(low + high - 128, image, atol=1.0)  # each is rounded
    with pytest.raises(ValueError, match="filter: expected one of lowpass, highpass, got 'bandpass'"):
        frequencies.filtered_folder(Path("a"), Path("b"), "bandpass")


def test_a_filtered_folder_is_written_once_and_goes_on(module, images: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    frequencies = module("frequencies")
    out = frequencies.filtered_folder(images, tmp_path / "low", "lowpass")
    names = sorted(p.relative_to(images) for p in images.rglob("*.png"))
    assert sorted(p.relative_to(out) for p in out.rglob("*.png")) == names
    first, *others = (out / name for name in names)
    before = {path: path.stat().st_mtime_ns for path in others}
    content = first.read_bytes()
    first.unlink()
    assert frequencies.filtered_folder(images, out, "lowpass") == out
    assert not first.exists()  # it was through
    (out / ".done").unlink()
    frequencies.filtered_folder(images, out, "lowpass")
    assert first.read_bytes() == content
    assert {path: path.stat().st_mtime_ns for path in others} == before
    assert len(load_data(f"imagefolder:{out}").classes) == 10


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """ProbeImages of ten classes that a network learns at once: each has a colour of its own."""
    from PIL import Image

    generator = np.random.default_rng(2)
    colours = np.array(
        [[64 + 128 * (k >> bit & 1) for bit in range(3)] for k in range(8)] + [[128] * 3, [0] * 3]
    )
    for part, count in (("train", 80), ("test", 40)):
        for k in range(count):
            folder = tmp_path / "coloured" / part / f"class{k % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = colours[k % 10] + generator.normal(0, 20, (16, 16, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{k}.png")
    return tmp_path / "coloured"


@pytest.fixture
def study(module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs the study quickly with some arguments; what results.md then holds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    quick = CandidateConfig(decompositions=("svd",), fits_per_form=2)
    for place in ("ranksearch.runs.probe", "ranksearch.runs.run"):
        monkeypatch.setattr(f"{place}.candidate_config", lambda options: quick)

    def run(*arguments: object) -> str:
        given = ("study.py", "--out", tmp_path / "out", *arguments, "--recovery-epochs", 0, "--threads", 1)
        monkeypatch.setattr("sys.argv", list(map(str, given)))
        module("study").main()
        return (tmp_path / "out" / "results.md").read_text()

    return run


def test_a_filtered_network_is_trained_and_probed_on_filtered_images(
    study, coloured: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    name = "cnn4-64-cifar10-lowpass"
    text = study("--cifar10", coloured, "--epochs", 1, "--images", 8, "--batch-size", 20, "--only", name)
    (line,) = [
        x for x in text.split("## Does the sensitivity")[1].splitlines() if x.startswith(f"| {name} |")
    ]
    assert float(line.split("|")[2].strip().rstrip("%")) < 2
    assert (
        f"imagefolder:{tmp_path}/out/data/cifar10-lowpass"
        in (tmp_path / "out" / name / "probe" / "config.toml").read_text()
    )


def result(tables, name: str, high: float, early: float, deep: float, reached: float | None = None):  # type: ignore[no-untyped-def]
    """What is known of a network of three layers that lose so much at 0.8 of the norm."""
    accuracy = Measured(mean=90.0, stderr=1.0)
    layers = tuple(
        ProbedLayer(
            name=n, shape=(2, 2), params=4, flops=8, reason=None, score=None, kept=None, candidate=None, drop=None,
            entropy={}, prefix_reused=None,
        )
        for n in "abc"
    )  # fmt: skip
    record = ProbeRecord(
        version=2, model=None, task_metric="m", images=None, layers=layers, verdict=None, recovery=None,
        dense=DenseScores(params=12, flops=24, accuracy=accuracy, loss=None, chance=10.0),
    )  # fmt: skip
    rows = tuple(
        Row("layer", n, 1, "o|i", None, 1, 2, 0.8, 0.1, 90.0 - drop, 1.0, drop, 1.0, 1.0, 0.1, 0.1, 0.1)
        for n, drop in zip("abc", (early, 5.0, deep), strict=True)
    )
    run = None if reached is None else (90.0, reached)
    return tables.Result(name, "nets.py:cnn", high, record, rows, run, {"kernels": 0})


def test_comparisons_as_tables(module, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tables = module("tables")
    found = [
        result(tables, "low", 0.01, early=4.0, deep=6.0),
        result(tables, "plain", 0.05, early=8.0, deep=6.0, reached=80.0),
        result(tables, "high", 0.95, early=30.0, deep=2.0),
        result(tables, "plain-nuclear", 0.05, early=9.0, deep=6.0, reached=85.5),
    ]
    tables.write(tmp_path, found)
    text = (tmp_path / "results.md").read_text()
    assert "| low | 1.0% | 4.0 | 6.0 | -2.0 |" in text
    assert "| high | 95.0% | 30.0 | 2.0 | +28.0 |" in text
    assert "Spearman of energy and difference, over 3 networks `cnn`: +1.00" in text
    early = "| Early layers are more sensitive than deep ones | none | 4: low, plain, high, plain-nuclear |"
    assert early in text.split("## The paper's claims over all networks")[1]
    pair = text.split("## Does a penalty on the nuclear norm pay?")[1]
    assert "| plain | 90.0 | – | 80.00 (-10.00) |\n| plain-nuclear | 90.0 | – | 85.50 (-4.50) |" in pair
    assert "nuclear norm pay" not in "\n".join(tables.nuclear_table(found[:3]))
    assert "Spearman" not in "\n".join(tables.frequency_table(found[:2]))


def test_advice_is_compared_and_gone_on_with(study, coloured: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    name = "cnn4-32-cifar10"
    arguments = (
        "--cifar10",
        coloured,
        "--epochs",
        4,
        "--images",
        40,
        "--batch-size",
        20,
        "--only",
        "--advice",
        name,
    )
    text = study(*arguments)
    table = text.split(f"## What advice brings to {name}")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if " ± " in line]
    assert rows == ["none", "protect-early-4=3", "probe", "rounds-1", "rounds-3"]
    runs = tmp_path / "out" / name / "advice"
    assert 'protect_early = "4=3.0"' in (runs / "protect-early-4=3" / "config.toml").read_text()
    assert json.loads((runs / "probe" / "front.json").read_text())["weights"]
    assert 'images_from = "validation"' in (runs / "probed" / "probe.toml").read_text()
    plan = json.loads((runs / "rounds-3" / "compressed" / "0.2" / "plan.json").read_text())
    assert {"round-1", "round-2", "round-3"} <= plan["scores"].keys()
    (runs / "rounds-3" / "compressed" / "0.2" / "plan.json").unlink()  # as if it had been killed there
    log = runs / "none" / "log.txt"
    written = log.stat().st_mtime_ns
    assert study(*arguments) == text
    assert log.stat().st_mtime_ns == written  # what was through was not run again
