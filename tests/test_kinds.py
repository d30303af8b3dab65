"""Networks of embeddings, transposed and grouped convolutions, from the search to the delivered folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.calibration import kernel_error
from ranksearch.calibration.moments import collect_moments
from ranksearch.costs import Budget, chain_cost, layer_cost, measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import MismatchError
from ranksearch.networks import discover, kernel_of, list_layers, put_kernel, reconstruct
from ranksearch.planning import (
    Candidate,
    CandidateConfig,
    Plan,
    PlanRecord,
    check_plan,
    fit_candidate,
    make_record,
    prepare,
    read_plan,
    write_plan,
)
from ranksearch.planning.plan import DENSE
from ranksearch.tasks import Task
from ranksearch.tasks.losses import SQUARED_ERROR

VOCABULARY, LENGTH = 60, 8
TUCKER = DECOMPOSITIONS.get("tucker2")


class Tokens(nn.Module):
    """Classes of sequences; index 0 is padding."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 16, padding_idx=0, **options)
        self.places = nn.Embedding(LENGTH, 16)
        self.hidden, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        x = torch.relu(self.hidden(x)) * (ids > 0)[..., None]
        logits: Tensor = self.head(x.mean(1))
        return logits


class UNet(nn.Module):
    """A convolution down, a transposed one up, and a skip connection; output (N, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        whole = torch.relu(self.first(x))
        up = torch.relu(self.norm(self.up(torch.relu(self.down(whole)))))
        logits: Tensor = self.last(torch.cat([whole, up], dim=1))
        return logits


class Grouped(nn.Sequential):
    """As in ResNeXt: grouped convolutions between pointwise ones."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1, groups=3),
            nn.ReLU(),
            nn.Conv2d(24, 16, (1, 3), padding=(0, 1), groups=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 4),
        )


class Decoder(nn.Sequential):
    """Grouped transposed convolutions on the way up."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 12, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(12, 18, 3, stride=2, padding=1, output_padding=1, groups=3, bias=False),
            nn.BatchNorm2d(18),
            nn.ReLU(),
            nn.Conv2d(18, 3, 1),
        )


def tokens_task(**options: Any) -> Task:
    torch.manual_seed(0)
    ids = (torch.rand(160, LENGTH).square() * VOCABULARY).long()
    return Task(Tokens(**options), TensorDataset(ids, ids.sum(1) % 4), calibration_size=96)


def unet_task() -> Task:
    torch.manual_seed(0)
    images = torch.randn(120, 3, 8, 8)
    return Task(UNet(), TensorDataset(images, images.argmax(1)), loss="segmentation", calibration_size=96)


def grouped_task() -> Task:
    torch.manual_seed(0)
    images = torch.randn(120, 3, 8, 8)
    return Task(Grouped(), TensorDataset(images, torch.randint(4, (120,))), calibration_size=96)


def decoder_task() -> Task:
    torch.manual_seed(0)
    images = torch.randn(120, 3, 8, 8)
    return Task(Decoder(), TensorDataset(images, images.argmax(1)), loss="segmentation", calibration_size=96)


TASKS = {"tokens": tokens_task, "unet": unet_task, "grouped": grouped_task, "decoder": decoder_task}
QUICK = ranksearch.CompressConfig(epochs=1, iterations=5)


@pytest.mark.parametrize("name", TASKS)
def test_from_the_search_to_the_delivered_folder(name: str, tmp_path: Path) -> None:
    task = TASKS[name]()
    result = ranksearch.search(task, budget=0.5)
    compressed = ranksearch.compress(task, result, config=QUICK)
    ranksearch.save(tmp_path / "small", task, result, compressed)
    loaded = ranksearch.load(tmp_path / "small", type(task.model)())
    torch.testing.assert_close(loaded(task.example), compressed.model(task.example))
    measured = measure_cost(loaded, task.example)
    assert (measured.params, measured.flops) == (result.plan.cost.params, result.plan.cost.flops)
    bigger = ranksearch.plan(result, 0.7)
    assert result.plan.cost.params < bigger.plan.cost.params
    ranksearch.export(tmp_path / "small", loaded, task.example, to="pt2")
    program = torch.export.load(tmp_path / "small" / "model.pt2").module()
    wanted = loaded(task.example).detach()
    torch.testing.assert_close(
        program(task.example), wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())
    )


@pytest.mark.parametrize(
    ("name", "layer", "decomposition"),
    [
        ("tokens", "tokens", "svd"),
        *(("unet", "up", d) for d in ("svd", "spatial_svd", "tucker2", "cp")),
        *(("grouped", "3", d) for d in ("svd", "spatial_svd", "tucker2", "cp", "tensor_train")),
        ("grouped", "5", "svd"),
        *(("decoder", "2", d) for d in ("svd", "spatial_svd", "tucker2", "cp", "tensor_train")),
    ],
)
def test_more_of_a_layer_is_never_worse(name: str, layer: str, decomposition: str) -> None:
    """Whole networks: at full rank outputs are the dense model's, and far from it they are not."""
    task = TASKS[name]()
    problem = prepare(task, ignore=[x.name for x in list_layers(task.model) if x.name != layer])
    (own,) = (x for x in problem.layers if x.name == layer)
    wanted = task.model.eval()(task.example).detach()
    found = DECOMPOSITIONS.get(decomposition)
    for form in found.forms(own):
        apart = []
        most = found.max_ranks(own, form)
        for ranks in (tuple(1 for _ in most), most):
            cost = chain_cost(own, found.chain(own, form, ranks))
            plan = Plan({layer: Candidate(decomposition, form, ranks, cost, 0.0)}, problem.dense)
            apart.append(float((problem.build(plan)(task.example).detach() - wanted).abs().max()))
        assert apart[1] < 1e-4 * float(wanted.abs().max()) < apart[0]


