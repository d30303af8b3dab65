"""`ranks`: a flat `{module: rank}`, as many low-rank compressors of Hugging Face models read it."""

from __future__ import annotations

from collections.abc import Mapping

from ranksearch.interchange.base import Entry, Json, LeftOut, NoEntry, PlanExporter
from ranksearch.planning import LayerRecord, PlanRecord


class Ranks(PlanExporter):
    """One rank for each layer of `svd`, and nothing else: layers that are not named stay dense."""

    name = "ranks"
    decompositions = ("svd",)

    def entry(self, layer: LayerRecord) -> Entry:
        if layer.decomposition != "svd":
            raise NoEntry("a rank alone stands for svd")
        return Entry(layer.ranks[0])

    def content(self, plan: PlanRecord, entries: Mapping[str, Json], left_out: tuple[LeftOut, ...]) -> Json:
        return dict(entries)

    def usage(self, path: str) -> str:
        return f"""\
import json

import torch
from torch import nn

with open({path!r}, encoding="utf-8") as file:
    ranks = json.load(file)
for name, rank in ranks.items():
    layer = model.get_submodule(name)
    left, values, right = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
    left = (left * values)[:, :rank]
    narrow = right[:rank].unflatten(1, layer.weight.shape[1:])
    if isinstance(layer, nn.Linear):
        first = nn.Linear(layer.in_features, rank, bias=False)
        last = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    else:
        options = {{k: getattr(layer, k) for k in ("kernel_size", "stride", "padding", "padding_mode", "dilation")}}
        first = type(layer)(layer.in_channels, rank, bias=False, **options)
        last = type(layer)(rank, layer.out_channels, 1, bias=layer.bias is not None)
    first.weight, last.weight = nn.Parameter(narrow.contiguous()), nn.Parameter(left.reshape(last.weight.shape))
    last.bias = layer.bias
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Sequential(first, last))
"""
