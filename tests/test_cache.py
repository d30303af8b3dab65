"""The cache of moments and candidates: what it gives back, what it depends on, what it survives."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from ranksearch import cache as cache_module
from ranksearch.cache import Cache, digest, examine
from ranksearch.calibration import (
    Moments,
    computation_digest,
    moments_keys,
    source_of,
    task_digest,
    task_moments,
)
from ranksearch.calibration import of_task as calibration
from ranksearch.networks import Layer, copy_model, discover
from ranksearch.objects import load_object
from ranksearch.planning import CandidateConfig, Problem, prepare, problem
from ranksearch.tasks import Role, Task

CONFIG = CandidateConfig(decompositions=("svd", "spatial_svd"), fits_per_form=3, iterations=3)


@pytest.fixture
def task(tiny_task: Task, tmp_path: Path) -> Task:
    return replace(tiny_task, cache=tmp_path)


def no_more(*_: object, **__: object) -> None:
    raise AssertionError("computed again")


def test_entries_come_back_as_they_were(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new")
    tensors = {"a": torch.randn(3, 2, dtype=torch.float64), "b": torch.randn(4, 2).T}
    assert cache.get("key") is None
    cache.put("key", tensors, {"error": 0.1 + 0.2, "ranks": [1, 2]})
    found = cache.get("key")
    assert found is not None
    assert all(torch.equal(found[0][name], tensors[name]) for name in tensors)
    assert found[1] == {"error": 0.1 + 0.2, "ranks": [1, 2]}
    assert Cache(None).get("key") is None


def test_an_examination_finds_the_entries_that_are_damaged_and_leaves_all_as_it_is(tmp_path: Path) -> None:
    assert examine(tmp_path / "new") == (0, [])
    cache, keys = Cache(tmp_path), ["0" * 32, "1" * 32]
    for key in keys:
        cache.put(key, {"a": torch.arange(6)}, None)
    content = cache.path(keys[1]).read_bytes()
    cache.path(keys[1]).write_bytes(content[:-8] + b"\1" + content[-7:])
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert examine(tmp_path) == (2, [cache.path(keys[1])])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")} == files
    with pytest.raises(OSError):  # noqa: PT011
        examine(cache.path(keys[0]))


def test_what_killed_processes_left_half_written_goes_after_a_while(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    (tmp_path / "deep").mkdir()
    old, new, deep, others = (
        tmp_path / name
        for name in (
            ".a.01234567.ranksearch.tmp", ".b.01234567.ranksearch.tmp", "deep/.c.01234567.ranksearch.tmp", ".notes.tmp"
        )
    )  # fmt: skip
    for path in (old, new, deep, others):
        path.write_bytes(b"half")
    hours_ago = time.time() - 2 * 3600
    for path in (old, deep, others):
        os.utime(path, (hours_ago, hours_ago))
    cache.put("key", {"a": torch.ones(2)}, None)
    assert not old.exists()
    assert all(path.exists() for path in (new, deep, others))


def test_a_broken_entry_is_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path)
    cache.put("key", {"a": torch.ones(2)}, None)
    (tmp_path / "key.safetensors").write_bytes(b"not this")
    with caplog.at_level(logging.WARNING):
        assert cache.get("key") is None
    assert "computing it again" in caplog.text


def test_a_flipped_bit_is_a_miss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Anywhere in an entry: in a tensor it would change a plan silently."""
    cache = Cache(tmp_path)
    cache.put("key", {"a": torch.ones(2), "b": torch.zeros(3, dtype=torch.float64)}, {"scale": 0.5})
    path = tmp_path / "key.safetensors"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        found = cache.get("key")
        if found is not None:  # padding of the header, or a name in it that nobody reads
            assert torch.equal(found[0]["a"], torch.ones(2))
            assert torch.equal(found[0]["b"], torch.zeros(3, dtype=torch.float64))
            assert found[1] == {"scale": 0.5}


def test_a_folder_that_cannot_be_written_to_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        Cache(tmp_path / "file").put("key", {"a": torch.ones(2)}, None)
    assert "cannot cache anything" in caplog.text


