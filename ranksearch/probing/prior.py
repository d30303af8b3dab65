"""A prior for a search: the deviation of ε from the measured divergence in each layer, from a probe.

Every truncation in sweep.csv has the divergence that it caused and its ε. A layer whose divergence is large for its ε,
compared with the rest of the network, is more sensitive than ε suggests, and its errors should have more weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ranksearch.cache import digest
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.networks import Layer, kernel_shape
from ranksearch.probing.folder import ProbeFolder
from ranksearch.probing.record import ProbeRecord, read_probe
from ranksearch.probing.rows import Row, read_rows

INFORMATIVE = (1e-3, 1.0)
"""Informative divergences in nats: smaller ones are noise, larger ones occur in no plan worth delivering."""

_AGAIN = "Probe the model again, with its sweep and moments: ranksearch probe."


def read_prior(path: Path, model: nn.Module, layers: Sequence[Layer]) -> dict[str, float]:
    """Factors on the errors of the layers that can be factorised, from the folder of a finished probe.

    Raises MismatchError if the probe is of another model or has no ε, and InputError if there is no probe.
    """
    folder, what = ProbeFolder(path), f"`probe={path}`"
    if not folder.record.is_file():
        way_out = "Finish it first, with `resume`."
        raise InputError(expected(what, "the folder of a finished probe", "no probe.json in it", way_out))
    check_same_model(read_probe(folder.record), model, layers, what)
    try:
        rows = read_rows(folder.sweep)
    except MismatchError as error:
        raise MismatchError(expected(what, "a sweep.csv", str(error).rstrip("."))) from error
    if not any(row.epsilon is not None for row in rows):
        raise MismatchError(expected(what, "truncations with their ε in sweep.csv", "none", _AGAIN))
    names = [layer.name for layer in layers if layer.reason is None]
    if len(informative(rows, names)) < 2:
        low, high = INFORMATIVE
        wanted = f"truncations of at least two layers with a divergence between {low:g} and {high:g} nats"
        raise InputError(
            expected(what, wanted, "fewer", "Probe again with more `bonds`, or leave the probe out.")
        )
    return layer_weights(rows, names)


def check_same_model(record: ProbeRecord, model: nn.Module, layers: Sequence[Layer], what: str) -> None:
    """Raise MismatchError if a probe is of other layers or, if it has a digest of the weights, of other weights."""
    way_out = "A prior has to come from a probe of the same model."
    probed = {layer.name: layer.shape for layer in record.layers}
    own = {layer.name: kernel_shape(layer) for layer in layers}
    for name in dict.fromkeys((*probed, *own)):
        if probed.get(name) != own.get(name):
            wanted, got = (f"kernel {x[name]}" if name in x else "no such layer" for x in (own, probed))
            raise MismatchError(expected(f"{what}, layer {name}", wanted, got, way_out))
    if record.weights is not None and record.weights != (found := weights_digest(model)):
        wanted, got = (f"weights with digest {text[:12]}…" for text in (found, record.weights))
        raise MismatchError(expected(what, wanted, got, way_out))


def weights_digest(model: nn.Module) -> str:
    """Digest of a model's weights and statistics."""
    return digest(dict(model.state_dict()))


def informative(rows: Sequence[Row], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """By layer, the logarithms of ε and of the divergence of its informative truncations, (rows, 2); layers without any
    are left out."""
    low, high = INFORMATIVE
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if (
            row.scope == "layer"
            and row.layer in names
            and row.epsilon
            and row.epsilon > 0
            and low <= row.kl <= high
        ):
            found.setdefault(row.layer, []).append((log(row.epsilon), log(row.kl)))
    return {name: np.array(points) for name, points in found.items()}


def layer_weights(rows: Sequence[Row], names: Sequence[str]) -> dict[str, float]:
    """By layer, the ratio of its divergence to that of all layers at equal ε; the geometric mean of all is 1.

    log divergence is modelled as linear in log ε, with a common slope for all layers, because the ratio of the two
    depends on how severe a truncation is, which differs between layers. The intercept of a layer is shrunk towards the
    common one according to the scatter of its own rows (empirical Bayes, Efron & Morris 1975); a layer without
    informative rows gets the common one.
    """
    points = informative(rows, names)
    if not points:
        return dict.fromkeys(names, 1.0)
    slope = common_slope(list(points.values()))
    heights = {name: own[:, 1] - slope * own[:, 0] for name, own in points.items()}
    means = {name: float(own.mean()) for name, own in heights.items()}
    centre = float(np.mean(list(means.values())))
    freedom = sum(len(own) - 1 for own in heights.values())
    scatter = sum(float(((own - own.mean()) ** 2).sum()) for own in heights.values()) / max(1, freedom)
    noise = {name: scatter / len(own) for name, own in heights.items()}
    apart = float(np.var(list(means.values()), ddof=1)) if len(means) > 1 else 0.0
    spread = max(0.0, apart - float(np.mean(list(noise.values()))))
    trusted = {name: spread / (spread + noise[name]) if spread else 0.0 for name in means}
    logs = {name: trusted.get(name, 0.0) * (means.get(name, centre) - centre) for name in names}
    middle = float(np.mean(list(logs.values())))
    return {name: exp(value - middle) for name, value in logs.items()}


def common_slope(points: Sequence[NDArray[np.float64]]) -> float:
    """The least-squares slope of parallel lines, one through each set of points (n, 2); 1 if no set has extent."""
    apart = np.concatenate([own - own.mean(axis=0) for own in points])
    extent = float((apart[:, 0] ** 2).sum())
    return float((apart[:, 0] * apart[:, 1]).sum()) / extent if extent else 1.0


def describe_prior(weights: Mapping[str, float], most: int = 3) -> str:
    """`raises conv1 ×2.4, fc ×1.3, lowers layer3.0.conv2 ×0.5`: the layers that it changes most."""
    ordered = sorted(weights.items(), key=lambda item: -item[1])
    raised = [(name, weight) for name, weight in ordered if weight > 1][:most]
    lowered = [(name, weight) for name, weight in reversed(ordered) if weight < 1][:most]
    parts = [
        f"{verb} {', '.join(f'{name} ×{weight:.2g}' for name, weight in chosen)}"
        for verb, chosen in (("raises", raised), ("lowers", lowered))
        if chosen
    ]
    return ", ".join(parts) or "all layers alike"
