"""onnx's own node tests of every operator that is imported, quantized around the node.

``python -m agreement.node_tests`` prints for each operator how many of them agree within two steps
of the output that onnx expects, how many are refused by name, and how many are about types of
numbers (or NaN and infinity) that no activation has. Tests of int8 and uint8 numbers are those of
codes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case import node as cases
from onnx.reference import ReferenceEvaluator

from steelyard import importer
from steelyard.errors import UserError
from steelyard.importer.registry import OPERATORS
from steelyard.network import golden

STEPS = 2
"""Of the output's scale, by which a result may miss the expected one."""
CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Axis of a weight's output channels, of a Gemm that does not transpose it."""
CODES = (np.int8, np.uint8)
JOINED = ("Add", "Concat", "Div", "Mul", "Sub", "Sum")
"""Operators of several activations, which are made channels of one input."""
ELEMENTWISE = (
    "Add", "Cast", "Clip", "Div", "Dropout", "Identity", "Mul", "QuantizeLinear", "Relu", "Sub",
    "Sum",
    "Abs", "Ceil", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu",
    "Log", "Max", "Min", "Mish", "Neg", "PRelu", "Pow", "Reciprocal", "Round", "Selu", "Sigmoid",
    "Sign", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
"""Operators for which more axes of one element in front change nothing."""
STEEP = (
    "Ceil", "Erf", "Exp", "Floor", "Log", "Reciprocal", "Round", "Sign", "Tanh", "ThresholdedRelu",
)  # fmt: skip
"""Functions that jump, or of which half a step of the input is several of the result: onnx's
reference computes what to expect of the input as its codes hold it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one node test.

    Members
    -------
    op, name : operator and test
    verdict : "agrees", "refused", "types" or "differs"
    reason : the sentence that refuses it, or by how many steps it differs
    """

    op: str
    name: str
    verdict: str
    reason: str = ""


def node_tests(operators: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Operator and test of every node test that is of one node of these operators."""
    wanted = {op.lower(): op for op in operators}
    # All modules take twenty seconds to import, these one.
    for module in iter_modules(cases.__path__):
        if module.name.replace("_", "") in wanted:
            import_module(f"{cases.__name__}.{module.name}")
    for test in cases._NodeTestCases:
        nodes = test.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in wanted.values() and not nodes[0].domain:
            yield nodes[0].op_type, test


class Surrounded:
    """A node test's model with quantizers around its node, and one network input.

    Parameters
    ----------
    test : onnx's
    """

    def __init__(self, test: Any) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.opsets = test.model.opset_import
        (inputs, outputs), *_ = test.data_sets
        self.node = onnx.NodeProto()
        self.node.CopyFrom(test.model.graph.node[0])
        self.node.name = test.name
        names = (value.name for value in test.model.graph.input)
        given = {name: _array(value) for name, value in zip(names, inputs, strict=True)}
        rank = next(iter(given.values())).ndim
        if self.node.op_type in ELEMENTWISE and rank < 4:
            # As an activation has a batch, and one or three axes behind it.
            ones = (1,) * ((4 if rank > 2 else 2) - rank)
            given |= {n: a.reshape(ones + a.shape) for n, a in given.items() if a.ndim == rank > 0}
        else:
            ones = ()
        moving = self._moving(given)
        self.x = self._source(given, moving)
        for name, array in given.items():
            if name not in moving:
                self._rename(name, self._constant_input(name, array))
        self.expected = _array(outputs[0])
        if self.node.op_type in STEEP:
            self.expected = _reference(test, _array(inputs[0]))
        self.expected = self.expected.reshape(ones + self.expected.shape)
        self.nodes.append(self.node)
        output = self.node.output[0]
        if self.expected.dtype == np.float32:
            output = self._pair(output, *_parameters(self.expected))
        elif self.expected.dtype in CODES and self.x.dtype in CODES:
            one, zero = self._constant(np.float32(1)), self._constant(self.expected.dtype.type(0))
            output = self._op("DequantizeLinear", output, one, zero)
        elif self.node.op_type == "QuantizeLinear" and self.expected.dtype in CODES:
            parameters = [array for name, array in list(given.items())[1:]]
            output = self._op("DequantizeLinear", output, *self.node.input[1:3])
            zero = parameters[1] if len(parameters) > 1 else 0
            if parameters[0].ndim == 0:
                self.expected = (self.expected.astype(np.float32) - zero) * parameters[0]
        self.model = self._model(output)

    def _moving(self, given: dict[str, np.ndarray]) -> list[str]:
        """Inputs that become the network's input: the first, or all where they are of one kind."""
        names = [name for name, array in given.items() if array.dtype == np.float32]
        shapes = [np.shape(given[name]) for name in names]
        alike = len({(shape[:1], shape[2:]) for shape in shapes}) == 1
        if self.node.op_type in JOINED and alike and len(shapes[0]) in (2, 4):
            return names
        return names[:1] or list(given)[:1]

    def _source(self, given: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
        """The network's input, and its parts as the node's inputs."""
        arrays = [given[name] for name in names]
        if arrays[0].dtype in CODES:
            one, zero = self._constant(np.float32(1)), self._constant(arrays[0].dtype.type(0))
            self._rename(names[0], self._op("QuantizeLinear", "x", one, zero))
            return arrays[0]
        if self.node.op_type == "QuantizeLinear":
            self._rename(names[0], "x")
            return arrays[0]
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
        parameters = _parameters(joined)
        value = self._pair("x", *parameters)
        first = 0
        for name, array in zip(names, arrays, strict=True):
            part = value
            if len(arrays) > 1:
                last = first + array.shape[1]
                part = self._op("Slice", value, *(self._constant([n]) for n in (first, last, 1)))
                part, first = self._pair(part, *parameters), last
            self._rename(name, part)
        return joined

    def _constant_input(self, name: str, array: np.ndarray) -> str:
        weight = self.node.op_type in CHANNEL_AXIS and name == self.node.input[1]
        if not weight or array.dtype != np.float32 or not array.ndim:
            return self._constant(array)
        axis = CHANNEL_AXIS[self.node.op_type]
        if any(a.name == "transB" and a.i for a in self.node.attribute):
            axis = 0
        axis = min(axis, array.ndim - 1)
        others = tuple(i for i in range(array.ndim) if i != axis)
        scale = np.maximum(np.abs(array).max(others), 1e-6).astype(np.float32) / np.float32(127)
        along = scale.reshape([-1 if i == axis else 1 for i in range(array.ndim)])
        codes = np.rint(array / along).astype(np.int8)
        stored = [self._constant(each) for each in (codes, scale, np.zeros(len(scale), np.int8))]
        return self._op("DequantizeLinear", *stored, axis=axis)

    def _pair(self, value: str, scale: np.float32, zero: np.int8) -> str:
        stored = [self._constant(each) for each in (scale, zero)]
        return self._op("DequantizeLinear", self._op("QuantizeLinear", value, *stored), *stored)

    def _rename(self, old: str, new: str) -> None:
        self.node.input[:] = [new if name == old else name for name in self.node.input]

    def _constant(self, array: Any) -> str:
        name = f"constant {len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def _op(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op} {len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [f"{name}.out"], name, **attributes))
        return f"{name}.out"

    def _model(self, output: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "node test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.x.shape)],
            [helper.make_tensor_value_info(output, TensorProto.UNDEFINED, None)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=self.opsets)


def _array(value: Any) -> np.ndarray:
    """Array of what a test stores: types that numpy does not have come as onnx's tensors."""
    tensor = isinstance(value, onnx.TensorProto)
    return numpy_helper.to_array(value) if tensor else np.asarray(value)


def _reference(test: Any, x: np.ndarray) -> np.ndarray:
    """What onnx's reference gives for the numbers that the codes of an input stand for."""
    scale, zero = _parameters(x)
    codes = np.clip(np.rint(x / scale) + zero, -128, 127)
    rounded = ((codes - zero) * scale).astype(np.float32)
    return ReferenceEvaluator(test.model).run(None, {test.model.graph.input[0].name: rounded})[0]


def _parameters(array: np.ndarray) -> tuple[np.float32, np.int8]:
    """Scale and zero point of int8 codes whose range holds all numbers and 0."""
    finite = array[np.isfinite(array)]
    low, high = float(finite.min(initial=0)), float(finite.max(initial=0))
    scale = np.float32(max(high - low, 1e-6) / 255)
    return scale, np.int8(np.clip(np.rint(-128 - low / scale), -128, 127))


def outcome(op: str, test: Any) -> Outcome:
    """What becomes of a node test: an exception that is no refusal passes through."""
    first = _array(test.data_sets[0][0][0]) if test.data_sets[0][0] else np.zeros(0)
    if first.dtype != np.float32 and first.dtype not in CODES:
        return Outcome(op, test.name, "types", f"{first.dtype}")
    if not np.all(np.isfinite(first)):
        return Outcome(op, test.name, "types", "NaN or infinite")
    surrounded = Surrounded(test)
    try:
        network = importer.load(surrounded.model)
    except UserError as error:
        sentence = str(error)
        ends = ("etwork input 'x'", f"etwork output {test.model.graph.node[0].output[0]!r}")
        named = test.name in sentence or any(each in sentence for each in ends)
        return Outcome(op, test.name, "refused" if named else "differs", sentence)
    source, target = network.tensor(network.input), network.tensor(network.output)
    x, expected = surrounded.x, surrounded.expected
    x = x.astype(np.float32)
    codes = golden.run(network, source.quantize(network.planes(source.name, x)), threads=1)
    if codes.size != expected.size or (len(x), *network.output_view) != expected.shape:
        return Outcome(op, test.name, "differs", f"shape {network.output_view}")
    difference = target.dequantize(codes) - network.planes(target.name, expected)
    steps = float(np.abs(difference).max() / target.scale)
    verdict = "agrees" if steps <= STEPS else "differs"
    return Outcome(op, test.name, verdict, f"{steps:.2f} steps")


def outcomes(operators: Iterable[str] = tuple(OPERATORS)) -> list[Outcome]:
    """What becomes of every node test of these operators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx makes its tests with numbers that overflow.
        return [outcome(op, test) for op, test in node_tests(operators)]


def table(found: Iterable[Outcome]) -> str:
    """Counts of each operator."""
    verdicts = ("agrees", "refused", "types", "differs")
    counts: dict[str, Counter[str]] = {}
    for each in found:
        counts.setdefault(each.op, Counter())[each.verdict] += 1
    counts = {**dict(sorted(counts.items())), "all": sum(counts.values(), Counter())}
    lines = [f"{'operator':20}" + "".join(f"{verdict:>9}" for verdict in verdicts)]
    for op, row in counts.items():
        lines.append(f"{op:20}" + "".join(f"{row[verdict]:9}" for verdict in verdicts))
    return "\n".join(lines)


@click.command()
@click.option("--reasons", is_flag=True, help="Every test that is refused, with the sentence.")
def main(reasons: bool) -> None:
    """Run onnx's node tests of all operators and print how many agree."""
    found = outcomes()
    if reasons:
        for each in found:
            if each.verdict == "refused":
                click.echo(f"{each.name}: {each.reason}")
    click.echo(table(found))
    wrong = [each for each in found if each.verdict == "differs"]
    for each in wrong:
        click.echo(f"{each.name} differs: {each.reason}", err=True)
    if wrong:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    main()
