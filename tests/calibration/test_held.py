"""Moments for which there is no room in memory are in files, and are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksearch.calibration import Columns, HeldMoments, Moments, calibration_moments, held
from ranksearch.calibration.held import moments_bytes, roomfuls
from ranksearch.networks import discover
from ranksearch.planning import prepare
from ranksearch.testing import tiny_task
from ranksearch.testing.material import make_layer


def moments(scale: float) -> Moments:
    generator = torch.Generator().manual_seed(int(scale))
    A = torch.randn(6, 6, generator=generator).double()
    return Moments(A, Columns(torch.randn(9, 4, generator=generator), 0.0), int(scale), 7)


def same(one: Moments, two: Moments) -> bool:
    assert isinstance(one.A, torch.Tensor)
    assert isinstance(two.A, torch.Tensor)
    assert isinstance(one.G, Columns)
    assert isinstance(two.G, Columns)
    alike = torch.equal(one.A, two.A) and torch.equal(one.G.X, two.G.X)
    return alike and (one.samples, one.patches) == (two.samples, two.patches)


def test_what_does_not_fit_is_read_from_files() -> None:
    kept = HeldMoments(room=2 * (6 * 6 * 8 + 9 * 4 * 4))
    for k, name in enumerate("abcd"):
        kept.put(name, moments(k))
    assert list(kept) == list("abcd")
    assert kept["a"] is kept["a"]
    assert kept["c"] is not kept["c"]
    assert all(same(kept[name], moments(k)) for k, name in enumerate("abcd"))
    kept.put("c", moments(9))
    kept.drop("a")
    kept.put("e", moments(5))
    assert kept["e"] is kept["e"]
    assert same(kept["c"], moments(9))
    assert kept.keys() == {*"bcde"}
    assert kept.get("a") is None
    assert kept._folder is not None
    folder = kept._folder
    assert len(list(folder.iterdir())) == 2
    del kept
    assert not folder.exists()


def test_layers_are_taken_as_many_at_a_time_as_there_is_room_for() -> None:
    layers = [make_layer(f"{k}", 8, 4, 3) for k in range(5)]
    own = moments_bytes(layers[0])
    assert own == 8 * (36**2 + 8**2)
    assert [len(group) for group in roomfuls(layers, 2 * own)] == [2, 2, 1]
    assert [len(group) for group in roomfuls(layers, 1)] == [1] * 5
    assert roomfuls([], 1) == []


@pytest.mark.parametrize("cached", [False, True])
def test_tables_and_moments_do_not_depend_on_the_room(
    cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tiny_task()
    layers = [x for x in discover(task.model, task.example) if x.reason is None]
    tables, every = prepare(task).tables, calibration_moments(task, layers)
    if cached:
        object.__setattr__(task, "cache", tmp_path)
    monkeypatch.setattr(held, "ROOM", 1)
    told: list[tuple[str, int, int]] = []
    again = prepare(task, progress=lambda *what: told.append(what))
    assert again.tables == tables
    found = calibration_moments(task, layers)
    assert found._folder is not None
    for layer in layers:
        one, two = every[layer.name], found[layer.name]
        assert torch.equal(torch.as_tensor(one.A), torch.as_tensor(two.A))
        assert torch.equal(torch.as_tensor(one.G), torch.as_tensor(two.G))
    done = [count for stage, count, _ in told if stage == "moments"]
    assert done == sorted(done)
    assert done[-1] == next(total for stage, _, total in told if stage == "moments")
