"""The prior of a probe: known ratios recovered from made-up sweeps, and probes of other models refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import ranksearch
from ranksearch.errors import InputError, MismatchError
from ranksearch.networks import discover, kernel_shape
from ranksearch.probing import (
    ProbedLayer,
    ProbeFolder,
    ProbeRecord,
    SweepFile,
    describe_prior,
    read_prior,
    read_probe,
    weights_digest,
)
from ranksearch.probing.prior import layer_weights
from ranksearch.probing.record import DenseScores
from ranksearch.probing.rows import Row
from ranksearch.records import write_record
from ranksearch.tasks import Task

ROW = Row("layer", "a", 1, "o|i", None, 1, 4, 0.9, 0.1, 80.0, 1.0, 10.0, 0.5, 1.0, 0.1, 0.2, 0.01)


def sweep(ratios: dict[str, float], noise: float = 0.0, count: int = 12, seed: int = 0) -> list[Row]:
    """Truncations of each layer whose divergence is a known multiple of ε, up to noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for layer, ratio in ratios.items():
        for k, epsilon in enumerate(np.geomspace(2e-3, 0.05, count).tolist()):
            kl = ratio * epsilon * float(rng.lognormal(0, noise))
            rows.append(replace(ROW, layer=layer, bond=k, epsilon=epsilon, kl=kl))
    return rows


def normalised(ratios: dict[str, float]) -> dict[str, float]:
    middle = float(np.exp(np.mean(np.log(list(ratios.values())))))
    return {name: ratio / middle for name, ratio in ratios.items()}


def test_exact_ratios_are_recovered() -> None:
    ratios = {"a": 1.0, "b": 2.0, "c": 8.0, "d": 4.0}
    assert layer_weights(sweep(ratios), list(ratios)) == pytest.approx(normalised(ratios))


def test_how_deep_a_layer_was_cut_does_not_matter() -> None:
    """Divergence grows with a power of ε, the same for all; one layer is cut ten times as deep as the other."""
    rows = [
        replace(ROW, layer=layer, epsilon=epsilon, kl=height * epsilon**1.5)
        for layer, height, depth in (("a", 4.0, 1.0), ("b", 2.0, 10.0))
        for epsilon in (depth * np.geomspace(5e-3, 2e-2, 8)).tolist()
    ]
    assert layer_weights(rows, ["a", "b"]) == pytest.approx({"a": 2**0.5, "b": 2**-0.5})


def test_noisy_ratios_are_recovered_and_drawn_to_the_middle() -> None:
    ratios = {"a": 1.0, "b": 2.0, "c": 8.0, "d": 4.0}
    found = layer_weights(sweep(ratios, noise=0.3), list(ratios))
    for name, ratio in normalised(ratios).items():
        assert found[name] == pytest.approx(ratio, rel=0.4)
    few, many = (layer_weights(sweep(ratios, noise=1.0, count=n), list(ratios)) for n in (4, 200))
    assert max(map(log, few.values())) < max(map(log, many.values()))
    assert sum(map(log, found.values())) == pytest.approx(0, abs=1e-9)


def test_noise_alone_weighs_all_layers_alike() -> None:
    alike = dict.fromkeys("abcdef", 3.0)
    found = layer_weights(sweep(alike, noise=0.5, seed=3), list(alike))
    assert all(abs(log(weight)) < 0.1 for weight in found.values())
    assert layer_weights([], ["a", "b"]) == {"a": 1.0, "b": 1.0}


def test_rows_that_say_nothing_are_left_out() -> None:
    ratios = {"a": 1.0, "b": 4.0}
    useless = [
        replace(ROW, kl=1e-5, epsilon=1.0),
        replace(ROW, kl=3.0, epsilon=1e-3),
        replace(ROW, epsilon=None),
        replace(ROW, epsilon=0.0),
        replace(ROW, scope="prefix", epsilon=1e-6),
    ]
    found = layer_weights(sweep(ratios) + useless, ["a", "b", "unswept"])
    assert found == pytest.approx({"a": 0.5, "b": 2.0, "unswept": 1.0})


def test_words() -> None:
    assert describe_prior({"a": 2.0, "b": 0.25, "c": 1.0}) == "raises a ×2, lowers b ×0.25"
    assert describe_prior({"a": 1.0}) == "all layers alike"


