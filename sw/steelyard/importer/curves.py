"""Functions of real numbers that several operators compute."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Values",
    "erf",
    "falling",
    "gelu",
    "gelu_by_tanh",
    "hard_swish",
    "sigmoid",
    "softplus",
]

Values = NDArray[np.float64]

erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x: Values) -> Values:
    """``1 / (1 + exp(-x))``, of any x."""
    return np.exp(-np.logaddexp(0.0, -x))


def softplus(x: Values) -> Values:
    """``log(1 + exp(x))``, of any x."""
    return np.logaddexp(0.0, x)


def falling(x: Values) -> Values:
    """``exp(x) - 1`` where x is negative, else 0: positive x may exceed what exp can give."""
    return np.expm1(np.minimum(x, 0.0))


def hard_swish(x: Values) -> Values:
    """``x * clamp(x / 6 + 0.5, 0, 1)``."""
    return x * np.clip(x / 6 + 0.5, 0.0, 1.0)


def gelu(x: Values) -> Values:
    """``x / 2 * (1 + erf(x / sqrt(2)))``."""
    return x / 2 * (1 + erf(x / math.sqrt(2)))


def gelu_by_tanh(x: Values) -> Values:
    """The same, nearly, by a hyperbolic tangent."""
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
