"""Functions of one value, which become tables of all codes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.node import Node
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import UnscaledLookup
from steelyard.importer.values import Pending
from steelyard.importer.walk import Walk

Values = NDArray[np.float64]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _bind(walk: Walk, node: Node, function: Callable[[Values], Values]) -> None:
    value = walk.unpadded(walk.activation(node))
    layer = UnscaledLookup(node.name, value.tensor.shape, value.tensor, function)
    walk.bind(node, Pending(layer, value.view))


def sigmoid(x: Values) -> Values:
    """``1 / (1 + exp(-x))``, of any x."""
    return np.exp(-np.logaddexp(0.0, -x))


@operator("Sigmoid", inputs=1)
def sigmoids(walk: Walk, node: Node) -> None:
    """Logistic function."""
    _bind(walk, node, sigmoid)


@operator("Tanh", inputs=1)
def tanh(walk: Walk, node: Node) -> None:
    """Hyperbolic tangent."""
    _bind(walk, node, np.tanh)


@operator("Erf", inputs=1)
def erf(walk: Walk, node: Node) -> None:
    """Error function, of which exporters make a GELU."""
    _bind(walk, node, _erf)


@operator("Softplus", inputs=1)
def softplus(walk: Walk, node: Node) -> None:
    """``log(1 + exp(x))``."""
    _bind(walk, node, lambda x: np.logaddexp(0.0, x))


@operator("Abs", inputs=1)
def absolute(walk: Walk, node: Node) -> None:
    """Magnitude."""
    _bind(walk, node, np.abs)


@operator("HardSigmoid", inputs=1, reads=("alpha", "beta"))
def hard_sigmoid(walk: Walk, node: Node) -> None:
    """``clamp(alpha * x + beta, 0, 1)``."""
    alpha, beta = (_number(node, name) for name in ("alpha", "beta"))
    _bind(walk, node, lambda x: np.clip(alpha * x + beta, 0.0, 1.0))


@operator("HardSwish", inputs=1)
def hard_swish(walk: Walk, node: Node) -> None:
    """``x * clamp(x / 6 + 1 / 2, 0, 1)``."""
    _bind(walk, node, lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0))


@operator("LeakyRelu", inputs=1, reads=("alpha",))
def leaky_relu(walk: Walk, node: Node) -> None:
    """Negative values times a slope."""
    alpha = _number(node, "alpha")
    _bind(walk, node, lambda x: np.where(x < 0, alpha * x, x))


@operator("Elu", inputs=1, reads=("alpha",))
def elu(walk: Walk, node: Node) -> None:
    """``alpha * (exp(x) - 1)`` for negative x."""
    alpha = _number(node, "alpha")
    _bind(walk, node, lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0.0)), x))


@operator("Gelu", inputs=1, reads=("approximate",))
def gelu(walk: Walk, node: Node) -> None:
    """Gaussian error linear unit, exact or by a hyperbolic tangent."""
    how = node.attributes["approximate"]
    if how not in ("none", "tanh"):
        raise node.error(
            f"has approximate = {how!r}, allowed are 'none' and 'tanh'; export the network again."
        )
    if how == "tanh":
        root = math.sqrt(2 / math.pi)
        _bind(walk, node, lambda x: x / 2 * (1 + np.tanh(root * (x + 0.044715 * x**3))))
    else:
        _bind(walk, node, lambda x: x / 2 * (1 + _erf(x / math.sqrt(2))))


def _number(node: Node, name: str) -> float:
    """Attribute as the float32 that the file holds."""
    value = float(np.float32(node.attributes[name]))
    if not math.isfinite(value):
        raise node.error(f"has {name} = {value}, allowed are finite numbers; export it again.")
    return value
