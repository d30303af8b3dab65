"""The losses and metrics, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.tasks.losses import Loss
    from ranksearch.tasks.metrics import Metric


def _is_one(thing: Any) -> bool:
    from ranksearch.tasks.losses import Loss

    return isinstance(thing, Loss)


_ALSO = {
    "mse": "squared_error",
    "l2": "squared_error",
    "ce": "cross_entropy",
    "bce": "binary_cross_entropy",
    "bce_with_logits": "binary_cross_entropy",
    "lm": "causal_lm",
    "embedding": "cosine",
    "miou": "segmentation",
}
"""Other names of built-in losses."""

OF_TORCH = {
    "CrossEntropyLoss": "cross_entropy",
    "NLLLoss": "cross_entropy",  # log-probabilities are logits
    "BCEWithLogitsLoss": "binary_cross_entropy",
    "MultiLabelSoftMarginLoss": "binary_cross_entropy",
    "MSELoss": "squared_error",
    "CosineEmbeddingLoss": "cosine",
    "cross_entropy": "cross_entropy",
    "nll_loss": "cross_entropy",
    "binary_cross_entropy_with_logits": "binary_cross_entropy",
    "mse_loss": "squared_error",
    "cosine_embedding_loss": "cosine",
}
"""By the name of torch's module or function."""


def usual_name(spec: str) -> str:
    """The name of a built-in loss that is called otherwise, `mse` or `torch.nn.MSELoss()`; any other text as it is."""
    return _ALSO.get(spec.lower()) or OF_TORCH.get(spec.rpartition(".")[2].removesuffix("()"), spec)


LOSSES: Registry[Loss] = Registry("loss", "", _is_one, "a ranksearch.Loss", usual=usual_name)

_HERE = "ranksearch.tasks.losses"
LOSSES.offer("cross_entropy", f"{_HERE}:CROSS_ENTROPY", "classification, classes on axis 1")
LOSSES.offer("binary_cross_entropy", f"{_HERE}:BINARY_CROSS_ENTROPY", "logits of yes and no")
LOSSES.offer("squared_error", f"{_HERE}:SQUARED_ERROR", "regression")
LOSSES.offer(
    "token_cross_entropy", "ranksearch.tasks.token_losses:TOKEN_CROSS_ENTROPY", "tokens, classes last"
)
LOSSES.offer("causal_lm", "ranksearch.tasks.token_losses:CAUSAL_LM", "the next token")
LOSSES.offer("segmentation", "ranksearch.tasks.segmentation:SEGMENTATION", "pixels, measured by mIoU")
LOSSES.offer("cosine", "ranksearch.tasks.embeddings:EMBEDDING", "directions of embeddings")


def _is_metric(thing: Any) -> bool:
    from ranksearch.tasks.metrics import Metric

    return isinstance(thing, Metric)


METRICS: Registry[Metric] = Registry("metric_fn", "", _is_metric, "a ranksearch.Metric")

_METRICS = "ranksearch.tasks.metrics"
METRICS.offer("top1", f"{_METRICS}:TOP1", "top-1 accuracy")
METRICS.offer("binary_accuracy", f"{_METRICS}:BINARY_ACCURACY", "right decisions")
METRICS.offer("f1", f"{_METRICS}:F1", "of decisions, all labels together")
METRICS.offer("token_accuracy", f"{_METRICS}:TOKEN_ACCURACY", "of all tokens")
METRICS.offer("perplexity", f"{_METRICS}:PERPLEXITY", "of the next token, negated")
METRICS.offer("miou", f"{_METRICS}:MEAN_IOU", "mean intersection over union")
METRICS.offer("psnr", f"{_METRICS}:PSNR", "of images from 0 to 1, in dB")
METRICS.offer("r2", f"{_METRICS}:R2", "part of the variance explained")
METRICS.offer("cosine", f"{_METRICS}:COSINE", "similarity of embeddings")
