"""What tables.json holds: everything that further plans of a run are made from, without the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FiniteFloat, JsonValue, NonNegativeInt, PositiveInt, model_validator

from ranksearch.costs import Budget, Cost, Kept, Limits, Part
from ranksearch.networks import KINDS, Call, Kind, Layer
from ranksearch.planning.alignment import preferred
from ranksearch.planning.network_tables import Tables
from ranksearch.planning.plan import DENSE, Candidate, Table
from ranksearch.planning.plan_file import package_versions
from ranksearch.planning.plan_record import ModelRecord, PartRecord
from ranksearch.records import Record, Terse, read_record, write_record
from ranksearch.timing import TimedOn, Times

LARGEST = 10**15
"""The most that a layer or a model may cost in a file: sums of it fit into 64 bits."""

Amount = Annotated[int, Field(ge=0, le=LARGEST)]
Weight = Annotated[FiniteFloat, Field(gt=0, le=1e30)]
Error = Annotated[FiniteFloat, Field(ge=0, le=1e30)]
Share = Annotated[FiniteFloat, Field(gt=0, le=1e6)]
Size = tuple[Annotated[int, Field(ge=1, le=2**31)], ...]


class GeometryRecord(Terse):
    """A layer; see `ranksearch.networks.Layer`. calls: sizes of inputs and outputs of each call of one example."""

    name: str
    kind: Kind
    in_channels: PositiveInt
    out_channels: PositiveInt
    kernel_size: Size
    stride: Size
    padding: tuple[NonNegativeInt, ...] | Literal["same"]
    dilation: Size
    padding_mode: str
    groups: PositiveInt
    bias: bool
    calls: tuple[tuple[Size, Size], ...]
    reason: str | None
    itemsize: Annotated[int, Field(ge=1, le=16)]
    output_padding: tuple[NonNegativeInt, ...] = ()
    padding_idx: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _sizes_are_of_the_kind(self) -> Self:
        dims, transposed = KINDS[self.kind].dims, KINDS[self.kind].transposed
        padding = self.stride if self.padding == "same" and dims and not transposed else self.padding
        sizes = (self.kernel_size, self.stride, self.dilation, padding)
        if any(len(size) != dims for size in sizes) or len(self.output_padding) != dims * transposed:
            raise ValueError(f"sizes that are not of {self.kind}")
        return self

    @classmethod
    def of(cls, layer: Layer) -> GeometryRecord:
        """The record of a layer."""
        calls = tuple((call.in_size, call.out_size) for call in layer.calls)
        return cls(**vars(layer) | {"calls": calls})

    def layer(self) -> Layer:
        """The layer."""
        return Layer(**dict(self) | {"calls": tuple(Call(*sizes) for sizes in self.calls)})


class TableRecord(Terse):
    """The candidates of a layer, in columns.

    forms: pairs of a decomposition and one of its forms. form: of each candidate, the position of its pair there.
    ranks: of each candidate. cost: by cost metric, of the layer as each candidate carries it out. error: ε of each.
    scale: ε of the zero kernel. weight: the factor on the layer's errors in the allocation. int8: the positions of the
    candidates with int8 weights. unused: whether the layer's kernel does not matter.
    """

    layer: str
    scale: Error
    weight: Weight
    forms: tuple[tuple[str, str], ...]
    form: tuple[NonNegativeInt, ...]
    ranks: tuple[tuple[PositiveInt, ...], ...]
    cost: dict[str, tuple[Amount, ...]]
    error: tuple[Error, ...]
    int8: tuple[NonNegativeInt, ...] = ()
    unused: bool = False

    @model_validator(mode="after")
    def _columns_are_of_the_same_candidates(self) -> Self:
        count = len(self.form)
        if any(len(column) != count for column in (self.ranks, self.error, *self.cost.values())):
            raise ValueError("columns of several lengths")
        if any(place >= len(self.forms) for place in self.form):
            raise ValueError("a candidate of an unknown form")
        if any(place >= count for place in self.int8):
            raise ValueError("an unknown candidate in int8")
        names = [self.forms[place][0] for place in self.form]
        if len(self._dense) != 1:
            raise ValueError(f"{len(self._dense)} candidates that keep {self.layer} dense")
        if any((name == DENSE) == bool(ranks) for name, ranks in zip(names, self.ranks, strict=True)):
            raise ValueError("ranks for dense, or none for a decomposition")
        return self

    @property
    def dense(self) -> int:
        """Which of the candidates keeps the layer as it is."""
        return self._dense[0]

    @property
    def _dense(self) -> list[int]:
        own = (k for k, place in enumerate(self.form) if self.forms[place][0] == DENSE)
        return [k for k in own if k not in self.int8]

    @classmethod
    def of(cls, table: Table) -> TableRecord:
        """The record of a table."""
        own = table.candidates
        forms = {(c.decomposition, c.form): None for c in own}
        place = {form: k for k, form in enumerate(forms)}
        return cls(
            layer=table.layer.name,
            scale=table.scale,
            weight=table.weight,
            forms=tuple(forms),
            form=tuple(place[c.decomposition, c.form] for c in own),
            ranks=tuple(c.ranks for c in own),
            cost={metric: tuple(c.cost.of(metric) for c in own) for metric in own[0].cost.amounts},
            error=tuple(c.error for c in own),
            int8=tuple(k for k, c in enumerate(own) if c.int8),
            unused=table.unused,
        )

    def table(self, layer: Layer) -> Table:
        """The table."""
        amounts = (dict(zip(self.cost, row, strict=True)) for row in zip(*self.cost.values(), strict=True))
        int8 = set(self.int8)
        rows = enumerate(zip(self.form, self.ranks, amounts, self.error, strict=True))
        candidates = (
            Candidate(*self.forms[form], ranks, Cost(**own), error, k in int8, self.unused and bool(ranks))
            for k, (form, ranks, own, error) in rows
        )
        return Table(layer, tuple(candidates), self.scale, self.weight)


class TimesRecord(Record):
    """See `ranksearch.timing.TimedOn` and `Times`."""

    runtime: str
    version: str
    batch: PositiveInt
    threads: PositiveInt
    plans: tuple[tuple[Share, Share], ...]

    @classmethod
    def of(cls, times: Times) -> TimesRecord:
        """The record of what is known about times."""
        return cls(**vars(times.on), plans=times.plans)

    def content(self) -> Times:
        """What is known about times."""
        return Times(TimedOn(**self.model_dump(exclude={"plans"})), self.plans)


class TablesRecord(Record):
    """The content of tables.json."""

    version: Literal[1]
    model: ModelRecord
    task_metric: str
    metric: str
    """The cost metric of the run's budgets."""
    limits: tuple[tuple[str, str], ...]
    """The run's further limits, as they were asked for, by their cost metrics."""
    dense: dict[str, Amount]
    """Cost of the dense model, by cost metric."""
    layers: tuple[GeometryRecord, ...]
    """In the order of the forward pass, including those that stay dense."""
    tables: Annotated[tuple[TableRecord, ...], Field(min_length=1, max_length=5000)]
    times: TimesRecord | None
    seed: int
    options: dict[str, JsonValue]
    """Options of the run."""
    versions: dict[str, str]
    """Of the packages that made the tables."""
    part: PartRecord | None = None
    """What the run's budgets count; left out where that is the whole model."""

    @model_validator(mode="after")
    def _tables_are_of_the_layers(self) -> Self:
        if unknown := {self.metric, *dict(self.limits)} - self.dense.keys():
            raise ValueError(f"a cost without {', '.join(sorted(unknown))}")
        names = [layer.name for layer in self.layers]
        able = [layer.name for layer in self.layers if layer.reason is None]
        if len(set(names)) < len(names) or able != [table.layer for table in self.tables]:
            raise ValueError("tables of other layers than those that can be factorised")
        if self.part is not None:
            self.part.check(self.dense)
        for amounts in (table.cost for table in self.tables):
            if amounts.keys() != self.dense.keys():
                raise ValueError(f"a cost without {', '.join(sorted(amounts.keys() ^ self.dense.keys()))}")
        for metric, whole in self.dense.items():
            own = [(table.cost[metric], table.dense) for table in self.tables]
            if whole + sum(min(costs) - costs[dense] for costs, dense in own) < 0:
                raise ValueError(f"plans that cost less than no {metric}")
        return self

    @property
    def of_run(self) -> tuple[str, Limits]:
        """The cost metric of the run's budgets, and its further limits."""
        return self.metric, tuple((name, Kept.parse(asked)) for name, asked in self.limits)

    @property
    def multiples(self) -> tuple[int, ...]:
        """What the ranks of the run's plans had best be multiples of."""
        return preferred(self.options.get("rank_multiple"))

    def content(self) -> Tables:
        """The tables."""
        layers = {record.name: record.layer() for record in self.layers}
        return Tables(
            tuple(layers.values()),
            Cost(**self.dense),
            tuple(record.table(layers[record.layer]) for record in self.tables),
            None if self.times is None else self.times.content(),
            None if self.part is None else Part(self.part.asked, Cost(**self.part.dense)),
        )


def record_of_tables(
    tables: Tables,
    model: ModelRecord,
    *,
    task_metric: str,
    budget: Budget,
    seed: int,
    options: Mapping[str, JsonValue],
) -> TablesRecord:
    """The record of the tables that a run has chosen from. budget: one of the run's."""
    return TablesRecord(
        version=1,
        model=model,
        task_metric=task_metric,
        metric=budget.metric,
        limits=tuple((each.metric, each.name) for each in budget.also),
        dense=tables.dense.amounts,
        layers=tuple(map(GeometryRecord.of, tables.layers)),
        tables=tuple(map(TableRecord.of, tables.tables)),
        times=None if tables.times is None else TimesRecord.of(tables.times),
        seed=seed,
        options=dict(options),
        versions=package_versions(),
        part=PartRecord.of(tables.part),
    )


def write_tables(path: Path, record: TablesRecord) -> None:
    """Write tables.json."""
    write_record(path, record, compact=True, without=() if record.part else ("part",))


def read_tables(path: Path) -> TablesRecord:
    """Read tables.json. Raises InputError."""
    return read_record(path, TablesRecord, "tables")
