from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from ranksearch.cache import cache_dir
from ranksearch.tasks.sources.digits import DigitsNet, Recipe, digits_data, digits_model, train_digits

SHORT = Recipe(channels=(4, 4, 4, 4), epochs=1)


def tensors(model: torch.nn.Module) -> list[torch.Tensor]:
    return [t.clone() for t in model.state_dict().values()]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def test_split_is_stratified_disjoint_and_complete() -> None:
    data = digits_data()
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [1257, 180, 360]
    for part in parts:
        counts = torch.bincount(part.tensors[1], minlength=10).double() / len(part)
        assert (counts - 0.1).abs().max() < 0.01
    images = torch.cat([part.tensors[0] for part in parts])
    assert images.shape == (1797, 1, 8, 8)
    assert float(images.min()) == 0
    assert float(images.max()) == 1


def test_trains_to_98_per_cent() -> None:
    model = train_digits()
    inputs, targets = digits_data().test.tensors
    with torch.no_grad():
        accuracy = (model(inputs).argmax(1) == targets).double().mean()
    assert accuracy >= 0.98
    assert sum(p.numel() for p in model.parameters()) == 93_546


def test_training_is_deterministic_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = train_digits(SHORT)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    assert same(first, train_digits(SHORT))
    other = train_digits(Recipe(channels=SHORT.channels, epochs=1, seed=1))
    assert not same(first, other)


def test_cached_in_the_users_cache(tmp_path: Path) -> None:
    model = digits_model(SHORT)
    assert cache_dir() == tmp_path / "cache" / "ranksearch"
    (path,) = cache_dir().iterdir()
    assert path.name == f"digits-{SHORT.digest}.safetensors"
    before = path.stat().st_mtime_ns
    assert same(model, digits_model(SHORT))
    assert path.stat().st_mtime_ns == before
    assert not digits_model(SHORT).training


def test_other_recipes_have_other_files() -> None:
    digits_model(SHORT)
    digits_model(Recipe(channels=(4, 4, 4, 8), epochs=1))
    assert len(list(cache_dir().iterdir())) == 2


def test_a_torn_cache_file_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    model = digits_model(SHORT)
    (path,) = cache_dir().iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert same(model, digits_model(SHORT))
    assert "cannot be used" in caplog.text
    assert same(model, digits_model(SHORT))


def test_works_where_nothing_can_be_cached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    with caplog.at_level(logging.WARNING):
        assert isinstance(digits_model(SHORT), DigitsNet)
    assert "cannot be cached" in caplog.text


def test_cache_without_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert os.fspath(cache_dir()) == f"{tmp_path}/.cache/ranksearch"
