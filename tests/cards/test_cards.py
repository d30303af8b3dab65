"""Model cards: what they say, that no name in a record breaks their form, and that edited ones are kept."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

import ranksearch
from ranksearch.cards import CARD_FILE, Content, card_text, write_card
from ranksearch.exporting import read_exports
from ranksearch.planning import (
    BehaviourRecord,
    ClassDropRecord,
    CriterionRecord,
    DeliveryRecord,
    DropRecord,
    EstimateRecord,
    FootprintRecord,
    ImagesRecord,
    InputRecord,
    LookRecord,
    PlanRecord,
    PredictionsRecord,
    PromiseRecord,
    SizeRecord,
    TimeRecord,
    read_plan,
    write_plan,
)
from ranksearch.runs import delivered_in, verify_delivered
from ranksearch.tasks import Task

HOSTILE = (
    "a|b",
    "a\n---\nb",
    "`x`",
    "``` \n# x",
    "<script>x</script>",
    "[x](http://y)",
    "\x1b[31m",
    "-->",
    "$x$",
    "*",
    "a\\|b",
    "",
)
"""Names that mean something in Markdown, HTML, YAML or on a terminal."""


@pytest.fixture(scope="module")
def saved(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a compressed model, saved from Python."""
    result = ranksearch.search(tiny_task, 0.5)
    compressed = ranksearch.compress(tiny_task, result.plan, config=ranksearch.CompressConfig(epochs=0))
    folder = tmp_path_factory.mktemp("saved")
    ranksearch.save(folder, tiny_task, result, compressed)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "small"))


@pytest.fixture
def record(saved: Path) -> PlanRecord:
    """As a run would have left it."""
    delivery = DeliveryRecord(
        command="ranksearch run --budget 0.5",
        epochs=2,
        data="cifar10",
        task_metric="top-1 %",
        dense={"test": EstimateRecord(mean=87.994, stderr=0.325, count=10_000)},
        inputs={"0": InputRecord(shape=(1, 3, 8, 8), dtype="float32")},
        images=ImagesRecord(
            channels=3,
            size=(8, 8),
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.2, 0.2),
            crop_pct=0.875,
            interpolation="bilinear",
        ),
    )
    found = read_plan(saved / "plan.json")
    scores = {**found.scores, "test": 87.671, "test_stderr": 0.329}
    return found.model_copy(update={"delivery": delivery, "scores": scores})


def metadata(card: str) -> dict[str, Any]:
    """What huggingface.co takes for the metadata of a card, by the expression of its client."""
    found = re.match(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))", card)
    assert found
    read: dict[str, Any] = yaml.safe_load(found[2])
    return read


