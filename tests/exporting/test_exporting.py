"""Exporters by name, files held against their model, and what is written down about them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import ranksearch
from ranksearch.checksums import read_sums, sha256_of, write_sums
from ranksearch.errors import InputError, MismatchError
from ranksearch.exporting import (
    EXPORTERS,
    Exporter,
    current_exports,
    deviation,
    example_of,
    export_file,
    exporters,
    read_exports,
)
from ranksearch.networks import Batch, call
from ranksearch.tasks import Task

EXAMPLES = torch.arange(12.0).reshape(4, 3)


class Whole(Exporter):
    """The module itself, pickled."""

    name = "whole"
    file = "model.whole"
    also: ClassVar[tuple[str, ...]] = ()
    factor: ClassVar[float] = 1.0

    def export(self, model: nn.Module, example: Batch, path: Path) -> None:
        assert not example.any()
        torch.save(model, path)
        for name in self.also:
            path.with_name(name).touch()

    def run(self, path: Path, example: Batch) -> Any:
        return self.factor * call(torch.load(path, weights_only=False), example)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


# --- by name


def test_names_and_objects() -> None:
    assert [found.name for found in exporters(["pt2", "torchscript", "pt2"])] == ["pt2", "torchscript"]
    with pytest.raises(InputError, match=r"^export: expected onnx or pt2 or torchscript, got 'onx'"):
        exporters(["onx"])


def test_a_missing_package_is_told_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(EXPORTERS.get("onnx")), "packages", ("torch", "not_there"))
    with pytest.raises(InputError) as caught:
        exporters(["onnx"])
    wanted = "expected the packages torch, not_there, got no not_there. pip install 'ranksearch[onnx]'"
    assert str(caught.value) == f"export onnx: {wanted}"


@pytest.mark.parametrize(
    "name", ["plan.json", "model.safetensors", "SHA256SUMS", "../model", ".lock", "a/b", ""]
)
def test_an_exporter_writes_a_file_of_its_own(name: str) -> None:
    EXPORTERS.register(type("Elsewhere", (Whole,), {"name": "elsewhere", "file": name}))
    with pytest.raises(InputError, match="export elsewhere, file: expected the name of a file of its own"):
        exporters(["elsewhere"])


# --- held against the model


@pytest.mark.parametrize(
    ("wanted", "found", "apart"),
    [
        ([4.0, -2.0], [4.0, -1.0], 0.25),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 1e-9], torch.inf),
        ([1.0, 2.0], [1.0, torch.nan], torch.inf),
        ([1.0, torch.inf], [1.0, 2.0], torch.inf),
    ],
)
def test_deviation(wanted: Sequence[float], found: Sequence[float], apart: float) -> None:
    assert deviation(torch.tensor(wanted), [torch.tensor(found)]) == apart


def test_outputs_of_another_form() -> None:
    with pytest.raises(InputError, match=r"expected 1 tensors, got 2"):
        deviation(EXAMPLES, [EXAMPLES, EXAMPLES])
    with pytest.raises(InputError, match=r"expected the shape \(4, 3\), got \(3, 4\)"):
        deviation(EXAMPLES, EXAMPLES.T)


def test_tensors_take_the_places_of_the_models_own() -> None:
    wanted = {"logits": EXAMPLES, "more": (None, 2 * EXAMPLES)}
    assert deviation(wanted, [7 * EXAMPLES, 2 * EXAMPLES], lambda returned: returned["more"][1]) == 0


class FixedBatch(nn.Module):
    """What it does depends on the size of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.shape[0] == 2 else x


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"factor": 1.01},
            "the model's own outputs, to 0.001, got a difference of 0.01 of the largest output",
        ),
        ({"factor": torch.nan}, "got a difference of inf"),
        ({"also": ("model.data",)}, "expected the one file model.whole, got model.data, model.whole"),
        ({"export": lambda *_: None}, "expected the one file model.whole, got none"),
        ({"export": lambda *_: 1 / 0}, "expected a model that it can export, got ZeroDivisionError"),
        ({"run": lambda *_: 1 / 0}, "expected a file that runs on batches of 1 and 5, got ZeroDivisionError"),
    ],
)
def test_nothing_is_kept_of_a_file_that_does_something_else(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    exporter = type("Changed", (Whole,), changed)()
    with pytest.raises(InputError) as caught:
        export_file(tmp_path, exporter, linear(), EXAMPLES)
    assert str(caught.value).startswith("export whole: expected")
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pt2", "torchscript"])
def test_a_file_for_one_size_of_batch_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^export {name}: expected"):
        export_file(tmp_path, EXPORTERS.get(name), FixedBatch(), EXAMPLES)
    assert not list(tmp_path.iterdir())


# --- written down


def test_records_and_checksums(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_sums(tmp_path, ["model.safetensors"])
    other = type("Other", (Whole,), {"name": "other", "file": "other.whole"})()
    for exporter in (Whole(), other, Whole()):
        record = export_file(tmp_path, exporter, linear(), EXAMPLES)
    records = read_exports(tmp_path)
    assert [one.exporter for one in records] == ["other", "whole"]
    assert records[1] == record
    assert record.sha256 == sha256_of(tmp_path / "model.whole")
    assert record.weights == sha256_of(tmp_path / "model.safetensors")
    assert (record.difference, record.batch_sizes) == (0.0, (1, 5))
    assert {"ranksearch", "torch"} <= record.versions.keys()
    files = {path.name for path in tmp_path.iterdir()} - {"SHA256SUMS"}
    assert files == {"model.safetensors", "model.whole", "other.whole", "exports.json"}
    assert read_sums(tmp_path) == {name: sha256_of(tmp_path / name) for name in files}


@pytest.mark.parametrize("what", ["file", "gone", "weights", "sums", "record"])
def test_what_is_damaged_or_of_other_weights_does_not_count(what: str, tmp_path: Path) -> None:
    export_file(tmp_path, Whole(), linear(), EXAMPLES)
    assert current_exports(tmp_path) == read_exports(tmp_path) != ()
    if what == "file":
        (tmp_path / "model.whole").write_bytes(b"other")
    elif what == "gone":
        (tmp_path / "model.whole").unlink()
    elif what == "weights":
        (tmp_path / "model.safetensors").touch()
        write_sums(tmp_path, ["model.safetensors"])
    elif what == "sums":
        (tmp_path / "SHA256SUMS").write_text("nothing")
    else:
        (tmp_path / "exports.json").write_text(json.dumps({"version": 1, "exports": [{}]}))
    assert current_exports(tmp_path) == ()


def test_an_example_is_alike_for_the_same_seed() -> None:
    assert example_of((1, 3, 8, 8)).shape == (5, 3, 8, 8)
    assert torch.equal(example_of((1, 4), 3), example_of((1, 4), 3))


# --- elsewhere


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript"])
def test_files_name_no_places_of_this_machine(name: str, tiny_task: Task, tmp_path: Path) -> None:
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    export_file(tmp_path, EXPORTERS.get(name), tiny_task.model, tiny_task.inputs("divergence"))
    path = tmp_path / EXPORTERS.get(name).file
    contents = [path.read_bytes()]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            contents += [archive.read(entry) for entry in archive.namelist()]
    places = {
        str(Path(torch.__file__).parent),
        str(Path(ranksearch.__file__).parent),
        str(Path(__file__).parent),
    }
    assert not [place for place in places for content in contents if place.encode() in content]


def test_batchnorm_is_folded_into_convolutions(tiny_task: Task, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    export_file(tmp_path, EXPORTERS.get("onnx"), tiny_task.model, tiny_task.inputs("divergence"))
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert {node.op_type for node in graph.node} & {"Conv", "BatchNormalization"} == {"Conv"}
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


class Folds(nn.Module):
    """Four BatchNorms: one follows no layer, and one may follow a layer whose output is used elsewhere, too."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.layer, self.norm, self.alone = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(216, 5), nn.BatchNorm1d(5))
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        inner = self.layer(first)
        found: Tensor = self.last(self.alone(first) + self.norm(inner) + (inner if self.shared else first))
        return found


@pytest.mark.parametrize(("shared", "left"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("name", ["pt2", "torchscript"])
def test_batchnorm_is_folded_where_it_is_exact(name: str, shared: bool, left: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs = Folds(shared), torch.randn(7, 3, 8, 8)
    for _ in range(20):
        call(model, torch.randn(32, 3, 8, 8) + 1)
    model.eval()
    record = export_file(tmp_path, EXPORTERS.get(name), model, inputs)
    assert record.difference <= 1e-5
    path = tmp_path / record.file
    if name == "pt2":
        nodes = [str(node.target) for node in torch.export.load(path).graph.nodes]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = str(torch.jit.load(path).inlined_graph).split("\n")
    assert sum("batch_norm" in node for node in nodes) == left


ALONE = """
import json, sys
sys.modules["ranksearch"] = None
import torch
x = torch.ones(3, 3, 8, 8)
{usage}
found = found[0] if isinstance(found, list) else found
with open("outputs.json", "w") as file:
    json.dump(torch.as_tensor(found).tolist(), file)
"""


@pytest.mark.parametrize("name", ["onnx", "pt2", "torchscript"])
def test_files_run_without_ranksearch(name: str, tiny_task: Task, tmp_path: Path) -> None:
    """By the lines that are printed."""
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    exporter = EXPORTERS.get(name)
    export_file(tmp_path, exporter, tiny_task.model, tiny_task.inputs("divergence"))
    *before, last = exporter.usage(exporter.file).splitlines()
    code = ALONE.format(usage="\n".join([*before, f"found = {last}"]))
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    found = torch.tensor(json.loads((tmp_path / "outputs.json").read_text()))
    wanted = call(tiny_task.model, torch.ones(3, 3, 8, 8)).detach()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


# --- from Python


def test_from_python(tiny_task: Task, tmp_path: Path) -> None:
    small = tmp_path / "small"
    result = ranksearch.search(tiny_task, 0.5)
    compressed = ranksearch.compress(tiny_task, result.plan, config=ranksearch.CompressConfig(epochs=0))
    ranksearch.save(small, tiny_task, result, compressed)
    path = ranksearch.export(small, compressed, tiny_task.example, to="pt2")
    assert path == small / "model.pt2"
    loaded = ranksearch.load(small, tiny_task.model)
    images = tiny_task.inputs("divergence")
    torch.testing.assert_close(torch.export.load(path).module()(images), loaded(images))
    assert ranksearch.export(small, loaded, images, to=["pt2"]) == [path]
    with pytest.raises(MismatchError):
        ranksearch.export(small, tiny_task.model, images, to="pt2")
    with torch.no_grad():
        next(loaded.parameters()).add_(1)
    with pytest.raises(
        MismatchError, match=r"^model: expected the model in .*small, got one with other weights"
    ):
        ranksearch.export(small, loaded, images, to="pt2")
    alone = ranksearch.export(tmp_path / "alone", tiny_task.model, images, to="torchscript")
    assert isinstance(alone, Path)
    assert {p.name for p in alone.parent.iterdir()} == {"model.torchscript", "exports.json", "SHA256SUMS"}


def test_names_of_files_say_what_was_changed(tmp_path: Path) -> None:
    """A line that is no checksum is damage, wherever it stands."""
    (tmp_path / "a").touch()
    write_sums(tmp_path, ["a"])
    whole = (tmp_path / "SHA256SUMS").read_text()
    assert re.fullmatch(r"[0-9a-f]{64}  a\n", whole)
    for text in (f"{whole}more\n", whole.replace("  a", " a"), whole.replace("  a", "  ../a"), whole[1:]):
        (tmp_path / "SHA256SUMS").write_text(text)
        with pytest.raises(
            MismatchError, match="expected lines with a checksum and a file name, got another"
        ):
            read_sums(tmp_path)
