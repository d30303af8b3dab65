"""The compressibility study: trains what it has to, probes every network, and writes down what came of it.

python studies/compressibility/study.py --out DIR --cifar10 DIR --resnet20 FILE
    [--resnet50 FILE] [--fashion DIR] [--cifar100 DIR] [--only NAME …] [--runs] [--advice [NAME]] [--device cuda]

Killed, it goes on where it was. Networks whose data or weights are not given are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import advised
import frequencies
import numpy as np
import orders
import tables
import training
from subjects import NETWORKS, Network, data_spec

from ranksearch.cli.probe import probe_command
from ranksearch.cli.run import run_command
from ranksearch.memory import keep_freed_memory
from ranksearch.networks import threads
from ranksearch.planning import read_plan
from ranksearch.probing import ProbeFolder, read_probe
from ranksearch.probing.rows import read_rows
from ranksearch.runs import RunFolder, load_options
from ranksearch.runs.tasks import build_task
from ranksearch.tasks import evaluate
from ranksearch.tasks.sources import load_data
from ranksearch.tasks.sources.models import load_model

BUDGET = 0.2
"""Of the parameters, at which the score has to predict what a run reaches."""

IMAGES = 1000
"""Whose frequencies are looked at."""

ERROR = 0.3
"""Relative error of a kernel at which tensor-train orders are compared."""


@dataclass(frozen=True)
class Given:
    """What the study was started with: folders of data and files of weights by key."""

    out: Path
    data: dict[str, Path]
    weights: dict[str, Path]
    options: dict[str, Any]
    probe: dict[str, Any]
    epochs: int | None
    runs: bool


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    for key in ("cifar10", "fashion", "cifar100", "resnet20", "resnet50"):
        parser.add_argument(f"--{key}", type=Path)
    parser.add_argument("--only", nargs="*", default=[n.name for n in NETWORKS])
    parser.add_argument("--runs", action="store_true", help=f"also ranksearch run --budget {BUDGET} on each")
    parser.add_argument(
        "--advice",
        nargs="?",
        const="resnet20",
        choices=[n.name for n in NETWORKS],
        metavar="NAME",
        help="also runs with each piece of advice, on ResNet-20 or this network",
    )
    parser.add_argument("--epochs", type=int, help="of training the study's own networks")
    parser.add_argument("--recovery-epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    a = parser.parse_args()
    given = Given(
        out=a.out,
        data={k: v for k in ("cifar10", "fashion", "cifar100") if (v := getattr(a, k)) is not None},
        weights={k: v for k in ("resnet20", "resnet50") if (v := getattr(a, k)) is not None},
        options={"device": a.device, "threads": a.threads, "batch_size": a.batch_size},
        probe={"images": a.images, "images_from": "test", "recovery_epochs": a.recovery_epochs},
        epochs=a.epochs,
        runs=a.runs,
    )
    wanted = [network for network in NETWORKS if network.name in (*a.only, a.advice)]
    results = [result for network in wanted if (result := one(network, given))]
    advice = [
        advice_on(network, given)
        for network in wanted
        if network.name == a.advice and not missing(network, given)
    ]
    tables.write(a.out, results, advice)
    print((a.out / "results.md").read_text())


def one(network: Network, given: Given) -> tables.Result | None:
    """Everything about one network; None where its data or weights are not given."""
    if lacking := missing(network, given):
        print(f"{network.name}: left out without {' and '.join(f'--{key}' for key in lacking)}")
        return None
    options = options_of(network, given)
    folder = ProbeFolder(given.out / network.name / "probe")
    probe_once(folder, options, {**given.probe, **network.probe})
    reached = run(network, options, given) if given.runs or carried_out(network, given).is_file() else None
    model = load_model(network.model, weights=Path(options["weights"]))
    kernels = orders.four_index_kernels(model)
    return tables.Result(
        name=network.name,
        model=network.model,
        high=stored(given.out / network.name / "frequencies.json", lambda: high_share(network, given)),
        record=read_probe(folder.record),
        rows=read_rows(folder.sweep),
        reached=reached,
        orders=stored(given.out / network.name / "orders.json", lambda: orders.compare(kernels, ERROR)),
    )


def probe_once(folder: ProbeFolder, options: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Probe into a folder, or go on with what was begun there; a probe that is through is left as it is."""
    if not folder.record.is_file():
        place = {"out": str(folder.path), "resume": folder.probe_config.is_file()}
        probe_command(None, {**options, **place, **wanted})


