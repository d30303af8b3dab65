"""Docstrings of what rooms offer say the shapes of arrays, in one form, and real arrays have them.

`A: An (n, n) float64 tensor with n = I·prod(kernel_size), …` states an argument or a field, `returns: …` a result. The
same name is the same size in all arguments and the result of one call; `*kernel_size` stands for several sizes, `…` for
any. What there are several of, each has the shape.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ranksearch.calibration import Columns, Moments, Whitened, calibration_moments, whiten
from ranksearch.calibration.roots import root_of_columns
from ranksearch.costs import Cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import Layer, Reading, discover
from ranksearch.planning import Candidate, Front, Table, layer_front
from ranksearch.tasks import LOSSES, Task

ROOMS = ("networks", "calibration", "decompositions", "planning")

STATED = re.compile(r"\(([^()]*)\)(?: (float32|float64|int64))? (?:tensor|array)s?\b")
RELATION = re.compile(r"\bwith (\w+) = (\w+)·prod\((\w+)\)|\bwith (\w+) = min\((\w+), (\w+)\)")

Bound = dict[str, Any]
"""Sizes by name; of several sizes, `*kernel_size`, a tuple."""


# --- what docstrings state


def items(doc: str) -> dict[str, str]:
    """The items of a docstring by name: a line `name: …` and the lines below it that are further in."""
    found: dict[str, str] = {}
    lines = inspect.cleandoc(doc).splitlines()
    for k, line in enumerate(lines):
        if start := re.match(r"(\w+): (?=\S)", line):
            below = []
            for other in lines[k + 1 :]:
                if not other.startswith("    "):
                    break
                below.append(other.strip())
            found[start[1]] = " ".join([line[start.end() :], *below])
    return found


def stated(doc: str) -> dict[str, str]:
    """Those that state a shape. A property's docstring is one about what it returns."""
    found = {name: text for name, text in items(doc).items() if STATED.search(text)}
    summary = " ".join(inspect.cleandoc(doc).partition("\n\n")[0].split())
    if re.match(r"An? \(", summary) and STATED.search(summary):
        found["returns"] = summary
    return found


# --- real arrays beside it


def check(what: str, text: str, value: Any, bound: Bound) -> None:
    """That a value has the shape that a text states; sizes that are new become known."""
    shapes = STATED.findall(text)
    if value is None:
        assert "None" in text, f"{what} is None"
    elif isinstance(value, Tensor | np.ndarray):
        assert len(shapes) == 1, f"{what}: {text}"
        bind(what, *shapes[0], value, bound)
    elif isinstance(value, Columns):
        assert "Columns" in text, f"{what} is Columns"
        check_fields(value, bound)
    elif len(shapes) > 1:
        for k, (part, own) in enumerate(zip(shapes, value, strict=True)):
            bind(f"{what}[{k}]", *part, own, bound)
    else:
        parts = list(value)
        assert parts, what
        for k, own in enumerate(parts):
            known = dict(bound)
            check(f"{what}[{k}]", text, own, known)
            check_relations([text], known)


def bind(what: str, dims: str, dtype: str, value: Any, bound: Bound) -> None:
    if value is None:
        return
    names = [name.strip() for name in dims.split(",") if name.strip()]
    shape = tuple(value.shape)
    several = [k for k, name in enumerate(names) if name == "…" or name.startswith("*")]
    if several:
        (k,) = several
        end = len(shape) - (len(names) - k - 1)
        assert end >= k, f"{what}: {shape} for ({dims})"
        sizes: list[Any] = [*shape[:k], shape[k:end], *shape[end:]]
    else:
        sizes = list(shape)
    assert len(sizes) == len(names), f"{what}: {shape} for ({dims})"
    for name, size in zip(names, sizes, strict=True):
        if name != "…":
            assert bound.setdefault(name.lstrip("*"), size) == size, f"{what}: {shape} for ({dims}), {bound}"
    if dtype:
        assert str(value.dtype).removeprefix("torch.") == dtype, f"{what}: {value.dtype}"


def check_relations(texts: typing.Iterable[str], bound: Bound) -> None:
    """That sizes are related as stated, where what has them was there."""
    for text in texts:
        for n, first, sizes, k, one, other in RELATION.findall(text):
            if n in bound:
                assert bound[n] == bound[first] * prod(bound[sizes]), f"{text}: {bound}"
            if k in bound:
                assert bound[k] == min(bound[one], bound[other]), f"{text}: {bound}"


