"""Sums, differences and products of two tensors, or of one and a constant."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.tflite.clamps import fused
from steelyard.importer.tflite.constants import constant_of, each_channel
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.tables import bind_table
from steelyard.importer.tflite.values import Value
from steelyard.importer.tflite.walk import Walk
from steelyard.network import Add, Conv, Lookup, Mul, Repeat, Tensor
from steelyard.network.scales import add_fixed_point

WEIGHT = 127
"""Largest weight of a layer that adds a constant to each channel."""
VERBS = {"ADD": "adds", "MUL": "multiplies", "SUB": "subtracts"}


@operator("ADD", "MUL", "SUB", inputs=2)
def combine(walk: Walk, op: Operator) -> None:
    """Two activations, one of which may be a value for each channel, or one and a constant."""
    found = _constant_beside(walk, op)
    if found is not None:
        _with_constant(walk, op, *found)
        return
    (first, a), (second, b) = walk.activation(op, 0), walk.activation(op, 1)
    view, a = _spread(walk, op, first, a, second.view)
    other, b = _spread(walk, op, second, b, view)
    if a.shape != b.shape or view != other:
        raise op.error(
            f"{VERBS[op.op]} shapes {('batch', *first.view)} and {('batch', *second.view)}, "
            "allowed are equal ones of tensors that were made alike, or a map and one value for "
            "each of its channels; use such tensors."
        )
    output = walk.output(op, a.shape, view)
    if op.op == "MUL":
        multiplier, shift = walk.scaling(op, a.scale * b.scale / output.scale)
        scaling = {"multiplier": int(multiplier), "shift": int(shift)}
        layer = walk.append(op, Mul, (a, b), output, **scaling, **fused(op, output))
    else:
        if op.op == "SUB":
            b = _opposite(walk, op, b)
        m_a, m_b, shift = add_fixed_point(a.scale / output.scale, b.scale / output.scale, op.title)
        layer = walk.append(
            op, Add, (a, b), output,
            multiplier_a=m_a, multiplier_b=m_b, shift=shift, **fused(op, output),
        )  # fmt: skip
    walk.bind_tensor(op, layer)


@operator("MAXIMUM", "MINIMUM", inputs=2)
def bounded(walk: Walk, op: Operator) -> None:
    """Clamp to a constant bound."""
    larger = op.op == "MAXIMUM"
    found = _constant_beside(walk, op)
    if found is None:
        raise op.error(
            f"takes the {'larger' if larger else 'smaller'} of two activations, allowed are one "
            "and a constant; replace the operator or leave it to the host."
        )
    index, constant = found
    bounds = each_channel(op, constant, walk.value(op, index).view)
    if bounds.size > 1:
        raise op.error(
            f"has {bounds.size} bounds, allowed is one for all channels; use one number."
        )
    bound, pick = bounds[0], np.maximum if larger else np.minimum
    bind_table(walk, op, lambda x: pick(x, bound), index)


def _constant_beside(walk: Walk, op: Operator) -> tuple[int, NDArray[np.float64]] | None:
    """Which of two inputs is computed, and the other, if that is constant."""
    for index in (0, 1):
        constant = constant_of(walk, op, 1 - index)
        if constant is not None:
            return index, constant.values
    return None


def _spread(
    walk: Walk, op: Operator, value: Value, x: Tensor, other: tuple[int, ...]
) -> tuple[tuple[int, ...], Tensor]:
    """A value for each channel as a map as large as another, any other tensor as it is.

    Returns its shape in the file, without batch, too.
    """
    if len(other) != 3 or value.view != (1, 1, other[2]) or x.shape != (other[2], 1, 1):
        return value.view, x
    height, width, channels = other
    for axis, count, shape in (
        (2, width, (channels, 1, width)),
        (1, height, (channels, height, width)),
    ):
        if count > 1:
            spread = walk.inner(x, "spread", shape)
            x = walk.append(op, Repeat, (x,), spread, axis=axis, count=count)
    return other, x


def _opposite(walk: Walk, op: Operator, x: Tensor) -> Tensor:
    """The same with the other sign: every int8 code c around z has -1 - c around -1 - z."""
    made = replace(walk.inner(x, "opposite", x.shape), zero_point=-1 - x.zero_point)
    return walk.append(op, Lookup, (x,), made, table=np.arange(127, -129, -1).astype(np.int8))


def _with_constant(walk: Walk, op: Operator, index: int, constant: NDArray[np.float64]) -> None:
    """The activation at input `index` and a constant at the other."""
    value, x = walk.activation(op, index)
    numbers = each_channel(op, constant, value.view)
    clamp = fused(op, walk.output(op, x.shape, value.view))
    if numbers.size == 1:
        number = numbers[0]
        if op.op == "MUL":
            bind_table(walk, op, lambda x: x * number, index, **clamp)
        elif op.op == "SUB" and index:
            bind_table(walk, op, lambda x: number - x, index, **clamp)
        else:
            added = -number if op.op == "SUB" else number
            bind_table(walk, op, lambda x: x + added, index, **clamp)
        return
    if x.shape[0] != len(numbers):
        raise op.error(
            f"takes the flattened map {value.view} and a constant for each element, allowed is one "
            "number; place it in front of the flatten."
        )
    output = walk.output(op, x.shape, value.view)
    factors, bias, ratio = _channels(op, index, numbers, x)
    multiplier, shift = walk.scaling(op, ratio / output.scale)
    layer = walk.append(
        op, Conv, (x,), output,
        weight=factors.astype(np.int8).reshape(-1, 1, 1, 1), bias=bias,
        multiplier=multiplier, shift=shift, groups=len(numbers), **clamp,
    )  # fmt: skip
    walk.bind_tensor(op, layer)


def _channels(
    op: Operator, index: int, numbers: NDArray[np.float64], x: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Weights, biases and real values of a step of the sums, for each channel.

    A summand is the bias over the weight, in steps of the input: the fraction nearest to it.
    """
    if op.op == "MUL":
        ratio = np.where(numbers == 0, 1.0, np.abs(numbers)) * x.scale
        return np.sign(numbers).astype(np.int64), np.zeros(len(numbers), np.int32), ratio
    sign = -1 if op.op == "SUB" and index == 0 else 1
    parts = [Fraction(sign * each / x.scale).limit_denominator(WEIGHT) for each in numbers]
    bias = np.array([each.numerator for each in parts], object)
    if any(abs(each) > np.iinfo(np.int32).max for each in bias):
        raise op.error(
            f"has constants up to {np.abs(numbers).max():g} for steps of {x.scale:g}, allowed are "
            "sums of 32 bits; convert it with a representative dataset."
        )
    weight = np.array([each.denominator for each in parts])
    return (
        (-weight if op.op == "SUB" and index else weight),
        bias.astype(np.int32),
        x.scale / weight,
    )
