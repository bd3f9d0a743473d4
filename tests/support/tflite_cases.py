"""Small TFLite networks of every operator, and how far they agree with the interpreter.

``python tests/support/tflite_cases.py`` prints the table of docs/tflite.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from steelyard.importer import load
from tflite_models import NONE, RELU, RELU6, SAME, VALID, Net, agreement

SHAPE = (9, 8, 6)
"""Height, width and channels of the input."""
IMAGES = 40


def concatenated(n: Net) -> int:
    a = n.conv(n.input, 5, act=RELU)
    b = n.conv(n.input, 7, (1, 1))
    b = n.op("QUANTIZE", (b,), n.like(a, (9, 8, 7)))
    y = n.like(a, (9, 8, 12))
    return n.conv(n.op("CONCATENATION", (a, b), y, Axis=-1, FusedActivationFunction=0), 4, (1, 1))


def concatenated_vectors(n: Net) -> int:
    a, b = n.mean(n.input), n.pool("MAX_POOL_2D", n.input, (9, 8), 1)
    b = n.op("QUANTIZE", (n.reshaped(b, (6,)),), n.like(a, (6,)))
    y = n.like(a, (12,))
    return n.dense(n.op("CONCATENATION", (a, b), y, Axis=1, FusedActivationFunction=0), 5)


def padded(n: Net) -> int:
    pads = n.constant(np.array([[0, 0], [1, 2], [9, 0], [0, 0]], np.int32))
    return n.conv(n.op("PAD", (n.input, pads), n.like(n.input, (12, 17, 6))), 4, padding=VALID)


def resized(n: Net, factors: tuple[int, int], **options: bool) -> int:
    size = (9 * factors[0], 8 * factors[1])
    target = n.constant(np.array(size, np.int32))
    y = n.like(n.input, (*size, 6))
    return n.op("RESIZE_NEAREST_NEIGHBOR", (n.input, target), y, **options)


def squeezed(n: Net) -> int:
    return n.dense(n.reshaped(n.mean(n.input, keep=True), (6,), "SQUEEZE"), 7)


def flattened(n: Net) -> int:
    y = n.conv(n.input, 4, act=RELU)
    return n.dense(n.reshaped(y, (9 * 8 * 4,)), 10)


def flattened_by_the_layer(n: Net) -> int:
    return n.dense(n.conv(n.input, 4), 10, act=RELU)


def added(n: Net) -> int:
    return n.add(n.conv(n.input, 6), n.input, act=RELU)


def beside(
    n: Net, name: str, values: ArrayLike, first: bool = False, spread: float = 1.3, act: int = NONE
) -> int:
    """The input and a constant, in either order."""
    reals = np.asarray(values, np.float64)
    scale = max(float(np.abs(reals).max()), 1e-6) / 100
    codes = np.clip(np.rint(reals / scale) + 5, -128, 127).astype(np.int8)
    one = n.constant(codes, scale, 5)
    y = n.rescaled(n.input, SHAPE, spread)
    inputs = (one, n.input) if first else (n.input, one)
    return n.op(name, inputs, y, FusedActivationFunction=act)


def paired(n: Net, name: str, ratio: float, act: int = NONE) -> int:
    """Two maps that were computed."""
    a, b = n.conv(n.input, 6), n.conv(n.input, 6, (1, 1))
    scale = n.tensors[a].scale[0] * (n.tensors[b].scale[0] * 30 if name == "MUL" else 1)
    y = n.tensor((1, *SHAPE), scale * ratio, 7)
    return n.op(name, (a, b), y, FusedActivationFunction=act)


def spread(n: Net, name: str, first: bool) -> int:
    """A map and a value for each of its channels, as squeeze-and-excite has them."""
    x = n.conv(n.input, 6)
    each = n.function("LOGISTIC", n.mean(x, keep=True), 1 / 256, -128)
    ratio = 1.0 if name == "MUL" else 1.2
    y = n.tensor((1, *SHAPE), n.tensors[x].scale[0] * ratio, -7)
    inputs = (each, x) if first else (x, each)
    return n.op(name, inputs, y, FusedActivationFunction=NONE)


def at_halves(n: Net, name: str) -> int:
    """A function of steps of which two are one step of the result, exactly."""
    n.tensors[n.input].scale = (1 / 32,)
    return n.function(name, n.input, 1 / 16, -30)


def clamped(n: Net, name: str, code: int) -> int:
    x = n.tensors[n.input]
    bound = n.constant(np.array([code], np.int8), x.scale, x.zero)
    return n.op(name, (n.input, bound), n.like(n.input, SHAPE))


def prelu(n: Net, slopes: ArrayLike) -> int:
    values = np.asarray(slopes, np.float64)
    codes = np.clip(np.rint(values * 200) - 30, -128, 127).astype(np.int8)
    alpha = n.constant(codes, 1 / 200, -30)
    return n.op("PRELU", (n.input, alpha), n.rescaled(n.input, SHAPE, 0.8))


def padded_with(n: Net, value: int) -> int:
    pads = n.constant(np.array([[0, 0], [1, 2], [0, 3], [0, 0]], np.int32))
    x = n.tensors[n.input]
    fill = n.constant(np.array([value], np.int8), x.scale, x.zero)
    return n.op("PADV2", (n.input, pads, fill), n.like(n.input, (12, 11, 6)))


def mirrored(n: Net, mode: int, pads: tuple[int, int, int, int] = (1, 2, 3, 0)) -> int:
    top, bottom, left, right = pads
    counts = [[0, 0], [top, bottom], [left, right], [0, 0]]
    shape = (9 + top + bottom, 8 + left + right, 6)
    return n.part(n.input, shape, "MIRROR_PAD", counts, Mode=mode)


def bilinear(n: Net, factors: tuple[int, int], **options: bool) -> int:
    size = (9 * factors[0], 8 * factors[1])
    return n.part(n.input, (*size, 6), "RESIZE_BILINEAR", size, **options)


def split(n: Net, name: str) -> int:
    """Two parts of the channels whose order is changed."""
    sizes = (3, 3) if name == "SPLIT" else (4, 2)
    y = tuple(n.like(n.input, (9, 8, size)) for size in sizes)
    axis = n.constant(np.array(3 if name == "SPLIT" else -1, np.int32))
    counts = n.constant(np.array([-1, 2], np.int32))
    inputs = (axis, n.input) if name == "SPLIT" else (n.input, counts, axis)
    a, b = n.ops(name, inputs, y, NumSplits=2)
    z = n.like(n.input, SHAPE)
    return n.op("CONCATENATION", (b, a), z, Axis=3, FusedActivationFunction=NONE)


def transposed(
    n: Net, kernel: tuple[int, int], stride: tuple[int, int], padding: int, act: int = NONE,
    size: tuple[int, int] | None = None, bias: bool = True, per_channel: bool = True,
    source: int | None = None,
) -> int:  # fmt: skip
    """Output of a new TRANSPOSE_CONV of 5 channels."""
    source = n.input if source is None else source
    x, channels = n.tensors[source], 5
    weight = n.weight((channels, *kernel, x.shape[3]))
    scale = n.weight_scale(channels if per_channel else 1)
    if size is None:
        grown = [0, 0] if padding == SAME else [k - s for k, s in zip(kernel, stride, strict=True)]
        size = (x.shape[1] * stride[0] + grown[0], x.shape[2] * stride[1] + grown[1])
    shape = (1, *size, channels)
    spread = x.scale[0] * float(scale.mean()) * 73 * np.sqrt(x.shape[3] * np.prod(kernel))
    y = n.tensor(shape, spread, -128 if act in (RELU, RELU6) else 11)
    inputs = [n.constant(np.array(shape, np.int32)), n.constant(weight, scale), source]
    if bias:
        steps = n.rng.integers(-2000, 2001, channels).astype(np.int32)
        inputs.append(n.constant(steps, x.scale[0] * scale))
    return n.op(
        "TRANSPOSE_CONV", tuple(inputs), y, Padding=padding, StrideH=stride[0], StrideW=stride[1],
        FusedActivationFunction=act,
    )  # fmt: skip


CHANNELS = np.array([0.4, -0.13, 0.0, 0.21, 0.9, -0.6])
"""A constant for each channel of the input."""

CASES: dict[str, Callable[[Net], int]] = {
    "conv": lambda n: n.conv(n.input, 8),
    "conv one scale": lambda n: n.conv(n.input, 8, per_channel=False),
    "conv valid, stride 2": lambda n: n.conv(n.input, 8, stride=2, padding=VALID),
    "conv same, stride 2": lambda n: n.conv(n.input, 8, stride=2),
    "conv same, stride 4": lambda n: n.conv(n.input, 8, stride=4),
    "conv even kernel": lambda n: n.conv(n.input, 8, (2, 4), act=RELU6),
    "conv large kernel": lambda n: n.conv(n.input, 8, (9, 4), stride=2),
    "conv grouped": lambda n: n.conv(n.input, 8, groups=2),
    "conv one row": lambda n: n.conv(n.input, 8, (9, 3), padding=VALID, strides=(3, 2)),
    "depthwise": lambda n: n.depthwise(n.input, act=RELU6),
    "depthwise same, stride 2": lambda n: n.depthwise(n.input, 2, (5, 3), stride=2, act=RELU),
    "depthwise valid": lambda n: n.depthwise(n.input, padding=VALID),
    "flattened": flattened,
    "flattened by the layer": flattened_by_the_layer,
    "per channel": lambda n: n.dense(n.conv(n.input, 4), 10, per_channel=True),
    "add": added,
    "max pool": lambda n: n.pool("MAX_POOL_2D", n.input, (2, 2), 2, act=RELU),
    "max pool same": lambda n: n.pool("MAX_POOL_2D", n.input, (3, 3), 2, SAME),
    "average pool 3x3": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (3, 3), 1, act=RELU),
    "average pool 2x2": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (2, 2), 2),
    "average pool 2x2, stride 3": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (2, 2), 3),
    "average pool same 3x3": lambda n: n.pool(
        "AVERAGE_POOL_2D", n.input, (3, 3), 1, SAME, act=RELU
    ),
    "average pool same 2x3, stride 2": lambda n: n.pool(
        "AVERAGE_POOL_2D", n.input, (2, 3), 2, SAME
    ),
    "average pool 9x8": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (9, 8), 8),
    "average pool 4x2": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (4, 2), 1, act=RELU),
    "mean": lambda n: n.mean(n.input),
    "mean, axes kept": lambda n: n.mean(n.input, keep=True, axes=(-3, -2)),
    "pad": padded,
    "concatenation": concatenated,
    "concatenated vectors": concatenated_vectors,
    "resize": lambda n: resized(n, (2, 3)),
    "resize rows": lambda n: resized(n, (4, 1), HalfPixelCenters=True),
    "resize corners": lambda n: resized(n, (2, 2), AlignCorners=True),
    "resize nothing": lambda n: resized(n, (1, 1)),
    "squeeze": squeezed,
    "relu": lambda n: n.op("RELU", (n.input,), n.rescaled(n.input, SHAPE, 0.7)),
    "relu6": lambda n: n.op("RELU6", (n.input,), n.rescaled(n.input, SHAPE, 0.03, zero=-128)),
    "quantize": lambda n: n.op("QUANTIZE", (n.input,), n.rescaled(n.input, SHAPE, 1.4)),
    "logistic": lambda n: n.function("LOGISTIC", n.input, 1 / 256, -128),
    "logistic of a vector": lambda n: n.function("LOGISTIC", n.mean(n.input), 1 / 256, -128),
    "tanh": lambda n: n.function("TANH", n.input, 1 / 128, 0),
    "hard swish": lambda n: n.function("HARD_SWISH", n.input, 0.02, -100),
    "leaky relu": lambda n: n.function("LEAKY_RELU", n.input, 0.03, -20, Alpha=0.17),
    "leaky relu, above 1": lambda n: n.function("LEAKY_RELU", n.input, 0.04, 40, Alpha=1.4),
    "elu": lambda n: n.function("ELU", n.input, 0.025, -80),
    "elu at halves": lambda n: at_halves(n, "ELU"),
    "gelu": lambda n: n.function("GELU", n.input, 0.02, -110, Approximate=False),
    "gelu by tanh": lambda n: n.function("GELU", n.input, 0.02, -110, Approximate=True),
    "abs": lambda n: n.function("ABS", n.input, 0.02, -120),
    "prelu": lambda n: prelu(n, np.full((1, 1, 1), 0.3)),
    "prelu, a slope for all": lambda n: prelu(n, np.full((1, 1, 6), -0.2)),
    "prelu, slopes": lambda n: prelu(n, np.array([0.1, 0.5, 0, 0.3, 0.05, 0.6]).reshape(1, 1, 6)),
    "add a number": lambda n: beside(n, "ADD", np.array(0.37), act=RELU),
    "add to channels": lambda n: beside(n, "ADD", CHANNELS),
    "add to channels, before": lambda n: beside(n, "ADD", CHANNELS.reshape(1, 1, 1, 6), True),
    "add to the map": lambda n: spread(n, "ADD", False),
    "subtract": lambda n: paired(n, "SUB", 1.4),
    "subtract a number": lambda n: beside(n, "SUB", np.array([0.37])),
    "subtract from a number": lambda n: beside(n, "SUB", np.array([0.37]), True),
    "subtract from channels": lambda n: beside(n, "SUB", CHANNELS),
    "subtract channels": lambda n: beside(n, "SUB", CHANNELS, True, act=RELU),
    "subtract from the map": lambda n: spread(n, "SUB", False),
    "multiply": lambda n: paired(n, "MUL", 0.9, RELU),
    "square": lambda n: n.op("MUL", (n.input, n.input), n.tensor((1, *SHAPE), 0.1, -90)),
    "multiply by a number": lambda n: beside(n, "MUL", np.array([[0.7]]), spread=0.6),
    "multiply by less than 0": lambda n: beside(n, "MUL", np.array(-0.7), True, spread=0.6),
    "multiply channels": lambda n: beside(n, "MUL", CHANNELS, spread=0.5),
    "excite": lambda n: spread(n, "MUL", False),
    "excite, before": lambda n: spread(n, "MUL", True),
    "maximum": lambda n: clamped(n, "MAXIMUM", -20),
    "minimum": lambda n: clamped(n, "MINIMUM", 15),
    "pad with the least code": lambda n: padded_with(n, -128),
    "pad with a code": lambda n: n.conv(padded_with(n, 77), 4),
    "pad with zero": lambda n: padded_with(n, n.tensors[n.input].zero[0]),
    "reflect": lambda n: mirrored(n, 0),
    "symmetric": lambda n: mirrored(n, 1),
    "symmetric, a whole side": lambda n: mirrored(n, 1, (0, 9, 2, 1)),
    "bilinear": lambda n: bilinear(n, (2, 2), HalfPixelCenters=True),
    "bilinear rows": lambda n: bilinear(n, (4, 1), HalfPixelCenters=True),
    "bilinear by 4 and 2": lambda n: bilinear(n, (4, 2), HalfPixelCenters=True),
    "bilinear from corners": lambda n: bilinear(n, (2, 4)),
    "bilinear nothing": lambda n: bilinear(n, (1, 1)),
    "depth to space": lambda n: n.part(n.conv(n.input, 12), (18, 16, 3), "DEPTH_TO_SPACE",
                                       BlockSize=2),
    "slice": lambda n: n.part(n.input, (4, 8, 3), "SLICE", [0, 2, 0, 1], [1, 4, -1, 3]),
    "slice nothing": lambda n: n.part(n.input, SHAPE, "SLICE", [0] * 4, [-1] * 4),
    "slice of a vector": lambda n: n.part(n.mean(n.input), (2,), "SLICE", [0, 3], [1, 2]),
    "strided slice": lambda n: n.part(
        n.input, (3, 4, 2), "STRIDED_SLICE", [0, 1, 7, 2], [1, 8, 0, -2], [1, 3, 2, 1],
        BeginMask=4, EndMask=6,
    ),
    "strided slice of a pixel": lambda n: n.part(
        n.input, (8, 6), "STRIDED_SLICE", [0, -2, 0, 0], [1, -1, 8, 6], [1] * 4, ShrinkAxisMask=2,
    ),
    "split": lambda n: split(n, "SPLIT"),
    "split unequally": lambda n: split(n, "SPLIT_V"),
    "transpose conv": lambda n: transposed(n, (3, 3), (2, 2), SAME),
    "transpose conv valid": lambda n: transposed(n, (3, 2), (2, 2), VALID, RELU),
    "transpose conv, stride 1": lambda n: transposed(n, (3, 3), (1, 1), SAME, per_channel=False),
    "transpose conv, strides": lambda n: transposed(n, (4, 5), (2, 3), SAME, bias=False),
    "transpose conv, kernel below": lambda n: transposed(n, (2, 2), (3, 3), SAME, RELU6),
    "transpose conv, odd size": lambda n: transposed(n, (4, 4), (2, 2), SAME, size=(17, 15)),
    "transpose conv, large": lambda n: transposed(n, (9, 8), (1, 1), SAME),
    "dilated": lambda n: n.conv(n.input, 5, (2, 3), dilation=3),
    "dilated valid": lambda n: n.conv(n.input, 5, padding=VALID, dilation=2, act=RELU),
    "dilated depthwise": lambda n: n.depthwise(n.input, 2, dilation=2),
}  # fmt: skip


def assorted(seed: int, size: int = 8) -> tuple[Net, bytes]:
    """A small network of functions, products, parts and upsampling, one behind the other."""
    n = Net((size, size, 3), seed, zero=-1)
    x = n.conv(n.input, 8)
    x = n.op("HARD_SWISH", (x,), n.rescaled(x, (size, size, 8), 0.6, zero=-80))
    squeezed = n.conv(n.mean(x, keep=True), 8, (1, 1))
    gate = n.function("LOGISTIC", squeezed, 1 / 256, -128)
    y = n.rescaled(x, (size, size, 8), 0.7)
    x = n.op("MUL", (x, gate), y, FusedActivationFunction=NONE)
    slopes = n.constant(np.arange(-40, 80, 15).astype(np.int8).reshape(1, 1, 8), 0.01, -40)
    x = n.op("PRELU", (x, slopes), n.rescaled(x, (size, size, 8), 0.9))
    big = (2 * size, 2 * size)
    x = n.part(x, (*big, 8), "RESIZE_BILINEAR", big, HalfPixelCenters=True)
    axis = n.constant(np.array(3, np.int32))
    a, b = n.ops("SPLIT", (axis, x), (n.like(x, (*big, 4)), n.like(x, (*big, 4))), NumSplits=2)
    y = n.rescaled(a, (*big, 4), 1.2)
    x = n.op("SUB", (a, b), y, FusedActivationFunction=NONE)
    x = n.part(x, (2 * size + 2, 2 * size + 2, 4), "MIRROR_PAD", [[0, 0], [1, 1], [1, 1], [0, 0]],
               Mode=0)  # fmt: skip
    pads = n.constant(np.array([[0, 0], [0, 1], [1, 0], [0, 0]], np.int32))
    least = n.constant(np.array([-128], np.int8), n.tensors[x].scale, n.tensors[x].zero)
    x = n.op("PADV2", (x, pads, least), n.like(x, (2 * size + 3, 2 * size + 3, 4)))
    x = n.pool("MAX_POOL_2D", x, (3, 3), 2)
    x = n.part(x, (size, size, 4), "STRIDED_SLICE", [0, 1, 0, 0], [1, 0, size, 4], [1] * 4,
               EndMask=2)  # fmt: skip
    x = n.part(x, (2 * size, 2 * size, 1), "DEPTH_TO_SPACE", BlockSize=2)
    x = transposed(n, (4, 4), (2, 2), SAME, source=x)
    return n, n.made(n.dense(n.mean(x), 10))


ZEROS = (3, -128, 40)
"""Zero points of the input."""
KERNELS = {"quantize": True}
"""Cases that are compared with the reference kernels: by default the interpreter requantizes with
a multiplier of 8 bits."""


USUAL_ONLY = {"elu", "elu at halves"}
"""Cases that the reference kernels cannot compute."""


def table(images: int) -> dict[tuple[str, bool], list[float]]:
    """Least, and shares of all layers, by operator and whether reference kernels compute."""
    found: dict[tuple[str, bool], list[float]] = {}
    for number, (case, make) in enumerate(CASES.items()):
        for zero in ZEROS:
            net = Net(SHAPE, number, zero)
            content = net.made(make(net))
            network, x = load(content), net.images(images)
            made = net.made_by()
            for reference in (False, True)[: 1 if case in USUAL_ONLY else 2]:
                for name, share in agreement(content, x, network, reference).items():
                    found.setdefault((made[name], reference), []).append(share)
    return found


def main() -> None:
    """Print the least share of equal codes of each operator in any case."""
    shares = table(400)
    print("| operator | layers | default kernels | reference kernels |\n|---|---|---|---|")
    for name in sorted({name for name, _ in shares}):
        usual, slow = shares[name, False], shares.get((name, True))
        least = f"{min(slow):.2%}" if slow else "has none"
        print(f"| {name} | {len(usual)} | {min(usual):.2%} | {least} |")


if __name__ == "__main__":
    main()
