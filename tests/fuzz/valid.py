"""A valid file of every kind that ranksearch reads, and how it is read."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from optuna.pruners import NopPruner
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from ranksearch.cache import Cache, digest
from ranksearch.checksums import check_sum, read_sums, write_sums
from ranksearch.cli.console import output_console
from ranksearch.cli.tables import front_view, plan_view
from ranksearch.cli.verdict import verdict_view
from ranksearch.costs import Budget, Kept
from ranksearch.errors import BudgetError, RankSearchError
from ranksearch.exporting import ExportRecord, ExportsRecord, read_exports
from ranksearch.interchange import (
    PLAN_EXPORTERS,
    AimetScores,
    export_of,
    export_plan_file,
    plan_of,
    read_ranks,
)
from ranksearch.networks import load_weights
from ranksearch.planning import (
    Problem,
    analytic,
    further_budgets,
    further_plan,
    make_record,
    read_plan,
    read_tables,
    record_of,
    record_of_tables,
    write_plan,
    write_tables,
)
from ranksearch.planning.tables_record import TimesRecord
from ranksearch.probing import CutSpectrum, SweepFile, read_probe, read_recovery, write_spectra
from ranksearch.probing.cuts import Cut
from ranksearch.probing.prior import informative, layer_weights
from ranksearch.probing.record import (
    DenseScores,
    EpochRecord,
    ImagesRecord,
    Measured,
    PointRecord,
    ProbedLayer,
    ProbeRecord,
    RecoveryRecord,
    SpeedRecord,
    TimeRecord,
    VerdictRecord,
)
from ranksearch.probing.rows import Row, read_rows
from ranksearch.probing.spectrafile import read_spectra
from ranksearch.records import Record, write_record
from ranksearch.runs import RunFolder, load_options, parse_probe
from ranksearch.runs.front_files import write_front_table
from ranksearch.runs.front_rows import front_rows
from ranksearch.runs.probe_options import read_probe_options
from ranksearch.runs.run_folder import SplitsRecord
from ranksearch.searching import SearchSettings, front_record, read_front, search, write_front
from ranksearch.searching.job import Job, records_of
from ranksearch.searching.studies import open_storage, quiet_optuna
from ranksearch.tasks.sources.idx import read_idx
from ranksearch.tasks.sources.pictures import as_mode, opened


@dataclass(frozen=True)
class Kind:
    """name: of the file, with its suffix. content: of a valid one. read: from its path; what comes back is ignored."""

    name: str
    content: bytes
    read: Callable[[Path], object]


def _again(read: Callable[[Path], Any], *views: Callable[[Any], Any]) -> Callable[[Path], Any]:
    """Read a record; whatever could be read can be shown, and comes back from where it is written."""

    def reread(path: Path) -> Any:
        found = read(path)
        assert isinstance(found, Record)
        for view in views:
            with (console := output_console()).capture():
                console.print(view(found))
        write_record(path, found)
        assert read(path) == found
        return found

    return reread


def _probe() -> ProbeRecord:
    points = [
        PointRecord(budget=b, params=90, flops=800, epsilon=0.01, kl=kl, accuracy=80.0, measured=b == 0.5)
        for b, kl in ((0.9, 0.01), (0.5, 0.1), (0.2, 0.9))
    ]
    layers = [
        ProbedLayer(
            name=name,
            shape=(8, 3, 3, 3),
            params=216,
            flops=900,
            reason=reason,
            score=None if reason else 0.4,
            kept=None if reason else 0.6,
            candidate=None if reason else "svd 4",
            drop=1.5,
            entropy={"o|ihw": 1.2, "ow|ih": 0.7},
            prefix_reused=True,
        )
        for name, reason in (("stem", None), ("blocks.0.conv", None), ("fc", "it is shared"))
    ]
    epochs = [
        EpochRecord(
            way="projected",
            epoch=k,
            params=500,
            accuracy=Measured(mean=50.0 + k, stderr=1.0),
            kl=Measured(mean=0.3, stderr=None),
        )
        for k in range(3)
    ]
    speed = SpeedRecord(
        batch=32, threads=1, device="cpu", dense=0.02, plans=(TimeRecord(budget=0.5, seconds=0.01),)
    )
    return ProbeRecord(
        version=2,
        model="own.py:net",
        weights="0" * 32,
        task_metric="top-1 %",
        images=ImagesRecord(role="validation", count=3, indices=(1, 4, 7)),
        dense=DenseScores(
            params=900,
            flops=9000,
            accuracy=Measured(mean=90.0, stderr=1.0),
            loss=Measured(mean=0.3, stderr=0.1),
            chance=10.0,
        ),
        layers=tuple(layers),
        verdict=VerdictRecord(
            threshold=0.1,
            score=0.5,
            trouble=points[1],
            front=tuple(points),
            spare=("stem",),
            speed=speed,
        ),
        recovery=RecoveryRecord(cut="o|ihw", norm=0.9, layers=2, project_each="epoch", epochs=tuple(epochs)),
    )


def _rows() -> list[Row]:
    return [
        Row("layer", name, 1, "o|ihw", None, bond, 8, bond / 8, 0.1 / bond, 80, 1, 3, 1, 0.5, 0.1, 0.2 / bond, 0.01)
        for name in ("stem", "blocks.0.conv")
        for bond in (8, 4, 1)
    ] + [Row("plan", "", 2, "", 0.5, None, None, None, 0.1, None, None, None, None, None, None, 0.2, 0.01)]  # fmt: skip


def _read_tables(path: Path) -> object:
    """What could be read gives plans, which can be written, and a front."""
    record = read_tables(path)
    tables = record.content()
    limits = tuple((name, Kept(fraction=0.9)) for name in list(record.dense)[:2] if name != record.metric)
    for also in ((), limits):
        (budget,) = further_budgets(tables.dense, [Kept(fraction=0.6)], record.of_run, record.metric, also)
        with suppress(BudgetError):
            found = further_plan(tables, budget)
            made = record_of(
                record.model, tables.layers, found.plan, dense=tables.dense, budget=budget, seed=record.seed,
                scores=found.scores, options=record.options,
            )  # fmt: skip
            write_plan(path.with_name("made.json"), made)
    write_front_table(
        path.with_name("made.csv"), front_rows(record, tables, record.metric, path.parent), [*record.dense]
    )
    return record


def _read_prior(path: Path) -> object:
    rows = read_rows(path)
    SweepFile(path)
    informative(rows, ["stem", "blocks.0.conv"])
    return layer_weights(rows, ["stem", "blocks.0.conv"])


def _read_picture(path: Path) -> object:
    with opened(str(path)) as image:
        return as_mode(image, "RGB")


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)


OPTIONS: dict[str, object] = {
    "model": "torchvision:resnet18",
    "data": "imagefolder:images",
    "budget": [0.5, "20%", "54k"],
    "limit": ["flops=0.5"],
    "seed": 3,
    "lr": 1e-3,
    "mean": [0.5, 0.5, 0.5],
    "input_size": [3, 32, 32],
    "ignore": ["conv*"],
    "rank_multiple": ["8", "fc=1"],
    "protect_early": "2=3",
    "decompositions": ["svd", "cp"],
    "timeout": 10.0,
    "augment": True,
    "storage": "sqlite:///study.db",
}


def valid_files(folder: Path, problem: Problem) -> dict[str, Kind]:
    """One of every kind, by name; they are made in an empty folder."""
    task = problem.task
    settings = SearchSettings(
        budgets=(0.5,), n_trials=4, objective="reconstruction", space="ranks", refit_trials=0, finetune_trials=0
    )  # fmt: skip
    results = search(problem, settings, storage=open_storage(folder / "study.jsonl"))
    write_front(folder / "front.json", front_record(results, model="m", metric="params", dense=problem.dense))
    budget = Budget.at_most(problem.dense, problem.dense.params // 2)
    plan = problem.plan(analytic(problem.tables, budget))
    made = make_record(
        task.model,
        problem.layers,
        plan,
        example=task.example,
        dense=problem.dense,
        budget=budget,
        seed=0,
        scores={"divergence": 0.1, "validation": None},
        options={"budget": ["0.5"], "seed": 3},
    )
    write_plan(folder / "plan.json", made)
    write_plan(folder / "exported.json", made)
    offered = record_of_tables(
        problem.offered,
        made.model,
        task_metric="top-1 %",
        budget=budget,
        seed=0,
        options={"decompositions": ["svd", "spatial_svd"]},
    )
    times = TimesRecord(runtime="torch", version="2.6", batch=1, threads=1, plans=((0.5, 0.6), (0.9, 0.8)))
    write_tables(folder / "tables.json", offered.model_copy(update={"times": times}))
    probe = _probe()
    write_record(folder / "probe.json", probe)
    assert probe.recovery is not None
    write_record(folder / "recovery.json", probe.recovery)
    splits = SplitsRecord(
        seed=0, moments=(3, 1), divergence=(0,), finetune=(5, 4, 2), validation=(6,), test=None
    )
    RunFolder(folder).write_splits(splits)
    made_of = {"sha256": "0" * 64, "weights": None, "difference": 1e-7, "batch_sizes": (1, 5)}
    one = ExportRecord(exporter="onnx", file="model.onnx", versions={"torch": "2.6"}, **made_of)
    write_record(folder / "exports.json", ExportsRecord(version=1, exports=(one,)))
    (folder / "config.toml").write_text(tomli_w.dumps(OPTIONS))
    (folder / "probe.toml").write_text(
        tomli_w.dumps({"images": 24, "bonds": 4, "sweep": True, "trouble": 0.1})
    )
    SweepFile(folder / "sweep.csv").append(_rows())
    spectrum = CutSpectrum("stem", Cut.named("o|ihw"), "moments, approximate", (3.0, 1.5, 0.25))
    write_spectra(folder / "spectra.csv", [spectrum, spectrum])
    torch.manual_seed(0)
    save_file(_Net().state_dict(), folder / "w.safetensors", {"format": "pt"})
    torch.save({"state_dict": _Net().state_dict(), "epoch": 3}, folder / "w.pt")
    idx = struct.pack(">BBBB3I", 0, 0, 8, 3, 2, 4, 4) + bytes(range(32))
    (folder / "a-idx3-ubyte").write_bytes(idx)
    (folder / "a-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    for name, image in (
        ("a.png", Image.fromarray(pixels)),
        ("b.png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)),
        ("a.jpg", Image.fromarray(pixels)),
        ("a.tif", Image.fromarray(pixels)),
        ("a.bmp", Image.fromarray(pixels)),
        ("a.webp", Image.fromarray(pixels)),
    ):
        image.save(folder / name)

    def read_splits(path: Path) -> object:
        return RunFolder(path.parent).write_splits(splits)

    def read_study(path: Path) -> object:
        with quiet_optuna():
            job = Job(problem, settings, results[0].budget, open_storage(path), lambda *_: None, "")
            study = job.study("reconstruction", NopPruner(), **made_for)
            return records_of(job, study, "reconstruction")

    job = Job(problem, settings, results[0].budget, open_storage(folder / "study.jsonl"), lambda *_: None, "")
    known = next(iter(job.storage.get_all_studies())).user_attrs["made for"]
    made_for = {"task": known["task"], "space": "ranks", "sampler": "tpe"}
    export_plan_file(made, PLAN_EXPORTERS.get("chains"), folder / "chains.json")
    (folder / "ranks.json").write_text(
        '{"0": 2, "3": {"decomposition": "tucker2", "form": "", "ranks": [2, 3]}, "8": 0}'
    )
    (folder / "scores.json").write_text('{"0": {"0.3": 0.5, "0.8": 0.9}, "3": {"0.2": 0.4}}')

    def read_elsewhere(path: Path) -> object:
        given = read_ranks(path)
        kept = Kept(fraction=0.9) if isinstance(given, AimetScores) else None
        return plan_of(given, problem.layers, problem.dense, kept)

    def export_everywhere(path: Path) -> object:
        plan = read_plan(path)
        return [json.dumps(export_of(PLAN_EXPORTERS.get(name), plan).content) for name in PLAN_EXPORTERS]

    entry = ({"A": torch.eye(3), "rows": torch.arange(4)}, {"count": 3, "kinds": ["x", 0.5]})
    Cache(folder).put("entry", *entry)
    write_sums(folder, ["plan.json", "w.safetensors"])
    sums = read_sums(folder)

    def read_cached(path: Path) -> None:
        found = Cache(path.parent).get(path.stem)
        assert found is None or (digest(found[0]), found[1]) == (digest(entry[0]), entry[1])

    def read_checksums(path: Path) -> None:
        for name, found in read_sums(path.parent).items():
            with suppress(RankSearchError):
                check_sum(folder, name, found)
                assert found == sums[name]

    readers: dict[str, Callable[[Path], object]] = {
        "entry.safetensors": read_cached,
        "SHA256SUMS": read_checksums,
        "chains.json": read_elsewhere,
        "ranks.json": read_elsewhere,
        "scores.json": read_elsewhere,
        "exported.json": export_everywhere,
        "tables.json": _read_tables,
        "front.json": _again(
            read_front, lambda f: front_view(f, every=False), lambda f: front_view(f, every=True)
        ),
        "plan.json": _again(read_plan, plan_view),
        "probe.json": _again(read_probe, verdict_view),
        "recovery.json": _again(read_recovery),
        "splits.json": read_splits,
        "exports.json": lambda path: read_exports(path.parent),
        "config.toml": lambda path: load_options({}, path),
        "probe.toml": lambda path: parse_probe(read_probe_options(path)),
        "sweep.csv": _read_prior,
        "spectra.csv": lambda path: [s.entropy for s in read_spectra(path)],
        "w.safetensors": lambda path: load_weights(_Net(), path),
        "w.pt": lambda path: load_weights(_Net(), path),
        "a-idx3-ubyte": read_idx,
        "a-idx3-ubyte.gz": read_idx,
        "study.jsonl": read_study,
    }
    pictures = ("a.png", "b.png", "a.jpg", "a.tif", "a.bmp", "a.webp")
    readers |= dict.fromkeys(pictures, _read_picture)
    return {name: Kind(name, (folder / name).read_bytes(), read) for name, read in readers.items()}
