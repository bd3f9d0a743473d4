"""Functions of one quantized value: chains of them, and sums and products, are one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steelyard.importer.curves import Values
from steelyard.importer.node import Node
from steelyard.importer.unscaled import UnscaledAvgPool, UnscaledLookup, reals_of
from steelyard.importer.values import Activation, Pending
from steelyard.importer.walk import Walk
from steelyard.network import Tensor

Step = Callable[[Values], Values]
"""Function of real numbers that are float32, as float64."""


@dataclass(frozen=True)
class Function:
    """What each element of a quantized tensor becomes.

    Members
    -------
    source : the tensor
    view : shape in which the result is seen, without batch
    of : the function; its result is rounded to float32 before anything reads it
    """

    source: Tensor
    view: tuple[int, ...]
    of: Step

    def then(self, step: Step) -> Function:
        """A function of the result."""
        return Function(self.source, self.view, lambda x: step(self.rounded(x)))

    def rounded(self, x: Values) -> Values:
        """The result in float32, as a runtime hands it on."""
        return single(self.of(x))

    def joins(self, other: Function) -> bool:
        """Whether both are functions of the same elements."""
        return (self.source.name, self.view) == (other.source.name, other.view)


def single(values: Values) -> Values:
    """Values rounded to float32."""
    return values.astype(np.float32).astype(np.float64)


def function_at(walk: Walk, node: Node, index: int = 0) -> Function | None:
    """What an input of a node is as a function of one quantized tensor; None if it is none yet."""
    value = walk.value(node, index)
    if isinstance(value, Activation):
        value = walk.unpadded(walk.activation(node, index))
        return Function(value.tensor, value.view, lambda x: x)
    return None if not isinstance(value, Pending) else _function_of(value)


def _function_of(value: Pending) -> Function | None:
    """A table that waits, or a scaling or clamp."""
    layer = value.layer
    if isinstance(layer, UnscaledLookup):
        found = Function(layer.source, value.view, layer.function)
    elif isinstance(layer, UnscaledAvgPool) and layer.is_pointwise:
        factor = layer.factor
        found = Function(layer.source, value.view, lambda x: x * factor)
    else:
        return None
    if (value.low, value.high) == (-np.inf, np.inf):
        return found
    return found.then(lambda x: np.clip(x, value.low, value.high))


def required(walk: Walk, node: Node, index: int = 0) -> Function:
    """The same of an input that must be one.

    Raises
    ------
    UserError
        As :meth:`Walk.activation`, if it misses its quantizer or is constant.
    """
    found = function_at(walk, node, index)
    if found is None:
        value = walk.unpadded(walk.activation(node, index))
        found = Function(value.tensor, value.view, lambda x: x)
    return found


def bind_function(walk: Walk, node: Node, function: Function) -> None:
    """Let a node stand for a function, which becomes a table when its result is quantized.

    Raises
    ------
    UserError
        If it gives no number for a code of its tensor; names the real values of these codes.
    """
    ends = walk.range_of(function.source)
    x = reals_of(function.source, ends)
    with np.errstate(all="ignore"):
        missing = x[np.isnan(function.of(x))]
    if missing.size:
        raise node.error(
            f"gives no number where {function.source.name!r} is {missing.min():.3g} to "
            f"{missing.max():.3g}, which its codes can stand for; let its lowest code stand for "
            "the smallest value that the function has, or leave the node to the host."
        )
    source = function.source
    layer = UnscaledLookup(node.name, source.shape, source, function.of, ends)
    walk.bind(node, Pending(layer, function.view))


def bind_step(walk: Walk, node: Node, step: Step, index: int = 0) -> None:
    """Let a node stand for a function of what one of its inputs is.

    Raises
    ------
    UserError
        As :func:`required` and :func:`bind_function`.
    """
    bind_function(walk, node, required(walk, node, index).then(step))


def bind_joined(
    walk: Walk, node: Node, combined: Callable[[Values, Values], Values], *, plain: bool = False
) -> bool:
    """Let a node stand for a function of two inputs, if both are functions of one tensor.

    Returns whether they are; else nothing is bound.

    Parameters
    ----------
    plain : whether both inputs may be the tensor itself, for which there is a layer otherwise
    """
    if not plain and all(isinstance(walk.value(node, i), Activation) for i in (0, 1)):
        return False
    a, b = function_at(walk, node, 0), function_at(walk, node, 1)
    if a is None or b is None or not a.joins(b):
        return False
    one, other = a.rounded, b.rounded
    bind_function(walk, node, Function(a.source, a.view, lambda x: combined(one(x), other(x))))
    return True
