"""`peft`: LoRA adapters of PEFT, with the plan's ranks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

from ranksearch.interchange.base import Entry, Json, LeftOut, NoEntry, PlanExporter
from ranksearch.interchange.layers import geometry
from ranksearch.planning import LayerRecord, PlanRecord


class Peft(PlanExporter):
    """Arguments of `LoraConfig`: an adapter for each layer of `svd`, of the rank that the plan gives the layer.

    An adapter of rank R is the chain of `svd` of rank R, beside the layer instead of in its place, so it has as many
    parameters: the rank goes where the error ε says that the layer needs it. The model itself keeps its weights. The
    scale of all adapters is 1 (`lora_alpha` is the rank).
    """

    name = "peft"
    packages = ("peft",)
    install = "pip install peft"
    prefix = "base_model.model."
    decompositions = ("svd",)

    def entry(self, layer: LayerRecord) -> Entry:
        if layer.decomposition != "svd":
            raise NoEntry("an adapter has the form of svd")
        runs = geometry(layer)
        if any(step > 1 for step in runs.dilation):
            raise NoEntry(f"its adapters take no dilation, such as {runs.dilation}")
        if runs.padding_mode != "zeros":
            raise NoEntry(f"its adapters pad with zeros, not {runs.padding_mode!r}")
        return Entry(layer.ranks[0], prod(layer.shape))

    def content(self, plan: PlanRecord, entries: Mapping[str, Json], left_out: tuple[LeftOut, ...]) -> Json:
        # PEFT matches patterns at the end of a name too, so that `fc` would be `head.fc` as well.
        ranks = {f"^{re.escape(name)}$": rank for name, rank in entries.items()}
        largest = max(ranks.values(), default=1)
        return {
            "r": largest,
            "lora_alpha": largest,
            "target_modules": "|".join(map(re.escape, entries)),
            "rank_pattern": ranks,
            "alpha_pattern": ranks,
        }

    def usage(self, path: str) -> str:
        return f"""\
import json

from peft import LoraConfig, get_peft_model

with open({path!r}, encoding="utf-8") as file:
    config = json.load(file)
if config["rank_pattern"]:
    model = get_peft_model(model, LoraConfig(**config))
"""
