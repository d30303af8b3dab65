"""Train one of the small networks, for the comparison to start from.

python studies/shootout/train.py --network vgg_grey --data torchvision:FashionMNIST:DIR --out vgg_grey.safetensors
python studies/shootout/train.py --network vgg --data imagefolder:DIR --out vgg.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, cast

import networks
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ranksearch.errors import RankSearchError
from ranksearch.evaluate import evaluate
from ranksearch.options import RunOptions
from ranksearch.sources.tasks import build_task
from ranksearch.task import Task

NETWORKS = ("vgg", "vgg_grey", "cnn4", "cnn4_grey")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--data", required=True, help="imagefolder:DIR or torchvision:FashionMNIST:DIR")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go, .safetensors")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, help="stop after so many steps in all")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.manual_seed(given.seed)
    try:
        task = build_task(
            RunOptions(
                model=f"{Path(networks.__file__)}:{given.network}",
                data=given.data,
                batch_size=given.batch_size,
                workers=given.workers,
                seed=given.seed,
            )
        )
    except RankSearchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    train(task, epochs=given.epochs, steps=given.steps, lr=given.lr)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in task.model.state_dict().items()}, given.out)
    found = evaluate(task.model, task, "test")
    if found is not None:
        print(f"test accuracy: {found.mean:.2f} ± {found.stderr:.2f}")
    return 0


def train(task: Task, *, epochs: int, steps: int | None, lr: float) -> nn.Module:
    """AdamW under one cycle, all training images but those for validation, in place."""
    dataset = torch.utils.data.Subset(
        task.train, [*task.splits.moments, *task.splits.divergence, *task.splits.finetune]
    )
    loader = DataLoader(
        dataset,
        batch_size=task.batch_size,
        shuffle=True,
        drop_last=len(dataset) >= task.batch_size,
        num_workers=task.workers,
        generator=torch.Generator().manual_seed(task.seed),
    )
    total = min(epochs * len(loader), steps or epochs * len(loader))
    optimiser = torch.optim.AdamW(task.model.parameters(), lr=lr, weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=total)
    step = 0
    while step < total:
        task.model.train()
        for inputs, classes in cast(Any, loader):
            loss = F.cross_entropy(task.model(augment(inputs).to(task.device)), classes.to(task.device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step % 100 == 0 or step == total:
                print(f"step {step} of {total}: loss {loss.item():.3f}", flush=True)
            if step >= total:
                break
    return task.model.eval()


def augment(inputs: Tensor, reach: int = 2) -> Tensor:
    """Flip half of a batch (N, C, H, W) and shift all of it by up to `reach` pixels, zeros filling in."""
    flipped = torch.where(torch.rand(len(inputs), 1, 1, 1) < 0.5, inputs.flip(3), inputs)
    up, left = torch.randint(0, 2 * reach + 1, (2,)).tolist()
    padded = F.pad(flipped, (reach, reach, reach, reach))
    return padded[:, :, up : up + inputs.shape[2], left : left + inputs.shape[3]]


if __name__ == "__main__":
    sys.exit(main())
