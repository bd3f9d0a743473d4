"""Factors and summands: constants go into the layer before them, a moving factor is a product."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.biases import INT32, rounded_bias
from steelyard.importer.errors import REQUANTIZE
from steelyard.importer.functions import Step, bind_joined, bind_step
from steelyard.importer.node import Node
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import (
    UnscaledAdd,
    UnscaledAvgPool,
    UnscaledConv,
    UnscaledLayer,
    UnscaledMul,
)
from steelyard.importer.values import Activation, Constant, Pending, QuantizedConstant
from steelyard.importer.walk import Walk
from steelyard.network import Layer, Lookup, Repeat

FOLD = f"{REQUANTIZE}, which folds constants into layers"


@operator("Mul", "Div", inputs=2)
def multiply(walk: Walk, node: Node) -> None:
    """Constant factor, of a layer's sums or in a table, or product of two activations."""
    positions = (0, 1) if node.op == "Mul" else (1,)
    for index in positions:
        constant = constant_operand(walk, node, index)
        if constant is not None:
            _scale_by(walk, node, 1 - index, constant)
            return
    if node.op == "Mul":
        _multiply_activations(walk, node)
        return
    dividend = constant_operand(walk, node, 0)
    if dividend is not None:
        number = number_for(walk, node, 1, dividend)
        bind_step(walk, node, lambda x: number / x, 1)
    elif not bind_joined(walk, node, np.divide, plain=True):
        raise node.error(
            "divides one activation by another, allowed is a constant divisor or dividend; "
            "replace the operator or leave it to the host."
        )


def _multiply_activations(walk: Walk, node: Node) -> None:
    """Product of two maps, or of a map and a factor for each channel, which is spread first."""
    if bind_joined(walk, node, np.multiply, plain=True):
        return
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
    """Constant that goes into a bias or a table, or a residual add with the other sign."""
    constant = constant_operand(walk, node, 1)
    if constant is not None:
        add_constant(walk, node, 0, constant, sign=-1)
        return
    constant = constant_operand(walk, node, 0)
    if constant is not None:
        _subtract_from(walk, node, constant)
    elif not bind_joined(walk, node, np.subtract, plain=True):
        a, b = (walk.unpadded(walk.activation(node, index)) for index in (0, 1))
        add_activations(walk, node, a, _opposite(walk, node, b))


def _opposite(walk: Walk, node: Node, value: Activation) -> Activation:
    """The same with the other sign: every int8 code c around z has -1 - c around -1 - z."""
    names = (f"{node.outputs[0]}/opposite",)
    table = np.arange(127, -129, -1).astype(np.int8)
    codes = {"scale": value.tensor.scale, "zero_point": -1 - value.tensor.zero_point}
    turned = walk.moved(
        replace(node, name=f"{node.name}/opposite", outputs=names),
        value.tensor,
        (Lookup, {"table": table, **codes}),
    )
    return Activation(turned, value.view)


def add_activations(walk: Walk, node: Node, a: Activation, b: Activation) -> None:
    """Bind the sum of two activations.

    Raises
    ------
    UserError
        If their shapes differ.
    """
    if a.tensor.shape != b.tensor.shape or a.view != b.view:
        raise node.error(
            f"adds tensors of shapes {('batch', *a.view)} and {('batch', *b.view)}, only equal "
            "shapes are allowed; bring both to one shape with a 1x1 convolution."
        )
    walk.bind(node, Pending(UnscaledAdd(node.name, a.tensor.shape, a.tensor, b.tensor), a.view))


def _subtract_from(walk: Walk, node: Node, constant: QuantizedConstant) -> None:
    """A constant less the second input."""
    value = walk.value(node, 1)
    sums = None if not isinstance(value, Pending) else free_sums(value)
    if isinstance(value, Pending) and sums is not None:
        walk.bind(node, replace(value, layer=_biased(node, value, sums.times(-1.0), constant, 1)))
        return
    number = number_for(walk, node, 1, constant)
    bind_step(walk, node, lambda x: number - x, 1)


@operator("Neg", inputs=1)
def negate(walk: Walk, node: Node) -> None:
    """The other sign, of a layer's weights or in a table."""
    _times(walk, node, 0, -1.0, lambda x: -x)


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


def free_sums(value: Pending) -> UnscaledConv | None:
    """Layer whose own sums a value that waits is, without clamps and slopes; None if it is none."""
    layer = value.layer
    free = (value.low, value.high) == (-np.inf, np.inf)
    return layer if free and isinstance(layer, UnscaledConv) and layer.slopes is None else None


