"""Functions of one value, which become tables of all codes."""

from __future__ import annotations

import math

import numpy as np

from steelyard.importer import curves
from steelyard.importer.curves import erf, falling, hard_swish, sigmoid, softplus
from steelyard.importer.functions import Step, bind_joined, bind_step
from steelyard.importer.node import Node
from steelyard.importer.operators.constants import constant_operand, number_for
from steelyard.importer.operators.quantizers import clamp
from steelyard.importer.operators.slopes import bind_slope
from steelyard.importer.registry import operator
from steelyard.importer.walk import Walk

PLAIN: dict[str, Step] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Erf": erf,
    "Exp": np.exp,
    "Floor": np.floor,
    "HardSwish": hard_swish,
    "Log": np.log,
    "Mish": lambda x: x * np.tanh(softplus(x)),
    "Reciprocal": lambda x: 1 / x,
    "Round": np.rint,
    "Sigmoid": sigmoid,
    "Sign": np.sign,
    "Softplus": softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}
"""Functions without attributes."""


@operator(*PLAIN, inputs=1)
def plain(walk: Walk, node: Node) -> None:
    """A function without attributes."""
    bind_step(walk, node, PLAIN[node.op])


@operator("HardSigmoid", inputs=1, reads=("alpha", "beta"))
def hard_sigmoid(walk: Walk, node: Node) -> None:
    """``clamp(alpha * x + beta, 0, 1)``."""
    alpha, beta = (_number(node, name) for name in ("alpha", "beta"))
    bind_step(walk, node, lambda x: np.clip(alpha * x + beta, 0.0, 1.0))


@operator("LeakyRelu", inputs=1, reads=("alpha",))
def leaky_relu(walk: Walk, node: Node) -> None:
    """Negative values times a slope."""
    bind_slope(walk, node, _number(node, "alpha"))


@operator("ThresholdedRelu", inputs=1, reads=("alpha",))
def thresholded_relu(walk: Walk, node: Node) -> None:
    """Values above a threshold, others 0."""
    alpha = _number(node, "alpha")
    bind_step(walk, node, lambda x: np.where(x > alpha, x, 0.0))


@operator("Elu", inputs=1, reads=("alpha",))
def elu(walk: Walk, node: Node) -> None:
    """``alpha * (exp(x) - 1)`` for negative x."""
    alpha = _number(node, "alpha")
    bind_step(walk, node, lambda x: np.where(x < 0, alpha * falling(x), x))


@operator("Selu", inputs=1, reads=("alpha", "gamma"))
def selu(walk: Walk, node: Node) -> None:
    """``gamma * x``, for x up to 0 ``gamma * alpha * (exp(x) - 1)``."""
    alpha, gamma = (_number(node, name) for name in ("alpha", "gamma"))
    bind_step(walk, node, lambda x: gamma * np.where(x <= 0, alpha * falling(x), x))


@operator("Celu", inputs=1, reads=("alpha",))
def celu(walk: Walk, node: Node) -> None:
    """``alpha * (exp(x / alpha) - 1)`` for negative x."""
    alpha = _number(node, "alpha")
    if alpha == 0:
        raise node.error("has alpha = 0, allowed are other numbers; use a Relu.")
    bind_step(walk, node, lambda x: np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha)))


@operator("Swish", inputs=1, reads=("alpha",))
def swish(walk: Walk, node: Node) -> None:
    """``x * sigmoid(alpha * x)``."""
    alpha = _number(node, "alpha")
    bind_step(walk, node, lambda x: x * sigmoid(alpha * x))


@operator("Gelu", inputs=1, reads=("approximate",))
def gelu(walk: Walk, node: Node) -> None:
    """Gaussian error linear unit, exact or by a hyperbolic tangent."""
    how = node.attributes["approximate"]
    if how not in ("none", "tanh"):
        raise node.error(
            f"has approximate = {how!r}, allowed are 'none' and 'tanh'; export the network again."
        )
    bind_step(walk, node, curves.gelu_by_tanh if how == "tanh" else curves.gelu)


@operator("Pow", inputs=2)
def power(walk: Walk, node: Node) -> None:
    """Power with a constant exponent, or of a constant."""
    exponent, base = (constant_operand(walk, node, index) for index in (1, 0))
    if exponent is not None:
        n = number_for(walk, node, 0, exponent)
        bind_step(walk, node, lambda x: np.power(x, n))
    elif base is not None:
        b = number_for(walk, node, 1, base)
        bind_step(walk, node, lambda x: np.power(b, x), 1)
    elif not bind_joined(walk, node, np.power, plain=True):
        raise node.error(
            "raises one activation to the power of another, allowed is a constant exponent or "
            "base; replace the operator or leave it to the host."
        )


@operator("Max", "Min", inputs=1)
def bounded(walk: Walk, node: Node) -> None:
    """Clamp to a constant bound, or the larger or smaller of two functions of one value."""
    constants = [constant_operand(walk, node, index) for index in range(len(node.inputs))]
    moving = [index for index, each in enumerate(constants) if each is None]
    larger = node.op == "Max"
    if len(moving) == 1:
        (index,) = moving
        bounds = [number_for(walk, node, index, each) for each in constants if each is not None]
        low = max(bounds, default=-np.inf) if larger else -np.inf
        high = np.inf if larger else min(bounds, default=np.inf)
        clamp(walk, node, low, high, index)
        return
    if len(node.inputs) == 2 and bind_joined(
        walk, node, np.maximum if larger else np.minimum, plain=True
    ):
        return
    raise node.error(
        f"takes the {'larger' if larger else 'smaller'} of several activations, allowed are one "
        "and constants; replace the operator or leave it to the host."
    )


def _number(node: Node, name: str) -> float:
    """Attribute as the float32 that the file holds."""
    value = float(np.float32(node.attributes[name]))
    if not math.isfinite(value):
        raise node.error(f"has {name} = {value}, allowed are finite numbers; export it again.")
    return value
