"""Which tensor counts of what a model returns, and which of its positions."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from ranksearch.errors import InputError
from ranksearch.networks import Reading, mask_of, one_tensor, output_of, usual_path

A, B = torch.arange(6.0).reshape(2, 3), torch.ones(2, 4)
Pair = namedtuple("Pair", "first logits")  # as torchvision returns them


@dataclass
class Returned:
    loss: Any
    hidden: Any


FOUND: dict[str, tuple[Any, str]] = {
    "a tensor": (A, ""),
    "torchvision's segmentation": ({"out": A, "aux": B}, "out"),
    "a named tuple": (Pair(B, A), "logits"),
    "the only one": ({"boxes": None, "scores": [A]}, "scores.0"),
    "the only one of numbers": ((A, torch.ones(2, dtype=torch.long)), "0"),
    "an attribute": (Returned(None, A), "hidden"),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_usual_one_is_found(name: str) -> None:
    returned, path = FOUND[name]
    assert usual_path(returned) == path
    assert one_tensor(returned) is A


@pytest.mark.parametrize(
    ("returned", "known"),
    [((A, B), "tuple (0, 1)"), ({"a": A, "b": {"c": B}}, "dict (a, b.c)"), ("text", "str")],
)
def test_what_cannot_be_decided_is_refused_with_the_paths(returned: Any, known: str) -> None:
    with pytest.raises(InputError) as caught:
        one_tensor(returned)
    assert f"expected a Tensor as output, got {known}" in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "returned"),
    [
        ("logits", {"logits": A, "other": B}),
        ("decoder.logits", {"decoder": Pair(B, A)}),
        ("1", (B, A)),
        (1, [B, A]),
        ("0.hidden", [Returned(B, A)]),
        ("3", {3: A, 4: B}),
        (lambda returned: returned[0][0], [[A]]),
    ],
)
def test_paths_and_functions(spec: Any, returned: Any) -> None:
    assert output_of(spec)(returned) is A


def test_mistyped_paths_are_told_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"output: expected the path of a tensor \(a, b\), got 'logits'"):
        output_of("logits")({"a": A, "b": B})
    with pytest.raises(
        InputError, match="output: expected a path such as 'logits' or '0', or a function, got True"
    ):
        output_of(True)
    with pytest.raises(
        InputError, match=r"mask: expected the path of a tensor of the inputs \(ids\), got 'msk'"
    ):
        Reading(mask=mask_of("msk")).real({"ids": A})


# --- masks

MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
INPUTS = {"input_ids": torch.zeros(2, 3), "attention_mask": MASK}


@pytest.mark.parametrize(
    ("outputs", "second", "padded"),
    [
        (torch.ones(2, 3, 5), False, (0, 2)),
        (torch.ones(2, 5, 3), True, (0, slice(None), 2)),
        (torch.ones(2, 3, 3), False, (0, 2)),
        (torch.ones(2, 3, 3), True, (0, slice(None), 2)),
        (torch.ones(2, 3, 4, 5), False, (0, 2)),
    ],
)
def test_padding_is_blank(outputs: Tensor, second: bool, padded: Any) -> None:
    wanted = outputs.clone()
    wanted[padded] = 0
    assert torch.equal(Reading(second=second).without_padding(outputs, INPUTS), wanted)


@pytest.mark.parametrize("outputs", [torch.ones(2, 3), torch.ones(2, 7), torch.ones(2, 4, 5)])
def test_outputs_that_are_not_per_position_stay(outputs: Tensor) -> None:
    """Two examples of three classes have the shape of a mask of three positions."""
    assert Reading().without_padding(outputs, INPUTS) is outputs


def test_without_a_mask_nothing_is_touched() -> None:
    outputs = torch.ones(2, 3, 5)
    assert Reading().without_padding(outputs, torch.zeros(2, 3)) is outputs
    assert Reading().without_padding(outputs, {"input_ids": torch.zeros(2, 3)}) is outputs


# --- several outputs, and one vector of many positions


def test_several_outputs_count_side_by_side() -> None:
    maps = {"0": torch.ones(2, 3, 4, 4), "pool": torch.zeros(2, 3, 2, 2)}
    joined = output_of("0, pool")(maps)
    assert joined.shape == (2, 3 * 16 + 3 * 4)
    assert joined.sum(dim=1).tolist() == [48, 48]
    with pytest.raises(InputError, match="got 'wide'"):
        output_of("0,wide")(maps)


def test_the_mean_is_of_the_real_positions() -> None:
    outputs = torch.arange(12.0).reshape(2, 3, 2)
    assert Reading(pool="mean").counted(outputs, INPUTS).tolist() == [[1, 2], [8, 9]]
    assert Reading(pool="first").counted(outputs, INPUTS).tolist() == [[0, 1], [6, 7]]
    assert Reading(pool="mean").counted(outputs, torch.zeros(2, 3)).tolist() == [[2, 3], [8, 9]]
    vectors = torch.ones(2, 5)
    assert Reading(pool="mean").counted(vectors, INPUTS) is vectors


def test_padding_does_not_move_the_mean() -> None:
    outputs = torch.randn(2, 3, 4)
    longer = torch.cat([outputs, torch.full((2, 2, 4), 1e6)], dim=1)
    inputs = {"attention_mask": torch.cat([MASK, torch.zeros(2, 2, dtype=MASK.dtype)], dim=1)}
    pooled = Reading(pool="mean")
    torch.testing.assert_close(pooled.counted(longer, inputs), pooled.counted(outputs, INPUTS))