@pytest.fixture
def probe(tiny_task: Task, tmp_path: Path) -> Callable[..., Path]:
    """Writes the folder of a probe of the tiny network."""

    def write(rows: Sequence[Row] | None, **changed: object) -> Path:
        folder = ProbeFolder(tmp_path / "probe")
        layers = tuple(
            ProbedLayer(
                name=x.name, shape=kernel_shape(x), params=1, flops=1, reason=None, score=None, kept=None,
                candidate=None, drop=None, entropy={}, prefix_reused=None,
            )
            for x in discover(tiny_task.model, tiny_task.example)
        )  # fmt: skip
        record = ProbeRecord(
            version=2, model=None, weights=weights_digest(tiny_task.model), task_metric="m", images=None,
            dense=DenseScores(params=1, flops=1, accuracy=None, loss=None, chance=0.0),
            layers=layers, verdict=None, recovery=None,
        )  # fmt: skip
        if rows is not None:
            SweepFile(folder.sweep).append(rows)
        folder.path.mkdir(exist_ok=True)
        write_record(folder.record, record.model_copy(update=changed))
        return folder.path

    return write


RATIOS = {"0": 1.0, "3": 2.0, "8": 16.0}


def read(path: Path, task: Task) -> dict[str, float]:
    return read_prior(path, task.model, discover(task.model, task.example))


def test_a_probe_of_version_1_is_still_read(tiny_task: Task, probe: Callable[..., Path]) -> None:
    folder = ProbeFolder(probe(sweep(RATIOS)))
    current = read_probe(folder.record)
    old = json.loads(folder.record.read_text()) | {"version": 1, "metric": current.task_metric}
    del old["task_metric"]
    folder.record.write_text(json.dumps(old))
    assert read_probe(folder.record) == current


def test_a_folder_gives_its_prior(tiny_task: Task, probe: Callable[..., Path]) -> None:
    assert read(probe(sweep(RATIOS)), tiny_task) == pytest.approx(normalised(RATIOS))
    assert read(probe(None, weights=None), tiny_task) == pytest.approx(normalised(RATIOS))


def test_from_python(tiny_task: Task, probe: Callable[..., Path]) -> None:
    options = {"budget": 0.4, "refit_trials": 0, "decompositions": ["svd"]}
    result = ranksearch.search(tiny_task, **options, probe=probe(sweep({"0": 1.0, "3": 500.0, "8": 1.0})))
    plain = ranksearch.search(tiny_task, **options)
    assert result.plan.choices["3"].error < plain.plan.choices["3"].error
    assert [record.plan for record in result.records if record.origin == "plain"] == [plain.plan]


def test_probes_of_other_models_are_refused(tiny_task: Task, probe: Callable[..., Path]) -> None:
    path = probe(sweep(RATIOS))
    retrained = nn.Sequential(*tiny_task.model.children())
    retrained[-1] = nn.Linear(12, 5)
    with pytest.raises(MismatchError, match=r"`probe=.*`: expected weights with digest .* got .* same model"):
        read(path, replace(tiny_task, model=retrained))
    wider = nn.Sequential(*list(tiny_task.model.children())[:-1], nn.Linear(12, 6))
    with pytest.raises(MismatchError, match=r"layer 8: expected kernel \(6, 12\), got kernel \(5, 12\)"):
        read(path, replace(tiny_task, model=wider))
    shorter = nn.Sequential(*list(tiny_task.model.children())[:-1])
    with pytest.raises(MismatchError, match=r"layer 8: expected no such layer, got kernel \(5, 12\)"):
        read(path, replace(tiny_task, model=shorter))


def test_folders_that_cannot_serve(tiny_task: Task, probe: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no probe\.json in it\. Finish it first, with `resume`"):
        read(tmp_path / "nowhere", tiny_task)
    path = probe(None)
    with pytest.raises(MismatchError, match=r"expected a sweep\.csv, got .* Probe the model again"):
        read(path, tiny_task)
    probe([replace(row, epsilon=None) for row in sweep(RATIOS)])
    with pytest.raises(MismatchError, match=r"with their ε in sweep\.csv, got none\. Probe the model again"):
        read(path, tiny_task)
    (path / "sweep.csv").write_text("layer,cut,kl\na,o|i,0.1\n")
    with pytest.raises(
        MismatchError, match=r"expected a sweep\.csv, got .*the columns.* Probe the model again"
    ):
        read(path, tiny_task)
    (path / "sweep.csv").unlink()
    with pytest.raises(InputError, match=r"at least two layers with a divergence between 0\.001 and 1 nats"):
        read(probe(sweep({"0": 1.0})), tiny_task)
