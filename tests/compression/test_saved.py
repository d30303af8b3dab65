from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_model, save_file
from torch import Tensor, nn

from ranksearch.api import load
from ranksearch.compression import check_sums, save_compressed
from ranksearch.costs import Budget, chain_cost, layer_cost, measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError
from ranksearch.networks import Layer, check_finite, discover, load_weights, read_weights
from ranksearch.planning import Candidate, Plan, PlanRecord, build, chain_of, make_record
from ranksearch.tasks.sources import make_model


class RandomFactors:
    def factors(self, layer: Layer, candidate: Candidate) -> tuple[Tensor, ...]:
        return tuple(torch.randn(factor.shape(layer.kernel_size)) for factor in chain_of(layer, candidate))


class Shared(nn.Module):
    """One convolution under two names, and a head tied to an embedding of the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.again = self.conv
        self.classes = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5)
        self.head.weight = self.classes.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.norm(self.conv(x))).mean(dim=(2, 3)))


EXAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def compressed(model: nn.Module, example: Tensor, name: str | None = None) -> tuple[nn.Module, PlanRecord]:
    """`svd` at rank 2 everywhere, and the record of that plan."""
    layers = discover(model, example)
    dense = cost = measure_cost(model, example)
    choices = {}
    for layer in layers:
        if layer.reason is None:
            chain = DECOMPOSITIONS.get("svd").chain(layer, "", (2,))
            choices[layer.name] = Candidate("svd", "", (2,), chain_cost(layer, chain), 0.5)
            cost = cost - layer_cost(layer) + choices[layer.name].cost
    plan = Plan(choices, cost)
    record = make_record(
        model,
        layers,
        plan,
        example=example,
        dense=dense,
        budget=Budget.at_most(dense, cost.params),
        seed=0,
        model_name=name,
    )
    return build(model, layers, plan, RandomFactors()), record


# --- compressed models


def test_a_saved_model_comes_back_from_its_dense_module(tmp_path: Path) -> None:
    built, record = compressed(Shared().eval(), EXAMPLE)
    built.norm.running_mean.fill_(0.25)
    save_compressed(tmp_path / "out", built, record)
    dense = Shared().train()
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    loaded = load(tmp_path / "out", dense)
    assert torch.equal(loaded(EXAMPLE), built.eval()(EXAMPLE))
    assert not any(module.training for module in loaded.modules())
    assert loaded.again is loaded.conv
    assert loaded.head.weight is loaded.classes.weight
    assert all(module.training for module in dense.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in dense.state_dict().items())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "SHA256SUMS",
        "model.safetensors",
        "plan.json",
    ]


def test_shared_tensors_are_stored_once(tmp_path: Path) -> None:
    built, record = compressed(Shared().eval(), EXAMPLE)
    save_compressed(tmp_path, built, record)
    with safetensors.safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        metadata = file.metadata()
    assert metadata["again.0.weight"] == "conv.0.weight"
    assert metadata["head.weight"] == "classes.weight"
    assert names & set(metadata) == set()
    stored = sum(tensor.numel() for tensor in built.state_dict(keep_vars=True).values())
    parameters = sum(p.numel() for p in built.parameters())
    buffers = sum(b.numel() for b in built.buffers())
    in_file = sum(
        t.numel() for n, t in read_weights(tmp_path / "model.safetensors").tensors.items() if n in names
    )
    assert in_file == parameters + buffers < stored
    other, _ = compressed(Shared().eval(), EXAMPLE)
    load_model(other, tmp_path / "model.safetensors")  # the library's own reader
    assert torch.equal(other.eval()(EXAMPLE), built.eval()(EXAMPLE))


@pytest.mark.parametrize("layout", ["channels_last", "view"])
def test_any_memory_layout_can_be_saved(tmp_path: Path, layout: str) -> None:
    built, record = compressed(Shared().eval(), EXAMPLE)
    if layout == "channels_last":
        built = built.to(memory_format=torch.channels_last)
    else:
        flat = torch.randn(100)
        built.norm.weight = nn.Parameter(flat[:6:2])
        built.norm.bias = nn.Parameter(flat[:3])
    save_compressed(tmp_path, built, record)
    torch.testing.assert_close(load(tmp_path, Shared())(EXAMPLE), built.eval()(EXAMPLE))


@pytest.mark.parametrize(
    ("name", "example"),
    [("torchvision:resnet18:num_classes=3", torch.randn(1, 3, 32, 32)), ("digits", torch.randn(1, 1, 8, 8))],
)
def test_built_in_models_need_no_module(tmp_path: Path, name: str, example: Tensor) -> None:
    built, record = compressed(make_model(name), example, name)
    save_compressed(tmp_path, built, record)
    random = torch.get_rng_state()
    loaded = load(str(tmp_path))
    assert torch.equal(loaded(example), built.eval()(example))
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("name", [None, "mine.models:net"])
def test_other_models_have_to_be_handed_in(tmp_path: Path, name: str | None) -> None:
    built, record = compressed(Shared().eval(), EXAMPLE, name)
    save_compressed(tmp_path, built, record)
    with pytest.raises(
        InputError, match=r"model: expected the dense model, got none.*ranksearch\.load\(folder, model=…\)"
    ):
        load(tmp_path)


@pytest.mark.parametrize("name", ["timm:resnet18:checkpoint_path='evil.pth'", "evil.py:net", "os:getcwd"])
def test_a_folder_from_elsewhere_neither_imports_nor_reads(tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('code ran')\n", encoding="utf-8")
    save_compressed(tmp_path, *compressed(make_model("digits"), torch.randn(1, 1, 8, 8), name))
    with pytest.raises(InputError, match=r"can import code or read files\. Pass it"):
        load(tmp_path)


def test_a_trusted_folder_may_name_a_factory(tmp_path: Path) -> None:
    name = "ranksearch.tasks.sources.digits:DigitsNet"
    save_compressed(tmp_path, *compressed(make_model("digits"), torch.randn(1, 1, 8, 8), name))
    assert isinstance(load(tmp_path, trust=True), nn.Module)


def test_another_model_and_missing_files(tmp_path: Path) -> None:
    built, record = compressed(Shared().eval(), EXAMPLE)
    save_compressed(tmp_path, built, record)
    with pytest.raises(MismatchError, match=r"plan, layer conv: expected a layer of the model"):
        load(tmp_path, nn.Linear(3, 5))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"model\.safetensors: expected the file of SHA256SUMS.* got no file"
    ):
        load(tmp_path, Shared())
    with pytest.raises(InputError, match=r"plan\.json: expected a plan file, got No such file"):
        load(tmp_path / "nowhere", Shared())


def test_weights_of_another_plan(tmp_path: Path) -> None:
    built, record = compressed(Shared().eval(), EXAMPLE)
    save_compressed(tmp_path, built, record)
    data = json.loads((tmp_path / "plan.json").read_text())
    data["layers"][0]["ranks"] = [1]
    (tmp_path / "plan.json").write_text(json.dumps(data))
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(
        MismatchError, match=r"of another shape \(conv\.0\.weight \(2, 3, 3, 3\) for \(1, 3, 3, 3\)"
    ):
        load(tmp_path, Shared())


@pytest.mark.parametrize("name", ["model.safetensors", "plan.json", "SHA256SUMS"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped"])
def test_damaged_files_are_not_loaded(tmp_path: Path, name: str, damage: str) -> None:
    save_compressed(tmp_path, *compressed(Shared().eval(), EXAMPLE))
    check_sums(tmp_path)
    file = tmp_path / name
    content = bytearray(file.read_bytes())
    content[-9] ^= 1  # in the weights a bit of the last number, in a plan one of the last key
    file.write_bytes({"cut": content[:-9], "emptied": b"", "flipped": content}[damage])
    with pytest.raises(MismatchError, match=r"It was damaged or changed"):
        check_sums(tmp_path)
    with pytest.raises(InputError):
        load(tmp_path, Shared())


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    save_compressed(tmp_path, *compressed(Shared().eval(), EXAMPLE))
    for line in (tmp_path / "SHA256SUMS").read_text().splitlines():
        found, name = line.split("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == found


# --- reading weights


STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, -1.0])}


def pickled(content: object) -> Callable[[Path], object]:
    return lambda folder: torch.save(content, folder / "w.pt")


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        pytest.param(
            "w.safetensors", lambda folder: save_file(STATE, folder / "w.safetensors"), id="safetensors"
        ),
        pytest.param("w.pt", pickled(STATE), id="state dict"),
        pytest.param("w.pth", lambda folder: torch.save(STATE, folder / "w.pth"), id="pth"),
        pytest.param("w.pt", pickled({"state_dict": STATE, "epoch": 3}), id="state_dict"),
        pytest.param("w.pt", pickled({"model": STATE, "optimizer": {"lr": 0.1}}), id="model"),
        pytest.param("w.pt", pickled({"model_state_dict": STATE}), id="model_state_dict"),
        pytest.param("w.pt", pickled(prefixed("module.")), id="DataParallel"),
        pytest.param("w.pt", pickled({"model": prefixed("module._orig_mod.")}), id="compiled"),
        pytest.param("w.pt", pickled(nn.Linear(3, 2).state_dict() | STATE), id="OrderedDict"),
    ],
)
def test_forms_of_weights(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path)
    tensors = read_weights(tmp_path / name).named_for()
    assert list(tensors) == list(STATE) or set(tensors) == set(STATE)
    assert all(torch.equal(tensors[key], STATE[key]) for key in STATE)
    model = nn.Linear(3, 2)
    load_weights(model, str(tmp_path / name))
    assert torch.equal(model.weight, STATE["weight"])


def test_a_prefix_that_not_all_names_share_stays(tmp_path: Path) -> None:
    state = {"module.weight": STATE["weight"], "bias": STATE["bias"]}
    torch.save(state, tmp_path / "w.pt")
    assert set(read_weights(tmp_path / "w.pt").named_for()) == set(state)


class Wrapped(nn.Module):
    """What a wrapper of the user's own looks like, and DataParallel."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(3, 2)


