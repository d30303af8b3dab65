"""Budgets of time, measured.

    python studies/speed/speed.py row      --budget 0.5 …   a row of the table: a plan, its time, its accuracy
    python studies/speed/speed.py predict  [--plans 20] …   plans over all budgets, predicted against measured
    python studies/speed/speed.py compare  --budget 0.5 …   methods at equal measured time

… stands for the network and where it runs: --runtime NAME --batch N [--threads N], and
    --data imagefolder:DIR --weights FILE                            ResNet-20
    --model file.py:factory --data imagefolder:DIR --weights FILE    another trained network
    --model torchvision:resnet18 --input-size 64 --data … --weights …  a network for images of another size
    --model torchvision:resnet18                                     random weights and images: times alone
Rows are printed, and appended to rows.jsonl in --out; plan files go there too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from benches import RESNET20, Bench, predictions, row
from equal_time import METHODS, comparison

import ranksearch


def main(arguments: list[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    ranksearch.keep_freed_memory()
    torch.set_num_threads(given.threads)
    bench = Bench.of(given)
    if given.command == "row":
        rows = [row(bench, given.budget, given.out)]
    elif given.command == "predict":
        rows = [predictions(bench, given.plans)]
    else:
        rows = comparison(bench, given.budget, given.methods)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "rows.jsonl").open("a", encoding="utf-8") as file:
        for one in rows:
            file.write(json.dumps({"command": given.command, **one}) + "\n")
            print(line(one))


def line(found: dict[str, Any]) -> str:
    """A row as Markdown."""
    cells = [str(found[key]) for key in ("network", "runtime", "batch", "budget", "method") if key in found]
    if "pairs" in found:
        cells += [f"{found['plans']} plans", f"{100 * found['error']:.1f} %", f"{found['spearman']:.3f}"]
    elif "time" not in found:
        cells.append("no plan is fast enough")
    else:
        cells += [f"{found['time']:.3f}", f"{found['low']:.3f} to {found['high']:.3f}"]
        cells += [f"{found[key]:.3f}" for key in ("predicted", "flops") if key in found]
    if "accuracy" in found:
        cells.append(f"{found['accuracy']:.2f} ± {found['stderr']:.2f}")
    if found.get("behind"):
        cells.append(f"{found['behind']:.2f} ± {found['behind_stderr']:.2f}")
    return f"| {' | '.join(cells)} |"


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=("row", "predict", "compare"))
    p.add_argument("--model", default=RESNET20)
    p.add_argument("--data")
    p.add_argument("--weights")
    p.add_argument(
        "--input-size", type=int, help="of images, which are resized to it; as they are where not given"
    )
    p.add_argument("--runtime", default="onnxruntime")
    p.add_argument("--batch", type=int, default=32, help="examples at once")
    p.add_argument("--budget", type=float, default=0.5, help="a share of the dense model's time")
    p.add_argument("--multiple", default="auto", help="of ranks; auto: 8 for plans by FLOPs")
    p.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="to compare")
    p.add_argument("--plans", type=int, default=20)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--calibration-size", type=int, default=1536)
    p.add_argument("--batch-size", type=int, default=128, help="of the calibration")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("runs/speed"))
    return p


if __name__ == "__main__":
    main()
