"""Graphs run by onnxruntime, quietly, with its refusals as sentences."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.importer.inference import outline

if TYPE_CHECKING:
    import onnx

FATAL_ONLY = 4
"""onnxruntime's severity at which it writes neither warnings nor what it raises to stderr."""


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing on standard output, which belongs to the command line, nor through the root logger.

    onnxruntime's Python side writes its warnings there, torch's exporter its progress.
    """
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def refusals(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Exceptions that onnxruntime raises for a graph or inputs that it cannot take, and `more`."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    return (
        *more,
        runtime.Fail,
        runtime.InvalidArgument,
        runtime.InvalidGraph,
        runtime.InvalidProtobuf,
        runtime.NotImplemented,
        runtime.NoSuchFile,
        runtime.RuntimeException,
        RuntimeError,
        TypeError,
        ValueError,
    )


def reason_of(error: Exception) -> str:
    """What an exception says, in one line without its last full stop."""
    return " ".join(str(error).split())[:400].rstrip(". ")


class Session:
    """A graph that can be run; its operators one by one, as the file says them.

    Parameters
    ----------
    model : ONNX graph of one input
    outputs : values to give; the graph's own outputs if None
    what : that is run through it, for errors

    Raises
    ------
    UserError
        If onnxruntime does not know an operator, or the graph contradicts itself.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        outputs: Sequence[str] | None = None,
        what: str = "Calibration images",
    ) -> None:
        import onnxruntime

        self._what = what
        self._outputs = None if outputs is None else list(outputs)
        options = options_of(onnxruntime)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = started(model, options)
        self._types = {item.name: _dtype(item.type) for item in self._session.get_inputs()}

    def run(self, values: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs for inputs by name, which are converted to the types that the graph takes.

        Raises
        ------
        UserError
            If the inputs do not run through the graph.
        """
        feed = {name: array.astype(self._types[name]) for name, array in values.items()}
        try:
            return list(self._session.run(self._outputs, feed))
        except refusals() as error:
            shapes = ", ".join(str(array.shape) for array in values.values())
            raise UserError(
                f"{self._what} of shape {shapes} do not run through the network "
                f"({reason_of(error)}); give images of the shape that it takes."
            ) from None


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Copy of a graph that gives out these values, whatever their shapes."""
    from onnx import helper

    copy = type(model)()
    copy.CopyFrom(model)
    del copy.graph.value_info[:], copy.graph.output[:]
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return copy


def options_of(onnxruntime: Any) -> Any:
    """Session options without warnings on stderr."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    return options


def started(model: onnx.ModelProto, options: Any, disabled: Sequence[str] = ()) -> Any:
    """Inference session of a graph, without some of onnxruntime's optimizers.

    Raises
    ------
    UserError
        If onnxruntime cannot take the graph.
    """
    import onnxruntime

    # protobuf ships no types, so a plain import would not pass the type check.
    too_large = import_module("google.protobuf.message").EncodeError
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(disabled),
        )
    except refusals(too_large) as error:
        raise UserError(
            f"ONNX graph {model.graph.name!r} cannot be run by onnxruntime ({reason_of(error)}); "
            "export the network again with an opset that this onnxruntime knows."
        ) from None


def optimized(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """Graph with constants computed, identities removed and batch norm folded by onnxruntime.

    Raises
    ------
    UserError
        If onnxruntime cannot take the graph.
    """
    import onnx
    import onnxruntime

    path = folder / "optimized.onnx"
    options = options_of(onnxruntime)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    started(model, options, ["Pad_Fusion"] * _pads_before_maxima(model))
    return with_shapes(onnx.load(path))


def _pads_before_maxima(model: onnx.ModelProto) -> bool:
    """Whether a max pooling reads padded values, which onnxruntime (seen in 1.31) takes for pads
    that are never the greatest, whatever they are."""
    padded = {node.output[0] for node in model.graph.node if node.op_type == "Pad"}
    return any(node.op_type == "MaxPool" and node.input[0] in padded for node in model.graph.node)


def with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph itself, its values with the shapes that follow from its input's.

    Raises
    ------
    UserError
        If they contradict each other.
    """
    import onnx

    del model.graph.value_info[:]
    try:
        found = onnx.shape_inference.infer_shapes(
            outline(model), strict_mode=False, data_prop=True
        ).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise UserError(
            f"ONNX graph {model.graph.name!r} has shapes that contradict each other "
            f"({reason_of(error)}); export the network again."
        ) from None
    del model.graph.output[:]
    model.graph.output.extend(found.output)
    model.graph.value_info.extend(found.value_info)
    return model


def _dtype(name: str) -> type[np.generic]:
    kinds: dict[str, type[np.generic]] = {
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
        "tensor(double)": np.float64,
        "tensor(int8)": np.int8,
        "tensor(uint8)": np.uint8,
    }
    return kinds.get(name, np.float32)
