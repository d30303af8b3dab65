"""What keeping freed memory saves: a pass of images through a thin network, such as CP makes of a ResNet, either way.

python studies/scale/passes.py [--channels 27] [--blocks 9] [--images 512] [--batch-size 128]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import torch
from torch import nn

from ranksearch.memory import keep_freed_memory
from ranksearch.networks import fast_layout, run

CPU = torch.device("cpu")


def thin(channels: int, blocks: int) -> nn.Module:
    """Blocks of a 1×1, a depthwise and another 1×1 convolution, with BatchNorm and ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    for _ in range(blocks):
        layers += [
            nn.Conv2d(16, channels, 1, bias=False),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, 16, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        ]
    return fast_layout(nn.Sequential(*layers))


def measure(given: argparse.Namespace) -> str:
    """CPU seconds and page faults of the third pass, which finds whatever the first two have left."""
    model, images = thin(given.channels, given.blocks), torch.randn(given.images, 3, 32, 32)
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF)
        run(model, images, batch_size=given.batch_size, device=CPU)
        after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{seconds:.2f} s of CPU, {after.ru_minflt - before.ru_minflt:,} page faults"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("channels", 27), ("blocks", 9), ("images", 512), ("batch-size", 128)):
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument(
        "--keep", choices=("yes", "no"), help="one of both; by default each in a process of its own"
    )
    given = p.parse_args()
    torch.set_num_threads(1)
    if given.keep is None:
        for keep in ("no", "yes"):
            subprocess.run([sys.executable, *sys.argv, "--keep", keep], check=True)
        return
    kept = given.keep == "yes" and keep_freed_memory()
    print(f"freed memory {'kept' if kept else 'given back'}: {measure(given)}")


if __name__ == "__main__":
    main()