def check_fields(thing: Any, bound: Bound) -> None:
    """Fields and properties of an object beside the docstrings of its class."""
    texts = stated(type(thing).__doc__ or "")
    for name, member in vars(type(thing)).items():
        if isinstance(member, property | cached_property):
            own = stated(member.__doc__ or "")
            texts |= {name: own["returns"]} if "returns" in own else {}
    for name, text in texts.items():
        check(f"{type(thing).__name__}.{name}", text, getattr(thing, name), bound)
    check_relations(texts.values(), bound)


# --- what is offered


def takes_arrays(hint: Any) -> bool:
    """Whether a value of this type is an array, or may be one."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    if union:
        return any(map(takes_arrays, typing.get_args(hint)))
    return hint is Tensor or typing.get_origin(hint) is np.ndarray


def arrays_of(function: Any) -> list[str]:
    """The arguments, fields, and `returns`, that are arrays."""
    hints = typing.get_type_hints(function).items()
    return ["returns" if name == "return" else name for name, hint in hints if takes_arrays(hint)]


def offered() -> Iterator[tuple[str, Any, list[str]]]:
    """What rooms offer that has to do with arrays: name, thing, which of its values are arrays."""
    for room in ROOMS:
        door = import_module(f"ranksearch.{room}")
        for name in door.__all__:
            thing = getattr(door, name)
            if inspect.isclass(thing) and thing.__module__.startswith("ranksearch"):
                yield f"{room}.{name}", thing, arrays_of(thing)
                for own, member in vars(thing).items():
                    function = getattr(member, "fget", None) or getattr(member, "func", member)
                    if inspect.isfunction(function) and not own.startswith("_"):
                        yield f"{room}.{name}.{own}", function, arrays_of(function)
            elif inspect.isfunction(thing):
                yield f"{room}.{name}", thing, arrays_of(thing)


OFFERED = {name: (thing, arrays) for name, thing, arrays in offered() if arrays}


# --- examples, in which all sizes differ


@dataclass(frozen=True)
class Example:
    """Arguments of a call, or an object, and the sizes that neither states."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    thing: Any = None
    sizes: Bound = field(default_factory=dict)


OUT, IN, KERNEL, N, R = 6, 4, (3, 2), 7, 5


def conv() -> Layer:
    model = nn.Sequential(nn.Conv2d(IN, OUT, KERNEL))
    (layer,) = discover(model, images())
    return layer


def images() -> Tensor:
    return torch.randn(N, IN, 9, 8, generator=torch.Generator().manual_seed(0))


def linear() -> nn.Module:
    return nn.Linear(8, 3)


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(1)).double()


def squared(size: int) -> Tensor:
    rows = randn(size, 3 * size)
    return rows @ rows.T


FAN_IN = IN * prod(KERNEL)
COLUMNS = Columns(randn(FAN_IN, R).float(), 0.5)


def chain_of_two() -> Mapping[str, Any]:
    chain = DECOMPOSITIONS.get("svd").chain(conv(), DECOMPOSITIONS.get("svd").forms(conv())[0], (2,))
    return {"chain": chain, "factors": [randn(*factor.shape(KERNEL)) for factor in chain]}


def measured(layer: nn.Module, inputs: Tensor) -> Example:
    """The moments of a model's only layer, on these inputs."""
    model = nn.Sequential(layer, nn.Flatten())
    data = TensorDataset(inputs, torch.zeros(len(inputs)))
    task = Task(model, data, calibration_size=6, val_split=0.0, loss=LOSSES.get("squared_error"))
    (found,) = discover(model, inputs)
    return Example(thing=calibration_moments(task, [found])["0"], sizes=sizes_of(found))


def sizes_of(layer: Layer) -> Bound:
    return {"O": layer.out_channels, "I": layer.in_channels, "kernel_size": layer.kernel_size}


def table() -> Table:
    costs = ((1, 5.0), (2, 3.0), (3, 4.0), (4, 0.0))
    rows = [Candidate("svd", "", (k,), Cost(params=c, flops=c), e) for k, (c, e) in enumerate(costs)]
    return Table(conv(), tuple(rows), 7.0)


LAYER_SIZES: Bound = {"O": OUT, "I": IN, "kernel_size": KERNEL}

