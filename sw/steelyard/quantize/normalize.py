"""Float ONNX files of any exporter, brought to the one form that the quantizer treats right.

Each pass does one thing; `normalized` proves all of them together by running the graph before and
after.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.importer.graph import (
    check_batch,
    faulty_ends,
    read_constants,
    read_model,
    single_input,
)
from steelyard.quantize.constants import check_sizes, compute_constants
from steelyard.quantize.edit import Edit, attribute
from steelyard.quantize.fold import fold_constants
from steelyard.quantize.rewriting import (
    reductions_are_poolings,
    softmaxes_are_single,
    sums_are_additions,
    transposed_have_one_group,
)
from steelyard.quantize.sessions import Session, optimized, reason_of, refusals, with_shapes

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""What older files are converted to."""
OLDEST = 13
"""First opset in which QuantizeLinear takes a scale for each channel."""
IR_VERSION = 8
"""First format whose constants need not be listed as inputs, with room for the opset above."""
TRIED = 4
"""Images that both graphs run on, and for which they must give the same scores."""
AGREEMENT = 1e-4
"""Greatest difference of two float32 runs, as a part of the largest score."""
HALF = {10, 16}
"""ONNX's numbers of float16 and bfloat16."""
AGREEMENT_HALF = 2e-2
"""The same where the file computes in float16."""


@dataclass(frozen=True)
class Normalized:
    """Float graph in the form that the quantizer takes.

    Members
    -------
    model : float32; every node has a name of its own, constants are initializers, shapes are known
    batch : images that the graph takes at once, None for any number
    """

    model: onnx.ModelProto
    batch: int | None


def normalized(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    images: NDArray[np.float32],
    folder: Path,
) -> Normalized:
    """Graph of a float ONNX file without the habits of its exporter.

    Parameters
    ----------
    source : path (weights may lie in files beside it), content of a file, or loaded model
    images : float32, batch first; the graph is run before and after on the first of them
    folder : temporary folder to write into

    Raises
    ------
    UserError
        If the file is no float network of one input, cannot be run on the images, or would not
        compute the same afterwards.
    """
    original = read_model(source)
    check_float_model(original, images)
    model = named(original)
    half = _types(model) & HALF
    if not half:
        _as_float32(model)
    expected, batch = _reference(model, images)
    model = rewritten(model, folder)

    # A graph that was made for one batch size may hold it in more places than its input.
    for size in dict.fromkeys((None, batch)):
        found = _tried(model, images, size)
        if found is not None and _agree(found, expected, AGREEMENT_HALF if half else AGREEMENT):
            return Normalized(model, size)
    raise UserError(
        f"ONNX graph {original.graph.name!r} would give other scores after its constants are "
        "folded than before, so it is not quantized; simplify the model before it is exported, "
        "and report this file as a fault of steelyard."
    )


