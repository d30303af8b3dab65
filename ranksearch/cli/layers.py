"""`ranksearch layers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksearch.cli.machine import Answer
from ranksearch.cli.text import output_console
from ranksearch.runs import RunOptions, load_options

if TYPE_CHECKING:
    from torch import nn

    from ranksearch.networks import Batch


_DROPPED = "the output that counts does not depend on it"


def layers_command(config: Path | None, given: Mapping[str, Any], answer: Answer) -> None:
    """Print the layers of a model. Neither weights nor, with an input size, data are needed."""
    options = load_options(given, config)

    from ranksearch.cli.tables import layers_view
    from ranksearch.costs import layer_cost
    from ranksearch.decompositions import DECOMPOSITIONS
    from ranksearch.networks import (
        UNCALLED,
        discover,
        kernel_shape,
        one_tensor,
        output_of,
        shapes_of,
        take_inventory,
        unreached,
    )
    from ranksearch.rewriting import plain_form
    from ranksearch.runs import candidate_config
    from ranksearch.tasks.sources import make_model

    names = candidate_config(options).decompositions
    model = plain_form(make_model(options.model, num_classes=options.num_classes))
    example = _example(options, model)
    output = one_tensor if options.output is None else output_of(options.output)
    layers = discover(model, example, ignore=options.ignore, output=output)
    dropped = unreached(model, [layer.name for layer in layers if layer.calls], example, output)
    layers = tuple(replace(x, reason=_DROPPED) if x.name in dropped and not x.reason else x for x in layers)
    unused = [layer for layer in layers if layer.reason in (UNCALLED, _DROPPED)]
    able = [layer for layer in layers if layer.reason is None]
    applicable = {x.name: tuple(n for n in names if DECOMPOSITIONS.get(n).forms(x)) for x in able}
    console = output_console()
    console.print(layers_view(layers, applicable, {layer.name for layer in unused}, shapes_of(example)))
    found = take_inventory(model, layers)
    console.print(
        f"{len(able)} of {len(layers)} layers can be factorised: {_share(found.able, found.total)} parameters"
    )
    if unused:
        params = take_inventory(model, unused).dense
        found = replace(found, dense=found.dense - params)
        console.print(
            f"unused layers: {_share(params, found.total)} parameters; a run cuts them to the least rank where that "
            "changes no output"
        )
    if found.dense:
        console.print(f"layers that stay dense: {_share(found.dense, found.total)} parameters")
    for other in found.others:
        each = f" ({other.modules})" if other.modules > 1 else ""
        console.print(f"not a layer: {other.kind}{each}, {_share(other.params, found.total)} parameters")
    answer.give(
        model=options.model,
        params=found.total,
        able=found.able,
        layers=[
            {
                "name": layer.name,
                "kind": layer.kind,
                "kernel": [*kernel_shape(layer)],
                "cost": layer_cost(layer).amounts,
                "decompositions": [*applicable.get(layer.name, ())],
                "reason": layer.reason,
                "unused": layer in unused,
            }
            for layer in layers
        ],
        others=[asdict(other) for other in found.others],
    )


def _share(params: int, total: int) -> str:
    return f"{params:,} of {total:,} ({params / max(1, total):.1%})"


def _example(options: RunOptions, model: nn.Module) -> Batch:
    """An input: of the data where there is some, else zeros of the stated or the model's usual size and kind."""
    import torch

    from ranksearch.runs import image_options, load_collate
    from ranksearch.tasks import Reader
    from ranksearch.tasks.sources import DIGITS_SHAPE, blank_inputs, load_data, text_options, wishes

    wished = wishes(options.model)
    if options.data is not None:
        texts = text_options(options.model, options.input_size, blocks=False)
        data = load_data(options.data, images=image_options(options, wished), texts=texts)
        collate = data.collate if options.collate is None else load_collate(options.collate)
        return Reader.of(model, collate).inputs([data.train[0]])[0]
    if options.input_size is None and (blank := blank_inputs(model)) is not None:
        return blank
    usual = DIGITS_SHAPE if options.model == "digits" else wished.get("input_size", (3, 224, 224))
    size = options.input_size or usual
    shape = size if len(size) == 3 else (usual[0], size[0], size[-1])
    return torch.zeros(1, *shape)