EXAMPLES: dict[str, Callable[[], list[Example]]] = {
    "networks.chain_module": lambda: [
        Example({"layer": conv(), **chain_of_two(), "bias": bias}) for bias in (randn(OUT), None)
    ],
    "networks.contract": lambda: [Example(chain_of_two(), sizes={"taps": KERNEL, "O": OUT, "I": IN})],
    "networks.kernel_of": lambda: [
        Example({"model": nn.Sequential(nn.Conv2d(IN, OUT, KERNEL)), "name": "0"}, sizes=LAYER_SIZES)
    ],
    "networks.put_kernel": lambda: [
        Example(
            {
                "model": nn.Sequential(nn.Conv2d(IN, OUT, KERNEL)),
                "name": "0",
                "kernel": randn(OUT, IN, *KERNEL),
            },
            sizes=LAYER_SIZES,
        )
    ],
    "networks.reconstruct": lambda: [Example({**chain_of_two(), "kernel_size": KERNEL}, sizes=LAYER_SIZES)],
    "networks.forward": lambda: [Example({"model": linear(), "batch": randn(N, 8).float()}, sizes={"N": N})],
    "networks.run": lambda: [
        Example(
            {
                "model": linear(),
                "inputs": randn(N, 2, 8).float(),
                "batch_size": 2,
                "device": torch.device("cpu"),
            },
            sizes={"N": N},
        )
    ],
    "networks.run_once": lambda: [
        Example({"model": linear().eval(), "example": randn(N, 8).float()}, sizes={"N": N})
    ],
    "networks.made_one": lambda: [
        Example({"returned": [randn(N, 3)], "output": lambda returned: returned[0]}, sizes={"N": N})
    ],
    "networks.outputs_of": lambda: [
        Example(
            {
                "returned": {"logits": randn(N, 3, 2)},
                "batch": {"attention_mask": torch.ones(N, 3)},
                "output": Reading(),
            },
            sizes={"N": N},
        )
    ],
    "networks.real_positions": lambda: [
        Example({"output": Reading(), "inputs": {"attention_mask": torch.ones(N, 3)}}, sizes={"N": N}),
        Example({"output": Reading(), "inputs": randn(N, 3)}),
    ],
    "networks.Reading.real": lambda: [
        Example({"self": Reading(), "inputs": {"attention_mask": torch.ones(N, 3)}}, sizes={"N": N})
    ],
    "networks.Reading.without_padding": lambda: [
        Example(
            {"self": Reading(), "outputs": randn(N, 3, 2), "inputs": {"attention_mask": torch.ones(N, 3)}},
            sizes={"N": N},
        )
    ],
    "networks.Reading.counted": lambda: [
        Example(
            {
                "self": Reading(pool="mean"),
                "outputs": randn(N, 3, 2),
                "inputs": {"attention_mask": torch.ones(N, 3)},
            },
            sizes={"N": N},
        )
    ],
    "networks.per_example": lambda: [Example({"outputs": randn(N, 3), "batch": randn(N, 8)}, sizes={"N": N})],
    "networks.backward": lambda: [Example({"value": randn(2).requires_grad_().sum()})],
    "networks.one_tensor": lambda: [Example({"returned": randn(N, 3)}, sizes={"N": N})],
    "networks.input_of": lambda: [Example({"args": (randn(N, 3),), "kwargs": {}})],
    "calibration.Columns": lambda: [Example(thing=COLUMNS, sizes={"n": FAN_IN, "r": R})],
    "calibration.Moments": lambda: [
        measured(nn.Conv2d(IN, OUT, KERNEL), images()),
        measured(nn.Linear(1600, OUT), torch.randn(3 * N, 1600)),  # wide: columns stand for A
    ],
    "calibration.Moments.whitened": lambda: [
        Example(
            {"self": Moments(squared(FAN_IN), squared(OUT), N, N), "kernel": randn(OUT, IN, *KERNEL)},
            sizes=LAYER_SIZES,
        )
    ],
    "calibration.Whitened": lambda: [
        Example(thing=whiten(randn(OUT, IN, *KERNEL), A, squared(OUT)), sizes=LAYER_SIZES)
        for A in (squared(FAN_IN), COLUMNS)
    ],
    "calibration.NearDiagonal": lambda: [Example(thing=root_of_columns(COLUMNS)[0], sizes={"n": FAN_IN})],
    "calibration.add_square": lambda: [Example({"sums": squared(8), "rows": randn(5, 8)})],
    "calibration.symmetric": lambda: [Example({"sums": squared(8)})],
    "calibration.square_in_kernel_order": lambda: [Example({"moments": squared(FAN_IN), "layer": conv()})],
    "calibration.drawn_columns": lambda: [
        Example(
            {"inputs": images(), "layer": conv(), "generator": torch.Generator(), "total": N, "real": real}
        )
        for real in (None, torch.ones(N, 7, 7) > 0)
    ],
    "calibration.unfold_chunks": lambda: [
        Example({"inputs": images(), "layer": conv(), "generator": torch.Generator(), "real": real})
        for real in (None, torch.ones(N, 7, 7) > 0)
    ],
    "calibration.kernel_error": lambda: [
        Example({"kernel": randn(OUT, IN, *KERNEL), "approximation": randn(OUT, IN, *KERNEL), "A": A, "G": G})
        for A, G in ((squared(FAN_IN), squared(OUT)), (COLUMNS, randn(OUT)), (None, None))
    ],
    "calibration.shrink": lambda: [Example({"matrix": squared(OUT), "count": 20})],
    "calibration.simplify": lambda: [
        Example({"A": squared(FAN_IN), "G": squared(OUT), "kind": kind}, sizes={"n": FAN_IN, "O": OUT})
        for kind in ("fisher", "activation", "rows", "plain")
    ],
    "calibration.whiten": lambda: [
        Example({"kernel": randn(OUT, IN, *KERNEL), "A": A, "G": squared(OUT)}, sizes=LAYER_SIZES)
        for A in (squared(FAN_IN), COLUMNS)
    ],
    "decompositions.gram": lambda: [Example({"matrix": randn(*sizes)}) for sizes in ((3, 5), (5, 3))],
    "decompositions.spectrum": lambda: [Example({"matrix": randn(*sizes)}) for sizes in ((3, 5), (5, 3))],
    "planning.Front": lambda: [Example(thing=layer_front(table(), "params"), sizes={"f": 3})],
    "planning.Table.costs": lambda: [Example({"self": table(), "metric": "flops"}, sizes={"c": 4})],
    "planning.Table.errors": lambda: [Example({"self": table()}, sizes={"c": 4})],
    "planning.layer_front": lambda: [
        Example({"table": table(), "metric": "params", "errors": errors}, sizes={"c": 4})
        for errors in (None, np.array([3.0, 2.0, 1.0, 0.0]))
    ],
    "planning.rates": lambda: [
        Example({"front": layer_front(table(), "params"), "chain": [0, 1, 2]}, sizes={"s": 2})
    ],
    "planning.balanced_errors": lambda: [Example({"tables": [table(), table()]}, sizes={"c": 4})],
}
EXAMPLES["networks.Reading.output"] = EXAMPLES["networks.one_tensor"]
EXAMPLES["calibration.Whitened.output_basis"] = EXAMPLES["calibration.Whitened"]
EXAMPLES["calibration.Whitened.output_energies"] = EXAMPLES["calibration.Whitened"]


