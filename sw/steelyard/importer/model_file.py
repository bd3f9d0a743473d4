"""ONNX file as onnx's model, its external weights with it."""

from __future__ import annotations

import math
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steelyard.errors import UserError
from steelyard.importer.tflite import is_tflite
from steelyard.reading import opened

if TYPE_CHECKING:
    import onnx

WRITERS = "give an ONNX file as torch.onnx.export or 'steelyard quantize' writes it"


def read_model(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """ONNX model of a path, the bytes of a file, or a model already loaded.

    Weights that a file keeps in other files beside it are read with it.

    Raises
    ------
    UserError
        If the source is none of these, the file is missing or is not ONNX (TFLite is for
        :func:`~steelyard.importer.load`), or weights that it keeps in another file cannot be had.
    """
    import onnx

    if isinstance(source, onnx.ModelProto):
        _refuse_external(source, "The given model")
        return source
    if is_tflite(source):
        what = "The given data" if isinstance(source, bytes) else f"File {str(source)!r}"
        raise UserError(
            f"{what} is TFLite where only ONNX is taken; give a TFLite network that is quantized "
            "to 'steelyard compile' as it is."
        )
    if isinstance(source, bytes | bytearray):
        model = _decoded(bytes(source), "The given data")
        _refuse_external(model, "The given data")
        return model
    if not isinstance(source, str | os.PathLike):
        raise UserError(
            "An ONNX network is given as a path, the bytes of a file or a loaded model, "
            f"not as {type(source).__name__}; give one of these."
        )
    path = Path(os.fsdecode(source))
    label = f"File {os.fsdecode(source)!r}"
    try:
        with opened(path) as (file, _):
            content = file.read()
    except (FileNotFoundError, ValueError):  # ValueError: a zero byte in the path
        raise UserError(f"{label} does not exist; give the path of an ONNX file.") from None
    except OSError as error:
        raise UserError(
            f"{label} cannot be read ({error.strerror or error}); give the path of an ONNX file."
        ) from None
    model = _decoded(content, label)
    _load_external(model, path.parent, label)
    return model


def _decoded(content: bytes, label: str) -> onnx.ModelProto:
    import onnx

    # protobuf ships no types, so a plain import would not pass the type check.
    undecodable = import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load_model_from_string(content)
    except (undecodable, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{label} cannot be read as ONNX ({reason}); {WRITERS}.") from None
    if not model.graph.node:
        raise UserError(f"{label} is not ONNX or holds no nodes; {WRITERS}.")
    _check_names(model, label)
    return model


def _check_names(model: onnx.ModelProto, label: str) -> None:
    """Refuse names that are no text, which protobuf gives as bytes."""
    graph = model.graph
    names = [graph.name, *(item.domain for item in model.opset_import)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        names.append(item.name)
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"{label} holds the name {name!r}, which is no UTF-8 text; {WRITERS}.")


def _external(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    import onnx

    graph = model.graph
    stored = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            stored += [attribute.t, *attribute.tensors]
    return [each for each in stored if each.data_location == onnx.TensorProto.EXTERNAL]


def _refuse_external(model: onnx.ModelProto, label: str) -> None:
    external = _external(model)
    if external:
        raise UserError(
            f"{label} keeps tensor {external[0].name!r} in another file, which cannot be found "
            "without its folder; give the path of the ONNX file."
        )


def _load_external(model: onnx.ModelProto, folder: Path, label: str) -> None:
    """Read the tensors that lie in other files, as many bytes as their shapes say."""
    import onnx

    for tensor in _external(model):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        what = f"{label} keeps tensor {tensor.name!r} in file {entries.get('location', '')!r}"
        try:
            wanted = _byte_count(tensor)
            if not entries.get("location"):
                raise ValueError("the ONNX file does not say which")
            offset, length = (
                int(entries.get("offset", 0)),
                int(entries.get("length", wanted)),
            )
            if offset < 0 or length != wanted:
                raise ValueError(f"{length} bytes from {offset} are no tensor of {wanted} bytes")
            # Whatever else the file says of them, onnx would warn of.
            del tensor.external_data[:]
            place = {"location": entries["location"], "offset": offset, "length": length}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
            if len(tensor.raw_data) != wanted:
                raise ValueError(f"it holds {len(tensor.raw_data)} of {wanted} bytes")
        except (OSError, ValueError, TypeError, KeyError, onnx.checker.ValidationError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(
                f"{what}, which cannot be read ({reason}); put that file beside the ONNX file or "
                "export the network into one file."
            ) from None
        # Later versions of onnx do so themselves.
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _byte_count(tensor: onnx.TensorProto) -> int:
    """Bytes that a tensor's shape takes.

    Raises
    ------
    ValueError, KeyError
        If the shape is negative or the type has no whole bytes.
    """
    from onnx import helper

    if any(size < 0 for size in tensor.dims):
        raise ValueError(f"its shape {tuple(tensor.dims)} has a negative side")
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if np.dtype(dtype).kind not in "biuf":
        raise ValueError(f"its type is {dtype}")
    return math.prod(tensor.dims) * dtype.itemsize
