"""Walk over a TFLite graph: every operator is handed to its handler, every obstacle is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.importer.outputs import Output, network_of
from steelyard.importer.tflite.file import Graph, Operator, TensorInfo, single_input
from steelyard.importer.tflite.refusals import Refusals
from steelyard.importer.tflite.registry import HINTS, OPERATORS
from steelyard.importer.tflite.values import QUANTIZE, Form, Value, plane_of, tensor_of
from steelyard.network import (
    AvgPool,
    Layer,
    Network,
    NetworkBuilder,
    Pad,
    Padding,
    Shape,
    Tensor,
)
from steelyard.network.scales import fixed_point
from steelyard.progress import Log

__all__ = ["Walk"]


@dataclass(frozen=True)
class _Step:
    """A layer to be appended."""

    kind: type[Layer]
    sources: tuple[str, ...]
    output: Tensor
    fields: dict[str, Any]


class Walk:
    """Values seen so far, and the tensors and layers made of them.

    Parameters
    ----------
    graph : what the file holds
    name : name of the network
    log : called with a sentence on each operator that is left to the host
    """

    def __init__(self, graph: Graph, name: str, log: Log | None = None) -> None:
        self._graph = graph
        self._name = name
        self._log = log
        self._notes: list[str] = []
        self._values: dict[int, Value] = {}
        self._tensors: dict[str, Tensor] = {}
        self._steps: dict[str, _Step] = {}
        self._counts: dict[str, int] = {}
        self._input = ""
        self._input_is_read = False
        self._batch = 1

    def build(self) -> Network:
        """Network of all operators.

        Raises
        ------
        UserError
            If the network has no single input or no outputs, or no quantized layers between.
        Obstacles
            If operators cannot run; names every one of them.
        """
        view = self._begin(single_input(self._graph, self._name))
        self._lower_all()
        outputs = [self._result(number) for number in self._graph.outputs]
        x = self._tensors[self._input]
        builder = NetworkBuilder(
            self._name, x.shape, scale=x.scale, zero_point=x.zero_point, input=x.name
        )
        for step in self._steps.values():
            y = step.output
            builder.append(
                step.kind,
                *step.sources,
                name=y.name,
                scale=y.scale,
                zero_point=y.zero_point,
                **step.fields,
            )
        network = network_of(builder, outputs, view, input_last=True)
        if self._log is not None:
            for sentence in self._notes:
                self._log(sentence)
        return network

    def info(self, op: Operator, index: int) -> TensorInfo | None:
        """What the file says of an operator's input; None for one that is absent."""
        if index >= len(op.inputs) or op.inputs[index] < 0:
            return None
        return self._graph.tensors[op.inputs[index]]

    def result(self, op: Operator, number: int = 0) -> TensorInfo:
        """What the file says of an operator's output."""
        return self._graph.tensors[op.outputs[number]]

    def value(self, op: Operator, index: int = 0) -> Value:
        """What an input of an operator stands for.

        Raises
        ------
        UserError
            If it is a constant, or has not been made.
        """
        info = self.info(op, index)
        value = self._values.get(op.inputs[index]) if info is not None else None
        if value is None:
            what = "no tensor" if info is None else f"{info.name!r}, which is constant or not made,"
            raise op.error(
                f"takes {what} as input {index}, allowed is a tensor that is computed from the "
                "network's input; convert the network so."
            )
        return value

    def activation(self, op: Operator, index: int = 0) -> tuple[Value, Tensor]:
        """Int8 tensor at an input of an operator, which becomes read by it.

        Raises
        ------
        UserError
            As :meth:`value`, or if it is not int8 or stands behind a softmax.
        """
        value = self.value(op, index)
        self.refuse_host(op, value)
        if value.form.type != "INT8" or value.tensor is None:
            raise op.error(
                f"takes {value.form.type} values as input {index}, allowed is INT8; {QUANTIZE}."
            )
        tensor = self.tensor(value)
        self.read(tensor)
        return value, tensor

    @property
    def batch(self) -> int:
        """Size of the batch axis that the file has."""
        return self._batch

    def tensor(self, value: Value) -> Tensor:
        """Tensor of a value that has one."""
        return self._tensors[value.tensor or self._input]

    def read(self, tensor: Tensor) -> None:
        """Note that a layer reads a tensor; the network's input then keeps its shape."""
        self._input_is_read |= tensor.name == self._input

    def integers(self, op: Operator, index: int) -> NDArray[np.int64]:
        """Constant integers at an input of an operator.

        Raises
        ------
        UserError
            If it is none.
        """
        info = self.info(op, index)
        if info is None or info.data is None or info.type not in ("INT32", "INT64"):
            raise op.error(
                f"has no constant integers as input {index}, which it needs; convert the network "
                "with fixed sizes."
            )
        return info.data.astype(np.int64)

    def refuse_host(self, op: Operator, value: Value) -> None:
        """Refuse what only the host could compute.

        Raises
        ------
        UserError
            If the value stands behind a softmax.
        """
        if value.form.host:
            raise op.error(
                "stands behind a SOFTMAX, which is left to the host and allowed at the end alone; "
                "end the network with the SOFTMAX or before it."
            )

    def plane(self, op: Operator, index: int = 0) -> Tensor:
        """Int8 tensor at an input of an operator that reads it as a map.

        Raises
        ------
        UserError
            As :meth:`activation`, or if the tensor has been given another shape.
        """
        unread = not self._input_is_read
        value, tensor = self.activation(op, index)
        shape = plane_of(value.view)
        if tensor.shape != shape and unread and tensor.name == self._input:
            # While nothing has read the input, the network can take it in another shape.
            tensor = self._tensors[self._input] = replace(tensor, shape=shape)
        if len(value.view) != 3 or tensor.shape != shape:
            channels, height, width = tensor.shape
            raise op.error(
                f"takes a tensor of shape {('batch', *value.view)}, allowed is the map as it was "
                f"made, {('batch', height, width, channels)}; flatten right before the fully "
                "connected layers."
            )
        return tensor

    def output(
        self,
        op: Operator,
        shape: Shape,
        view: tuple[int, ...] | None = None,
        type: str = "INT8",
        number: int = 0,
    ) -> Tensor:
        """Tensor for an operator's output of channels, height and width.

        Parameters
        ----------
        view : what the file must have, without batch; by default that of a map
        type : likewise, INT8 or UINT8
        number : which of the operator's outputs

        Raises
        ------
        UserError
            If the file's output has another shape, type or no single scale and zero point.
        """
        info = self.result(op, number)
        channels, height, width = shape
        wanted = (self._batch, *((height, width, channels) if view is None else view))
        if info.shape != wanted:
            raise op.error(
                f"has an output of shape {info.shape}, where {wanted} follows from its input; "
                "convert the network again."
            )
        try:
            return tensor_of(info, shape, self._unused(info.name), type)
        except UserError as error:
            raise op.error(f"has an output {error}") from None

    def view(self, op: Operator) -> tuple[int, ...]:
        """Shape of an operator's output without the batch.

        Raises
        ------
        UserError
            If its first axis is no batch of the input's size.
        """
        shape = self.result(op).shape
        if not shape or shape[0] != self._batch:
            raise op.error(
                f"makes shape {shape}, allowed are shapes whose first axis is the batch of "
                f"{self._batch}; keep that axis."
            )
        return shape[1:]

    def append(
        self, op: Operator, kind: type[Layer], sources: tuple[Tensor, ...], output: Tensor,
        **fields: Any,
    ) -> Tensor:  # fmt: skip
        """Append a layer that is called after its output; returns the output.

        Raises
        ------
        UserError
            If the layer is none that accelerators compute, or its output has another's name.
        """
        if output.name in self._tensors:
            raise op.error(
                f"makes a second tensor {output.name!r}; give the file's tensors other names."
            )
        names = tuple(each.name for each in sources)
        layer = kind(name=output.name, inputs=names, output=output.name, **fields)
        try:
            layer.check_clamp()
            layer.check(sources, output)
        except UserError as error:
            reason = str(error).rstrip(".")
            raise op.error(f"cannot run: {reason}; change the layer so that it can.") from None
        self._tensors[output.name] = output
        self._steps[output.name] = _Step(kind, names, output, fields)
        return output

    def before_padding(self, tensor: Tensor) -> tuple[Tensor, Padding]:
        """What a tensor was before layers padded it, and by how much in all."""
        top = left = bottom = right = 0
        while (step := self._steps.get(tensor.name)) is not None and step.kind is Pad:
            padding: Padding = step.fields["padding"]
            top, left = top + padding[0], left + padding[1]
            bottom, right = bottom + padding[2], right + padding[3]
            tensor = self._tensors[step.sources[0]]
        return tensor, (top, left, bottom, right)

    def requantize(
        self, op: Operator, x: Tensor, output: Tensor, lo: int = -128, hi: int = 127
    ) -> Tensor:
        """Append what gives a tensor another scale, zero point or range.

        Raises
        ------
        UserError
            If the scales fit no multiplier.
        """
        multiplier, shift = self.scaling(op, x.scale / output.scale)
        return self.append(
            op, AvgPool, (x,), output, kernel=(1, 1), multiplier=int(multiplier), shift=int(shift),
            lo=lo, hi=hi,
        )  # fmt: skip

    def scaling(self, op: Operator, ratio: Any) -> tuple[Any, Any]:
        """Multipliers and shifts of an operator's ratios of scales.

        Raises
        ------
        UserError
            If a ratio has none; names the operator.
        """
        return fixed_point(ratio, op.title)

    def inner(self, output: Tensor, what: str, shape: Shape) -> Tensor:
        """Tensor of an output's scale and zero point for a layer before the one that makes it."""
        return replace(output, name=self._unused(f"{output.name}/{what}"), shape=shape)

    def bind(self, op: Operator, value: Value, number: int = 0) -> None:
        """Let an output of an operator stand for a value."""
        self._values[op.outputs[number]] = value

    def bind_tensor(self, op: Operator, tensor: Tensor, number: int = 0) -> None:
        """Let an output of an operator stand for a tensor, in the shape that the file has."""
        self.bind(op, Value(tensor.name, self.result(op, number).shape[1:]), number)

    def quantize_input(self, op: Operator, info: TensorInfo) -> str:
        """Name of the network's real input once an operator has quantized it.

        Raises
        ------
        UserError
            If it has been quantized otherwise before, or has no single scale and zero point.
        """
        view = self._values[self._graph.inputs[0]].view
        try:
            tensor = tensor_of(info, plane_of(view), self._input)
        except UserError as error:
            raise op.error(f"has an output {error}") from None
        known = self._tensors.setdefault(self._input, tensor)
        if (known.scale, known.zero_point) != (tensor.scale, tensor.zero_point):
            raise op.error(
                "quantizes the network's input with a second scale, allowed is one; quantize it "
                "once."
            )
        return self._input

    def tell(self, sentence: str) -> None:
        """Say what the user should know, once all of the network is imported."""
        self._notes.append(sentence)

    def _result(self, number: int) -> Output:
        name = self._graph.tensors[number].name
        value = self._values.get(number)
        if value is None or value.tensor is None:
            raise UserError(
                f"Output {name!r} of TFLite network {self._name!r} is not computed from the input "
                "by quantized layers, as it must be; convert it so."
            )
        # What the host makes of an output is not the tensor of that name.
        name = value.tensor if value.form.host else name or value.tensor
        return Output(name, value.tensor, value.view, last=True)

    def _begin(self, number: int) -> tuple[int, ...]:
        """Takes the network's input; returns its shape without batch."""
        info = self._graph.tensors[number]
        if len(info.shape) < 2 or min(info.shape) < 1 or info.data is not None:
            raise UserError(
                f"Input {info.name!r} of TFLite network {self._name!r} has shape {info.shape}, "
                "allowed is a batch of fixed sizes from 1; convert it so."
            )
        self._batch, *sizes = info.shape
        view = tuple(sizes)
        self._input = info.name or "input"
        if info.type != "FLOAT32":
            kind = "UINT8" if info.type == "UINT8" else "INT8"
            try:
                self._tensors[self._input] = tensor_of(info, plane_of(view), self._input, kind)
            except UserError as error:
                raise UserError(f"TFLite network {self._name!r} has an input {error}") from None
        known = self._input if self._input in self._tensors else None
        self._values[number] = Value(known, view, Form(info.type))
        return view

    def _lower_all(self) -> None:
        """Hands every operator to its handler.

        Raises
        ------
        Obstacles
            If some refuse; all are heard, for behind one that cannot run the walk goes on with what
            the file says of its output.
        """
        refusals = Refusals()
        for op in self._graph.operators:
            try:
                self._lower(op)
            except UserError as error:
                refusals.add(op, error)
                self._assume(op)
        refusals.check(f"TFLite network {self._name!r}")

    def _lower(self, op: Operator) -> None:
        taken = OPERATORS.get(op.op)
        if taken is None:
            hint = HINTS.get(op.op, "replace the operator or leave it to the host")
            raise op.error(f"is not supported; {hint}.")
        if len(op.inputs) < taken.inputs:
            raise op.error(
                f"has {len(op.inputs)} inputs, where it needs {taken.inputs}; convert the network "
                "again."
            )
        taken.handler(self, op)

    def _assume(self, op: Operator) -> None:
        for number in op.outputs:
            info = self._graph.tensors[number]
            view = info.shape[1:]
            if not view or min(view) < 1:
                continue
            name = self._unused(info.name)
            try:
                tensor = tensor_of(info, plane_of(view), name)
            except UserError:
                # What is wrong with it has been reported, or is not what stands in the way.
                tensor = Tensor(name, plane_of(view), 1.0, 0)
            self._tensors[tensor.name] = tensor
            self._values[number] = Value(tensor.name, view)

    def _unused(self, name: str) -> str:
        name = name or "tensor"
        candidate = name
        while candidate in self._tensors or candidate == self._input:
            # Counted on, so that a file of equal names takes no longer than another.
            self._counts[name] = self._counts.get(name, 1) + 1
            candidate = f"{name}/{self._counts[name]}"
        return candidate
