"""Activations that TFLite fuses into operators, as clamps of codes."""

from __future__ import annotations

import math

from steelyard.importer.tflite.file import Operator
from steelyard.network import Tensor
from steelyard.network.scales import real_to_code

__all__ = ["BOUNDS", "clamps", "fused"]

BOUNDS: dict[str, tuple[float, float]] = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}
"""Least and largest real value behind each activation that clamps."""


def fused(op: Operator, output: Tensor) -> dict[str, int]:
    """Clamps `lo` and `hi` of an operator's fused activation.

    Raises
    ------
    UserError
        If it is another function.
    """
    import tflite

    code = op.options["FusedActivationFunction"]
    names = {v: k for k, v in vars(tflite.ActivationFunctionType).items() if k.isupper()}
    name = names.get(code, f"number {code}")
    if name not in BOUNDS:
        raise op.error(
            f"has the fused activation {name}, allowed are {', '.join(BOUNDS)}; use one of these."
        )
    return clamps(name, output)


def clamps(name: str, output: Tensor) -> dict[str, int]:
    """Clamps `lo` and `hi` of an activation in a tensor's codes."""
    lo, hi = (real_to_code(each, output.scale, output.zero_point) for each in BOUNDS[name])
    return {"lo": lo, "hi": hi}
