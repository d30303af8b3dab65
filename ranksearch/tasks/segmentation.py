"""The loss of segmentation: cross-entropy of pixels, measured by the mean intersection over union."""

from __future__ import annotations

from dataclasses import replace

from ranksearch.tasks.losses import CROSS_ENTROPY
from ranksearch.tasks.metrics import MEAN_IOU

SEGMENTATION = replace(CROSS_ENTROPY, name="segmentation", metric=MEAN_IOU)
"""A class for each pixel: outputs (N, C, H, W) are logits, targets (N, H, W) classes, of which 255 and -100 count for
nothing; the divergence is KL."""