@pytest.mark.parametrize("name", OFFERED)
def test_every_array_has_a_stated_shape_and_an_example(name: str) -> None:
    thing, arrays = OFFERED[name]
    assert set(arrays) <= stated(thing.__doc__ or "").keys(), name
    assert name in EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_real_arrays_have_the_stated_shapes(name: str) -> None:
    room, _, path = name.partition(".")
    thing: Any = import_module(f"ranksearch.{room}")
    for part in path.split("."):
        thing = getattr(thing, part)
    for example in EXAMPLES[name]():
        bound = dict(example.sizes)
        if example.thing is not None:
            check_fields(example.thing, bound)
            continue
        for value in example.arguments.values():
            if isinstance(value, Layer):
                bound |= sizes_of(value)
        texts = stated(thing.__doc__)
        assert texts
        for argument, value in example.arguments.items():
            if argument in texts:
                check(f"{name}, {argument}", texts[argument], value, bound)
        result = thing(**example.arguments)
        if "returns" in texts:
            check(f"{name}, returns", texts["returns"], result, bound)
        elif isinstance(result, Whitened | Front) or hasattr(result, "_fields"):
            check_fields(result, bound)
        check_relations(texts.values(), bound)


# --- the test can fail


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("An (n, n) tensor", (3, 4)),
        ("An (n, m) tensor", (3,)),
        ("An (n, *sizes, m) tensor", (3,)),
        ("An (n, …) tensor", ()),
        ("An (n,) float32 tensor", (3,)),
        ("A (5, n) tensor", (3, 4)),
    ],
)
def test_a_wrong_shape_is_found(text: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        check("value", text, torch.zeros(shape, dtype=torch.float64), {"5": 5})


def test_sizes_are_the_same_throughout_a_call() -> None:
    bound: Bound = {}
    check("a", "An (O, I, *kernel_size) tensor", torch.zeros(6, 4, 3, 2), bound)
    assert bound == {"O": 6, "I": 4, "kernel_size": (3, 2)}
    check("b", "An (n, n) tensor with n = I·prod(kernel_size)", torch.zeros(24, 24), bound)
    check_relations(["An (n, n) tensor with n = I·prod(kernel_size)"], bound)
    with pytest.raises(AssertionError):
        check("c", "An (O, …) tensor", torch.zeros(4, 6), bound)
    with pytest.raises(AssertionError):
        check_relations(["A (k,) tensor with k = min(O, I)"], bound | {"k": 6})
