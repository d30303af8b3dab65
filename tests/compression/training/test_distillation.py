"""Fine-tuning by distillation."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ranksearch.compression.training import FinetuneConfig, finetune, steps_per_epoch
from ranksearch.errors import InputError, NonFiniteError
from ranksearch.networks import run
from ranksearch.tasks import Role, Task, divergence
from ranksearch.tasks.splits import Splits


def broken(task: Task) -> nn.Module:
    torch.manual_seed(1)
    model = copy.deepcopy(task.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def test_it_brings_outputs_nearer_to_the_dense_models(tiny_task: Task) -> None:
    model, seen = broken(tiny_task), {k: v.clone() for k, v in tiny_task.model.state_dict().items()}

    def distance() -> float:
        x = tiny_task.inputs("divergence")
        outputs = [run(m, x, batch_size=32, device=tiny_task.device) for m in (tiny_task.model, model)]
        return divergence(outputs[0], outputs[1], tiny_task.loss).mean

    before = distance()
    tuned = finetune(model, tiny_task.model, tiny_task, steps=60, seed=0, config=FinetuneConfig(lr=3e-3))
    assert tuned is model
    assert not model.training
    assert distance() < 0.5 * before
    assert all(torch.equal(seen[k], v) for k, v in tiny_task.model.state_dict().items())


def test_checkpoints_and_steps_are_told(tiny_task: Task) -> None:
    steps: list[int] = []
    at: list[tuple[int, bool]] = []
    finetune(
        broken(tiny_task),
        tiny_task.model,
        tiny_task,
        steps=5,
        seed=0,
        checkpoints=(2, 5),
        on_checkpoint=lambda step, model: at.append((step, model.training)),
        on_step=lambda step, loss: steps.append(step),
    )
    assert steps == [1, 2, 3, 4, 5]
    assert at == [(2, False), (5, False)]


def test_labels_are_used_where_they_are_asked_for(tiny_task: Task) -> None:
    models = [
        finetune(
            broken(tiny_task),
            tiny_task.model,
            tiny_task,
            steps=3,
            seed=0,
            config=FinetuneConfig(label_weight=weight),
        )
        for weight in (0.0, 0.9)
    ]
    first, second = (model.state_dict()["0.weight"] for model in models)
    assert not torch.equal(first, second)


def in_blocks() -> nn.Module:
    """The layers of a tiny task, in a block of two."""
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3))
    return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5)).eval()


@pytest.mark.parametrize("role", ["finetune", "moments"])
def test_features_come_nearer_where_they_count(tiny_task: Task, role: Role) -> None:
    task = replace(tiny_task, model=in_blocks())

    def apart(weight: float) -> float:
        config = FinetuneConfig(lr=3e-3, feature_weight=weight)
        model = finetune(
            broken(task), task.model, task, steps=40, seed=0, config=config, role=role, blocks=["0"]
        )
        x = task.inputs("divergence")
        with torch.no_grad():
            return float((task.model.get_submodule("0")(x) - model.get_submodule("0")(x)).square().sum())

    assert apart(10.0) < 0.5 * apart(0.0)


def test_only_images_of_the_role_are_seen(tiny_task: Task) -> None:
    seen: list[torch.Tensor] = []
    model = broken(tiny_task)
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    finetune(model, tiny_task.model, tiny_task, steps=2, seed=0, role="moments")
    images = tiny_task.inputs("moments")
    assert all(any(torch.equal(x, known) for known in images) for x in torch.cat(seen))


def test_images_are_changed_where_they_are_asked_to_be(tiny_task: Task) -> None:
    seen: list[torch.Tensor] = []
    model = broken(tiny_task)
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    finetune(model, tiny_task.model, tiny_task, steps=2, seed=0, config=FinetuneConfig(augment=True))
    images = torch.cat([x for x, _ in tiny_task.batches("finetune")])
    known = [any(torch.equal(x, image) for image in images) for x in torch.cat(seen)]
    assert sum(known) < 0.5 * len(known)


def test_no_steps_change_nothing(tiny_task: Task) -> None:
    model = broken(tiny_task)
    before = copy.deepcopy(model.state_dict())
    finetune(model, tiny_task.model, tiny_task, steps=0, seed=0)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_loss_that_blows_up_is_an_error(tiny_task: Task) -> None:
    model = broken(tiny_task)
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"fine-tuning loss at step 1: .* Lower the learning rate"):
        finetune(model, tiny_task.model, tiny_task, steps=2, seed=0)


def test_without_images_it_says_so(tiny_task: Task) -> None:
    s = tiny_task.splits
    task = replace(tiny_task, splits=Splits(s.seed, s.moments, s.divergence, (), s.validation))
    assert steps_per_epoch(task) == 0
    with pytest.raises(InputError, match="fine-tuning: expected training images for it"):
        finetune(broken(task), task.model, task, steps=1, seed=0)


def test_half_precision_is_not_trained(tiny_task: Task) -> None:
    """Its steps come to nothing, or to no numbers."""
    half = replace(tiny_task, model=copy.deepcopy(tiny_task.model).half(), splits=tiny_task.splits)
    with pytest.raises(InputError, match="training: expected weights in float32 or bfloat16, got float16"):
        finetune(copy.deepcopy(half.model), half.model, half, steps=1, seed=0)


def test_labels_that_are_to_count_have_to_be_there(tiny_task: Task) -> None:
    bare = replace(tiny_task, train=TensorDataset(tiny_task.train.tensors[0]), splits=tiny_task.splits)
    model = copy.deepcopy(bare.model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        InputError, match=r"`label_weight=0\.3`: expected training images with labels, got none"
    ):
        finetune(model, bare.model, bare, steps=2, seed=0, config=FinetuneConfig(label_weight=0.3))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    finetune(model, bare.model, bare, steps=1, seed=0)


class Dropping(nn.Module):
    """Dropout, and in training the outputs of a second classifier beside its own."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.drop, self.beside = body, nn.Dropout(0.3), nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> object:
        outputs = self.body(self.drop(x))
        return (outputs, self.beside(outputs)) if self.training else outputs


