"""The interface of plan exporters: layer by layer, what another compressor is told, or why it cannot be told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from ranksearch.errors import InputError, expected
from ranksearch.interchange.layers import check_layer, geometry, is_known, planned
from ranksearch.planning import DENSE, LayerRecord, PlanRecord

Json = Any
"""What the json module writes: dicts, lists, texts, numbers, booleans and None."""


class NoEntry(Exception):  # noqa: N818  # nothing has gone wrong
    """Raised by an exporter for a layer that its format cannot express; the message is the reason."""


@dataclass(frozen=True)
class Entry:
    """A layer in another format.

    value: what the format holds of it. extra_params: how many parameters the layer has there beyond those of the plan.
    """

    value: Json
    extra_params: int = 0


@dataclass(frozen=True)
class LeftOut:
    """A layer that the plan factorises, and that stays dense elsewhere.

    planned: the decomposition and ranks in the plan: `cp[joint] 24`.
    """

    layer: str
    planned: str
    reason: str


@dataclass(frozen=True)
class PlanExport:
    """A plan in another format.

    content: what the file holds. ranks: of the layers that are expressed. params: how many parameters these have there.
    dense: layers that the plan keeps dense, or that cannot be factorised. left_out: layers that the format cannot
    express. total: how many parameters the whole model has there. int8: layers that the plan has in int8, of which only
    the ranks are told.
    """

    content: Json
    ranks: Mapping[str, tuple[int, ...]]
    params: Mapping[str, int]
    dense: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    total: int
    int8: tuple[str, ...] = ()


class PlanExporter(ABC):
    """A format of another compressor that plans are written in. Stateless; one instance is registered under its name.

    What it writes is data that the other side reads with a few lines of Python, its `usage`.
    """

    name: ClassVar[str]
    """The name that selects it, also part of the file's name."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Packages, as they are imported, that `usage` needs besides torch. None is needed to write the file."""

    install: ClassVar[str] = ""
    """The command that installs them."""

    prefix: ClassVar[str] = ""
    """What the names of modules begin with in the model that `usage` makes."""

    grouped: ClassVar[bool] = False
    """Whether it has grouped convolutions."""

    decompositions: ClassVar[tuple[str, ...]] = ()
    """The decompositions to plan with, so that little is left out; () for any."""

    @abstractmethod
    def entry(self, layer: LayerRecord) -> Entry:
        """What the format holds of a layer that the plan factorises. Raises NoEntry with the reason where the format
        cannot express it with the same ranks, or not at the same cost."""

    def content(self, plan: PlanRecord, entries: Mapping[str, Json], left_out: tuple[LeftOut, ...]) -> Json:
        """What the file holds.

        entries: the values of `entry`, by layer, in the order of the plan. Unless the format has no place for them,
        `left_out` belongs in the file.
        """
        return {
            "format": f"ranksearch plan for {self.name}",
            "version": 1,
            "layers": dict(entries),
            "dense": list(kept_dense(plan)),
            "left_out": [vars(each) for each in left_out],
        }

    @abstractmethod
    def usage(self, path: str) -> str:
        """Lines of Python that carry out the file on the dense model `model`; afterwards `model` is the result."""


def export_of(exporter: PlanExporter, plan: PlanRecord) -> PlanExport:
    """A plan in another format. Every layer is expressed, dense, or left out with the reason.

    Raises InputError for plans of files of version 1, which do not say how layers are strided and padded, and for those
    whose chains are not what they say.
    """
    entries: dict[str, Entry] = {}
    left_out = []
    factorised = [layer for layer in plan.layers if layer.decomposition != DENSE]
    if "params" not in plan.cost:
        raise InputError(expected("plan, cost", "a number of parameters", ", ".join(plan.cost) or "nothing"))
    for layer in factorised:
        try:
            if not is_known(layer):
                raise NoEntry(f"it has no {layer.kind}")
            check_layer(layer)
            if geometry(layer).groups > 1 and not exporter.grouped:
                raise NoEntry("it has no grouped convolutions")
            entries[layer.name] = exporter.entry(layer)
        except NoEntry as error:
            left_out.append(LeftOut(layer.name, planned(layer), str(error)))
    back = {each.layer for each in left_out}
    extra = sum(dense_params(x) - x.cost["params"] for x in factorised if x.name in back)
    extra += sum(entry.extra_params for entry in entries.values())
    return PlanExport(
        content=exporter.content(plan, {name: e.value for name, e in entries.items()}, tuple(left_out)),
        ranks={layer.name: layer.ranks for layer in factorised if layer.name in entries},
        params={
            x.name: x.cost["params"] + entries[x.name].extra_params for x in factorised if x.name in entries
        },
        dense=kept_dense(plan),
        left_out=tuple(left_out),
        total=plan.cost["params"] + extra,
        int8=tuple(layer.name for layer in plan.layers if layer.int8),
    )


def kept_dense(plan: PlanRecord) -> tuple[str, ...]:
    """The layers that a plan keeps dense, and those that cannot be factorised."""
    chosen = (layer.name for layer in plan.layers if layer.decomposition == DENSE)
    return (*chosen, *(layer.name for layer in plan.dense_layers))


def dense_params(layer: LayerRecord) -> int:
    """Parameters of a layer that is factorised, were it dense."""
    return prod(layer.shape) + layer.shape[0] * geometry(layer).bias
