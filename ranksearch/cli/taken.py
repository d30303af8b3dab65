"""Which options each command takes, by field name."""

from __future__ import annotations

from ranksearch.runs import ProbeOptions, RunOptions, in_panels

ALL = tuple(RunOptions.model_fields)
MODEL_AND_DATA = in_panels("Model", "Data")
DELIVERY = (
    *MODEL_AND_DATA,
    "runtime",
    "latency_batch",
    "recipe",
    "match_epochs",
    "epochs",
    "rounds",
    "lr",
    "label_weight",
    "augment",
    "accept",
    "export",
    "quantize",
    "quantize_tolerance",
    "out",
    "cache",
    "trust",
    "seed",
    "device",
    "threads",
    "track",
    "quiet",
    "verbose",
)
PROBE = (
    *MODEL_AND_DATA,
    "decompositions",
    "runtime",
    "latency_batch",
    "lr",
    "out",
    "cache",
    "resume",
    "trust",
    "seed",
    "device",
    "threads",
    "quiet",
    "verbose",
    *ProbeOptions.model_fields,
)
WORKER = (
    *MODEL_AND_DATA,
    "storage",
    "study_name",
    "storage_timeout",
    "artifacts",
    "cache",
    "trust",
    "device",
    "threads",
    "quiet",
    "verbose",
)
STORAGE_PROXY = ("storage", "quiet")
PLAN = ("budget", "metric", "limit", "decompositions", "trust", "quiet")
INIT = (
    *MODEL_AND_DATA,
    "budget",
    "metric",
    "max_drop",
    "epochs",
    "runtime",
    "seed",
    "device",
    "threads",
    "quiet",
)
LAYERS = ("model", "num_classes", "output", "ignore", "data", "collate", "input_size", "decompositions")
VERIFY = ("data", "model", "metric_fn", "loss", "device", "threads", "trust")
DOCTOR = (
    "data",
    "model",
    "input_size",
    "test_split",
    "storage",
    "storage_timeout",
    "cache",
    "device",
    "threads",
)