def test_the_vector_of_padding_stays_what_it_is_and_is_not_trained() -> None:
    task = tokens_task()
    layers = discover(task.model, task.example)
    cost = layers[0]
    candidate = Candidate(
        "svd", "", (3,), chain_cost(cost, DECOMPOSITIONS.get("svd").chain(cost, "", (3,))), 0.0
    )
    problem = prepare(task)
    built = problem.build(Plan({"tokens": candidate}, problem.dense))
    narrow, back = built.get_submodule("tokens")
    assert (type(narrow), type(back), narrow.padding_idx, back.bias) == (nn.Embedding, nn.Linear, 0, None)
    assert not narrow.weight[0].any()
    built.train()(task.example).square().sum().backward()
    assert not narrow.weight.grad[0].any()
    assert narrow.weight.grad.any()


@pytest.mark.parametrize("option", ["sparse", "scale_grad_by_freq"])
def test_how_gradients_are_formed_is_kept(option: str) -> None:
    task = tokens_task(**{option: True})
    result = ranksearch.search(task, budget=0.4, ignore=["hidden", "head"])
    model = ranksearch.compress(task, result, config=QUICK).model
    assert getattr(model.get_submodule("tokens.0"), option) is True
    model.zero_grad()
    model(task.example).sum().backward()
    assert model.get_submodule("tokens.0").weight.grad.is_sparse == (option == "sparse")


def test_vectors_that_are_shortened_stay() -> None:
    (tokens, *_) = discover(Tokens(max_norm=1.0), torch.ones(1, LENGTH, dtype=torch.long))
    assert tokens.reason == "it shortens its vectors as it is called (max_norm)"


