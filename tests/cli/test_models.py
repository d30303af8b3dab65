"""The table of results: what it shows at every width, and what is said of a model that became slower."""

from __future__ import annotations

import io
import re

import pytest

from ranksearch.cli.fitting import NOTHING, Column, Fitted
from ranksearch.cli.models import models_view, remarks
from ranksearch.cli.text import TextConsole
from ranksearch.costs import COSTS, CostMetric
from ranksearch.costs.metric import prefixed
from ranksearch.planning import BehaviourRecord, FootprintRecord, PlanRecord, SizeRecord, TimeRecord
from ranksearch.planning.plan_record import ModelRecord

SCORES = {"validation": 79.04, "validation_stderr": 0.41}
BEHAVIOUR = {
    role: BehaviourRecord(
        metric="top-1 %", examples=1000, dense=dense, dense_stderr=0.4,
        delivered=79.04, delivered_stderr=0.41, drop=None, predictions=None,
    )
    for role, dense in (("validation", 80.0), ("test", 80.5))
}  # fmt: skip
DENSE = {"params": 25_557_032, "flops": 8_178_892_800}


def record(asked: str, ratio: float | None = 0.6, low: float | None = None, **more: int) -> PlanRecord:
    """A ResNet-50 at half of everything."""
    share = 0.5
    time = None if ratio is None else TimeRecord(
        runtime="torch", version="2.6.0 x86_64", processor="AMD EPYC 7763 64-Core Processor", threads=1, batch=1,
        dense_seconds=0.0873, ratio=ratio, low=ratio if low is None else low, high=ratio,
    )  # fmt: skip
    dense = DENSE | more
    footprint = FootprintRecord(
        batch=1,
        dense=SizeRecord(bytes=102_546_000, activation_bytes=9_633_792),
        compressed=SizeRecord(bytes=51_273_000, activation_bytes=9_633_792),
        time=time,
    )
    return PlanRecord(
        version=2, model=ModelRecord(name="m", digest="0" * 64, input_shape=(1, 3, 224, 224)), budget=0.5,
        asked=asked, metric="params", limit=12_778_516, limits=(), dense=dense,
        cost={name: int(share * amount) for name, amount in dense.items()}, layers=(), dense_layers=(),
        scores={"delivered": 0.01234, **SCORES, "test": 80.39, "test_stderr": 0.4},
        seed=0, options={}, versions={}, footprint=footprint,
    )  # fmt: skip


def printed(width: int, *records: PlanRecord, test: bool = True) -> str:
    console = TextConsole(width=width, color_system=None, file=io.StringIO())
    roles = ("validation", "test") if test else ("validation",)
    behaviour = {role: BEHAVIOUR[role] for role in roles}
    told = [each.model_copy(update={"behaviour": behaviour}) for each in records]
    console.print(models_view("before and after", told))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


ROWS = (record("0.5"), record("0.25", 1.912), record("250kB", None))


def words(text: str) -> set[str]:
    return {word.strip(";:") for word in text.split() if "─" not in word}


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_word_is_broken_at_any_width(width: int) -> None:
    text = printed(width, *ROWS)
    assert max(map(len, text.splitlines())) <= width
    # What is left out is named below the table, so that some words move, but none is new.
    assert words(text) - words(printed(200, *ROWS)) <= {"no", "room", "for"}
    assert "12.8M (50.0%)" in text
    assert "dense" in text
    assert text.count("budget 0.25") == 2, "in the table, and below it as the slower one"


def test_what_there_is_room_for() -> None:
    everything = printed(120, *ROWS)
    for figure in (
        "4.09G (50.0%)",
        "51.3",
        "87.3",
        "167 (191%)",
        "9.63",
        "0.01234",
        "79.04 ± 0.41",
        "80.39 ± 0.40",
    ):
        assert figure in everything
    assert "no room" not in everything
    narrow = printed(80, *ROWS)
    assert "no room for: top-1 %, validation; divergence; activations MB" in " ".join(narrow.split())
    for figure in ("4.09G (50.0%)", "51.3", "167 (191%)", "80.39 ± 0.40"):
        assert figure in narrow


