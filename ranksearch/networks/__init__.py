"""Networks: their layers, how they run, and the chains that take the place of layers."""

from __future__ import annotations

from ranksearch.networks.batches import (
    Batch,
    cat,
    device_of,
    head,
    part,
    repeated,
    same,
    shapes_of,
    size,
    split,
    tensors,
    to,
)
from ranksearch.networks.chain import Chain, Factor, Factors, contract, reconstruct
from ranksearch.networks.chain_layers import FactorGeometry, chain_module, factor_geometry
from ranksearch.networks.cpu import algebra_threads, threads
from ranksearch.networks.layers import (
    Call,
    Layer,
    Size,
    discover,
    kernel_shape,
    list_layers,
    named_layers,
    unmatched,
)
from ranksearch.networks.layout import channels_last, fast_layout, takes_fast_layout
from ranksearch.networks.plain import Kind
from ranksearch.networks.recording import input_of, run_recorded
from ranksearch.networks.running import (
    Output,
    attention_fast_path,
    backward,
    call,
    call_once,
    eval_mode,
    first_example,
    forward,
    made_one,
    one_tensor,
    per_example,
    run,
    run_once,
)
from ranksearch.networks.surgery import copy_model, replace_modules
from ranksearch.networks.undisturbed import draws_alone, seeded
from ranksearch.networks.weights import Weights, check_finite, load_weights, read_weights

__all__ = [
    "Batch",
    "Call",
    "Chain",
    "Factor",
    "FactorGeometry",
    "Factors",
    "Kind",
    "Layer",
    "Output",
    "Size",
    "Weights",
    "algebra_threads",
    "attention_fast_path",
    "backward",
    "call",
    "call_once",
    "cat",
    "chain_module",
    "channels_last",
    "check_finite",
    "contract",
    "copy_model",
    "device_of",
    "discover",
    "draws_alone",
    "eval_mode",
    "factor_geometry",
    "fast_layout",
    "first_example",
    "forward",
    "head",
    "input_of",
    "kernel_shape",
    "list_layers",
    "load_weights",
    "made_one",
    "named_layers",
    "one_tensor",
    "part",
    "per_example",
    "read_weights",
    "reconstruct",
    "repeated",
    "replace_modules",
    "run",
    "run_once",
    "run_recorded",
    "same",
    "seeded",
    "shapes_of",
    "size",
    "split",
    "takes_fast_layout",
    "tensors",
    "threads",
    "to",
    "unmatched",
]
