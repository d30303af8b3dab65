"""int8 files of real models: their weights and figures, computed again without ranksearch."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.compression import CompressConfig, compress
from ranksearch.costs import INT8_BYTES, counted
from ranksearch.errors import InputError, MismatchError
from ranksearch.exporting import EXPORTERS, current_exports, export_file, read_exports
from ranksearch.networks import one_tensor
from ranksearch.planning import CandidateConfig, Problem, prepare
from ranksearch.quantization import INT8_FILE, calibrated, check_quantizer, quantize_file
from ranksearch.searching import SearchSettings, search
from ranksearch.tasks import Task

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def task(tiny_task: Task) -> Task:
    """The tiny task with something to validate and to test on."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(80, 3, 8, 8, generator=generator)
    with torch.no_grad():
        labels = tiny_task.model(images).argmax(dim=1)
    labels[::3] = 0
    data = TensorDataset(images, labels)
    return Task(tiny_task.model, tiny_task.train, data, data, calibration_size=96, batch_size=32)


@pytest.fixture(scope="module")
def folder(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("int8")
    quantize_file(found, task.model, task, tolerance=0.2)  # random images differ little in their outputs
    return found


def outputs(path: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(found)


def weights(path: Path) -> dict[str, Any]:
    return {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


def test_both_files_are_there_and_written_down(folder: Path) -> None:
    assert [record.file for record in current_exports(folder)] == ["model.onnx", INT8_FILE]
    float_record, record = read_exports(folder)
    assert float_record.quantized is None
    found = record.quantized
    assert found is not None
    assert (found.bits, found.layers, found.float_layers, found.evaluations) == ("int8", 3, (), 1)
    assert found.bytes == (folder / INT8_FILE).stat().st_size
    assert found.float_bytes == (folder / "model.onnx").stat().st_size
    assert 0 < found.time.low <= found.time.ratio <= found.time.high
    assert found.time.batch == found.time.threads == 1


def test_figures_are_those_of_the_file(folder: Path, task: Task) -> None:
    found = read_exports(folder)[1].quantized
    assert found is not None
    images = task.inputs("divergence")
    with torch.no_grad():
        dense = task.model(images).double().log_softmax(dim=1)
    own = outputs(folder / INT8_FILE, images).double().log_softmax(dim=1)
    apart = (dense.exp() * (dense - own)).sum(dim=1).mean()
    assert 0 < found.divergence <= found.limit
    assert found.divergence == pytest.approx(apart.item(), rel=1e-3)
    data = task.test
    assert isinstance(data, TensorDataset)
    right = outputs(folder / INT8_FILE, data.tensors[0]).argmax(dim=1) == data.tensors[1]
    assert found.scores["test"] == pytest.approx(100 * right.float().mean().item())
    assert found.scores.keys() == {"validation", "validation_stderr", "test", "test_stderr"}


def test_the_limit_is_relative_to_a_model_that_returns_the_mean(folder: Path, task: Task) -> None:
    found = read_exports(folder)[1].quantized
    assert found is not None
    with torch.no_grad():
        logits = task.model(task.inputs("divergence")).double()
    dense = logits.log_softmax(dim=1)
    constant = logits.mean(dim=0, keepdim=True).log_softmax(dim=1)
    apart = (dense.exp() * (dense - constant)).sum(dim=1).mean().item()
    assert found.limit == pytest.approx(found.tolerance * apart, rel=1e-4)


def test_weights_are_int8_with_a_scale_per_output_channel(folder: Path) -> None:
    float_weights, int8 = weights(folder / "model.onnx"), weights(folder / INT8_FILE)
    convolutions = [(name, w) for name, w in float_weights.items() if w.ndim == 4]
    assert len(convolutions) == 2
    for name, weight in convolutions:
        stored = int8[f"{name}_quantized"]
        scales = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
        assert stored.dtype == np.int8
        np.testing.assert_allclose(int8[f"{name}_scale"], scales, rtol=1e-4)
        np.testing.assert_allclose(stored, weight / scales[:, None, None, None], atol=0.51)


def test_layers_that_are_kept_have_their_weights_as_they_were(
    folder: Path, task: Task, tmp_path: Path
) -> None:
    found = calibrated(folder / "model.onnx", [task.inputs("moments")], task.model)
    assert [layer.name for layer in found.layers] == ["0", "3", "8"]
    found.write(tmp_path / "some.onnx", kept={1})
    some, float_weights = weights(tmp_path / "some.onnx"), weights(folder / "model.onnx")
    kept = next(name for name, w in float_weights.items() if w.shape == (12, 8, 3, 3))
    np.testing.assert_array_equal(some[kept], float_weights[kept])
    assert sum(w.dtype == np.int8 and w.ndim > 1 for w in some.values()) == 2
    found.write(tmp_path / "none.onnx", kept={0, 1, 2})
    images = task.inputs("divergence")
    torch.testing.assert_close(
        outputs(tmp_path / "none.onnx", images), outputs(folder / "model.onnx", images)
    )


def test_a_lower_tolerance_keeps_layers_float(folder: Path, task: Task, tmp_path: Path) -> None:
    all_int8 = read_exports(folder)[1].quantized
    assert all_int8 is not None
    tolerance = 0.7 * all_int8.divergence * all_int8.tolerance / all_int8.limit
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    found = quantize_file(tmp_path, task.model, task, tolerance=tolerance, batch=2).quantized
    assert found is not None
    assert 0 < len(found.float_layers) < found.layers
    assert found.divergence <= found.limit < all_int8.divergence
    assert found.time.batch == 2
    assert all(torch.equal(before[key], value) for key, value in task.model.state_dict().items())


@pytest.fixture(scope="module")
def problem(task: Task) -> Problem:
    return prepare(task, config=CandidateConfig(metrics=counted(INT8_BYTES), fits_per_form=3, iterations=3))


@pytest.mark.parametrize("budget", [0.2, 0.4, 0.8])
def test_a_plan_for_bytes_says_which_layers_are_int8(
    problem: Problem, task: Task, tmp_path: Path, budget: float
) -> None:
    (result,) = search(problem, SearchSettings(budgets=(budget,), metric=INT8_BYTES))
    compressed = compress(task, result.plan, config=CompressConfig(epochs=0), layers=problem.layers)
    found = quantize_file(tmp_path, compressed.model, task, planned=result.plan.int8).quantized
    assert found is not None
    assert result.plan.int8
    assert (found.tolerance, found.limit, found.evaluations) == (None, None, 1)
    floats = {name if name in result.plan.choices else name.rpartition(".")[0] for name in found.float_layers}
    assert floats == result.plan.choices.keys() - set(result.plan.int8)
    stored = weights(tmp_path / INT8_FILE)
    in_file = sum(array.nbytes for array in stored.values())
    of_activations = [array for array in stored.values() if array.ndim == 0]
    assert in_file - sum(array.nbytes for array in of_activations) <= result.plan.cost.of(INT8_BYTES)
    assert result.plan.cost.of(INT8_BYTES) <= budget * problem.dense.of(INT8_BYTES)


def test_a_layer_that_the_graph_lacks_is_named(task: Task, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^quantize: expected the 2 layers .*, got none of the name 5"):
        quantize_file(tmp_path, task.model, task, planned=("0", "5"))
    assert not (tmp_path / INT8_FILE).exists()


def test_linear_layers_go_by_their_names_where_the_exporter_transposes_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8)).eval()
    inputs = torch.randn(40, 5, 6)  # products of matrices, rather than layers of the graph
    export_file(tmp_path, EXPORTERS.get("onnx"), model, inputs[:5], one_tensor)
    found = calibrated(tmp_path / "model.onnx", [inputs], model)
    assert [layer.name for layer in found.layers] == ["0", "2"]


def test_no_int8_file_where_no_layer_can_be(task: Task, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^quantize: expected a layer that can be int8 within .*, got none"):
        quantize_file(tmp_path, task.model, task, tolerance=1e-12)
    assert [record.file for record in current_exports(tmp_path)] == ["model.onnx"]
    assert not (tmp_path / INT8_FILE).exists()


class Named(nn.Module):
    """Takes a tensor by name, and returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
        hidden = self.first(x).relu()
        return {"hidden": hidden, "outputs": self.second(hidden) * scale}


class NamedInputs(torch.utils.data.Dataset[Any]):
    """Inputs of `Named`, and a target."""

    def __len__(self) -> int:
        return 96

    def __getitem__(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(6, generator=generator)
        return {"x": x, "scale": torch.ones(1)}, x[:3]


def test_inputs_by_name_and_outputs_of_another_form(tmp_path: Path) -> None:
    from ranksearch.tasks import LOSSES

    task = Task(
        Named(),
        NamedInputs(),
        loss=LOSSES.get("squared_error"),
        output=lambda returned: returned["outputs"],
        calibration_size=48,
        batch_size=16,
        val_split=0.2,
    )
    found = quantize_file(tmp_path, task.model, task).quantized
    assert found is not None
    assert found.divergence <= found.limit
    assert found.scores["validation"] < 0  # minus the loss
    assert "test" not in found.scores


def test_nothing_is_said_through_the_root_logger(
    task: Task, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime warns of LayerNorm, whose weight has no second axis, and gives the root logger a handler for that."""
    torch.manual_seed(0)
    normed = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.LayerNorm(8), nn.Linear(8, 5))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    quantize_file(tmp_path, normed, Task(normed, task.train, calibration_size=96))
    assert (root.handlers, root.level) == ([], level)
    assert "Axis" not in capfd.readouterr().err


def test_a_model_without_layers_is_refused(task: Task, tmp_path: Path) -> None:
    bare = Task(nn.Flatten(), task.train, calibration_size=96)
    with pytest.raises(InputError, match="quantize: expected a model with convolutions or linear layers"):
        quantize_file(tmp_path, bare.model, bare)


@pytest.mark.parametrize("what", ["package", "function"])
def test_an_onnxruntime_without_quantisation_is_told(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime.quantization as there

    if what == "package":
        monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    else:
        monkeypatch.delattr(there, "QDQQuantizer")
    with pytest.raises(InputError, match=r"^quantize: expected [^\n]*onnxruntime[^\n]*$"):
        check_quantizer()


def test_from_python(task: Task, tmp_path: Path) -> None:
    result = ranksearch.search(task, 0.5)
    compressed = ranksearch.compress(task, result.plan, config=ranksearch.CompressConfig(epochs=0))
    ranksearch.save(tmp_path, task, result, compressed)
    path = ranksearch.quantize(tmp_path, compressed, task)
    assert path == tmp_path / INT8_FILE
    assert [record.file for record in current_exports(tmp_path)] == ["model.onnx", INT8_FILE]
    with pytest.raises(MismatchError):
        ranksearch.quantize(tmp_path, task.model, task)
    for bad in ({"tolerance": 0}, {"tolerance": float("nan")}, {"latency_batch": 0}):
        with pytest.raises(InputError, match=f"^{next(iter(bad))}: expected"):
            ranksearch.quantize(tmp_path, compressed, task, **bad)
