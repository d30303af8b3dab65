"""The metadata of a card: what huggingface.co reads of it, in YAML between two lines of `---`.

The fields are those of the specification of model cards, https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from ranksearch.cards.content import Content
from ranksearch.visible import visible

LICENSES = "https://huggingface.co/docs/hub/repositories-licenses"

_TASKS = {"image-classification": "Image classification", "other": "Other"}
_METRICS = {"top-1 %": "accuracy", "accuracy %": "accuracy"}
"""By what ranksearch calls a task metric, the name that it has there."""


def front_matter(content: Content, title: str) -> str:
    """The block with its two lines. What nobody but the owner knows is left to fill in."""
    known = {
        "base_model": _base_model(content),
        "library_name": "pytorch",
        "pipeline_tag": _task(content) if _task(content) != "other" else None,
        "tags": ["ranksearch", "low-rank", "model-compression"],
        "metrics": _metrics(content),
        "model-index": _model_index(content, title),
    }
    said = {key: value for key, value in known.items() if value}
    lines = [f"license:  # fill in, from {LICENSES}"]
    if "base_model" not in said:
        lines.append("# base_model:  fill in where the dense model is on the hub")
    written = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=float("inf"))
    return "\n".join(["---", *lines, f"{written}---"])


def _base_model(content: Content) -> str | None:
    """Weights of timm are on the hub under the name that timm gives them, with a tag."""
    found = re.fullmatch(r"timm:([\w-]+\.[\w.-]+)(:.*)?", content.record.model.name or "")
    return f"timm/{found[1]}" if found else None


def _task(content: Content) -> str:
    """What the hub calls the task, as far as inputs and task metric tell."""
    delivery = content.delivery
    images = delivery is not None and delivery.images is not None and delivery.task_metric == "top-1 %"
    return "image-classification" if images else "other"


def _metrics(content: Content) -> list[str]:
    found = content.delivery and _METRICS.get(content.delivery.task_metric)
    return [found] if found and content.roles else []


def _model_index(content: Content, title: str) -> list[dict[str, Any]]:
    delivery = content.delivery
    if delivery is None or delivery.data is None or not content.roles:
        return []
    metric, data, task = visible(delivery.task_metric), visible(delivery.data), _task(content)
    kind = re.sub(r"[^\w.-]+", "-", data).strip("-") or "data"
    results = [
        {
            "task": {"type": task, "name": _TASKS[task]},
            "dataset": {"type": kind, "name": data, "split": role},
            "metrics": [
                {
                    "type": _METRICS.get(metric, metric),
                    "value": _rounded(content.record.scores[role]),
                    "name": metric,
                }
            ],
        }
        for role in content.roles
    ]
    return [{"name": visible(title), "results": results}]


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)
