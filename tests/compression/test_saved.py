from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors.torch import load_model
from torch import Tensor, nn

from ranksearch.api import load
from ranksearch.compression import check_sums, save_compressed
from ranksearch.costs import Budget, chain_cost, layer_cost, measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError
from ranksearch.networks import Layer, discover, read_weights
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


def test_a_name_that_no_file_can_have_is_no_checksum(tmp_path: Path) -> None:
    save_compressed(tmp_path, *compressed(Shared().eval(), EXAMPLE))
    with (tmp_path / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  {'x' * 300}\n")
    with pytest.raises(
        MismatchError, match="expected lines with a checksum and a file name, got another line"
    ):
        check_sums(tmp_path, every=True)


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    save_compressed(tmp_path, *compressed(Shared().eval(), EXAMPLE))
    for line in (tmp_path / "SHA256SUMS").read_text().splitlines():
        found, name = line.split("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == found
