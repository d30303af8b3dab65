"""Low rank, int8 and structured pruning, alone and together:

    python studies/combinations/combinations.py --data imagefolder:DIR --weights FILE --out DIR [--times]

Every model is exported to ONNX and, quantised, to int8; both files are evaluated on the test images. What is in the
results is not done again. `--times` times the files in DIR, once more if they were timed, and does nothing else: run it
while the machine is quiet. The table goes to the screen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.costs import measure_cost
from ranksearch.exporting import EXPORTERS, export_file
from ranksearch.files import whole_file, write_text
from ranksearch.memory import keep_freed_memory
from ranksearch.networks import head, repeated, threads
from ranksearch.quantization import INT8_FILE, quantize_file
from ranksearch.tasks import Task, divergence, evaluate
from ranksearch.timing import file_ratio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what studies share
from models import distilled, makers
from subject import parser, task_of
from table import table

RESULTS = Path(__file__).parent / "results" / "combinations.json"
BATCHES = (1, 32)

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill in what is missing of the results, and print them."""
    given = options().parse_args(arguments)
    keep_freed_memory()
    rows: list[Row] = json.loads(given.results.read_text()) if given.results.is_file() else []
    with threads(given.threads):
        task = task_of(given, split_seed=given.split_seed)
        if given.times:
            time_files(task, rows, given.out, given.threads)
            write(given.results, rows)
        else:
            for row in missing(task, rows, given):
                rows.append(row)
                write(given.results, rows)
    print(table(rows))
    return 0


def options() -> argparse.ArgumentParser:
    """What the study takes."""
    p = parser(__doc__)
    p.add_argument("--out", type=Path, required=True, help="folder of the files, which are timed later")
    p.add_argument("--results", type=Path, default=RESULTS)
    p.add_argument("--split-seed", type=int, default=42)
    p.add_argument("--kept", type=float, nargs=2, default=(0.5, 0.3), help="of the parameters, low-rank")
    p.add_argument("--epochs", type=int, default=1, help="of distillation")
    p.add_argument("--only", nargs="*", help="names of models, all by default")
    p.add_argument("--times", action="store_true", help="time the files that are there")
    return p


def missing(task: Task, rows: Sequence[Row], given: argparse.Namespace) -> Iterator[Row]:
    """Rows of models that have none yet, as they are measured; those without distillation first."""
    done = {(row["model"], row["epochs"]) for row in rows}
    models = makers(task, *given.kept, partial(kept_in, given.out))
    wanted = [(name, 0) for name in models] + [(name, given.epochs) for name in models if name != "dense"]
    for name, epochs in wanted:
        if (name, epochs) not in done and (not given.only or name in given.only):
            model = distilled(task, models[name](), epochs) if epochs else models[name]()
            yield measured(task, name, epochs, model, given.out / folder_of(name, epochs))


def kept_in(out: Path, name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """The model of a name, from the folder of an earlier run of this script where it is there."""
    path = out / folder_of(name, 0) / "model.pt"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        model = make()
        with whole_file(path) as temporary:
            torch.save(model, temporary)
    found: nn.Module = torch.load(path, weights_only=False)
    return found


def measured(task: Task, name: str, epochs: int, model: nn.Module, folder: Path) -> Row:
    """Export a model and its int8 file, and evaluate both."""
    folder.mkdir(parents=True, exist_ok=True)
    held_out = task.inputs("divergence")
    apart = divergence(task.outputs(task.model, held_out), task.outputs(model, held_out), task.loss)
    scores = {role: evaluate(model, task, role) for role in ("validation", "test")}
    export_file(folder, EXPORTERS.get("onnx"), model, held_out, task.output)
    int8 = quantize_file(folder, model, task, planned=getattr(model, "planned", ())).quantized
    assert int8 is not None
    return {
        "model": name,
        "epochs": epochs,
        **measure_cost(model, task.example, ("params", "flops")).amounts,
        "divergence": apart.mean,
        "float": {
            "bytes": int8.float_bytes,
            **{role: found.mean for role, found in scores.items() if found is not None},
        },
        "int8": {
            "bytes": int8.bytes,
            "divergence_from_float": int8.divergence,
            "float_layers": list(int8.float_layers),
            "layers": int8.layers,
            **{role: int8.scores[role] for role in scores if role in int8.scores},
        },
    }


def time_files(task: Task, rows: Sequence[Row], out: Path, count: int) -> None:
    """Time every file over the dense float one, and say so in the rows."""
    reference = out / folder_of("dense", 0) / "model.onnx"
    for row in rows:
        folder = out / folder_of(row["model"], row["epochs"])
        for kind, name in (("float", "model.onnx"), ("int8", INT8_FILE)):
            found = {}
            for batch in BATCHES if (folder / name).is_file() else ():
                ratio = file_ratio(folder / name, reference, repeated(head(task.example, 1), batch), count)
                found[str(batch)] = [ratio.median, ratio.low, ratio.high]
            row[kind]["time"] = found or row[kind].get("time", {})


def folder_of(name: str, epochs: int) -> str:
    """Where the files of a model are."""
    return f"{name.replace(',', '').replace(' ', '-')}-{epochs}"


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
