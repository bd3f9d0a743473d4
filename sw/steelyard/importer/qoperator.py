"""Nodes of the QOperator format, rewritten as float operators between quantizers.

A QLinearConv computes with codes, and its scales and zero points are inputs of its own. What it
means is a DequantizeLinear for each of its inputs, a Conv, and a QuantizeLinear: that is what the
importer reads. Constants stay the codes that the file stores.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steelyard.errors import UserError
from steelyard.importer.schema import MICROSOFT, OWN_DOMAINS

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class _Form:
    """Where an operator has its inputs; scale and zero point stand behind every one.

    Members
    -------
    op : the float operator
    codes : positions of quantized inputs
    result : position of the result's scale
    bias : position of int32 codes at the product of the inputs' scales
    standard : whether ONNX's own domain has the operator, not only onnxruntime's
    """

    op: str
    codes: tuple[int, ...] = (0,)
    result: int = 3
    bias: int | None = None
    standard: bool = False


FORMS = {
    "QGemm": _Form("Gemm", (0, 3), 7, bias=6),
    "QLinearAdd": _Form("Add", (0, 3), 6),
    "QLinearAveragePool": _Form("AveragePool"),
    "QLinearConcat": _Form("Concat", (), 0),
    "QLinearConv": _Form("Conv", (0, 3), 6, bias=8, standard=True),
    "QLinearGlobalAveragePool": _Form("GlobalAveragePool"),
    "QLinearLeakyRelu": _Form("LeakyRelu"),
    "QLinearMatMul": _Form("MatMul", (0, 3), 6, standard=True),
    "QLinearMul": _Form("Mul", (0, 3), 6),
    "QLinearSigmoid": _Form("Sigmoid"),
    "QLinearSoftmax": _Form("Softmax"),
}
"""Operators that are rewritten; a QLinearConcat has any number of inputs behind its result's."""

MOVED = {"channels_last", "opset"}
"""Attributes that the float operators do not have."""


def is_qoperator(node: onnx.NodeProto) -> bool:
    """Whether a node computes with codes whose scales are inputs of its own."""
    form = FORMS.get(node.op_type)
    if form is None:
        return False
    return node.domain == MICROSOFT or (form.standard and node.domain in OWN_DOMAINS)


def as_qdq(
    nodes: Iterable[onnx.NodeProto], taken: Iterable[str], outputs: Collection[str], opset: int
) -> list[onnx.NodeProto]:
    """Nodes of which none :func:`is_qoperator`, in the same order and of the same meaning.

    The real result of such a node has the name that its codes have in the file, and the codes get
    another one, so that networks name their tensors as the file does. Only codes that are an output
    of the network keep their name.

    Parameters
    ----------
    nodes : each behind the ones that make its inputs
    taken : names of values that no node makes
    outputs : names of the network's outputs
    opset : of ONNX's own domain

    Raises
    ------
    UserError
        If a node lacks an input, or has its channels last.
    """
    nodes = list(nodes)
    if not any(is_qoperator(node) for node in nodes):
        return nodes
    known = {*taken, *(name for node in nodes for name in node.output)}
    rewriter = _Rewriter(known, outputs, opset)
    return [new for node in nodes for new in rewriter.rewrite(node)]


