"""Functions of each element, which become tables of all codes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from steelyard.importer import curves
from steelyard.importer.tflite import kernels
from steelyard.importer.tflite.constants import constant_of, each_channel
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.tables import Step, bind_codes, bind_table
from steelyard.importer.tflite.walk import Walk
from steelyard.network import Conv, Tensor
from steelyard.network.scales import sloped_fixed_point

PLAIN: dict[str, Step] = {
    "ABS": np.abs,
    "ELU": lambda x: np.where(x < 0, curves.falling(x), x),
    "LOGISTIC": curves.sigmoid,
    "TANH": np.tanh,
}
"""Functions without options."""


@operator(*PLAIN, inputs=1)
def plain(walk: Walk, op: Operator) -> None:
    """A function without options."""
    bind_table(walk, op, PLAIN[op.op])


@operator("GELU", inputs=1)
def gelu(walk: Walk, op: Operator) -> None:
    """Gaussian error linear unit, exact or by a hyperbolic tangent."""
    bind_table(walk, op, curves.gelu_by_tanh if op.options["Approximate"] else curves.gelu)


@operator("HARD_SWISH", inputs=1)
def hard_swish(walk: Walk, op: Operator) -> None:
    """``x * clamp(x / 6 + 0.5, 0, 1)``."""
    bind_codes(walk, op, lambda x, y: kernels.hard_swish(_distances(x), x.scale, y.scale))


@operator("LEAKY_RELU", inputs=1)
def leaky_relu(walk: Walk, op: Operator) -> None:
    """Negative values times a slope."""
    slope = op.options["Alpha"]
    if not math.isfinite(slope):
        raise op.error(f"has alpha = {slope}, allowed are finite numbers; convert it again.")

    def codes(x: Tensor, y: Tensor) -> NDArray[np.int64]:
        d, ratio = _distances(x), x.scale / y.scale
        found = kernels.leaky_relu(d, ratio, slope)
        exact = np.clip(np.rint(np.where(d < 0, slope, 1) * ratio * d), -256, 256)
        return exact.astype(np.int64) if found is None else found

    bind_codes(walk, op, codes)


@operator("PRELU", inputs=2)
def prelu(walk: Walk, op: Operator) -> None:
    """Negative values times a slope, or one for each channel."""
    value, x = walk.activation(op)
    constant = constant_of(walk, op, 1)
    if constant is None:
        raise op.error("computes its slopes, allowed are constants; convert it so.")
    steps, step = each_channel(op, constant.steps, value.view), constant.scale
    if steps.size == 1:

        def codes(x: Tensor, y: Tensor) -> NDArray[np.int64]:
            ratio = x.scale / y.scale
            return kernels.prelu(_distances(x), ratio, int(steps[0]), ratio * step)

        bind_codes(walk, op, codes)
        return
    slopes = steps.astype(np.float64) * np.float64(step)
    if np.any(slopes < 0):
        raise op.error(
            f"has slopes from {slopes.min():g}, allowed are slopes from 0, or one of any sign for "
            "all channels; train it with one slope."
        )
    if x.shape[0] != len(slopes):
        raise op.error(
            f"takes the flattened map {value.view}, allowed is a map or what a fully connected "
            "layer gives; place it in front of the flatten."
        )
    output = walk.output(op, x.shape, value.view)
    ratio: NDArray[np.float64] = np.full(len(slopes), x.scale / output.scale)
    multiplier, negative, shift = sloped_fixed_point(ratio, slopes, op.title)
    layer = walk.append(
        op, Conv, (x,), output,
        weight=np.ones((len(slopes), 1, 1, 1), np.int8), bias=np.zeros(len(slopes), np.int32),
        multiplier=multiplier, negative_multiplier=negative, shift=shift, groups=len(slopes),
    )  # fmt: skip
    walk.bind_tensor(op, layer)


def _distances(x: Tensor) -> NDArray[np.int64]:
    """Of all codes from the zero point."""
    return np.arange(-128, 128) - x.zero_point
