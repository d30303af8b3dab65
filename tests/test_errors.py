"""What errors say."""

from __future__ import annotations

import pytest
from torch import nn

from ranksearch.errors import expected, told


def test_one_template() -> None:
    assert expected("--budget", "a fraction", 3) == "--budget: expected a fraction, got 3."
    assert expected("x", "y", "z", "Use y.") == "x: expected y, got z. Use y."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AssertionError(), "AssertionError"),
        (ValueError("\n\n"), "ValueError"),
        (OSError("\n disk\ton  fire\n"), "OSError: disk on fire"),
        (ValueError("x" * 500), f"ValueError: {'x' * 400}…"),
    ],
)
def test_errors_of_others_are_told_in_a_line(error: Exception, text: str) -> None:
    assert told(error) == text


def test_what_does_not_fit_a_model_is_told() -> None:
    with pytest.raises(RuntimeError) as error:
        nn.Linear(2, 3).load_state_dict({})
    assert 'Missing key(s) in state_dict: "weight", "bias"' in told(error.value)
