"""The time of plans over the dense ResNet-20's: `python studies/speed/ratios.py PLAN...`.

Each plan file is timed in both runtimes, at batch 1 and 32, with one thread; a line a measurement.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ranksearch.networks import discover, fast_layout
from ranksearch.objects import load_object
from ranksearch.planning import chain_of, read_plan, to_plan
from ranksearch.timing import Timer, TimingSettings


def main(paths: list[str]) -> None:
    torch.set_num_threads(1)
    own = Path(__file__).parent.parent / "resnet20_cifar10" / "resnet20.py"
    model = load_object(f"{own}:resnet20", option="model")().eval()
    example = torch.zeros(1, 3, 32, 32)
    layers = {layer.name: layer for layer in discover(model, example) if layer.reason is None}
    for runtime in ("onnxruntime", "torch"):
        for batch in (1, 32):
            settings = TimingSettings(runtime, batch, 1)
            timer = Timer.start(model, list(layers.values()), example, settings, fast_layout)
            for path in paths:
                chosen = {n: c for n, c in to_plan(read_plan(Path(path))).choices.items() if not c.is_dense}
                ratio = timer.ratio({name: chain_of(layers[name], c) for name, c in chosen.items()})
                print(f"{path} {runtime} {batch}: {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})")


if __name__ == "__main__":
    main(sys.argv[1:])
