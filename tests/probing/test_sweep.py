"""The sweep: what it measures, when it stops, and that being killed does not change it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksearch.calibration import task_moments
from ranksearch.errors import MismatchError
from ranksearch.networks import discover
from ranksearch.probing import (
    Bench,
    Judge,
    Subject,
    SweepFile,
    pick_images,
    plain_spectra,
    sweep_joint,
    sweep_layers,
)
from ranksearch.probing.joint import equal_norm, joint_truncations
from ranksearch.probing.rows import COLUMNS, Row, read_rows
from ranksearch.probing.sweep import bond_grid
from ranksearch.tasks import Task


class Setting:
    """Everything that a sweep of a task takes."""

    def __init__(self, task: Task) -> None:
        layers = [x for x in discover(task.model, task.example) if x.reason is None]
        self.kernels = {x.name: task.model.get_parameter(f"{x.name}.weight").detach() for x in layers}
        self.spectra = plain_spectra(layers, self.kernels)
        self.moments = task_moments(task, layers, ("moments",), seed=0)
        self.images = pick_images(task, "validation", 40, seed=0)
        self.bench = Bench(task.model, self.images.inputs, batch_size=16, device=task.device)
        self.judge = Judge(task, self.images, self.bench.dense)

    def sweep(self, path: Path) -> tuple[Row, ...]:
        file = SweepFile(path)
        subject = Subject(self.bench, self.judge, self.spectra, self.kernels, self.moments)
        sweep_layers(subject, file)
        sweep_joint(subject, file)
        return file.rows


@pytest.fixture(scope="module")
def setting(labelled_task: Task) -> Setting:
    return Setting(labelled_task)


def test_grid() -> None:
    assert bond_grid(1) == (1,)
    assert bond_grid(3) == (3, 2, 1)
    assert bond_grid(8) == (8, 6, 4, 3, 2, 1)
    assert bond_grid(64) == (64, 35, 20, 11, 6, 3, 2, 1)
    for full in range(1, 600, 7):
        grid = bond_grid(full)
        assert len(grid) <= 8
        assert (grid[0], grid[-1]) == (full, 1)
        assert list(grid) == sorted(set(grid), reverse=True)


def test_full_bond_dimension_is_the_dense_model(setting: Setting, tmp_path: Path) -> None:
    rows = [r for r in setting.sweep(tmp_path / "sweep.csv") if r.scope == "layer" and r.bond == r.full]
    assert {r.layer for r in rows} == set(setting.spectra)
    for row in rows:
        assert row.norm_kept == pytest.approx(1)
        assert (row.kl, row.drop) == (0, 0)
        assert row.epsilon == pytest.approx(0, abs=1e-12)
        assert row.accuracy == pytest.approx(100)


def test_rows_are_what_a_truncated_copy_gives(setting: Setting, labelled_task: Task, tmp_path: Path) -> None:
    rows = setting.sweep(tmp_path / "sweep.csv")
    row = next(
        r for r in rows if r.layer == "3" and r.cut == "ow|ih" and r.bond != r.full and r.scope == "layer"
    )
    assert row.bond is not None
    weight = setting.kernels["3"]
    matrix = weight.permute(0, 3, 1, 2).reshape(36, 24)
    u, s, vh = torch.linalg.svd(matrix)
    low = (u[:, : row.bond] * s[: row.bond]) @ vh[: row.bond]
    own = weight.clone()
    with torch.no_grad():
        labelled_task.model[3].weight.copy_(low.reshape(12, 3, 8, 3).permute(0, 2, 3, 1))  # type: ignore[index]
        outputs = labelled_task.model(setting.images.inputs)
        labelled_task.model[3].weight.copy_(own)  # type: ignore[index]
    kept = float((s[: row.bond].square().sum() / s.square().sum()).sqrt())
    assert row.norm_kept == pytest.approx(kept, rel=1e-5)
    found = setting.judge.scores(outputs)
    assert found.accuracy is not None
    assert row.accuracy == pytest.approx(found.accuracy.mean)
    assert row.kl == pytest.approx(found.kl.mean, rel=1e-3)
    assert row.kl_se == pytest.approx(found.kl.stderr, rel=1e-3)


def test_rows_end_at_chance(setting: Setting, tmp_path: Path) -> None:
    rows = [r for r in setting.sweep(tmp_path / "sweep.csv") if r.scope == "layer"]
    by_row: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_row.setdefault((row.layer, row.cut), []).append(row)
    for found in by_row.values():
        bonds = [r.bond for r in found]
        assert bonds == list(bond_grid(found[0].full or 0)[: len(bonds)])
        low = [
            r.accuracy is not None and r.accuracy <= setting.judge.chance + 2 * (r.accuracy_se or 0)
            for r in found
        ]
        assert not any(low[:-1])
        assert low[-1] or bonds[-1] == 1


def test_joint_rows_truncate_what_they_say(setting: Setting, tmp_path: Path) -> None:
    rows = [r for r in setting.sweep(tmp_path / "sweep.csv") if r.scope != "layer"]
    assert {r.scope for r in rows} == {"all", "prefix", "suffix"}
    for row in rows:
        assert row.norm_kept >= (row.target or 0) - 1e-6
        assert row.layers == (2 if row.scope == "all" else 1)  # the Linear has a cut of its own
    assert all(len({j.cut for j in row}) == 1 for row in joint_truncations(setting.spectra))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.93])
def test_killed_and_resumed_is_undisturbed(setting: Setting, tmp_path: Path, keep: float) -> None:
    setting.sweep(tmp_path / "whole.csv")
    whole = (tmp_path / "whole.csv").read_text()
    part = tmp_path / "part.csv"
    part.write_text(whole[: int(keep * len(whole))])  # most likely in the middle of a line
    setting.sweep(part)
    assert sorted(part.read_text().splitlines()) == sorted(whole.splitlines())


def test_what_is_there_is_not_measured_again(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = setting.sweep(tmp_path / "sweep.csv")
    monkeypatch.setattr(Bench, "outputs", lambda *_: pytest.fail("measured again"))
    assert setting.sweep(tmp_path / "sweep.csv") == first


def test_rows_come_back_from_the_file(setting: Setting, tmp_path: Path) -> None:
    rows = setting.sweep(tmp_path / "sweep.csv")
    assert read_rows(tmp_path / "sweep.csv") == rows


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(MismatchError, match=f"with the columns {', '.join(COLUMNS[:3])}"):
        SweepFile(path)


def test_without_labels_the_divergence_decides(tiny_task: Task) -> None:
    bare = Task(tiny_task.model, [x for x, _ in tiny_task.train], calibration_size=48, batch_size=32)  # type: ignore[arg-type]
    images = pick_images(bare, "validation", 12, seed=0)
    bench = Bench(bare.model, images.inputs, batch_size=8, device=bare.device)
    judge = Judge(bare, images, bench.dense)
    assert judge.dense.accuracy is None
    assert not judge.at_chance(judge.dense)
    assert judge.chance > 0
    assert judge.at_chance(judge.scores(1e3 * bench.dense.roll(1, 0)))


def test_images_are_a_fixed_subset(labelled_task: Task) -> None:
    a, b = (pick_images(labelled_task, "validation", 10, seed=3) for _ in range(2))
    assert torch.equal(a.inputs, b.inputs)
    assert a.indices == b.indices == tuple(sorted(set(a.indices)))
    assert pick_images(labelled_task, "validation", 10, seed=4).indices != a.indices
    assert len(pick_images(labelled_task, "validation", 10**6, seed=0).indices) == 64


def row(layer: str, norm: float, accuracy: float) -> Row:
    return Row("layer", layer, 1, "o|i", None, 1, 4, norm, None, accuracy, 0, 0, 0, 0, 0, 0, 0)


def test_accuracy_at_equal_norm_is_interpolated() -> None:
    rows = [row("a", 1.0, 90), row("a", 0.8, 50), row("b", 1.0, 90), row("b", 0.95, 40)]
    assert equal_norm(rows, 0.9) == {("a", "o|i"): pytest.approx(70), ("b", "o|i"): 40}


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    torch.manual_seed(0)