def tuned(task: Task, model: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    config = FinetuneConfig(lr=1e-3)
    return finetune(copy.deepcopy(model), task.model, task, steps=3, seed=seed, config=config).state_dict()


def test_what_the_model_draws_follows_from_the_seed(tiny_task: Task) -> None:
    model = Dropping(broken(tiny_task))
    task = replace(tiny_task, model=Dropping(tiny_task.model).eval())
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = tuned(task, model)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = tuned(task, model), tuned(task, model, seed=1)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)
    assert torch.equal(first["beside.weight"], model.beside.weight)


def test_a_frozen_model_is_trained_and_frozen_again(tiny_task: Task) -> None:
    model = broken(tiny_task)
    free = tuned(tiny_task, model)
    model.requires_grad_(False)
    frozen = finetune(
        copy.deepcopy(model), tiny_task.model, tiny_task, steps=3, seed=0, config=FinetuneConfig(lr=1e-3)
    )
    assert all(torch.equal(free[k], v) for k, v in frozen.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in frozen.parameters())
    model[-1].requires_grad_(True)
    partly = tuned(tiny_task, model)
    changed = {k for k, v in model.named_parameters() if not torch.equal(v, partly[k])}
    assert changed == {"8.weight", "8.bias"}


class Odd(Dropping):
    def forward(self, x: torch.Tensor) -> object:
        outputs = self.body(x)
        return {"a": outputs, "b": x} if self.training else outputs


def test_outputs_that_are_no_tensor_in_training_are_refused(tiny_task: Task) -> None:
    with pytest.raises(
        InputError, match="returns in training what it returns in evaluation, a tensor, got dict"
    ):
        tuned(tiny_task, Odd(tiny_task.model))
