"""Models of several inputs, by position and by name, and models that return more than a tensor: from search to load."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import ranksearch
from ranksearch.compression import CompressConfig
from ranksearch.errors import InputError
from ranksearch.networks import call, forward, head, one_tensor
from ranksearch.probing import Bench
from ranksearch.tasks import Task

ROOT = Path(__file__).parent.parent


class TwoInputs(nn.Module):
    """An image and a vector, by position."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 8, 3, padding=1)
        self.vector = nn.Linear(6, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        found = self.image(image).relu().mean((2, 3)) + self.vector(vector).relu()
        return self.head(found) * 4


class Encoder(nn.Module):
    """Tokens and their mask, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 12)
        self.first = nn.Linear(12, 16)
        self.second = nn.Linear(16, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, *, ids: Tensor, mask: Tensor) -> Tensor:
        found = self.second(self.first(self.embed(ids)).relu())
        return self.head((found * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)) * 4


@dataclass
class Returned:
    """As libraries of transformers return it."""

    logits: Tensor
    hidden: Tensor


class Wrapping(nn.Module):
    """Returns its logits beside others; in training mode too."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Linear(6, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Any:
        hidden = self.first(x).relu()
        return self.kind(logits=self.head(hidden) * 4, hidden=hidden)


class Items(Dataset[Any]):
    """Pairs of an input, a tree, and a label."""

    def __init__(self, inputs: Callable[[int], Any]) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return 120

    def __getitem__(self, index: int) -> Any:
        return self.inputs(index), index % 4


def seeded(index: int) -> torch.Generator:
    return torch.Generator().manual_seed(index)


def image_and_vector(index: int) -> Any:
    g = seeded(index)
    return torch.randn(3, 6, 6, generator=g), torch.randn(6, generator=g)


def ids_and_mask(index: int) -> Any:
    g = seeded(index)
    length = 3 + index % 4
    return {"ids": torch.randint(0, 11, (7,), generator=g), "mask": (torch.arange(7) < length).float()}


CASES = {
    "positional": (TwoInputs, image_and_vector, None),
    "named": (Encoder, ids_and_mask, None),
    "dataclass": (lambda: Wrapping(Returned), lambda k: torch.randn(6, generator=seeded(k)), "attribute"),
    "dict": (lambda: Wrapping(dict), lambda k: torch.randn(6, generator=seeded(k)), "item"),
}
OUTPUTS: dict[str, Callable[[Any], Tensor]] = {
    "attribute": lambda returned: returned.logits,
    "item": lambda returned: returned["logits"],
}


def task_of(name: str) -> Task:
    torch.manual_seed(0)
    make, inputs, output = CASES[name]
    more = {} if output is None else {"output": OUTPUTS[output]}
    return Task(make().eval(), Items(inputs), calibration_size=48, batch_size=16, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_from_search_to_load(name: str, tmp_path: Path) -> None:
    task = task_of(name)
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    result = ranksearch.search(task, 0.6)
    assert any(not candidate.is_dense for candidate in result.plan.choices.values())
    done = ranksearch.compress(task, result.plan, config=CompressConfig(iterations=5, epochs=1))
    ranksearch.save(tmp_path, task, result, done)
    loaded = ranksearch.load(tmp_path, CASES[name][0]())
    inputs = head(task.inputs("divergence"), 8)
    torch.testing.assert_close(
        forward(loaded, inputs, task.output), task.outputs(done.model, inputs), rtol=1e-4, atol=1e-5
    )
    assert all(torch.equal(before[key], value) for key, value in task.model.state_dict().items())


@pytest.mark.parametrize("name", CASES)
def test_refits_in_order_are_had_for_them_too(name: str) -> None:
    """The pass that takes each example twice, once for the dense and once for the compressed network."""
    task = task_of(name)
    plan = ranksearch.search(task, 0.5).plan
    both, alone = (
        ranksearch.compress(task, plan, config=CompressConfig(iterations=5, epochs=0, in_order=own))
        for own in (True, False)
    )
    assert both.factorised.mean <= alone.factorised.mean


@pytest.mark.parametrize("name", CASES)
def test_a_bench_exchanges_kernels_of_them(name: str) -> None:
    task = task_of(name)
    inputs = task.inputs("divergence")
    bench = Bench(task.model, inputs, batch_size=8, device=task.device, output=task.output)
    torch.testing.assert_close(bench.dense, task.outputs(task.model, inputs))
    weight = task.model.get_parameter("head.weight")
    (changed,) = bench.outputs([{"head.weight".removesuffix(".weight"): weight * 2}])
    bias = task.model.get_parameter("head.bias")
    torch.testing.assert_close(changed - 4 * bias, 2 * (bench.dense - 4 * bias), rtol=1e-4, atol=1e-5)


def test_a_model_is_called_as_its_inputs_are() -> None:
    model = TwoInputs().eval()
    image, vector = torch.randn(2, 3, 6, 6), torch.randn(2, 6)
    torch.testing.assert_close(call(model, (image, vector)), model(image, vector))
    torch.testing.assert_close(call(model, {"vector": vector, "image": image}), model(image, vector))


def test_the_usual_output_is_found_and_told(caplog: pytest.LogCaptureFixture) -> None:
    task = replace(task_of("dict"), output=one_tensor)
    with caplog.at_level(logging.INFO):
        found = ranksearch.search(task, 0.6).plan
    assert "output: logits of what the model returns (dict) counts" in caplog.text
    assert found.ranks == ranksearch.search(task_of("dict"), 0.6).plan.ranks


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda returned: returned["logit"], r"got KeyError: 'logit', where the model returned dict"),
        (lambda returned: list(returned.values()), "got list"),
    ],
)
def test_an_output_that_makes_no_tensor_is_named(output: Callable[[Any], Any], message: str) -> None:
    data = Items(CASES["dict"][1])  # type: ignore[arg-type]
    task = Task(Wrapping(dict).eval(), data, output=output, calibration_size=48)
    with pytest.raises(InputError, match="output: expected a function that makes one Tensor") as caught:
        ranksearch.search(task, 0.5)
    assert re.search(message, str(caught.value))


MODELS = {"model", "teacher", "student", "dense", "compressed", "root", "loaded"}


@pytest.mark.parametrize(
    "path", [p for top in ("ranksearch", "objectives") for p in sorted((ROOT / top).rglob("*.py"))], ids=str
)
def test_models_are_run_through_one_door(path: Path) -> None:
    """No file but running.py calls a model by itself. The network of digits is trained before it is a task's model, a
    run folder has places of compressed models only, and what `compress` returns can be called like its model."""
    if path.name in ("running.py", "digits.py", "run_folder.py", "full.py"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            names = [part.strip("_") for part in ast.unparse(node.func).split(".")]
            owned = len(names) == 2 and names[0] in ("self", "task") and names[1] in MODELS
            assert not owned, f"{path.name}:{node.lineno}"
            assert len(names) > 1 or names[0] not in MODELS, f"{path.name}:{node.lineno}"
