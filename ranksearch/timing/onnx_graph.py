"""Layers of a model found in its ONNX graph, and replaced there by chains.

One export serves for all candidates: the nodes of a layer are swapped for those of a chain, whose weights are random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ranksearch.errors import InputError, expected
from ranksearch.networks import KINDS, Chain, Factor, Layer, factor_kind
from ranksearch.timing.runtime import Chains, Part

ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "Add", "Mul"})
"""What runtimes fuse into the operation before it, which then goes by the name of this one's output."""


_WEIGHT_AT = {"Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (1, 2), "Gather": (0, 1)}
"""Where among a node's inputs the weight of a layer is."""


@dataclass(frozen=True)
class Graph:
    """An exported model, and by layer name the index of the node that carries it out."""

    model: Any
    nodes: Mapping[str, int]


def find_layers(exported: Any, model: nn.Module, layers: Sequence[Layer]) -> Graph:
    """The nodes of some layers, by the weights that they use. Raises InputError for a layer that is not found."""
    from onnx import numpy_helper

    constants = {x.name: x for x in exported.graph.initializer}
    users: dict[str, int] = {}
    for index, node in enumerate(exported.graph.node):
        weights = slice(*_WEIGHT_AT.get(node.op_type, (0, 0)))
        users |= {name: index for name in node.input[weights] if name in constants}
    nodes = {}
    for layer in layers:
        found = users.get(f"{layer.name}.weight")
        if (
            found is None and layer.kind == "linear"
        ):  # exporters store the transpose, under a name of their own
            weight = model.get_parameter(f"{layer.name}.weight").detach().cpu().numpy().T
            same = (
                index
                for name, index in users.items()
                if tuple(constants[name].dims) == weight.shape
                and np.array_equal(numpy_helper.to_array(constants[name]), weight)
            )
            found = next(same, None)
        if found is None:
            way_out = "`ignore` leaves it out."
            raise InputError(
                expected(f"layer {layer.name}", "one node of the exported graph", "none", way_out)
            )
        nodes[layer.name] = found
    return Graph(exported, nodes)


def with_chains(graph: Graph, layers: Sequence[Layer], chains: Chains) -> tuple[Any, dict[str, Part]]:
    """A copy of the graph with chains in place of layers; and the part that each tensor is the output of.

    Outputs are known by name: nodes are renamed and fused by the runtime.
    """
    import onnx

    built = onnx.ModelProto()
    built.CopyFrom(graph.model)
    parts: dict[str, Part] = {}
    replaced: dict[int, list[Any]] = {}
    for layer in layers:
        index = graph.nodes[layer.name]
        node = graph.model.graph.node[index]
        if layer.name not in chains:
            parts[node.output[0]] = Part(layer.name, 0)
            continue
        nodes, weights = _chain_nodes(node, layer, chains[layer.name])
        built.graph.initializer.extend(weights)
        parts |= {made.output[0]: Part(layer.name, k) for k, made in enumerate(nodes)}
        replaced[index] = nodes
    kept = [made for k, node in enumerate(graph.model.graph.node) for made in replaced.get(k, [node])]
    del built.graph.node[:]
    built.graph.node.extend(kept)
    for node in built.graph.node:
        node.name = node.output[0]
    _drop_unused(built)
    return built, parts | _fused(built, parts)


def _chain_nodes(node: Any, layer: Layer, chain: Chain) -> tuple[list[Any], list[Any]]:
    from onnx import helper, numpy_helper

    generator = np.random.default_rng(0)
    nodes, weights = [], []
    given = node.input[1 if layer.traits.lookup else 0]
    last = len(chain) - 1
    for k, factor in enumerate(chain):
        output = node.output[0] if k == last else f"{node.output[0]}_factor{k}"
        name = f"{output}_weight"
        inputs = [given, name, *(node.input[2:3] if k == last else ())]
        traits = KINDS[factor_kind(layer, k)]
        shape: tuple[int, ...] = (factor.in_channels, factor.out_channels)
        if traits.dims:
            attributes = _attributes(node, factor)
            if not traits.transposed:
                shape = shape[::-1]
            shape = (shape[0], shape[1] // attributes["group"], *attributes["kernel_shape"])
            made = helper.make_node(node.op_type, inputs, [output], **attributes)
        elif traits.lookup:
            made = helper.make_node("Gather", [name, given], [output])
        else:
            made = helper.make_node("Gemm" if node.op_type == "Gemm" else "MatMul", inputs, [output])
        weights.append(numpy_helper.from_array(generator.random(shape, dtype=np.float32) - 0.5, name))
        nodes.append(made)
        given = output
    return nodes, weights


def _attributes(node: Any, factor: Factor) -> dict[str, Any]:
    """Those of the dense convolution along the factor's axes; elsewhere 1 wide."""
    from onnx import helper

    dense = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    kernel = list(dense["kernel_shape"])
    dims = len(kernel)

    def along(values: Sequence[int], elsewhere: int) -> list[int]:
        return [value if axis in factor.axes else elsewhere for axis, value in enumerate(values)]

    pads = list(dense.get("pads", [0] * 2 * dims))
    more = {"output_padding": along(dense["output_padding"], 0)} if "output_padding" in dense else {}
    return more | {
        "kernel_shape": along(kernel, 1),
        "strides": along(dense.get("strides", [1] * dims), 1),
        "dilations": along(dense.get("dilations", [1] * dims), 1),
        "pads": along(pads[:dims], 0) + along(pads[dims:], 0),
        "group": factor.out_channels if factor.depthwise else factor.groups * factor.blocks,
    }


def _drop_unused(built: Any) -> None:
    used = {name for node in built.graph.node for name in node.input}
    kept = [x for x in built.graph.initializer if x.name in used]
    del built.graph.initializer[:]
    built.graph.initializer.extend(kept)
    del built.graph.value_info[:]  # shapes of tensors that are no more


def _fused(built: Any, parts: Mapping[str, Part]) -> dict[str, Part]:
    """Outputs of what may be fused into a part, up to two operations after it, that are no part themselves."""
    users: dict[str, list[Any]] = {}
    for node in built.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    found: dict[str, Part] = {}
    for name, part in parts.items():
        output = name
        for _ in range(2):
            after = users.get(output, [])
            if len(after) != 1 or after[0].op_type not in ACTIVATIONS or after[0].output[0] in parts:
                break
            output = after[0].output[0]
            found.setdefault(output, part)
    return found
