"""Batches of inputs, as tensors and as trees of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ranksearch.cache import digest
from ranksearch.networks import cat, head, part, repeated, same, shapes_of, size, split, tensors, to


def tree(kind: str, n: int = 5) -> Any:
    a, b = torch.arange(3.0 * n).reshape(n, 3), torch.arange(n)
    return {
        "tensor": a,
        "tuple": (a, b),
        "list": [a, b],
        "dict": {"ids": b, "mask": a > 1},
        "nested": {"x": (a, [b]), "scale": 2.0},
    }[kind]


KINDS = ("tensor", "tuple", "list", "dict", "nested")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_what_is_split_is_joined_again(kind: str, count: int) -> None:
    batch = tree(kind)
    parts = split(batch, count)
    assert [size(one) for one in parts] == [min(count, 5 - k) for k in range(0, 5, count)]
    assert same(cat(parts), batch)
    assert type(cat(parts)) is type(batch)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_batch(kind: str) -> None:
    batch = tree(kind)
    assert size(batch) == 5
    assert same(head(batch, 2), part(batch, 0, 2))
    assert size(head(batch, 9)) == 5
    assert same(part(batch, 4, 5), split(batch, 1)[4])
    three = repeated(batch, 3)
    assert all(same(one, head(batch, 1)) for one in split(three, 1))
    assert len(split(three, 1)) == 3
    assert [t.dtype for t in tensors(to(batch, "cpu"))] == [t.dtype for t in tensors(batch)]


def test_what_is_no_tensor_stays() -> None:
    assert cat(split(tree("nested"), 2))["scale"] == 2.0
    assert shapes_of(tree("nested")) == {"x": ((5, 3), ((5,),)), "scale": 2.0}
    assert shapes_of(tree("tensor")) == (5, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_batches_are_those_with_the_same_numbers(kind: str) -> None:
    assert same(tree(kind), tree(kind))
    changed = to(tree(kind), "cpu")
    tensors(changed)[0].view(-1)[0] = 1
    assert not same(changed, tree(kind)) or tensors(tree(kind))[0].view(-1)[0] == 1
    nan = torch.tensor([float("nan"), 1.0])
    assert same(nan, nan.clone())


def test_digests_tell_trees_apart() -> None:
    batches = [tree(kind) for kind in ("tensor", "tuple", "dict", "nested")]
    assert len({digest(batch) for batch in batches}) == 4
    assert digest(tree("tuple")) == digest(tree("tuple"))
    other = (tree("tuple")[0] + 1, tree("tuple")[1])
    assert digest(other) != digest(tree("tuple"))