class Spoken(nn.Module):
    """Predicts tokens with the weight of its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 16)
        self.hidden, self.head = nn.Linear(16, 64), nn.Linear(16, VOCABULARY, bias=False)
        self.back = nn.Linear(64, 16)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.back(torch.relu(self.hidden(self.tokens(ids)))))
        return logits


def test_a_tied_head_stays_tied() -> None:
    torch.manual_seed(0)
    ids = torch.randint(VOCABULARY, (120, LENGTH))
    task = Task(Spoken(), TensorDataset(ids, ids), loss="causal_lm", calibration_size=96)
    result = ranksearch.search(task, budget=0.7)
    assert result.plan.choices.keys() == {"hidden", "back"}
    model = ranksearch.compress(task, result, config=QUICK).model
    assert model.get_parameter("head.weight") is model.get_parameter("tokens.weight")


def test_a_large_vocabulary_takes_no_square_matrix() -> None:
    """64 thousand indices, of which most never occur: their moments are a vector, and rare ones count for something."""
    torch.manual_seed(0)
    table = torch.randn(65_536, 4) @ torch.randn(4, 24) + 0.01 * torch.randn(65_536, 24)
    model = nn.Sequential(nn.Embedding.from_pretrained(table), nn.Flatten(), nn.Linear(48, 4))
    ids = torch.randint(1000, (64, 2))
    task = Task(model, TensorDataset(ids, ids[:, 0] % 4), calibration_size=48)
    problem = prepare(task, ignore=["2"])
    (own,) = problem.tables
    chosen = next(c for c in own.candidates if c.ranks == (4,))
    built = problem.build(Plan({"0": chosen}, problem.dense))
    apart = built[0](torch.arange(65_536)) - table
    assert float(apart.square().mean()) < 2e-4


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_groups_are_fitted_one_by_one(kind: type[nn.Module]) -> None:
    """Moments, factors and ε of a grouped convolution are those of its groups as layers of their own."""
    torch.manual_seed(0)
    conv = kind(6, 8, 3, padding=1, groups=2)
    kernel = kernel_of(conv, "")
    images = torch.randn(40, 6, 6, 6)
    (layer,) = discover(conv, images[:1])
    options: dict[str, Any] = {"seed": 0, "device": torch.device("cpu")}
    found = collect_moments(conv, [layer], [images], SQUARED_ERROR, **options)[""]
    white, config = found.whitened(kernel), CandidateConfig(iterations=5)
    whole = fit_candidate(white, layer, TUCKER, "", (2, 2), config=config)
    errors = []
    for k in range(2):
        part = kind(3, 4, 3, padding=1)
        put_kernel(part, "", kernel[4 * k : 4 * k + 4])
        own = images[:, 3 * k : 3 * k + 3]
        (single,) = discover(part, own[:1])
        assert single == layer.group
        moments = collect_moments(part, [single], [own], SQUARED_ERROR, **options)[""]
        torch.testing.assert_close(moments.A, found.A[k])
        one = replace(moments, G=found.G[k])
        fit = fit_candidate(one.whitened(kernel_of(part, "")), single, TUCKER, "", (2, 2), config=config)
        errors.append(fit.error)
        weights = fit.weights(one.whitened(kernel_of(part, "")))
        for wide, narrow in zip(whole.weights(white), weights, strict=True):
            torch.testing.assert_close(wide.chunk(2)[k], narrow)
    assert whole.error == pytest.approx(sum(errors))
    approximation = reconstruct(whole.chain, whole.weights(white), layer.kernel_size)
    assert kernel_error(kernel, approximation, *found.shrunk()) == pytest.approx(whole.error, rel=1e-3)


def test_moments_of_groups_add_up_over_images() -> None:
    conv = nn.Conv1d(4, 4, 3, groups=2)
    signals = torch.randn(30, 4, 9)
    (layer,) = discover(conv, signals[:1])
    options: dict[str, Any] = {"seed": 0, "device": torch.device("cpu")}
    one, two, both = (
        collect_moments(conv, [layer], [part], SQUARED_ERROR, **options)[""]
        for part in (signals[:20], signals[20:], signals)
    )
    assert (one.A.shape, one.G.shape) == ((2, 6, 6), (2, 2, 2))
    torch.testing.assert_close(one.merged(two).A, both.A, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("allocator", ["evbmf", "alds", "fwsvd", "balf", "energy", "uniform"])
def test_methods_of_the_literature_take_groups(allocator: str) -> None:
    task = grouped_task()
    result = ranksearch.search(task, budget=0.6, allocator=allocator)
    assert result.plan.choices.keys() == {"0", "3", "5", "8"}
    assert result.plan.cost.params <= result.budget.limit


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(30, 8)
        self.mix = nn.Conv1d(8, 12, 3, padding=1)
        self.up = nn.ConvTranspose1d(12, 8, 4, stride=2, padding=1)
        self.grouped = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = torch.relu(self.mix(self.tokens(ids).transpose(1, 2)))
        logits: Tensor = self.head(torch.relu(self.grouped(torch.relu(self.up(x)))).mean(-1))
        return logits


BEFORE = "0c8063871655051e1080bb5ed6273b946217b8ae5dabfcb9fb0256168ca0a298"
"""The digest that a version wrote for `Both` which took neither embeddings nor transposed convolutions for layers."""


def test_plans_of_versions_that_knew_fewer_kinds(tmp_path: Path) -> None:
    """The layers that they do not name stay dense; but a plan that names one needs it to be as it was."""
    model, example = Both(), torch.zeros(1, 6, dtype=torch.long)
    layers = {layer.name: layer for layer in discover(model, example)}
    chosen = {name: Candidate(DENSE, "", (), layer_cost(layers[name]), 0.0) for name in ("mix", "head")}
    dense = measure_cost(model, example)
    budget = Budget.of(dense, 0.8, "params")
    known = [layers[name] for name in ("mix", "grouped", "head")]

    def recorded(over: Any) -> PlanRecord:
        return make_record(
            model, over, Plan(chosen, dense), example=example, dense=dense, budget=budget, seed=0
        )

    record = recorded(known)
    record = record.model_copy(update={"model": record.model.model_copy(update={"digest": BEFORE})})
    write_plan(tmp_path / "plan.json", record)
    check_plan(read_plan(tmp_path / "plan.json"), list_layers(model), model)
    whole = recorded(layers.values())
    check_plan(whole, list_layers(model), model)
    model.up.output_padding = (1,)
    with pytest.raises(MismatchError, match="stride or padding differs"):
        check_plan(whole, list_layers(model), model)
