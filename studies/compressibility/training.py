"""Train one of the study's networks; a training that was killed goes on after its last whole epoch.

python studies/compressibility/training.py --model nets.py:cnn4_32_rgb --data imagefolder:DIR --out FILE.safetensors
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ranksearch.networks import fast_layout
from ranksearch.tasks.sources import ImageOptions, load_data, make_model

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Training:
    """Stochastic gradient descent with momentum, the rate warmed up for a twentieth and then a half cosine to zero.

    nuclear: weight of the mean nuclear norm of the kernels, as O × (I·kh·kw) matrices over their Frobenius norm: it
    rewards kernels of low rank, whatever their size. flip: mirror half of the images; shift: up to so many pixels.
    input_size: side that images are resized to, 0 leaves them.
    """

    model: str
    data: str
    epochs: int = 8
    lr: float = 0.1
    batch_size: int = 128
    weight_decay: float = 5e-4
    nuclear: float = 0.0
    flip: bool = True
    shift: int = 4
    input_size: int = 0
    seed: int = 0
    device: str = "cpu"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for name, default in asdict(Training("", "")).items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(flag, type=type(default), default=default, required=default == "")
    given = vars(parser.parse_args())
    out = given.pop("out")
    train(Training(**given), out)


def train(config: Training, out: Path) -> Path:
    """Train and write the weights, unless they are there; the state after each epoch lies beside them until then."""
    if out.is_file():
        return out
    data = load_data(config.data, images=image_options(config.input_size))
    inputs, targets = everything(data.train)
    torch.manual_seed(config.seed)
    model = make_model(config.model, num_classes=len(data.classes) or None, base=HERE)
    model = fast_layout(model).to(config.device)
    optimiser = torch.optim.SGD(
        model.parameters(), config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
    )
    state = out.with_suffix(".state")
    done = resume(state, config, model, optimiser)
    for epoch in range(done, config.epochs):
        loss = one_epoch(model, optimiser, inputs, targets, epoch, config)
        store(state, {"config": asdict(config), "epoch": epoch + 1, "model": model.state_dict(),
                      "optimiser": optimiser.state_dict()})  # fmt: skip
        print(
            f"{out.stem}: epoch {epoch + 1} of {config.epochs}, loss {loss:.4f}, {test_accuracy(model, data, config)}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    temporary = out.with_name(f".{out.name}.tmp")
    save_file(weights, temporary)
    os.replace(temporary, out)
    state.unlink(missing_ok=True)
    return out


def image_options(input_size: int) -> ImageOptions | None:
    """Options that resize images to a side, None where that is 0."""
    return ImageOptions(input_size=(input_size,), crop_pct=1.0) if input_size else None


def everything(dataset: Any) -> tuple[Tensor, Tensor]:
    """All inputs (N, …) and labels (N,) of a data set."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=1000)
    batches = list(loader)
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def resume(state: Path, config: Training, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Load what an earlier training left; the epochs that it had finished. Raises ValueError for another one's."""
    if not state.is_file():
        return 0
    found = torch.load(state, map_location=config.device, weights_only=True)
    if found["config"] | {"device": config.device} != asdict(config):
        raise ValueError(f"{state} is of another training: {found['config']}")
    model.load_state_dict(found["model"])
    optimiser.load_state_dict(found["optimiser"])
    return int(found["epoch"])


def store(path: Path, content: dict[str, Any]) -> None:
    """Write a state in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    torch.save(content, temporary)
    os.replace(temporary, path)


def one_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    epoch: int,
    config: Training,
) -> float:
    """One pass in an order and with augmentations that follow from seed and epoch alone; the mean loss."""
    generator = torch.Generator().manual_seed(config.seed * 10_007 + epoch)
    steps = max(1, len(inputs) // config.batch_size)
    model.train()
    total = 0.0
    for step, (x, y) in enumerate(batches(inputs, targets, steps, generator, config)):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * rate(epoch * steps + step, config.epochs * steps)
        loss = F.cross_entropy(model(x.to(config.device)), y.to(config.device))
        total += loss.item() / steps
        if config.nuclear:
            loss = loss + config.nuclear * relative_nuclear_norm(model)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return total


def batches(
    inputs: Tensor, targets: Tensor, steps: int, generator: torch.Generator, config: Training
) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled, shifted and mirrored batches."""
    order = torch.randperm(len(inputs), generator=generator)
    for step in range(steps):
        chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
        x = inputs[chosen]
        if config.flip:
            mirrored = torch.rand(len(x), generator=generator) < 0.5
            x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
        if config.shift:
            height, width = x.shape[-2:]
            top, left = torch.randint(0, 2 * config.shift + 1, (2,), generator=generator).tolist()
            x = F.pad(x, [config.shift] * 4)[..., top : top + height, left : left + width]
        yield x, targets[chosen]


def rate(step: int, steps: int) -> float:
    """Part of the full learning rate."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def relative_nuclear_norm(model: nn.Module) -> Tensor:
    """Mean over kernels of ‖W‖_* / ‖W‖_F, between 1 (rank one) and the root of the full rank."""
    kernels = [m.weight.flatten(1) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return torch.stack([torch.linalg.svdvals(k).sum() / k.norm() for k in kernels]).mean()


@torch.no_grad()
def test_accuracy(model: nn.Module, data: Any, config: Training) -> str:
    """Top-1 on the test images."""
    if data.test is None:
        return "no test images"
    model.eval()
    inputs, targets = everything(data.test)
    right = sum(
        int((model(x.to(config.device)).argmax(1).cpu() == y).sum())
        for x, y in zip(inputs.split(500), targets.split(500), strict=True)
    )
    return f"test {100 * right / len(targets):.2f} %"


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # not one of pytest's


if __name__ == "__main__":
    main()
