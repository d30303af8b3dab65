"""Lines of Python that run a delivered model, for those who receive it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ranksearch.planning import DeliveryRecord, ImagesRecord, InputRecord, PlanRecord
from ranksearch.tasks.sources import is_plain

_USUAL = "float32"

_ONE_ARRAY = "{session.get_inputs()[0].name: x.numpy()}"
"""How the only input is given to a session of onnxruntime."""


def file_snippet(usage: str, delivery: DeliveryRecord | None) -> list[str]:
    """Lines that run an exported file: those of its exporter, `usage`, which run it on one input `x`, with the inputs
    that the model takes."""
    return _with_input(usage.splitlines(), delivery)


def load_snippet(folder: str, record: PlanRecord, *, alone: bool = False) -> list[str]:
    """Lines that run the state dict of a folder, for which ranksearch is needed.

    alone: whether the folder says how the dense model is made.
    """
    name = record.model.name
    call = f"ranksearch.load({folder!r})(x)"
    if not alone and (name is None or not is_plain(name)):
        call = f"ranksearch.load({folder!r}, dense)(x)  # dense: the dense model, whatever its weights"
    return _with_input(["import ranksearch", call], record.delivery)


def _with_input(lines: Sequence[str], delivery: DeliveryRecord | None) -> list[str]:
    if not lines or delivery is None or not delivery.inputs:
        return [*lines]
    imports = dict.fromkeys(["import torch", *(line for line in lines if line.startswith("import "))])
    calls = [_called(line, delivery.inputs) for line in lines if line not in imports]
    return [*imports, *_input_lines(delivery), *calls]


def _called(line: str, inputs: Mapping[str, InputRecord]) -> str:
    """A line that runs a model on `x`, for models that take several tensors, or tensors by name."""
    if not all(name.isdecimal() for name in inputs):
        named = "{one.name: inputs[one.name].numpy() for one in session.get_inputs()}"
        return line.replace("(x)", "(**inputs)").replace(_ONE_ARRAY, named)
    if len(inputs) > 1:
        named = "{one.name: given.numpy() for one, given in zip(session.get_inputs(), x)}"
        return line.replace("(x)", "(*x)").replace(_ONE_ARRAY, named)
    return line


def _input_lines(delivery: DeliveryRecord) -> list[str]:
    inputs = delivery.inputs
    if not all(name.isdecimal() for name in inputs):
        tensors = [f"    {name!r}: {_zeros(given)}," for name, given in inputs.items()]
        return ["inputs = {  # any batch size", *tensors, "}"]
    if len(inputs) > 1:
        return ["x = (  # any batch size", *(f"    {_zeros(given)}," for given in inputs.values()), ")"]
    (given,) = inputs.values()
    about = [given.dtype, "any batch size"] + ([scaling(delivery.images)] if delivery.images else [])
    return [f"x = {_zeros(given)}  # {', '.join(about)}"]


def _zeros(given: InputRecord) -> str:
    dtype = "" if given.dtype == _USUAL else f", dtype=torch.{given.dtype}"
    return f"torch.zeros({given.shape}{dtype})"


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
