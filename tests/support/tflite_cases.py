"""Small TFLite networks of every operator, and how far they agree with the interpreter.

``python tests/support/tflite_cases.py`` prints the table of docs/tflite.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steelyard.importer import load
from tflite_models import RELU, RELU6, SAME, VALID, Net, agreement

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
}

ZEROS = (3, -128, 40)
"""Zero points of the input."""
KERNELS = {"quantize": True}
"""Cases that are compared with the reference kernels: by default the interpreter requantizes with
a multiplier of 8 bits."""


def table(images: int) -> dict[tuple[str, bool], list[float]]:
    """Least, and shares of all layers, by operator and whether reference kernels compute."""
    found: dict[tuple[str, bool], list[float]] = {}
    for number, make in enumerate(CASES.values()):
        for zero in ZEROS:
            net = Net(SHAPE, number, zero)
            content = net.made(make(net))
            network, x = load(content), net.images(images)
            made = {net.tensors[each.outputs[0]].name: each.name for each in net.operators}
            for reference in (False, True):
                for name, share in agreement(content, x, network, reference).items():
                    found.setdefault((made[name], reference), []).append(share)
    return found


def main() -> None:
    """Print the least share of equal codes of each operator in any case."""
    shares = table(400)
    print("| operator | layers | default kernels | reference kernels |\n|---|---|---|---|")
    for name in sorted({name for name, _ in shares}):
        usual, slow = shares[name, False], shares[name, True]
        print(f"| {name} | {len(usual)} | {min(usual):.2%} | {min(slow):.2%} |")


if __name__ == "__main__":
    main()