class _Rewriter:
    """Rewrites the nodes of one graph, in order.

    Parameters
    ----------
    taken : names of all values
    outputs : names of the network's outputs
    opset : of ONNX's own domain
    """

    def __init__(self, taken: set[str], outputs: Collection[str], opset: int) -> None:
        self._taken = taken
        self._outputs = outputs
        self._codes: dict[str, str] = {}
        # Before opset 10 only onnxruntime's domain has quantizers.
        self._domain = "" if opset >= 10 else MICROSOFT

    def rewrite(self, proto: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """A node with the codes' new names, or what it means where it is a QOperator."""
        import onnx

        node = onnx.NodeProto()
        node.CopyFrom(proto)
        node.input[:] = [self._codes.get(name, name) for name in node.input]
        if is_qoperator(node):
            yield from self._unfused(node)
        else:
            yield node

    def _unfused(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        from onnx import helper

        form = FORMS[node.op_type]
        label = node.name or f"{node.op_type} of {', '.join(node.output)}"
        inputs = [*node.input, *[""] * 9]
        codes = form.codes
        if form.op == "Concat":
            codes = tuple(range(2, len(node.input) - 2, 3))
        wanted = [place for first in codes for place in (first, first + 1)]
        rounded = bool(inputs[form.result]) or node.op_type != "QGemm"
        if rounded:
            wanted += [form.result, form.result + 1]
        missing = [place for place in wanted if not inputs[place]]
        if missing or not codes or len(node.output) != 1 or not node.output[0]:
            what = f"no input {missing[0]}" if missing else "other inputs or outputs than it must"
            raise UserError(
                f"{node.op_type} node {label!r} has {what}, allowed are all scales, and the zero "
                "point of its result; export the network again."
            )
        attributes = _attributes(node, label)
        real: list[str] = []
        for place in codes:
            given = [name for name in inputs[place : place + 3] if name]
            axis = _channels(form.op, attributes) if place == 3 else {}
            real.append(self._name(f"{label}/input {len(real)}"))
            yield self._quantizer("DequantizeLinear", given, real[-1], **axis)
        if form.bias is not None and inputs[form.bias]:
            scale = self._name(f"{label}/bias scale")
            yield from self._product(inputs[1], inputs[4], attributes, scale)
            real.append(self._name(f"{label}/bias"))
            axis = {"axis": 0 if form.op == "Conv" else -1}
            yield self._quantizer("DequantizeLinear", [inputs[form.bias], scale], real[-1], **axis)
        result = node.output[0]
        if rounded:
            given, result = inputs[form.result : form.result + 2], self._result(result)
        operation = helper.make_node(form.op, real, [result], label)
        operation.attribute.extend(attributes.values())
        yield operation
        if rounded:
            name = self._codes.get(node.output[0], node.output[0])
            yield self._quantizer("QuantizeLinear", [result, *given], name)

    def _result(self, codes: str) -> str:
        """Name of the real value behind codes; the codes get another one where they can."""
        if codes in self._outputs:
            return self._name(f"{codes}/real")
        self._codes[codes] = self._name(f"{codes}/codes")
        return codes

    def _quantizer(
        self, op: str, inputs: list[str], output: str, **attributes: Any
    ) -> onnx.NodeProto:
        from onnx import helper

        return helper.make_node(op, inputs, [output], output, domain=self._domain, **attributes)

    def _product(
        self, a: str, b: str, attributes: dict[str, onnx.AttributeProto], output: str
    ) -> Iterator[onnx.NodeProto]:
        """Scale of a layer's sums, which the importer computes from the constants."""
        from onnx import helper

        alpha = attributes.get("alpha")
        if alpha is not None and alpha.f != 1:
            scaled = [self._name(f"{output}/{what}") for what in ("alpha", "scaled")]
            yield helper.make_node("Constant", [], scaled[:1], scaled[0], value_float=alpha.f)
            yield helper.make_node("Mul", [a, scaled[0]], scaled[1:], scaled[1])
            a = scaled[1]
        yield helper.make_node("Mul", [a, b], [output], output)

    def _name(self, wanted: str) -> str:
        count, name = 1, wanted
        while name in self._taken:
            count += 1
            name = f"{wanted} {count}"
        self._taken.add(name)
        return name


def _channels(op: str, attributes: dict[str, onnx.AttributeProto]) -> dict[str, int]:
    """Axis of the output channels of a weight."""
    if op == "Conv":
        return {"axis": 0}
    transposed = attributes.get("transB")
    if op == "Gemm" and transposed is not None and transposed.i:
        return {"axis": 0}
    return {"axis": -1} if op in ("Gemm", "MatMul") else {}


def _attributes(node: onnx.NodeProto, label: str) -> dict[str, onnx.AttributeProto]:
    """Attributes of the float operator by name; an unknown one is refused with that operator."""
    found = {}
    for attribute in node.attribute:
        if attribute.name == "channels_last" and attribute.i:
            raise UserError(
                f"{node.op_type} node {label!r} has its channels last, allowed is the order "
                "(batch, channels, height, width); export the network with channels first."
            )
        if attribute.name not in MOVED:
            found[attribute.name] = attribute
    return found