def test_the_oldest_entries_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    monkeypatch.setattr(cache_module, "_LIMIT", 10_000)
    keys = [digest(name) for name in ("old", "older", "oldest")]
    (tmp_path / "weights.safetensors").write_bytes(bytes(20_000))  # somebody else's
    os.utime(tmp_path / "weights.safetensors", (1e8, 1e8))
    for age, key in enumerate(keys):
        cache.put(key, {"a": torch.ones(500)}, None)
        os.utime(tmp_path / f"{key}.safetensors", (1e9 - age, 1e9 - age))
    for _ in range(3):
        cache.put(digest("new"), {"a": torch.ones(1000)}, None)
    assert {path.stem for path in tmp_path.iterdir()} == {"weights", digest("new"), *keys[:2]}


def test_digests_tell_values_shapes_and_types_apart() -> None:
    a = torch.arange(6.0)
    found = {
        digest(a),
        digest(a.reshape(2, 3)),
        digest(a.double()),
        digest(a.bfloat16()),
        digest(a > 2),
        digest(a + 1),
        digest({"a": a}),
        digest({"b": a}),
        digest(a, 1),
        digest(a, "1"),
    }
    assert len(found) == 10
    assert digest(a.reshape(2, 3).T) == digest(a.reshape(2, 3).T.contiguous())


@pytest.mark.parametrize(
    "tree", [lambda t: ((t, 1), 2), lambda t: [{"a": [t]}], lambda t: {"a": (1, (t,))}, lambda t: ({"a": t},)]
)
def test_digests_read_tensors_anywhere_in_a_tree(tree: Callable[[Any], Any]) -> None:
    large = torch.arange(10_000.0)  # of which a repr shows six numbers
    other = large.clone()
    other[5000] = 0
    assert repr(tree(large)) == repr(tree(other))
    assert digest(tree(large)) != digest(tree(other))
    assert digest(tree(large)) == digest(tree(large.clone()))


def test_a_second_run_computes_nothing(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(task, config=CONFIG)
    monkeypatch.setattr(problem, "layer_candidates", no_more)
    monkeypatch.setattr(
        calibration, "collect_moments", lambda model, layers, *a, **k: {} if not layers else no_more()
    )
    second = prepare(task, config=CONFIG)
    assert second.tables == first.tables
    choice = [0] * len(first.tables)
    for a, b in zip(*(p.build(p.plan(choice)).state_dict().values() for p in (first, second)), strict=True):
        assert torch.equal(a, b)


def test_the_cache_changes_nothing(task: Task, tiny_problem: Problem) -> None:
    assert prepare(task, config=CONFIG).tables == tiny_problem.tables


def test_another_setting_is_another_entry(task: Task) -> None:
    prepare(task, config=CONFIG)
    before = len(list(task.cache.iterdir()))  # type: ignore[union-attr]
    layers = sum(layer.reason is None for layer in discover(task.model, task.example))
    prepare(task, config=replace(CONFIG, iterations=4))
    assert len(list(task.cache.iterdir())) == before + layers  # type: ignore[union-attr]


def keys_of(task: Task, layers: Sequence[Layer], role: Role, seed: int) -> Mapping[str, str]:
    return moments_keys(task, layers, role, seed, computation_digest(task))


def test_keys_follow_weights_images_code_and_seed(task: Task) -> None:
    layers = discover(task.model, task.example)

    class Other(nn.Sequential):
        pass

    model = copy_model(task.model)
    with torch.no_grad():
        model.get_parameter("0.weight")[0, 0, 0, 0] += 1
    tasks = [
        task,
        replace(task, model=model),
        replace(task, model=Other(*task.model.children())),
        replace(task, batch_size=task.batch_size + 1),
    ]
    keys = [keys_of(each, layers, "moments", 0)[layers[0].name] for each in tasks]
    keys += [
        keys_of(task, layers, "divergence", 0)[layers[0].name],
        keys_of(task, layers, "moments", 1)[layers[0].name],
        keys_of(task, layers, "moments", 0)[layers[1].name],
    ]
    assert len(set(keys)) == len(keys)
    assert keys_of(task, layers, "moments", 0)[layers[0].name] == keys[0]


class Scaled(nn.Module):
    """Reads a plain attribute and a buffer that no state dict holds."""

    def __init__(self, inner: nn.Module, scale: float, shift: float) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale
        self.register_buffer("shift", torch.tensor(shift), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.scale * x + self.shift)


def test_keys_follow_what_a_state_dict_does_not_hold(task: Task) -> None:
    models = [
        Scaled(task.model, *values).eval() for values in ((1.0, 0.0), (2.0, 0.0), (1.0, 1.0), (1.0, 0.0))
    ]
    assert len({tuple(model.state_dict()) for model in models}) == 1
    tasks = [replace(task, model=model) for model in models]
    layers = discover(models[0], task.example)
    keys = [keys_of(each, layers, "moments", 0)[layers[0].name] for each in tasks]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]
    assert len({task_digest(each) for each in tasks}) == 3


