"""Lines of Python that run a delivered model, for those who receive it."""

from __future__ import annotations

from collections.abc import Sequence

from ranksearch.planning import DeliveryRecord, ImagesRecord, InputRecord, PlanRecord
from ranksearch.tasks.sources import is_plain

_USUAL = "float32"


def file_snippet(usage: str, delivery: DeliveryRecord | None) -> list[str]:
    """Lines that run an exported file: those of its exporter, `usage`, and an input `x` where the model takes one."""
    return _with_input(usage.splitlines(), delivery)


def load_snippet(folder: str, record: PlanRecord, *, alone: bool = False) -> list[str]:
    """Lines that run the state dict of a folder, for which ranksearch is needed.

    alone: whether the folder says how the dense model is made.
    """
    name = record.model.name
    several = alone and record.delivery is not None and len(record.delivery.inputs) != 1
    inputs = "**inputs" if several else "x"
    call = f"ranksearch.load({folder!r})({inputs})"
    if not alone and (name is None or not is_plain(name)):
        call = f"ranksearch.load({folder!r}, dense)(x)  # dense: the dense model, whatever its weights"
    return _with_input(["import ranksearch", call], record.delivery)


def _with_input(lines: Sequence[str], delivery: DeliveryRecord | None) -> list[str]:
    if not lines or delivery is None or len(delivery.inputs) != 1:
        return [*lines]
    imports = dict.fromkeys(["import torch", *(line for line in lines if line.startswith("import "))])
    return [*imports, _input_line(delivery), *(line for line in lines if line not in imports)]


def _input_line(delivery: DeliveryRecord) -> str:
    (given,) = delivery.inputs.values()
    dtype = "" if given.dtype == _USUAL else f", dtype=torch.{given.dtype}"
    about = [given.dtype, "any batch size"] + ([scaling(delivery.images)] if delivery.images else [])
    return f"x = torch.zeros({given.shape}{dtype})  # {', '.join(about)}"


def scaling(images: ImagesRecord) -> str:
    """`RGB in [0, 1], minus (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225)`."""
    colours = "grey" if images.channels == 1 else "RGB"
    if not any(images.mean) and set(images.std) == {1.0}:
        return f"{colours} in [0, 1]"
    return f"{colours} in [0, 1], minus {_values(images.mean)}, over {_values(images.std)}"


def shape_of(given: InputRecord) -> str:
    """`float32 (N, 3, 32, 32)`."""
    return f"{given.dtype} ({', '.join(['N', *map(str, given.shape[1:])])})"


def _values(values: Sequence[float]) -> str:
    shown = [f"{value:g}" for value in values]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"