def add_constant(
    walk: Walk, node: Node, index: int, constant: QuantizedConstant, sign: int = 1
) -> None:
    """Bind the sum of the value at input `index` and a constant.

    Raises
    ------
    UserError
        If the value is no layer's own sums and the constant not one number, or it is no bias of the
        layer.
    """
    value = walk.value(node, index)
    sums = None if not isinstance(value, Pending) else free_sums(value)
    if isinstance(value, Pending) and sums is not None:
        walk.bind(node, replace(value, layer=_biased(node, value, sums, constant, sign)))
        return
    number = sign * number_for(walk, node, index, constant)
    bind_step(walk, node, lambda x: x + number, index)


def _biased(
    node: Node, value: Pending, layer: UnscaledConv, constant: QuantizedConstant, sign: int
) -> UnscaledConv:
    """The layer with a constant in its bias."""
    total = rounded_bias(node, constant, layer.scale, value.view, sign).astype(np.int64)
    if layer.bias is not None:
        total += layer.bias
    if np.any(np.abs(total) > INT32.max):
        raise node.error(
            "brings a bias beyond 32 bits at the accumulator's scale; "
            f"{REQUANTIZE}, on images that reach this layer."
        )
    return replace(layer, bias=total.astype(np.int32))


def _scale_by(walk: Walk, node: Node, index: int, constant: QuantizedConstant) -> None:
    """Bind the product of the value at input `index` and a constant, or the quotient."""
    number = number_for(walk, node, index, constant)
    with np.errstate(over="ignore", divide="ignore"):
        factor = float(number if node.op == "Mul" else np.float64(1) / number)
    if not 0 < abs(factor) < np.inf:
        raise node.error(
            f"{VERBS[node.op]} {number:g}, allowed is a number other than 0; leave the node out."
        )
    divides = node.op == "Div"
    _times(walk, node, index, factor, lambda x: x / number if divides else x * number)


def _times(walk: Walk, node: Node, index: int, factor: float, step: Step) -> None:
    """Bind a value times a factor: in its layer where that can take it, else by a table.

    Parameters
    ----------
    step : the same as a function of real numbers
    """
    value = walk.value(node, index)
    layer = value.layer if isinstance(value, Pending) else None
    scaled: UnscaledLayer | None = None
    if isinstance(layer, UnscaledConv) and (factor > 0 or layer.slopes is None):
        scaled = layer.times(factor)
    elif isinstance(layer, UnscaledAvgPool | UnscaledAdd | UnscaledMul) and factor > 0:
        scaled = replace(layer, factor=layer.factor * factor)
    if isinstance(value, Pending) and scaled is not None:
        low, high = sorted((value.low * factor, value.high * factor))
        walk.bind(node, replace(value, layer=scaled, low=low, high=high))
    elif isinstance(value, Activation) and factor > 0:
        source = walk.unpadded(walk.activation(node, index))
        scaled = UnscaledAvgPool(node.name, source.tensor.shape, source.tensor, factor=factor)
        walk.bind(node, Pending(scaled, source.view))
    else:
        bind_step(walk, node, step, index)


VERBS = {"Add": "adds", "Div": "divides by", "Mul": "multiplies by", "Sub": "subtracts"}
"""What operators do with a constant, as sentences say it."""


def number_for(walk: Walk, node: Node, index: int, constant: QuantizedConstant) -> float:
    """The one number, as float32, that a constant beside input `index` is.

    Raises
    ------
    UserError
        If it holds several or none, is NaN or infinite, or would give the result more axes.
    """
    value = walk.value(node, index)
    view = value.view if isinstance(value, Pending | Activation) else ()
    values = constant.values
    # One number of more axes would give the result these axes too.
    if values.size != 1 or values.ndim > 1 + len(view) or not np.isfinite(values).all():
        verb = VERBS.get(node.op, "has")
        more = (
            ", or one for each channel right behind a convolution or fully connected layer"
            if node.op in ("Add", "Sub")
            else ""
        )
        remedy = FOLD if node.op in VERBS else "use one number for all elements"
        raise node.error(
            f"{verb} a constant of shape {values.shape} from {_end(values, np.min)} to "
            f"{_end(values, np.max)}, allowed is one finite number{more}; {remedy}."
        )
    return float(np.float32(values.reshape(-1)[0]))


def _end(values: NDArray[np.float64], of: Callable[..., Any]) -> str:
    return f"{of(values):g}" if values.size else "nothing"
