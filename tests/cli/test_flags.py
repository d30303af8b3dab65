"""Messages of the library in the words of the command line."""

from __future__ import annotations

import pytest

from ranksearch.cli.flags import in_flags, with_flags


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("Use `epochs=0`.", "Use --epochs 0."),
        ("Keep it dense: `ignore`.", "Keep it dense: --ignore."),
        ("without it: `augment=False`, `resume=True`", "without it: --no-augment, --resume"),
        ("`finetune_trials=0` and `bonds`", "--finetune-trials 0 and --bonds"),
        ("`stem.0` is no option, nor is `width=3`", "`stem.0` is no option, nor is `width=3`"),
        ("budget: expected more", "--budget: expected more"),
        ("val_split: expected a fraction", "--val-split: expected a fraction"),
        ("`probe=runs/a`: expected a folder", "--probe runs/a: expected a folder"),
        ("layer data: expected finite inputs", "layer data: expected finite inputs"),
        ("plan, layer 0: expected a layer", "plan, layer 0: expected a layer"),
        ("interrupted.", "interrupted."),
    ],
)
def test_parameters_become_options(message: str, wanted: str) -> None:
    assert in_flags(message) == wanted


def test_facts_keep_what_they_begin_with() -> None:
    assert with_flags("model: digits, `epochs=2`") == "model: digits, --epochs 2"