def test_without_test_images_the_validation_scores_stay() -> None:
    text = printed(80, record("0.5").model_copy(update={"scores": SCORES}), test=False)
    assert "79.04 ± 0.41" in text
    assert not re.search(r"\btest\b", text)


def test_models_that_were_not_measured_have_costs_and_scores() -> None:
    text = printed(120, record("0.5").model_copy(update={"footprint": None}))
    assert "80.39" in text
    assert "ms" not in text.split()
    assert "times:" not in text


def test_no_figure_is_there_twice() -> None:
    text = printed(160, record("0.5", bytes=102_546_000, latency=87_300_000))
    headings = next(line for line in text.splitlines() if "parameters" in line).split()
    assert headings.count("MB") == 2, "the file and the activations"
    assert headings.count("ms") == 1
    assert "51.27 (50.0%)" in text
    assert "52.4 (60%)" in text
    unmeasured = printed(160, record("0.5", None, latency=87_300_000))
    assert "43.6 (50.0%)" in unmeasured


def test_a_model_that_became_slower_is_told() -> None:
    (held, line) = remarks([record("0.5", 0.6), record("0.25", 1.912)])
    assert held == "times: torch 2.6.0 x86_64, batch 1, 1 thread, AMD EPYC 7763 64-Core Processor"
    assert line == (
        "budget 0.25: 50% of the FLOPs, but 1.9 times the time in torch (batch 1, 1 thread, AMD EPYC 7763 64-Core "
        "Processor); --metric latency looks for plans that are faster"
    )
    assert len([*remarks([record("0.5", 1.2, low=0.98)])]) == 1, "within the noise"
    assert len([*remarks([record("0.5", 1.02)])]) == 1
    assert "--metric" not in [*remarks([record("0.5", 1.5, latency=87_300_000)])][1]


def test_columns_without_a_value_are_left_out_before_others() -> None:
    console = TextConsole(width=20, color_system=None, file=io.StringIO())
    console.print(Fitted([Column("a", ["1"]), Column("wide" * 4, [NOTHING], 1), Column("b", ["2"], 2)]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "wide" not in text
    assert "2" in text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (896, "896"), (999, "999"), (1000, "1k"), (269_722, "270k"), (999_600, "1M"), (4_756_736, "4.76M"),
     (8_178_892_800, "8.18G"), (31 * 10**12, "31T")],
)  # fmt: skip
def test_prefixes(amount: int, text: str) -> None:
    assert prefixed(amount) == text


def test_metrics_of_ones_own_are_shown_in_their_own_way() -> None:
    class Own(CostMetric):
        name, unit = "own", "things"

        def of_layer(self, layer: object) -> int:
            return 1

        of_chain = of_model = of_layer  # type: ignore[assignment]

        def show(self, amount: int) -> str:
            return f"{amount} things"

    COSTS.register(Own())
    assert "6000 things (50.0%)" in printed(200, record("0.5", own=12_000))


LONG = [
    Column("layer", ["features.conv_pw.0", "head"], left=True),
    Column("kernel", ["64×32×3×3", "10×64"], 2, left=True),
    Column(
        "decompositions, or why none", ["svd, spatial_svd, tucker2", "dense: it is the output"], left=True
    ),
    Column("parameters", ["18,432 (0.1%)", "650"], 1),
]


@pytest.mark.parametrize("width", [50, 60, 70, 120])
def test_cells_wrap_between_words_before_columns_go(width: int) -> None:
    console = TextConsole(width=width, color_system=None, file=io.StringIO())
    console.print(Fitted(LONG, wraps=True, sections=(1,)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    known = {word for column in LONG for cell in (column.heading, *column.cells) for word in words(str(cell))}
    assert words(text) <= known | {"no", "room", "for"}
    assert ("no room for: kernel" in text) == (width == 50)
    assert ("18,432 (0.1%)" in text) == (width >= 70), "one line where there is room"