def missing(network: Network, given: Given) -> list[str]:
    """What a network would need and was not given."""
    needed = [(network.data, given.data), *([(network.weights, given.weights)] if network.weights else [])]
    return [key for key, known in needed if key not in known]


def options_of(network: Network, given: Given) -> dict[str, Any]:
    """Options of ranksearch for a network with its weights and data."""
    weights = given.weights[network.weights] if network.weights else trained(network, given)
    return {
        "model": network.model,
        "weights": str(weights),
        "data": data_of(network, given),
        **network.image_options,
        **given.options,
    }


def data_of(network: Network, given: Given) -> str:
    """The data of a network, as `--data` takes it; filtered images are written down once."""
    folder = given.data[network.data]
    if network.filter:
        out = given.out / "data" / f"{network.data}-{network.filter}"
        folder = frequencies.filtered_folder(folder, out, network.filter)
    return data_spec(network.data, folder)


def high_share(network: Network, given: Given) -> float:
    """High-frequency content of the test images, as the network sees them."""
    images = training.image_options(network.input_size)
    data = load_data(data_of(network, given), images=images).test
    return frequencies.high_share(np.stack([data[k][0].numpy() for k in range(min(IMAGES, len(data)))]))


def advice_on(network: Network, given: Given) -> tuple[str, list[advised.Reached]]:
    """What advice brings to a network. Its prior is a probe of its own: the study's looks at the test images."""
    out, options = given.out / network.name / "advice", options_of(network, given)
    probe = ProbeFolder(out / "probed")
    own = {"images_from": "validation", "recovery_epochs": 0, "plots": False}
    probe_once(probe, options, {**given.probe, **network.probe, **own})
    return network.name, advised.compare(options | {"batch_size": 128}, probe.path, out)


def trained(network: Network, given: Given) -> Path:
    """The weights that the study trains for a network, once."""
    spec = data_of(network, given)
    settings = dict(network.training) | {"device": given.options["device"], "input_size": network.input_size}
    if given.epochs is not None:
        settings["epochs"] = given.epochs
    out = given.out / "weights" / f"{network.name}.safetensors"
    return training.train(training.Training(network.model, spec, **settings), out)


def run(network: Network, options: dict[str, Any], given: Given) -> tuple[float, float]:
    """Accuracy on all test images of the dense model, and of what a run without fine-tuning delivers at 0.2."""
    folder = RunFolder(given.out / network.name / "run")
    stated = options | {"budget": str(BUDGET), "n_trials": "0", "finetune_trials": "0", "epochs": "0"}
    done = carried_out(network, given)
    if not done.is_file():
        run_command(
            None, stated | {"out": str(folder.path), "resume": folder.config.is_file(), "batch_size": 128}
        )
    compressed = read_plan(done).scores["test"]
    assert compressed is not None
    dense = stored(given.out / network.name / "dense.json", lambda: dense_accuracy(options))
    return float(dense), compressed


def carried_out(network: Network, given: Given) -> Path:
    """The plan of a network's run, which is there when the run is through."""
    return RunFolder(given.out / network.name / "run").compressed(str(BUDGET)) / "plan.json"


def dense_accuracy(options: Mapping[str, Any]) -> float:
    """Of a network on all its test images; the probe looks at some of them only."""
    task = build_task(load_options(options))
    with threads(options["threads"]):
        found = evaluate(task.model, task, "test")
    assert found is not None
    return found.mean


def stored(path: Path, compute: Any) -> Any:
    """A result that is computed once."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(compute(), indent=1) + "\n")
    return json.loads(path.read_text())


if __name__ == "__main__":
    keep_freed_memory()
    main()