def measured(record: PlanRecord) -> PlanRecord:
    """The record, with all that can be measured of a model."""
    sizes = [SizeRecord(bytes=size, activation_bytes=size // 2) for size in (8_000_000, 2_000_000)]
    time = TimeRecord(
        runtime="torch", version="2.9", processor="a|b CPU", threads=1, batch=4,
        dense_seconds=0.002, ratio=0.5, low=0.49, high=0.51,
    )  # fmt: skip
    drop = DropRecord(mean=0.32, stderr=0.1, low=0.1, high=0.55, step=100, lost=52, gained=20)
    worst = (
        ClassDropRecord(number=3, name="a|cat", examples=1000, drop=1.25),
        ClassDropRecord(number=4, name=None, examples=1000, drop=0),
    )
    predictions = PredictionsRecord(flips=0.031, dense_ece=0.04, ece=0.05, classes=worst)
    behaviour = BehaviourRecord(
        metric="top-1 %", examples=10_000, dense=87.99, dense_stderr=0.3, delivered=87.67, delivered_stderr=0.3,
        drop=drop, predictions=predictions,
    )  # fmt: skip
    look = LookRecord(asked=record.asked, drop=0.3, bound=0.48, kept=True)
    promise = PromiseRecord(
        max_drop=0.5, confidence=0.95, most_looks=6, looks=(look,), kept=True, held_on_test=False
    )
    criteria = (
        CriterionRecord(
            name="top1", relation=">=", asked="0.86", limit=86, measured=87.67, on="test", passed=True
        ),
        CriterionRecord(
            name="ece", relation="<=", asked="0.01", limit=0.01, measured=None, on="test", passed=False
        ),
    )
    footprint = FootprintRecord(batch=4, dense=sizes[0], compressed=sizes[1], time=time)
    found = {
        "footprint": footprint,
        "behaviour": {"test": behaviour},
        "promise": promise,
        "criteria": criteria,
    }
    return record.model_copy(update=found)


def tokens(card: str) -> list[Token]:
    """The Markdown below the metadata."""
    return MarkdownIt().enable("table").parse(card.split("\n---\n", 1)[1])


def cells(card: str) -> Iterator[list[str]]:
    """The texts in the rows of all tables."""
    found = tokens(card)
    for k, token in enumerate(found):
        if token.type == "tr_open":
            end = next(j for j in range(k, len(found)) if found[j].type == "tr_close")
            yield [
                "".join(part.content for part in t.children or ()) for t in found[k:end] if t.type == "inline"
            ]


def blocks(card: str) -> list[str]:
    return [token.content for token in tokens(card) if token.type == "fence"]


def headings(card: str) -> list[str]:
    found = tokens(card)
    return [found[k + 1].content for k, token in enumerate(found) if token.type == "heading_open"]


def test_what_was_measured(record: PlanRecord) -> None:
    card = card_text(Content(measured(record)))
    rows, text = [*cells(card)], " ".join(card.split())
    assert ["tensors in the weights file, MB", "8", "2"] in rows
    assert ["memory for activations, batch 4, MB", "4", "1"] in rows
    assert ["time of a forward pass, ms", "2", "1"] in rows
    assert "takes 0.50 (0.49 to 0.51) of the dense model's time" in text
    assert (
        "On the 10,000 examples of test, top-1 % drops by 0.32 (0.10 to 0.55, paired 95 % interval)." in text
    )
    assert (
        "3.10 % of the predictions changed. The expected calibration error is 0.050, before it was 0.040."
        in text
    )
    assert r"lost most: a\|cat (1.2 points of 1,000 examples)." in text
    assert "It is kept. The upper bound of the drop is 0.48." in text
    assert "On the test data the drop is **above** it." in text
    assert ["top1", ">= 0.86", "87.67", "test", "pass"] in rows
    assert ["ece", "<= 0.01", "–", "test", "fail"] in rows
    assert "Key figures" in headings(card)


def test_figures(record: PlanRecord) -> None:
    card = card_text(Content(record))
    rows = [*cells(card)]
    assert ["test", "10,000", "87.99 ± 0.33", "87.67 ± 0.33"] in rows
    dense, kept = record.dense["params"], record.cost["params"]
    assert ["parameters", f"{dense:,}", f"{kept:,}", f"{100 * kept / dense:.1f} %"] in rows
    assert not {"Key figures"} & {*headings(card)}
    for layer in record.layers:
        (row,) = (row for row in rows if row[0] == layer.name)
        assert row[3] == ("×".join(map(str, layer.ranks)) or "–")
        assert row[4] == f"{layer.cost['params']:,}"
    assert "ranksearch run --budget 0.5\n" in blocks(card)
    assert "RGB in [0, 1], minus (0.5, 0.4, 0.3), over (0.2, 0.2, 0.2)" in blocks(card)[0]


def test_metadata_is_as_the_hub_wants_it(record: PlanRecord) -> None:
    """By hand, after https://github.com/huggingface/hub-docs/blob/main/modelcard.md."""
    found = metadata(card_text(Content(record)))
    assert found["license"] is None
    assert isinstance(found["library_name"], str)
    assert all(isinstance(tag, str) for tag in found["tags"])
    assert found["metrics"] == ["accuracy"]
    (model,) = found["model-index"]
    assert isinstance(model["name"], str)
    (result,) = model["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {"type": "cifar10", "name": "cifar10", "split": "test"}
    assert result["metrics"] == [{"type": "accuracy", "value": 87.671, "name": "top-1 %"}]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("timm:resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
        ("timm:resnet18.a1_in1k:num_classes=7", "timm/resnet18.a1_in1k"),
        ("timm:resnet18", None),
        ("torchvision:resnet18", None),
        ("timm:../../x.y", None),
    ],
)
def test_the_base_model_is_told_where_its_name_says_it(
    record: PlanRecord, name: str, base: str | None
) -> None:
    named = record.model_copy(update={"model": record.model.model_copy(update={"name": name})})
    assert metadata(card_text(Content(named))).get("base_model") == base


def test_what_is_not_known_is_not_told(record: PlanRecord) -> None:
    whole = card_text(Content(record))
    less = card_text(Content(record.model_copy(update={"scores": {}, "delivery": None})))
    assert set(headings(whole)) - set(headings(less)) == {"Evaluation"}
    assert "model-index" not in metadata(less)
    assert "fine-tuning" not in less
    assert "nan" not in less.lower()


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_breaks_out(record: PlanRecord, name: str) -> None:
    """Whatever names say, tables, blocks, headings and metadata are those of other names."""
    assert record.delivery is not None

    def named(text: str) -> str:
        first, *others = record.layers
        changed = {
            "model": record.model.model_copy(update={"name": text}),
            "layers": (
                first.model_copy(update={"name": text, "decomposition": f"{text}x", "ranks": (1,)}),
                *others,
            ),
            "dense_layers": ({"name": f"{text}.dense", "reason": text},),
            "delivery": {**record.delivery.model_dump(), "command": text, "data": text, "task_metric": text},
            "versions": {"torch": text},
        }
        return card_text(Content(PlanRecord.model_validate({**record.model_dump(), **changed})))

    card, usual = named(name), named("usual")
    assert [len(row) for row in cells(card)] == [len(row) for row in cells(usual)]
    assert len(headings(card)) == len(headings(usual))
    assert [t.type for t in tokens(card)] == [t.type for t in tokens(usual)]
    kinds = {child.type for token in tokens(card) for child in token.children or ()}
    assert kinds <= {"text", "text_special", "code_inline", "softbreak", "em_open", "em_close"}
    assert metadata(card).keys() == metadata(usual).keys()
    if name:
        shown = name.encode("unicode_escape").decode() if not name.isprintable() else name
        assert any(row[0] == shown for row in cells(card))
        assert metadata(card)["model-index"][0]["results"][0]["dataset"]["name"] == shown


def test_the_lines_of_the_card_run(folder: Path, tiny_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    ranksearch.export(folder, ranksearch.load(folder, tiny_task.model), tiny_task.example, to="pt2")
    run, load, *_ = blocks((folder / CARD_FILE).read_text())
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"dense": tiny_task.model}
    *lines, last = run.splitlines()
    exec("\n".join([*lines, f"found = {last}"]), names)
    *lines, last = load.replace("path/of/this/folder", ".").splitlines()
    exec("\n".join([*lines, f"loaded = {last}"]), names)
    assert names["x"].shape == tiny_task.example.shape
    torch.testing.assert_close(names["found"], names["loaded"], rtol=1e-4, atol=1e-4)


# --- edited cards


def edited(card: Path, change: Callable[[str], str]) -> str:
    text = change(card.read_text())
    card.write_text(text)
    return text


def test_an_edited_card_is_kept_and_is_no_damage(
    folder: Path, tiny_task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    card = folder / CARD_FILE
    assert "license:  # fill in" in card.read_text()
    text = edited(card, lambda text: re.sub("license:.*", "license: mit", text))
    write_card(folder)
    assert card.read_text() == text
    assert not caplog.records  # nothing else was to be said
    assert delivered_in(folder) == [folder]
    assert verify_delivered(folder).checked[0].startswith("files as delivered")
    ranksearch.export(folder, ranksearch.load(folder, tiny_task.model), tiny_task.example, to="pt2")
    assert read_exports(folder)
    assert card.read_text() == text
    assert f"{card} was edited and stays as it is" in caplog.text
    card.unlink()
    assert verify_delivered(folder).checked[0].startswith("files as delivered")
    write_card(folder)
    assert "model.pt2" in card.read_text()


def test_a_card_that_nobody_edited_is_written_anew(folder: Path) -> None:
    before = (folder / CARD_FILE).read_text()
    record = read_plan(folder / "plan.json")
    write_plan(folder / "plan.json", record.model_copy(update={"seed": 7}))
    write_card(folder)
    after = (folder / CARD_FILE).read_text()
    assert "Seed: 7" in after
    assert "Seed: 7" not in before


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"mine"])
def test_a_readme_of_somebody_elses_is_kept(folder: Path, content: bytes) -> None:
    (folder / CARD_FILE).write_bytes(content)
    write_card(folder)
    assert (folder / CARD_FILE).read_bytes() == content
