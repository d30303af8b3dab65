"""Weights in files of all forms: which part of a checkpoint is a model's, under which prefix, and what is refused."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ranksearch.errors import InputError, MismatchError
from ranksearch.networks import check_finite, load_weights, read_weights

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
    model = nn.Linear(3, 2)
    load_weights(model, str(tmp_path / name))
    assert all(torch.equal(tensor, STATE[key]) for key, tensor in model.state_dict().items())


def test_a_prefix_that_not_all_names_share_stays(tmp_path: Path) -> None:
    state = {"module.weight": STATE["weight"], "bias": STATE["bias"]}
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(MismatchError, match=r"1 missing \(weight\); 1 unexpected \(module.weight\)"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.pt")


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


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        pytest.param("no.pt", lambda folder: None, "expected an existing file, got none", id="missing"),
        pytest.param("d.pt", lambda folder: (folder / "d.pt").mkdir(), "a folder with one file", id="folder"),
        pytest.param(
            "w.safetensors",
            lambda folder: (folder / "w.safetensors").write_bytes(b"no"),
            "expected a safetensors file",
            id="no safetensors",
        ),
        pytest.param("w.pt", lambda folder: (folder / "w.pt").write_bytes(b""), "got EOFError", id="empty"),
        pytest.param(
            "w.pt",
            lambda folder: (folder / "w.pt").write_bytes(b"text"),
            "weights_only=True, got",
            id="text",
        ),
        pytest.param(
            "w.pt",
            pickled(nn.Linear(2, 2)),
            "got a whole pickled model (torch.nn.modules.linear.Linear). Where its code can be imported, and if you "
            "trust the file: model = torch.load(",
            id="whole module",
        ),
        pytest.param(
            "w.pt",
            pickled({"model": nn.Linear(2, 2), "epoch": 3}),
            "under model. Where its code can be imported, and if you trust the file: model = torch.load(",
            id="whole module in an entry",
        ),
        pytest.param("w.pt", pickled({"weight": Hostile()}), "got other values (weight)", id="code"),
        pytest.param("w.pt", pickled([torch.zeros(2)]), "expected a state dict, got list", id="list"),
        pytest.param("w.pt", pickled({"net": [1], "epoch": 3}), "got other values (net, epoch)", id="none"),
        pytest.param(
            "w.pt",
            lambda folder: torch.jit.script(nn.Linear(2, 2)).save(folder / "w.pt"),
            "got a scripted model. Where its code can be imported, and if you trust the file: model = torch.jit.load(",
            id="scripted",
        ),
        pytest.param(
            "w.index.json",
            lambda folder: (folder / "w.index.json").write_text('{"weight_map": {"weight": "../w.pt"}}'),
            "expected shards that lie beside it, got '../w.pt'",
            id="shards elsewhere",
        ),
        pytest.param(
            "w.index.json",
            lambda folder: (folder / "w.index.json").write_text('{"weight_map": {"weight": "w1.pt"}}'),
            "expected all its shards, got no w1.pt",
            id="no shard",
        ),
        pytest.param(
            "w.index.json",
            lambda folder: (folder / "w.index.json").write_text("[1]"),
            "an index of",
            id="no index",
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
        (np.float64(3), MismatchError, "1 missing (weight)"),
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


# --- checkpoints


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)).eval()


PLAIN = net().state_dict()
OTHER = {name: tensor + 1 for name, tensor in PLAIN.items()}


def under(prefix: str, state: dict[str, Tensor] = PLAIN) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


class Unknown:
    """What hyper-parameters and schedulers are to a checkpoint."""

    def __init__(self) -> None:
        self.rates = [0.1, torch.ones(1)]


CHECKPOINTS: dict[str, tuple[Any, str]] = {
    "model_best.pth.tar": (
        {"epoch": 90, "state_dict": under("module."), "best_acc1": torch.tensor(88.0), "optimizer": {"state": {}}},
        "entry state_dict; prefix module. stripped",
    ),
    "last.ckpt": (
        {
            "state_dict": {**under("model."), "loss.weight": torch.ones(2)},
            "hyper_parameters": argparse.Namespace(lr=np.float64(0.1), path=Path("x"), own=Unknown()),
            "callbacks": defaultdict(list, a=[1]),
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        },
        "entry state_dict; prefix model. stripped; 1 tensor outside it left out (loss.weight)",
    ),
    "ckpt.t7": ({"net": PLAIN, "acc": 88.0}, "entry net"),
    "pytorch_model.bin": (PLAIN, ""),
    "swa.pt": (torch.optim.swa_utils.AveragedModel(net()).state_dict(), "prefix module. stripped; 1 tensor outside it "
               "left out (n_averaged)"),
    "compiled.pth": (
        {"model": under("module._orig_mod.")}, "entry model; prefix module. stripped",
    ),
    "inside.pth": ({n.replace("0.", "0._orig_mod."): t for n, t in PLAIN.items()}, ""),
    "references.pth": (
        {"model": PLAIN, "model_ema": {"n_averaged": torch.tensor(5), **under("module.", OTHER)}, "epoch": 9},
        "entry model; model_ema.module would fit as well (`weights_entry`)",
    ),
    "ema first.pth": (
        {"ema": {"decay": 0.9, "shadow": OTHER}, "net": PLAIN},
        "entry net; ema.shadow would fit as well (`weights_entry`)",
    ),
    "ema within.ckpt": (
        {"state_dict": under("ema_model.", OTHER) | under("model.")},
        f"entry state_dict; prefix model. stripped; {len(PLAIN)} tensors outside it left out (ema_model.0.weight, "
        "ema_model.0.bias, ema_model.1.weight, …); state_dict.ema_model would fit as well (`weights_entry`)",
    ),
    "two networks.pt": (
        {"discriminator": nn.Linear(3, 1).state_dict(), "generator": PLAIN}, "entry generator"
    ),
    "a head too.pt": (
        {"backbone." + n: t for n, t in PLAIN.items()} | {"head.weight": torch.ones(3)},
        "prefix backbone. stripped; 1 tensor outside it left out (head.weight)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_as_training_code_writes_them(tmp_path: Path, name: str) -> None:
    content, told = CHECKPOINTS[name]
    torch.save(content, tmp_path / name)
    model = net()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert str(load_weights(model, tmp_path / name)) == told
    assert all(torch.equal(PLAIN[key], tensor) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("references.pth", "model_ema"),
        ("ema first.pth", "shadow"),
        ("ema first.pth", "ema.shadow"),
        ("ema within.ckpt", "ema_model"),
        ("ema within.ckpt", "state_dict.ema_model"),
    ],
)
def test_averaged_weights_are_had_by_name(tmp_path: Path, name: str, entry: str) -> None:
    torch.save(CHECKPOINTS[name][0], tmp_path / name)
    model = net()
    load_weights(model, read_weights(tmp_path / name, entry))
    assert all(torch.equal(OTHER[key], tensor) for key, tensor in model.state_dict().items())


def test_an_entry_that_is_not_there_is_named(tmp_path: Path) -> None:
    torch.save(CHECKPOINTS["references.pth"][0], tmp_path / "w.pt")
    with pytest.raises(
        InputError, match=r"weights_entry: expected one of model, model_ema, got 'model_emo'\. Did you"
    ):
        read_weights(tmp_path / "w.pt", "model_emo")
    torch.save(PLAIN | {"a.b": torch.ones(1)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"weights_entry: expected one of 0, 1, 3, a, got 'ema'"):
        read_weights(tmp_path / "w.pt", "ema")


def test_two_prefixes_that_fit_alike_are_not_guessed_between(tmp_path: Path) -> None:
    torch.save({"state_dict": under("student.") | under("teacher.", OTHER)}, tmp_path / "w.pt")
    with pytest.raises(
        MismatchError, match=r"fit equally well \(state_dict\.student, state_dict\.teacher\)\. Name one"
    ):
        load_weights(net(), tmp_path / "w.pt")
    model = net()
    load_weights(model, read_weights(tmp_path / "w.pt", "teacher"))
    assert torch.equal(model[0].weight, OTHER["0.weight"])


def test_the_file_of_a_part_fits_a_wrapper(tmp_path: Path) -> None:
    torch.save(PLAIN, tmp_path / "w.pt")
    model = nn.ModuleDict({"net": net()})
    assert str(load_weights(model, tmp_path / "w.pt")) == "prefix net. added"


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_and_folders(tmp_path: Path, suffix: str) -> None:
    names = list(PLAIN)
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    where = {name: f"{stem}-0000{k % 2 + 1}-of-00002.{suffix}" for k, name in enumerate(names)}
    for file in set(where.values()):
        state = {name: PLAIN[name] for name in names if where[name] == file}
        (save_file if suffix == "safetensors" else torch.save)(state, tmp_path / file)  # type: ignore[operator]
    index = tmp_path / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    for path in (tmp_path, index):
        model = net().apply(lambda module: None)
        nn.init.zeros_(model[0].weight)
        load_weights(model, path)
        assert all(torch.equal(PLAIN[key], tensor) for key, tensor in model.state_dict().items())
    with pytest.raises(MismatchError, match=r"It is one of several shards: name the folder"):
        load_weights(net(), tmp_path / where[names[0]])
    index.write_text(json.dumps({"weight_map": where | {"3.more": where[names[0]]}}))
    with pytest.raises(
        InputError, match=r"expected shards that hold all its tensors, got none for 1 \(3\.more\)"
    ):
        read_weights(tmp_path)


def test_safetensors_under_any_name(tmp_path: Path) -> None:
    save_file(PLAIN, tmp_path / "weights.ckpt")
    load_weights(net(), tmp_path / "weights.ckpt")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def test_tied_weights_may_be_saved_once(tmp_path: Path) -> None:
    save_file({"embed.weight": torch.ones(5, 3)}, tmp_path / "w.safetensors")
    model = Tied()
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.head.weight, torch.ones(5, 3))


def test_a_lazy_model_is_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt")
    with pytest.raises(
        InputError, match=r"model: expected parameters with a shape, got lazy ones \(weight, bias\)"
    ):
        load_weights(nn.LazyLinear(2), tmp_path / "w.pt")


LINEAR = {"fc.weight": torch.ones(3, 4), "fc.bias": torch.ones(3)}
CAUSES: dict[str, tuple[dict[str, Tensor], str]] = {
    "classes": (
        {"fc.weight": torch.ones(7, 4), "fc.bias": torch.ones(7)},
        "It is for 7 classes, the model has 3: set `num_classes`",
    ),
    "others": (
        {"block.kernel": torch.ones(2)},
        "No name is the same: the file has block.kernel, the model fc.weight.",
    ),
    "no head": ({"fc.weight": torch.ones(3, 4)}, "It lacks a part that the model has (fc)"),
    "more": (LINEAR | {"aux.weight": torch.ones(2)}, "It has a part that the model lacks (aux)"),
    "pruned": (
        {"fc.weight_orig": torch.ones(3, 4), "fc.weight_mask": torch.ones(3, 4), "fc.bias": torch.ones(3)},
        "pruned by torch.nn.utils.prune",
    ),
    "weight norm": (
        {"fc.weight_g": torch.ones(3, 1), "fc.weight_v": torch.ones(3, 4), "fc.bias": torch.ones(3)},
        "It has weight or spectral norm",
    ),
    "adapters": (LINEAR | {"fc.lora_A.weight": torch.ones(2)}, "merge them into the model"),
    "compressed": (
        {"fc.0.weight": torch.ones(1, 4), "fc.1.weight": torch.ones(3, 1), "fc.1.bias": torch.ones(3)},
        "It holds a compressed model: `ranksearch.load`",
    ),
}


@pytest.mark.parametrize("name", CAUSES)
def test_likely_causes(tmp_path: Path, name: str) -> None:
    state, cause = CAUSES[name]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(MismatchError) as caught:
        load_weights(nn.ModuleDict({"fc": nn.Linear(4, 3)}), tmp_path / "w.pt")
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)


def test_statistics_that_were_not_saved(tmp_path: Path) -> None:
    torch.save(dict(net().named_parameters()), tmp_path / "w.pt")
    with pytest.raises(MismatchError, match="saved without buffers"):
        load_weights(net(), tmp_path / "w.pt")


def test_the_two_lines_that_convert_a_whole_model_do(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "whole.pt")
    with pytest.raises(InputError) as caught:
        read_weights(tmp_path / "whole.pt")
    code = str(caught.value).partition("trust the file: ")[2].rstrip(".")
    exec(code, {"torch": torch})
    load_weights(net(), tmp_path / "whole_weights.pt")