class Helped(nn.Module):
    """Reads a function, a list, a private value and a tensor that is no buffer."""

    def __init__(self, inner: nn.Module, **values: Any) -> None:
        super().__init__()
        self.inner, self._hidden = inner, values.get("hidden", 1.0)
        self.change: Any = values.get("change", torch.relu)
        self.scales: Any = values.get("scales", [1.0, 2.0])
        self.shift: Any = values.get("shift", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.change(x) * self.scales[0] * self.scales[1] * self._hidden + self.shift
        return cast(torch.Tensor, self.inner(x))


def test_keys_follow_whatever_else_is_computed_with(task: Task) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"change": torch.tanh}, {"scales": [1.0, 3.0]}, {"hidden": 2.0}, {"shift": torch.ones(1)}, {}
    ]  # fmt: skip
    tasks = [replace(task, model=Helped(task.model, **change).eval()) for change in changes]
    layers = discover(tasks[0].model, task.example)
    keys = [keys_of(each, layers, "moments", 0)[layers[0].name] for each in tasks]
    assert len(set(keys)) == 5
    assert keys[0] == keys[5]


BASE = """
from torch import nn

FACTOR = 1.0


def helper(x):
    return FACTOR * x


class Base(nn.Module):
    def forward(self, x):
        return self.inner(helper(x))


class Own(Base):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
"""


def first(x: torch.Tensor) -> torch.Tensor:
    return x


def test_sources_tell_functions_apart_and_say_the_same_in_every_process() -> None:
    found = [source_of(f) for f in (torch.relu, torch.tanh, nn.functional.gelu, nn.ReLU, len, first, no_more)]
    assert len(set(found)) == len(found)
    assert not any(" at 0x" in source for source in found[:5])
    assert all(source.endswith(Path(__file__).read_text()) for source in found[5:])


def test_a_study_follows_the_file_that_a_model_is_in(task: Task, tmp_path: Path) -> None:
    found = []
    for number, text in enumerate((BASE, BASE.replace("1.0", "2.0"), BASE)):
        path = tmp_path / f"net{number}.py"
        path.write_text(text)
        own = load_object(f"{path}:Own", option="--model")
        found.append(task_digest(replace(task, model=own(task.model).eval())))
    assert found[0] == found[2] != found[1]


def test_moments_of_both_roles_are_merged(task: Task) -> None:
    layers = [layer for layer in discover(task.model, task.example) if layer.reason is None]
    a, b = (task_moments(task, layers, (role,), seed=0) for role in ("moments", "divergence"))
    both = task_moments(task, layers, ("moments", "divergence"), seed=0)
    for name, found in both.items():
        share = a[name].samples / (a[name].samples + b[name].samples)
        assert found.samples == a[name].samples + b[name].samples
        torch.testing.assert_close(found.G, share * a[name].G + (1 - share) * b[name].G)
        torch.testing.assert_close(found.A, share * a[name].A + (1 - share) * b[name].A)


def test_merging_by_hand() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    found = Moments(eye, eye, 1, 1).merged(Moments(3 * eye, 5 * eye, 3, 1))
    torch.testing.assert_close(found.A, 2 * eye)
    torch.testing.assert_close(found.G, 4 * eye)
    assert (found.samples, found.patches) == (4, 2)
