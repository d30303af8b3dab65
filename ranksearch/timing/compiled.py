"""`compile`: the model as torch.compile runs it on a CPU, its weights frozen into the compiled graph.

Compiling a network takes too long to do it for every rank of every form. So candidates are timed side by side: one
graph runs the chain of each distinct shape of layer, on an input of the size that the layer gets, and nothing else.
Plans are compiled and timed whole.
"""

from __future__ import annotations

import logging
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, expected, told
from ranksearch.networks import (
    KINDS,
    Batch,
    call,
    channels_last,
    copy_model,
    eval_mode,
    input_of,
    kind_of,
    threads,
    to,
)
from ranksearch.timing.modules import with_chains
from ranksearch.timing.prices import shape_of
from ranksearch.timing.runtime import Chains, Part, Prepared, Profile, Profiled, Runtime, Session, Workload

OPERATIONS = frozenset(
    {
        "mkldnn::_convolution_pointwise",
        "mkldnn::_convolution_transpose_pointwise",
        "mkldnn::_linear_pointwise",
        "mkl::_mkl_linear",
        "aten::convolution",
        "aten::addmm",
        "aten::mm",
        "aten::bmm",
    }
)
"""What convolutions and linear layers become in a compiled graph."""


class Compiled(Runtime):
    """Parts are timed by PyTorch's profiler, each until the next one begins."""

    name = "compile"

    def version(self) -> str:
        return f"{torch.__version__} {platform.machine()} {_compiler()}"

    def prepare(self, workload: Workload) -> Prepared:
        _compiler()
        here = replace(
            workload,
            batch=to(workload.batch, "cpu"),
            laid_out=lambda model: workload.laid_out(model).cpu(),
        )
        return _Prepared(here, _inputs(here))


def _compiler() -> str:
    """The command that calls the C++ compiler. Raises InputError where there is none."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        return str(get_cpp_compiler())
    except (RuntimeError, OSError) as error:
        way_out = "Install g++, name one in the environment variable CXX, or choose the runtime torch."
        raise InputError(expected("runtime compile", "a C++ compiler", "none", way_out)) from error


def _inputs(workload: Workload) -> dict[str, list[Tensor]]:
    """By layer name, random inputs of the sizes of its calls; one layer stands for all of equal shape."""
    model = workload.laid_out(copy_model(workload.model))
    found: dict[str, list[Tensor]] = {}

    def recorder(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            given = input_of(args, kwargs)
            if given.is_floating_point():  # indices stay what they are
                given = torch.rand_like(given, memory_format=torch.contiguous_format)
            found.setdefault(name, []).append(channels_last(given))

        return record

    for name in {shape_of(layer): layer.name for layer in workload.layers}.values():
        model.get_submodule(name).register_forward_pre_hook(recorder(name), with_kwargs=True)
    with threads(workload.threads), eval_mode(model):
        call(model, workload.batch)
    return found


@dataclass(frozen=True)
class _Prepared(Prepared):
    workload: Workload
    inputs: Mapping[str, Sequence[Tensor]]

    def session(self, chains: Chains) -> Session:
        model, _ = with_chains(self.workload, chains)
        return _Session(model, self.workload.batch, self.workload.threads)

    def profiled(self, chains: Chains) -> Profiled:
        model, parts = with_chains(self.workload, chains)
        calls = [(name, given) for name, own in self.inputs.items() for given in own]
        order = [(part, module) for name, _ in calls for part, module in parts.items() if part.layer == name]
        side_by_side = _SideBySide([model.get_submodule(name) for name, _ in calls])
        return _Profiled(side_by_side, tuple(given for _, given in calls), self.workload.threads, order)


class _SideBySide(nn.Module):
    """Modules that run one after the other, each on an input of its own."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.own = nn.ModuleList(modules)

    def forward(self, *inputs: Tensor) -> list[Any]:
        return [module(given) for module, given in zip(self.own, inputs, strict=True)]


class _Frozen(nn.Module):
    """A model, compiled when it first runs."""

    _made = count()

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

        inner = model

        def own(*args: Any, **kwargs: Any) -> Any:
            return inner(*args, **kwargs)

        # Graphs are kept by code object, and after a few on the same one a model is not compiled any more.
        own.__code__ = own.__code__.replace(co_name=f"own{next(self._made)}")
        self._compiled = torch.compile(own, dynamic=False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)


@contextmanager
def _compiling() -> Iterator[None]:
    """Weights are frozen, operations stay in their order, a limit is an error, and nothing is said on the way."""
    settings = {"freezing": True, "reorder_for_peak_memory": False}
    known = {name: value for name, value in settings.items() if hasattr(torch._inductor.config, name)}
    frozen = torch._inductor.config.patch(known)
    strict = torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), frozen, strict:
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


class _Session(Session):
    def __init__(self, model: nn.Module, batch: Batch, count: int) -> None:
        self._model, self._batch, self._threads = _Frozen(model).eval(), batch, count
        with _compiling():
            try:
                self.run()
            except InputError as error:
                wanted, way_out = "one that torch.compile can compile", "Choose the runtime torch."
                got = told(error.__cause__ or error)
                raise InputError(expected("model", wanted, got, way_out)) from error

    def run(self) -> None:
        with threads(self._threads), eval_mode(self._model):
            call(self._model, self._batch)


class _Profiled(_Session, Profiled):
    def __init__(
        self, model: nn.Module, batch: Batch, count: int, order: Sequence[tuple[Part, nn.Module]]
    ) -> None:
        super().__init__(model, batch, count)
        self._order = order

    def profile(self, passes: int) -> Profile:
        # torch.profiler would start Kineto, which writes to the standard error.
        from torch.autograd.profiler_legacy import profile

        found: list[dict[Part, float]] = []
        whole: list[float] = []
        for _ in range(passes):
            with profile(record_shapes=True) as profiler:
                self.run()
            events = sorted(profiler.function_events, key=_start)
            end = max(event.time_range.end for event in events)
            whole.append(end - _start(events[0]))
            found.append(_until_the_next(self._order, _operations(events), end))
        parts = {part: median(own[part] for own in found) * 1e-6 for part, _ in self._order}
        return Profile(parts, median(whole) * 1e-6)


def _start(event: Any) -> float:
    return float(event.time_range.start)


def _operations(events: Sequence[Any]) -> list[Any]:
    """Those of convolutions and linear layers, without what they call themselves."""

    def inner(event: Any) -> bool:
        while (event := event.cpu_parent) is not None:
            if event.name in OPERATIONS:
                return True
        return False

    return [event for event in events if event.name in OPERATIONS and not inner(event)]


def _until_the_next(
    order: Sequence[tuple[Part, nn.Module]], operations: Sequence[Any], end: float
) -> dict[Part, float]:
    """Microseconds of each part in all its calls.

    The compiler may make a tiny layer a part of the code around it, and makes every lookup one: then it takes nothing,
    and the one before it more.
    """
    starts = [*map(_start, operations), end]
    microseconds = {part: 0.0 for part, _ in order}
    at = 0
    for part, module in order:
        if at < len(operations) and _takes(operations[at], module):
            microseconds[part] += starts[at + 1] - starts[at]
            at += 1
    return microseconds


def _takes(operation: Any, module: nn.Module) -> bool:
    """Whether one of the first inputs of an operation has as many channels as a layer takes."""
    traits = KINDS[kind_of(module)]
    taken = traits.kernel(module.get_parameter("weight")).shape[1]
    return not traits.lookup and any(taken in shape for shape in operation.input_shapes[:2])
