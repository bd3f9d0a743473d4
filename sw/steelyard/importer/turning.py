"""Maps that a graph sees with channels last, which what computes each element does not mind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from steelyard.importer.inner import CLAMPS, JOINING, TABLES
from steelyard.importer.node import Node
from steelyard.importer.values import (
    Activation,
    Codes,
    Constant,
    NetworkInput,
    Pending,
    QuantizedConstant,
    Turned,
    Value,
)
from steelyard.network import Shape, Tensor

__all__ = ["ELEMENTWISE", "again", "straight_input", "straightened"]

ELEMENTWISE = frozenset((*CLAMPS, *JOINING, *TABLES, "QuantizeLinear", "DequantizeLinear"))
"""Operators that compute each element on its own."""


def straightened(
    node: Node, turned: Mapping[int, Turned], others: Mapping[int, Value | None]
) -> dict[int, Value]:
    """Inputs of an operator of each element with channels first.

    Parameters
    ----------
    turned, others : inputs by their number

    Raises
    ------
    UserError
        If inputs have several orders or shapes, or a constant has more than one element.
    """
    first = next(iter(turned.values()))
    alike = all(
        (each.view, each.value.view) == (first.view, first.value.view) for each in turned.values()
    )
    quantizes = node.op in ("QuantizeLinear", "DequantizeLinear")
    for value in others.values():
        size = 2
        if isinstance(value, Constant | QuantizedConstant):
            size = (value.array if isinstance(value, Constant) else value.codes).size
        alike &= value is None or quantizes or size == 1
    if not alike:
        raise node.error(
            "combines a map with channels last, as a Transpose before it makes it, with one of "
            "another order or shape, or with a constant of several elements; allowed are such maps "
            "and single numbers, so export the network with channels first."
        )
    return {index: each.value for index, each in turned.items()}


def straight_input(
    value: Value, name: str, tensor: Tensor | None, shape: Shape
) -> NetworkInput | Activation | Codes | None:
    """The network's input, or its codes, with channels first; None for any other value.

    Parameters
    ----------
    name, tensor : of the input, None before its quantizer
    shape : channels, height and width
    """
    if isinstance(value, NetworkInput) and value.name == name:
        return replace(value, view=shape)
    if isinstance(value, Activation) and value.tensor.name == name:
        return None if tensor is None else Activation(tensor, shape)
    if isinstance(value, Codes):
        source = straight_input(value.source, name, tensor, shape)
        if isinstance(source, NetworkInput | Activation):
            return replace(value, source=source, view=shape)
    return None


def again(value: Value, view: tuple[int, ...]) -> Value:
    """A result with channels first, as the graph sees it.

    Parameters
    ----------
    view : shape without batch in which the graph sees it
    """
    if not isinstance(value, NetworkInput | Activation | Pending | Codes):
        return value
    if isinstance(value, Codes):
        # The tensor will not hold its elements as the value of that name does.
        value = replace(value, name=f"{value.name}/channels first")
    return Turned(value, view)
