"""`aimet`: compression ratios for spatial SVD and weight SVD of AIMET 2."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from ranksearch.interchange.base import Entry, Json, LeftOut, NoEntry, PlanExporter
from ranksearch.interchange.layers import geometry
from ranksearch.planning import LayerRecord, PlanRecord


class Aimet(PlanExporter):
    """A ratio for each layer, since AIMET takes no ranks.

    It takes the largest rank whose weights are at most the ratio's share of the dense layer's, biases not counted. The
    ratio in the file is that of half a weight more than the rank has, so that rounding cannot cost a rank. Its weight
    SVD of a layer with a bias gives both factors one; the first is zero, and counts as parameters.
    """

    name = "aimet"
    packages = ("aimet_torch",)
    install = "pip install aimet-torch"
    decompositions = ("spatial_svd",)

    def entry(self, layer: LayerRecord) -> Entry:
        match layer.decomposition:
            case "spatial_svd":
                _check_spatial(layer)
                return Entry(_ratio("spatial_svd", layer))
            case "svd" if layer.kind in ("linear", "conv2d") and prod(layer.shape[2:]) == 1:
                _check_padding(layer)
                return Entry(_ratio("weight_svd", layer), layer.ranks[0] * geometry(layer).bias)
            case "svd" if layer.kind == "conv2d":
                raise NoEntry("its weight SVD of wide kernels cuts off the inputs, not the outputs")
            case "svd":
                raise NoEntry(f"it has no {layer.kind}")
            case _:
                raise NoEntry(f"it has no {layer.decomposition}")

    def content(self, plan: PlanRecord, entries: Mapping[str, Json], left_out: tuple[LeftOut, ...]) -> Json:
        settings = {
            "cost_metric": "memory",
            "multiplicity": 1,
            "input_shape": list(plan.model.input_shape),
        }
        return super().content(plan, entries, left_out) | settings

    def usage(self, path: str) -> str:
        return f"""\
import json

from aimet_torch.common.defs import CompressionScheme, CostMetric
from aimet_torch.compress import ModelCompressor
from aimet_torch.defs import ModuleCompRatioPair, SpatialSvdParameters, WeightSvdParameters

with open({path!r}, encoding="utf-8") as file:
    plan = json.load(file)
for scheme, parameters in {{"spatial_svd": SpatialSvdParameters, "weight_svd": WeightSvdParameters}}.items():
    pairs = [
        ModuleCompRatioPair(model.get_submodule(name), how["comp_ratio"])
        for name, how in plan["layers"].items()
        if how["scheme"] == scheme
    ]
    if pairs:
        model, statistics = ModelCompressor.compress_model(
            model,
            eval_callback=lambda model, iterations, use_cuda: 0.0,  # or your evaluation, for its statistics
            eval_iterations=None,
            input_shape=tuple(plan["input_shape"]),
            compress_scheme=CompressionScheme[scheme],
            cost_metric=CostMetric[plan["cost_metric"]],
            parameters=parameters(
                parameters.Mode.manual, parameters.ManualModeParams(pairs), multiplicity=plan["multiplicity"]
            ),
        )
"""


def _check_spatial(layer: LayerRecord) -> None:
    """What AIMET's splitter takes over from a layer."""
    runs = geometry(layer)
    if layer.kind != "conv2d":
        raise NoEntry(f"it has no {layer.kind}")
    if set(runs.dilation) != {1}:
        raise NoEntry(f"its spatial SVD takes no dilation, such as {runs.dilation}")
    if runs.padding == "same":
        raise NoEntry("it takes padding as numbers, not 'same'")
    _check_padding(layer)


def _check_padding(layer: LayerRecord) -> None:
    if (mode := geometry(layer).padding_mode) != "zeros":
        raise NoEntry(f"it pads with zeros, not {mode!r}")


def _ratio(scheme: str, layer: LayerRecord) -> Json:
    weights = layer.cost["params"] - layer.shape[0] * geometry(layer).bias
    return {
        "scheme": scheme,
        "rank": layer.ranks[0],
        "comp_ratio": (weights + 0.5) / prod(layer.shape),
    }
