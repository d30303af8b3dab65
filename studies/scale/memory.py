"""How memory grows with the depth and the width of a transformer: stacks of blocks, each in its own process.

    python studies/scale/memory.py [--depths 2,4,8] [--widths 128,256,512] [--room 16] [--out memory.csv]

Peaks of resident memory, step by step, up to a model that keeps half the parameters of the blocks, over what the
process takes before it has a model. With `--room`, moments and whitened kernels have so many MiB each in place of 2 and
1 GiB, so that small models show what large ones do.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.calibration import held
from ranksearch.compression import refit
from ranksearch.planning import fits

HEAD = 64
"""Width of a head of attention."""

TOKENS, VOCABULARY = 64, 512
MIB = 2**20
STEPS = ("model", "search", "compress")


class Block(nn.Module):
    """Attention and a gated feed-forward part, as in decoders today; a width of d takes 4 d² + 8 d² parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(width, 8 * width // 3, bias=False) for _ in range(2))
        self.down = nn.Linear(8 * width // 3, width, bias=False)
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        q, k, v = (part(y).unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in (self.q, self.k, self.v))
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(seen.transpose(1, 2).flatten(2))
        y = self.between(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


class Stack(nn.Module):
    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.tokens, self.blocks = nn.Embedding(VOCABULARY, width), nn.ModuleList()
        self.blocks.extend(Block(width) for _ in range(depth))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def resident(key: str) -> int:
    """A line of /proc/self/status in bytes: `VmRSS` now, `VmHWM` the peak since `forget`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def forget() -> None:
    """Begin a new peak."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(depth: int, width: int, examples: int, room: int, cache: Path) -> dict[str, float]:
    """Peaks in MiB and seconds of each step."""
    if room:
        held.ROOM = fits._KEPT_BYTES = refit._KEPT_BYTES = room * MIB
    torch.manual_seed(0)
    ids = torch.randint(VOCABULARY, (examples, TOKENS))
    torch.linalg.eigh(torch.eye(64))  # what torch sets up
    base = resident("VmRSS")
    row: dict[str, float] = {"depth": depth, "width": width}
    began = time.monotonic()

    def ends(step: str) -> None:
        nonlocal began
        row[step] = round((resident("VmHWM") - base) / MIB, 1)
        row[f"{step} s"] = round(time.monotonic() - began, 1)
        forget()
        began = time.monotonic()

    forget()
    model = Stack(depth, width)
    row["weights"] = round(sum(4 * p.numel() for p in model.parameters()) / MIB, 1)
    row["block"] = round(sum(4 * p.numel() for p in model.blocks[0].parameters()) / MIB, 1)
    task = ranksearch.Task(
        model, TensorDataset(ids), loss="causal_lm", calibration_size=examples, batch_size=8, cache=cache
    )
    del model
    ends("model")
    found = ranksearch.search(task, 0.5, budget_of="blocks", progress=False)
    ends("search")
    ranksearch.compress(task, found, epochs=0, progress=False)
    ends("compress")
    return row


def apart(depth: int, width: int, examples: int, room: int) -> dict[str, float]:
    """The same in a process of its own, with a cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        given = [str(value) for value in (depth, width, examples, room, cache)]
        done = subprocess.run(
            [sys.executable, __file__, "--one", *given], check=True, capture_output=True, text=True
        )
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def slope(rows: list[dict[str, float]], step: str) -> float:
    """MiB of a peak for each MiB of weights, by least squares."""
    return float(np.polyfit([row["weights"] for row in rows], [row[step] for row in rows], 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", default="2,4,8,16")
    parser.add_argument("--widths", default="128,256,512")
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--room", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("memory.csv"))
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        *numbers, cache = given.one
        print(json.dumps(measure(*map(int, numbers), Path(cache))))
        return
    depths, widths = ([int(n) for n in text.split(",")] for text in (given.depths, given.widths))
    sizes = [(depth, widths[len(widths) // 2]) for depth in depths] + [(depths[0], width) for width in widths]
    rows = []
    with given.out.open("w", newline="") as file:
        columns = ["depth", "width", "weights", "block", *STEPS, *(f"{step} s" for step in STEPS)]
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for depth, width in sizes:
            rows.append(apart(depth, width, given.examples, given.room))
            writer.writerow(rows[-1])
            file.flush()
            print(rows[-1], flush=True)
    deep = rows[: len(depths)]
    print(
        "with the depth: " + ", ".join(f"{step} {slope(deep, step):.2f} times the weights" for step in STEPS)
    )


if __name__ == "__main__":
    main()