def rewritten(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Graph as :func:`normalized` gives it, without images and so without the proof.

    Parameters
    ----------
    model : that :func:`named` gave
    folder : temporary folder to write into

    Raises
    ------
    UserError
        If onnxruntime cannot take the graph, or its shapes contradict each other.
    """
    model = _converted(model)
    _as_float32(model)
    _open_batch(model)
    model = optimized(model, folder)
    _name_nodes(model)
    _remove_no_ops(model)
    reductions_are_poolings(model)
    transposed_have_one_group(model)
    sums_are_additions(model)
    fold_constants(model)
    return with_shapes(model)


def modern(original: onnx.ModelProto) -> onnx.ModelProto:
    """Float graph in float32 and an opset that the quantizer takes, all values by their names.

    Raises
    ------
    UserError
        If constants cannot be read or would be too large, there is no output, or its opset cannot
        be converted.
    """
    graph = original.graph
    constants = read_constants(graph, graph.name or "network")
    if not graph.output:
        raise UserError(faulty_ends(graph, constants, f"ONNX graph {graph.name!r}")[-1])
    model = _converted(named(original))
    _as_float32(model)
    return model


def named(original: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes have names of their own, with constants computed.

    Raises
    ------
    UserError
        If constants would be too large, or values are not made once and before they are read.
    """
    model = type(original)()
    model.CopyFrom(original)
    _initializers_are_no_inputs(model)
    model.ir_version = max(model.ir_version, IR_VERSION)
    # onnxruntime takes no graph with two nodes of one name, and has no layers in float64.
    _name_nodes(model)
    compute_constants(model)
    check_sizes(model)
    return model


def check_float_model(model: onnx.ModelProto, images: NDArray[np.float32]) -> None:
    """Refuse what is no float network of one input, or not for these images.

    Raises
    ------
    UserError
        If the graph has several inputs or no outputs, an input of another type or shape, or a
        weight is NaN or infinite; names the culprit.
    """
    graph = model.graph
    constants = read_constants(graph, graph.name or "network")
    source = single_input(graph, constants)
    for sentence in _type_faults(source):
        raise UserError(sentence)
    _check_shape(source, images)
    for sentence in _weight_faults(graph, constants):
        raise UserError(sentence)


def float_faults(
    source: onnx.ValueInfoProto, graph: onnx.GraphProto, constants: Mapping[str, np.ndarray]
) -> list[str]:
    """Sentences on an input that is not float, and on every layer whose weights are not finite.

    Parameters
    ----------
    source : the network's input
    constants : that the graph stores
    """
    return [*_type_faults(source), *_weight_faults(graph, constants)]


def _type_faults(source: onnx.ValueInfoProto) -> list[str]:
    from onnx import TensorProto

    kind = source.type.tensor_type.elem_type
    if kind in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        return []
    names = {number: name for name, number in TensorProto.DataType.items()}
    return [
        f"Network input {source.name!r} is of type {names.get(kind, str(kind))}, allowed are "
        "FLOAT, FLOAT16 and DOUBLE; export the network with a float input."
    ]


def _weight_faults(graph: onnx.GraphProto, constants: Mapping[str, np.ndarray]) -> list[str]:
    found = []
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        weight = constants.get(node.input[1])
        if weight is not None and weight.dtype != object and not np.all(np.isfinite(weight)):
            found.append(
                f"Layer {node.name or node.output[0]!r} holds NaN or infinite weights, allowed are "
                "finite ones; train or load the weights again."
            )
    return found


def _check_shape(item: onnx.ValueInfoProto, images: NDArray[np.float32]) -> None:
    dims = item.type.tensor_type.shape.dim
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    if not sizes:
        return
    check_batch(item)
    fits = len(sizes) == images.ndim and all(
        size in (None, found) for size, found in zip(sizes[1:], images.shape[1:], strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in sizes[1:])
        last = images.ndim == 4 and len(sizes) == 4 and images.shape[3] == sizes[1]
        advice = (
            "channels come first: turn them with numpy.transpose(images, (0, 3, 1, 2))"
            if last
            else "give images of the shape that it takes"
        )
        raise UserError(
            f"Calibration images of shape {images.shape} do not run through the network, whose "
            f"input {item.name!r} takes (batch, {wanted}); {advice}."
        )


def _types(model: onnx.ModelProto) -> set[int]:
    """ONNX types of constants, inputs and casts."""
    kinds = {item.data_type for item in model.graph.initializer}
    kinds |= {item.type.tensor_type.elem_type for item in model.graph.input}
    return kinds | {attribute(n, "to", 1) for n in model.graph.node if n.op_type == "Cast"}


def _reference(
    model: onnx.ModelProto, images: NDArray[np.float32]
) -> tuple[list[NDArray[np.float64]], int | None]:
    """Scores of the first images and the batch size that the file is bound to, if it is."""
    constants = {item.name for item in model.graph.initializer}
    value = next(item for item in model.graph.input if item.name not in constants)
    dims = value.type.tensor_type.shape.dim
    fixed = dims[0].dim_value if dims else 0
    session = Session(model)
    first: UserError | None = None
    for size in (fixed,) if fixed else (None, 1):
        try:
            scores = _scores(session, value.name, images, size)
        except UserError as error:
            first = first or error
            continue
        if not all(np.all(np.isfinite(each)) for each in scores):
            raise UserError(
                f"ONNX graph {model.graph.name!r} gives NaN or infinite scores for the first "
                "calibration images, allowed are finite ones; train the network again or give "
                "images in its input units."
            )
        return scores, size
    assert first is not None
    raise first


def _scores(
    session: Session, name: str, images: NDArray[np.float32], size: int | None
) -> list[NDArray[np.float64]]:
    """Outputs for the first images, in batches of `size`, the last filled with its last image."""
    count = min(TRIED, len(images))
    if size is None:
        return [each.astype(np.float64) for each in session.run({name: images[:count]})]
    runs = [session.run({name: batch}) for batch in batches(images[:count], size)]
    return [
        np.concatenate([np.atleast_1d(part) for part in parts]).astype(np.float64)
        for parts in zip(*runs, strict=True)
    ]


def batches(images: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    """Images in batches of exactly `size`; the last is filled with its last image."""
    missing = -len(images) % size
    filled = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
    return [filled[start : start + size] for start in range(0, len(filled), size)]


def _tried(
    model: onnx.ModelProto, images: NDArray[np.float32], size: int | None
) -> list[NDArray[np.float64]] | None:
    try:
        return _scores(Session(model), model.graph.input[0].name, images, size)
    except UserError:
        return None


def _agree(
    found: list[NDArray[np.float64]], expected: list[NDArray[np.float64]], tolerance: float
) -> bool:
    return all(_close(*pair, tolerance) for pair in zip(found, expected, strict=True))


def _close(found: NDArray[np.float64], expected: NDArray[np.float64], tolerance: float) -> bool:
    # A fixed batch may have been filled up.
    rows = min(len(found), len(expected))
    if found.shape[1:] != expected.shape[1:] or not np.all(np.isfinite(found)):
        return False
    bound = tolerance * float(np.abs(expected).max(initial=0)) + 1e-6
    return bool(np.abs(found[:rows] - expected[:rows]).max(initial=0) <= bound)


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Opset 13 at least: older operators keep their bounds and axes in other places."""
    from onnx import shape_inference, version_converter

    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if versions and versions[0] < OLDEST:
        try:
            model = version_converter.convert_version(model, OPSET)
        except refusals(
            IndexError, KeyError, version_converter.ConvertError, shape_inference.InferenceError
        ) as error:
            raise UserError(
                f"ONNX graph {model.graph.name!r} has opset {versions[0]} and cannot be converted "
                f"to {OPSET} ({reason_of(error)}); export the network with opset {OPSET}."
            ) from None
        softmaxes_are_single(with_shapes(model))
    return model


def _initializers_are_no_inputs(model: onnx.ModelProto) -> None:
    """Old files list constants as inputs that a caller may replace, so nobody folds them."""
    constants = {item.name for item in model.graph.initializer}
    kept = [item for item in model.graph.input if item.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _as_float32(model: onnx.ModelProto) -> None:
    """float16, bfloat16 and float64 become float32: constants, inputs, outputs and casts."""
    from onnx import TensorProto, numpy_helper

    others = {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
    for item in model.graph.initializer:
        if item.data_type in others:
            values = numpy_helper.to_array(item).astype(np.float32)
            item.CopyFrom(numpy_helper.from_array(values, item.name))
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in others:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in model.graph.node:
        for given in node.attribute:
            if node.op_type == "Cast" and given.name == "to" and given.i in others:
                given.i = TensorProto.FLOAT
            if given.HasField("t") and given.t.data_type in others:
                values = numpy_helper.to_array(given.t).astype(np.float32)
                given.t.CopyFrom(numpy_helper.from_array(values, given.t.name))
    del model.graph.value_info[:]


def _open_batch(model: onnx.ModelProto) -> None:
    """Any number of images, also where the file was exported for a fixed one."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    fixed = dims[0].dim_value if dims else 0
    if not dims or not fixed:
        return
    dims[0].dim_param = "batch"
    for value in model.graph.output:
        first = value.type.tensor_type.shape.dim
        if len(first) > 1 and first[0].dim_value == fixed:
            first[0].dim_param = "batch"
    edit = Edit(model)
    for node in edit.nodes:
        target = edit.constant(node.input[1]) if node.op_type == "Reshape" else None
        if target is None or target.ndim != 1 or not len(target) or target[0] != fixed:
            continue
        if not attribute(node, "allowzero", 0):
            # Zero takes the size over from the input.
            node.input[1] = edit.add_constant(
                f"{node.output[0]}/shape", np.concatenate([[0], target[1:]]).astype(np.int64)
            )
    edit.refresh()
    edit.finish()


def _name_nodes(model: onnx.ModelProto) -> None:
    """A name of its own for every node: the quantizer keeps them apart by it."""
    used: Counter[str] = Counter()
    for node in model.graph.node:
        name = node.name or f"{node.op_type}_{node.output[0] if node.output else ''}"
        used[name] += 1
        node.name = name if used[name] == 1 else f"{name}_{used[name]}"
        used[node.name] += node.name != name


def _remove_no_ops(model: onnx.ModelProto) -> None:
    """Nodes that hand their input on, which onnxruntime keeps at the network's output."""
    from onnx import TensorProto

    kinds = {item.name: item.type.tensor_type.elem_type
             for item in (*model.graph.input, *model.graph.value_info)}  # fmt: skip
    edit = Edit(model)
    for node in list(edit.nodes):
        cast = node.op_type == "Cast" and attribute(node, "to", 0) == TensorProto.FLOAT
        same = cast and kinds.get(node.input[0]) == TensorProto.FLOAT
        if not same and node.op_type not in ("Identity", "Dropout"):
            continue
        if not edit.is_output(node.output[0]):
            edit.rename_input(node.output[0], node.input[0])
            edit.replace(node)
        elif edit.producer(node.input[0]) and edit.reads_alone(node, node.input[0]):
            edit.bypass(node)
    edit.finish()
