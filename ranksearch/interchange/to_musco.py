"""`musco`: ranks and decompositions for musco-pytorch 1."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ranksearch.interchange.base import Entry, Json, LeftOut, NoEntry, PlanExporter, kept_dense
from ranksearch.interchange.layers import geometry
from ranksearch.planning import LayerRecord, PlanRecord


class Musco(PlanExporter):
    """Tucker-2 and CP of Conv2d, SVD of Linear and of 1×1 convolutions: `{layer: None | rank | [rank_out, rank_in]}`.

    Every layer has to have a rank or None, since MUSCO chooses a rank by itself for those without. CP over (o, i, hw)
    is its `cp3`, over (o, i, h, w) its `cp4`.
    """

    name = "musco"
    packages = ("musco", "sktensor", "absl")
    install = "pip install musco-pytorch"
    decompositions = ("tucker2", "cp")

    def entry(self, layer: LayerRecord) -> Entry:
        if layer.kind not in ("linear", "conv2d"):
            raise NoEntry(f"it has no {layer.kind}")
        ranks: Json = layer.ranks[0]
        match layer.decomposition, layer.form:
            case "svd", _ if prod(layer.shape[2:]) == 1:
                name = "svd"
            case "tucker2", _:
                name, ranks = "tucker2", [layer.ranks[1], layer.ranks[0]]
            case "cp", "joint":
                name = "cp3"
            case "cp", "axes":
                name = "cp4"
            case "svd", _:
                raise NoEntry("it has no svd of kernels wider than 1")
            case _:
                raise NoEntry(f"it has no {layer.decomposition}")
        _check(layer, name)
        return Entry({"decomposition": name, "ranks": ranks})

    def content(self, plan: PlanRecord, entries: Mapping[str, Json], left_out: tuple[LeftOut, ...]) -> Json:
        found: dict[str, Json] = super().content(plan, entries, left_out)
        dense = dict.fromkeys((*kept_dense(plan), *(each.layer for each in left_out)))
        found["ranks"] = {name: value["ranks"] for name, value in entries.items()} | dense
        found["decompositions"] = {name: value["decomposition"] for name, value in entries.items()}
        del found["layers"]
        return found

    def usage(self, path: str) -> str:
        return f"""\
import json

from musco.pytorch.compressor.compress import get_compressed_model

with open({path!r}, encoding="utf-8") as file:
    plan = json.load(file)
model = get_compressed_model(
    model,
    list(plan["ranks"]),
    plan["ranks"],
    plan["decompositions"],
    {{name: {{"type": type(model.get_submodule(name))}} for name in plan["ranks"]}},
    rank_selection="manual",
)
"""


def _check(layer: LayerRecord, name: str) -> None:
    """What MUSCO takes over from a convolution: its stride and padding."""
    runs = geometry(layer)
    if any(step > 1 for step in runs.dilation):
        raise NoEntry(f"it takes no dilation, such as {runs.dilation}")
    if runs.padding_mode != "zeros":
        raise NoEntry(f"it pads with zeros, not {runs.padding_mode!r}")
    if runs.padding == "same" and name == "cp4":
        raise NoEntry("its cp4 takes padding as numbers, not 'same'")
