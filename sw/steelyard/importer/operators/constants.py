"""Factors and summands: constants go into the layer before them, a moving factor is a product."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.importer.biases import INT32, rounded_bias
from steelyard.importer.errors import REQUANTIZE
from steelyard.importer.node import Node
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import UnscaledAvgPool, UnscaledConv, UnscaledMul
from steelyard.importer.values import Activation, Constant, Pending, QuantizedConstant
from steelyard.importer.walk import Walk
from steelyard.network import Layer, Repeat

FOLD = f"{REQUANTIZE}, which folds constants into layers"


@operator("Mul", "Div", inputs=2)
def multiply(walk: Walk, node: Node) -> None:
    """Positive constant factor, which goes into the scale of the sums or a requantization."""
    positions = (0, 1) if node.op == "Mul" else (1,)
    for index in positions:
        constant = constant_operand(walk, node, index)
        if constant is not None:
            _scale_by(walk, node, 1 - index, constant)
            return
    if node.op == "Div":
        raise node.error(
            "divides by an activation, allowed is a constant; "
            "replace the operator or leave it to the host."
        )
    _multiply_activations(walk, node)


def _multiply_activations(walk: Walk, node: Node) -> None:
    """Product of two maps, or of a map and a factor for each channel, which is spread first."""
    a, b = (walk.unpadded(walk.activation(node, index)) for index in (0, 1))
    if a.view != b.view and math.prod(a.view[1:]) == 1:
        a, b = b, a
    if b.view == (a.view[0], 1, 1) != a.view and b.tensor.shape == b.view:
        _, height, width = a.tensor.shape
        spread: list[tuple[type[Layer], dict[str, Any]]] = [
            (Repeat, {"axis": axis, "count": count})
            for axis, count in ((2, width), (1, height))
            if count > 1
        ]
        b = Activation(walk.moved(node, b.tensor, *spread), a.view)
    if a.tensor.shape != b.tensor.shape or a.view != b.view:
        raise node.error(
            f"multiplies tensors of shapes {('batch', *a.view)} and {('batch', *b.view)}, allowed "
            "are equal shapes, or a map and one factor for each of its channels; bring both to "
            "one shape."
        )
    walk.bind(node, Pending(UnscaledMul(node.name, a.tensor.shape, a.tensor, b.tensor), a.view))


@operator("Sub", inputs=2)
def subtract(walk: Walk, node: Node) -> None:
    """Constant that goes into a layer's bias."""
    constant = constant_operand(walk, node, 1)
    if constant is None:
        raise node.error(
            "subtracts an activation, allowed is a constant; replace it by an add of a layer whose "
            "weights have the other sign."
        )
    add_constant(walk, node, 0, constant, sign=-1)


def constant_operand(walk: Walk, node: Node, index: int) -> QuantizedConstant | None:
    """Real constant at an input of a node, with scale 1 where it is float, or else None."""
    value = walk.value(node, index)
    if isinstance(value, Constant):
        if value.array.dtype.kind not in "fiu":
            raise node.error(
                f"takes a constant of {value.array.dtype}, allowed are float numbers; "
                "export the network again."
            )
        one = np.ones(1, np.float32)
        return QuantizedConstant(value.array.astype(np.float64), one, np.zeros(1), 0, real=True)
    return value if isinstance(value, QuantizedConstant) and value.real else None


def add_constant(
    walk: Walk, node: Node, index: int, constant: QuantizedConstant, sign: int = 1
) -> None:
    """Bind the sum of the value at input `index` and a constant.

    Raises
    ------
    UserError
        If the value is no layer's own sums, or the constant is no bias of it.
    """
    value = walk.value(node, index)
    layer = value.layer if isinstance(value, Pending) else None
    free = isinstance(value, Pending) and (value.low, value.high) == (-np.inf, np.inf)
    if not isinstance(value, Pending) or not isinstance(layer, UnscaledConv) or not free:
        what = "subtracts" if sign < 0 else "adds"
        raise node.error(
            f"{what} a constant where no layer can take it, allowed is a constant right behind a "
            f"convolution or fully connected layer; {FOLD}."
        )
    total = rounded_bias(node, constant, layer.scale, value.view, sign).astype(np.int64)
    if layer.bias is not None:
        total += layer.bias
    if np.any(np.abs(total) > INT32.max):
        raise node.error(
            "brings a bias beyond 32 bits at the accumulator's scale; "
            f"{REQUANTIZE}, on images that reach this layer."
        )
    walk.bind(node, replace(value, layer=replace(layer, bias=total.astype(np.int32))))


def _scale_by(walk: Walk, node: Node, index: int, constant: QuantizedConstant) -> None:
    factors = constant.values
    if node.op == "Div":
        with np.errstate(divide="ignore"):
            factors = 1 / factors
    value = walk.value(node, index)
    view = value.view if isinstance(value, Pending | Activation) else ()
    # One number of more axes would give the result these axes too.
    single = factors.size == 1 and factors.ndim <= 1 + len(view)
    if not single or not 0 < factors.reshape(-1)[0] < np.inf:
        raise node.error(
            f"{'multiplies' if node.op == 'Mul' else 'divides'} by a constant of shape "
            f"{factors.shape} from {_number(constant, np.min)} to {_number(constant, np.max)}, "
            f"allowed is one positive number; {FOLD}."
        )
    factor = float(factors.reshape(-1)[0])
    layer = value.layer if isinstance(value, Pending) else None
    if isinstance(value, Pending) and isinstance(layer, UnscaledConv | UnscaledAvgPool):
        scaled: UnscaledConv | UnscaledAvgPool
        if isinstance(layer, UnscaledConv):
            scaled = replace(layer, scale=layer.scale * factor)
        else:
            scaled = replace(layer, factor=layer.factor * factor)
        low, high = value.low * factor, value.high * factor
        walk.bind(node, replace(value, layer=scaled, low=low, high=high))
        return
    source: Activation = walk.unpadded(walk.activation(node, index))
    scaled = UnscaledAvgPool(node.name, source.tensor.shape, source.tensor, factor=factor)
    walk.bind(node, Pending(scaled, source.view))


def _number(constant: QuantizedConstant, of: object) -> str:
    return f"{of(constant.values):g}" if constant.codes.size else "nothing"  # type: ignore[operator]
