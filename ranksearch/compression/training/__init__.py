"""Training of a compressed model."""

from __future__ import annotations

from ranksearch.compression.training.distillation import (
    MATCHING,
    FinetuneConfig,
    check_outputs,
    check_training,
    finetune,
    steps_per_epoch,
)
from ranksearch.compression.training.features import block_names
from ranksearch.compression.training.followed import follow
from ranksearch.compression.training.kept import KeptTraining

__all__ = [
    "MATCHING",
    "FinetuneConfig",
    "KeptTraining",
    "block_names",
    "check_outputs",
    "check_training",
    "finetune",
    "follow",
    "steps_per_epoch",
]
