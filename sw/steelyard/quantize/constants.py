"""Nodes that compute with constants alone, replaced by what they give, within known bounds.

onnxruntime computes such nodes too, but without a bound: a file of some hundred bytes can ask it
for all memory, or for a loop without an end.
"""

from __future__ import annotations

import math
from collections import ChainMap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.importer.folding import Folder
from steelyard.importer.graph import needed_nodes, read_constants
from steelyard.importer.inference import inferred, of_images, of_one_image
from steelyard.importer.schema import check_opset, read_node
from steelyard.quantize.sessions import with_shapes

if TYPE_CHECKING:
    import onnx

BATCHES = (1, 2)
"""What is the same for both follows from no batch."""
ROUNDS = 8
"""Times that shapes are followed through what shapes were computed for."""
LARGEST = 1 << 26
"""Elements of one value for one image: 256 MB, over twice what VGG16 has at 224 x 224 x 64."""
GROWING = ("ConstantOfShape", "Expand", "Gather", "GatherND", "NonZero", "OneHot", "Pad", "Range",
           "Resize", "Tile", "Upsample")  # fmt: skip
"""Operators whose output may be far larger than what they read."""


def compute_constants(model: onnx.ModelProto) -> None:
    """Keep the nodes that depend on the input and lead to the output; the rest become constants.

    Parameters
    ----------
    model : of one input; changed in place, its nodes sorted

    Raises
    ------
    UserError
        If a node contradicts its opset, holds a graph of its own, or would make more of its
        constants than the importer folds; or if a name is made twice or not at all, or an output
        does not depend on the input.
    """
    from onnx import AttributeProto, numpy_helper

    graph = model.graph
    label = graph.name or "network"
    opset = check_opset(model, label)
    constants = read_constants(graph, label)
    given = {item.name for item in graph.input} | constants.keys()
    folder = Folder(opset, sum(each.size for each in constants.values()))
    kept = []
    outputs = [item.name for item in graph.output]
    for proto in needed_nodes(graph, outputs, given):
        node = read_node(proto, opset)
        kinds = {item.type for item in proto.attribute}
        if kinds & {AttributeProto.GRAPH, AttributeProto.GRAPHS}:
            raise node.error(
                "holds a graph of its own, allowed are plain nodes; export the network without "
                "loops and branches."
            )
        names = [name for name in proto.input if name]
        if not all(name in constants for name in names):
            copy = type(proto)()
            copy.CopyFrom(proto)
            kept.append(copy)
            continue
        arrays = [constants.get(name) if name else None for name in node.inputs]
        for name, array in zip(node.outputs, folder.evaluate(node, arrays), strict=False):
            if name:
                constants[name] = array
                graph.initializer.append(numpy_helper.from_array(array, name))
    del graph.node[:]
    graph.node.extend(kept)
    if any(node.op_type == "Shape" for node in kept):
        _compute_shapes(model, constants, folder, opset)
    for output in outputs:
        if output in constants:
            remedy = "the whole network" if len(outputs) == 1 else "the network without it"
            raise UserError(
                f"Output {output!r} of ONNX graph {label!r} does not depend on its input; export "
                f"{remedy}."
            )


def _compute_shapes(
    model: onnx.ModelProto, constants: dict[str, NDArray[Any]], folder: Folder, opset: int
) -> None:
    """Replace what is computed of shapes alone and is the same for any batch.

    What a Slice takes, say, may follow from a shape, and a further shape from what it takes.
    """
    for _ in range(ROUNDS):
        one, other = (_of_shapes(model, constants, folder, opset, count) for count in BATCHES)
        same: dict[str, NDArray[Any]] = {}
        for node in model.graph.node:
            made = [name for name in node.output if name]
            if all(name in one and name in other for name in made) and all(
                np.array_equal(one[name], other[name]) for name in made
            ):
                same |= {name: one[name] for name in made}
        if not same:
            return
        constants |= same
        _replace(model.graph, same, constants)


def _of_shapes(
    model: onnx.ModelProto,
    constants: dict[str, NDArray[Any]],
    folder: Folder,
    opset: int,
    images: int,
) -> dict[str, NDArray[Any]]:
    """Values that follow from shapes and constants once the batch is known."""
    shapes = _known_shapes(model, images)
    found: dict[str, NDArray[Any]] = {}
    known = ChainMap(found, constants)
    for proto in model.graph.node:
        node = read_node(proto, opset)
        names = [name for name in node.inputs if name]
        if node.op == "Shape" and names[0] in shapes:
            part = slice(node.attributes.get("start"), node.attributes.get("end"))
            made = [np.array(shapes[names[0]][part], np.int64)]
        elif names and all(name in known for name in names):
            made = folder.evaluate(node, [known.get(name) for name in node.inputs])
        else:
            continue
        found |= {name: each for name, each in zip(node.outputs, made, strict=False) if name}
    return found


def _replace(
    graph: onnx.GraphProto, same: dict[str, NDArray[Any]], constants: dict[str, NDArray[Any]]
) -> None:
    """Let constants take the place of the nodes that made them, and leave out what fed those."""
    from onnx import numpy_helper

    graph.initializer.extend(numpy_helper.from_array(each, name) for name, each in same.items())
    left = [node for node in graph.node if not same.keys() & set(node.output)]
    del graph.node[:]
    graph.node.extend(left)
    given = {item.name for item in graph.input} | constants.keys()
    needed = needed_nodes(graph, [item.name for item in graph.output], given)
    kept = [type(node).FromString(node.SerializeToString()) for node in needed]
    del graph.node[:]
    graph.node.extend(kept)


def _known_shapes(model: onnx.ModelProto, images: int) -> dict[str, tuple[int, ...]]:
    """Shapes of values that are known once the batch is."""
    graph = inferred(of_images(model, images)).graph
    dims = {
        item.name: item.type.tensor_type.shape.dim
        for item in (*graph.input, *graph.value_info, *graph.output)
        if item.type.tensor_type.HasField("shape")
    }
    return {
        name: tuple(dim.dim_value for dim in each)
        for name, each in dims.items()
        if all(dim.HasField("dim_value") for dim in each)
    }


def check_sizes(model: onnx.ModelProto) -> None:
    """Refuse a network whose values are too large to be measured, before it is run.

    Parameters
    ----------
    model : its constants computed

    Raises
    ------
    UserError
        If a value has too many elements for one image, or as many as nobody knows beforehand.
    """
    graph = with_shapes(of_one_image(model)).graph
    sizes = {
        item.name: math.prod(dim.dim_value for dim in item.type.tensor_type.shape.dim)
        for item in (*graph.value_info, *graph.output)
        if item.type.tensor_type.HasField("shape")
        and all(dim.HasField("dim_value") for dim in item.type.tensor_type.shape.dim)
    }
    for node in graph.node:
        for name in filter(None, node.output):
            if name not in sizes and node.op_type in GROWING:
                raise UserError(
                    f"{node.op_type} node {node.name!r} makes a value whose size does not follow "
                    "from the file; export the network with fixed sizes."
                )
            if sizes.get(name, 0) > LARGEST:
                raise UserError(
                    f"{node.op_type} node {node.name!r} makes {sizes[name]} elements for one "
                    f"image, allowed are up to {LARGEST}; use a network of smaller maps."
                )
