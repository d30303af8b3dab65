"""The sections of a card: each makes Markdown of a record, and is left out where the record has nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ranksearch.cards.content import Content, estimate, share
from ranksearch.cards.markdown import block, code, items, plain, table
from ranksearch.cards.measured import behaviour, footprint, key_figures
from ranksearch.cards.snippets import file_snippet, load_snippet, scaling, shape_of
from ranksearch.costs import shown, unit_of
from ranksearch.exporting import EXPORTERS
from ranksearch.planning import DENSE, LayerRecord
from ranksearch.redaction import without_folders

Section = Callable[[Content], str]


def running(content: Content) -> str:
    """How the model is run, with and without ranksearch, and what goes into it."""
    parts = []
    for export in content.exports:
        exporter = EXPORTERS.find(export.exporter)
        lines = file_snippet("" if exporter is None else exporter.usage(export.file), content.delivery)
        exact = f"to {export.difference:.1g} of the largest" if export.difference else "exactly"
        outputs = f"Its outputs are the model's, {exact}."
        if (int8 := export.quantized) is not None:
            kept = f", {len(int8.float_layers)} of {int8.layers} layers in float" if int8.float_layers else ""
            outputs = (
                f"It is the model in {int8.bits}{kept}, at a divergence of {int8.divergence:.2g} from it."
            )
        parts.append(f"{code(export.file)} runs without ranksearch. {outputs}")
        parts += [block(lines, "python")] if lines else []
    parts.append(
        "`model.safetensors` is the state dict, `plan.json` says what the layers are. With ranksearch:"
    )
    snippet = load_snippet("path/of/this/folder", content.record, alone=content.architecture)
    parts.append(block(snippet, "python"))
    if content.architecture:
        parts.append(
            "`from_pretrained` of transformers cannot load the model, as its classes have one layer where a factorised "
            "one has two. `ranksearch.load` builds it from `transformers/config.json`; a tokeniser or image processor "
            "that was delivered with it loads from the folder `transformers`."
        )
    parts += _inputs(content)
    parts.append("`sha256sum -c SHA256SUMS` checks the files. This card is not among them: it may be edited.")
    return "\n\n".join(parts)


def _inputs(content: Content) -> Iterator[str]:
    delivery = content.delivery
    if delivery is None or not delivery.inputs:
        return
    named = [
        f"{code(shape_of(given))}" + ("" if name.isdecimal() else f" as {code(name)}")
        for name, given in delivery.inputs.items()
    ]
    text = f"Inputs: {', '.join(named)}, for N examples."
    if (images := delivery.images) is not None:
        height, width = images.size
        text += (
            f" Images: {plain(scaling(images))}. Those of another size than {height} × {width} are resized "
            f"({plain(images.interpolation)}) "
        )
        text += (
            "as a whole."
            if images.stretch
            else f"so that a central crop leaves {images.crop_pct:.3g} of the shorter side."
        )
    else:
        text += " They are prepared as for the dense model."
    yield text


def costs(content: Content) -> str:
    """Before and after, in every cost metric."""
    record = content.record
    rows = [
        (
            plain(unit_of(name)),
            shown(name, record.dense[name]),
            shown(name, cost),
            share(cost, record.dense[name]),
        )
        for name, cost in record.cost.items()
    ]
    if record.part is not None:
        rows += [
            (
                plain(f"{unit_of(name)}{record.of_part}"),
                shown(name, amount),
                shown(name, record.counted(name, record.cost[name])),
                share(record.counted(name, record.cost[name]), amount),
            )
            for name, amount in record.part.dense.items()
        ]
    limits = [(record.metric, record.limit), *((other.metric, other.limit) for other in record.limits)]
    asked = ", ".join(
        f"{shown(metric, record.counted(metric, limit))} {plain(unit_of(metric))}" for metric, limit in limits
    )
    budget = f"The budget was at most {asked}{plain(record.of_part)}."
    parts = [table(("", "dense", "compressed", "kept"), rows), budget]
    if record.footprint is not None:
        parts.append(footprint(record.footprint))
    scores, options = record.scores, record.options
    time, low, high = (scores.get(f"time{end}") for end in ("", "_low", "_high"))
    if time is not None and low is not None and high is not None:
        parts.append(
            f"Measured in turns with the dense model it takes {time:.3f} ({low:.3f} to {high:.3f}) of its time: "
            f"runtime {code(str(options.get('runtime')))}, batch {plain(str(options.get('latency_batch')))}."
        )
    return "\n\n".join(parts)


def quality(content: Content) -> str:
    """The task metric before and after."""
    record, delivery = content.record, content.delivery
    if not content.roles:
        return ""
    dense = {} if delivery is None else delivery.dense
    rows = []
    for role in content.roles:
        before = dense.get(role)
        after = estimate(record.scores.get(role), record.scores.get(f"{role}_stderr"))
        count, own = (
            ("–", "–") if before is None else (f"{before.count:,}", estimate(before.mean, before.stderr))
        )
        rows.append((role, count, own, after))
    name = "task metric" if delivery is None else plain(delivery.task_metric)
    data = f" Data: {code(delivery.data)}." if delivery is not None and delivery.data else ""
    headings = ("data", "examples", f"dense, {name}", f"compressed, {name}")
    parts = [table(headings, rows), f"± is one standard error, over the examples.{data}"]
    parts += [behaviour(role, record.behaviour[role]) for role in content.roles if role in record.behaviour]
    return "\n\n".join(filter(None, parts))


def layers(content: Content) -> str:
    """What was done to every layer, and why others stayed as they were."""
    record = content.record
    headings = ("layer", "kernel", "decomposition", "ranks", *map(plain, map(unit_of, record.cost)))
    rows = [
        (
            code(layer.name),
            "×".join(map(str, layer.shape)),
            _decomposition(layer),
            "×".join(map(str, layer.ranks)) or "–",
            *(shown(name, cost) for name, cost in layer.cost.items()),
        )
        for layer in record.layers
    ]
    parts = [table(headings, rows, left=4)]
    if record.dense_layers:
        reasons = [(code(x.name), plain(x.reason.replace("`", ""))) for x in record.dense_layers]
        parts += [
            "These layers cannot be factorised, or were left out:",
            table(("layer", "reason"), reasons, left=2),
        ]
    return "\n\n".join(parts)


def _decomposition(layer: LayerRecord) -> str:
    if layer.decomposition == DENSE:
        return f"kept dense by the plan{', int8' * layer.int8}"
    return plain(layer.way)


def making(content: Content) -> str:
    """The command, and what is needed to do it again."""
    record, delivery = content.record, content.delivery
    parts = []
    if delivery is not None and delivery.command is not None:
        parts.append("The command names files and folders without their paths: put in your own.")
        parts.append(block([delivery.command], "sh"))
    elif delivery is not None:
        parts.append("Made from Python, by `ranksearch.search`, `compress` and `save`.")
    facts = []
    if delivery is not None and delivery.epochs is not None:
        facts.append(f"Epochs of fine-tuning, by distillation from the dense model: {delivery.epochs}")
    before, after = record.scores.get("factorised"), record.scores.get("delivered")
    if before is not None and after is not None:
        facts.append(
            f"Divergence from the dense model on held-out calibration examples: {before:.3g} as factorised, "
            f"{after:.3g} as delivered"
        )
    versions = {**record.versions, **{k: v for export in content.exports for k, v in export.versions.items()}}
    facts.append(f"Seed: {record.seed}")
    facts.append("Versions: " + ", ".join(plain(f"{name} {found}") for name, found in versions.items()))
    if any(without_folders(value) != value for value in record.options.values() if isinstance(value, str)):
        facts.append(
            "`plan.json` keeps the options as they were given, with paths of the machine that it ran on."
        )
    return "\n\n".join([*parts, items(facts)])


def limits(content: Content) -> str:
    """What the figures do not say, and what only the owner can."""
    known = [
        "The figures hold for the data named above. On other data, and on single classes, a compressed model can lose "
        "more than its averages show: evaluate it on yours.",
    ]
    if "latency" not in content.record.cost:
        known.append("FLOPs are counted, not timed: fewer FLOPs need not mean less time.")
    known.append("Licence, intended use and what the dense model was trained on: *fill in*.")
    return items(known)


SECTIONS: tuple[tuple[str, Section], ...] = (
    ("Run it", running),
    ("Costs", costs),
    ("Key figures", key_figures),
    ("Evaluation", quality),
    ("Layers", layers),
    ("How it was made", making),
    ("Limits and licence", limits),
)
"""Headings and what makes the text below them, in the order of the card."""