def test_a_prefix_that_the_model_has_itself_stays(tmp_path: Path) -> None:
    for name, state in (("own", prefixed("module.")), ("twice", prefixed("module.module."))):
        model = Wrapped()
        torch.save(state, tmp_path / f"{name}.pt")
        load_weights(model, tmp_path / f"{name}.pt")
        assert torch.equal(model.module.weight, STATE["weight"])


def test_half_precision_weights_take_the_models_dtype(tmp_path: Path) -> None:
    save_file({name: tensor.half() for name, tensor in STATE.items()}, tmp_path / "w.safetensors")
    model = nn.Linear(3, 2)
    load_weights(model, tmp_path / "w.safetensors")
    assert model.weight.dtype == torch.float32
    assert torch.equal(model.weight, STATE["weight"])


def test_checkpoints_without_batch_counters_load(tmp_path: Path) -> None:
    state = {name: t for name, t in nn.BatchNorm2d(3).state_dict().items() if name != "num_batches_tracked"}
    save_file(state, tmp_path / "w.safetensors")
    load_weights(nn.BatchNorm2d(3), tmp_path / "w.safetensors")


class Hostile:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code ran')",)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        pytest.param("no.pt", lambda folder: None, "expected an existing file, got none", id="missing"),
        pytest.param("d.pt", lambda folder: (folder / "d.pt").mkdir(), "got a folder", id="folder"),
        pytest.param(
            "w.bin",
            lambda folder: (folder / "w.bin").touch(),
            "expected a .safetensors, .pt or .pth file, got .bin",
            id="suffix",
        ),
        pytest.param(
            "w.safetensors",
            lambda folder: (folder / "w.safetensors").write_bytes(b"no"),
            "expected a safetensors file",
            id="no safetensors",
        ),
        pytest.param("w.pt", lambda folder: (folder / "w.pt").write_bytes(b""), "got EOFError", id="empty"),
        pytest.param(
            "w.pt", lambda folder: (folder / "w.pt").write_bytes(b"text"), "weights_only=True", id="text"
        ),
        pytest.param("w.pt", pickled(nn.Linear(2, 2)), "Save the state dict alone", id="whole module"),
        pytest.param(
            "w.pt", pickled({"weight": Hostile()}), "expected tensors and plain values only", id="code"
        ),
        pytest.param("w.pt", pickled([torch.zeros(2)]), "expected a state dict, got list", id="list"),
        pytest.param(
            "w.pt", pickled({"net": STATE, "epoch": 3}), "got other values (net, epoch)", id="nested"
        ),
    ],
)
def test_files_that_are_no_weights(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path)
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / name)
    assert str(caught.value).startswith(f"weights {tmp_path / name}: expected")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mismatches_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)), nn.BatchNorm1d(2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {"0.weight": torch.zeros(3, 2), "0.bias": torch.zeros(2), "fc.weight": torch.zeros(1)}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(MismatchError) as caught:
        load_weights(model, tmp_path / "w.safetensors")
    assert (
        "expected the model's own names and shapes, got 8 missing (1.weight, 1.bias, 2.weight, …); "
        "1 unexpected (fc.weight); 1 of another shape (0.weight (3, 2) for (2, 2)). Are they for another"
    ) in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*[sS]parse")
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (torch.eye(2, 3).to_sparse(), InputError, "expected dense tensors with values, got weight: sparse_coo"),
        (torch.zeros(2, 3, device="meta"), InputError, "got weight: without values"),
        (torch.zeros(2, 3, dtype=torch.complex64), MismatchError, "1 of another kind (weight complex64 for float32)"),
        (torch.ones(2, 3, dtype=torch.int8), MismatchError, "1 of another kind (weight int8 for float32)"),
        (torch.zeros(1).expand(10**12), MismatchError, "of another shape (weight (1000000000000,)"),
        (torch.tensor(1.0), MismatchError, "of another shape (weight () for (2, 3))"),
        (torch.zeros(0, 3), MismatchError, "of another shape (weight (0, 3) for (2, 3))"),
        (torch.full((2, 3), 1e300, dtype=torch.float64), InputError, "got infinity in weight (6 of 6 values)"),
        (torch.eye(2, 3) / 0, InputError, "expected finite numbers, got NaN in weight (4 of 6 values)"),
        (np.float64(3), InputError, "multiarray.scalar. Save the state dict alone"),
    ],
)  # fmt: skip
def test_tensors_that_no_weight_can_be_made_of(
    tmp_path: Path, changed: object, error: type[InputError], message: str
) -> None:
    torch.save(STATE | {"weight": changed}, tmp_path / "w.pt")
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    with pytest.raises(error) as caught:
        load_weights(model, tmp_path / "w.pt")
    assert message in str(caught.value)
    assert torch.equal(model.weight, before)


def test_masks_may_be_infinite_and_statistics_no_nan(tmp_path: Path) -> None:
    model = nn.BatchNorm1d(2)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    check_finite(model, "model")
    model.running_var[1] = torch.nan
    with pytest.raises(InputError, match=r"^model m: expected .* NaN in running_var \(1 of 2 values\)"):
        check_finite(model, "model m")


def test_a_float8_file_gives_its_values(tmp_path: Path) -> None:
    save_file({n: t.to(torch.float8_e4m3fn) for n, t in STATE.items()}, tmp_path / "w.safetensors")
    model = nn.Linear(3, 2)
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.weight, STATE["weight"])
