"""Fuzz of TFLite files given to ``compile``: bytes changed, and edits of what is written."""

import copy
import functools
import random
import sys
from pathlib import Path

import numpy as np
from harness import Case, main

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from tflite_cases import assorted
from tflite_models import OPTIONS, TYPES, Model, mobilenet

COUNT = 2000
OTHERS = (
    "DEQUANTIZE", "HARD_SWISH", "MIRROR_PAD", "MUL", "PAD", "PRELU", "QUANTIZE", "RELU6", "RESHAPE",
    "SLICE", "SOFTMAX", "SPLIT", "TRANSPOSE_CONV",
)  # fmt: skip
ODD = (0, 1, -1, 2, 3, 7, 64, 255, 65535, 100_000, (1 << 31) - 1, -(1 << 31))
ODD_SCALES = (0.0, -1.0, 1e-38, 1e-20, 1e20, 3e38, float("inf"), float("nan"))
BYTE_OPTIONS = (
    "AlignCorners", "FusedActivationFunction", "HalfPixelCenters", "KeepDims", "Mode", "Padding",
    "WeightsFormat",
)  # fmt: skip
"""Fields of options that hold a byte."""


@functools.cache
def models() -> tuple[Model, ...]:
    """What cases start from."""
    return mobilenet(seed=1, size=16)[0], assorted(seed=1)[0]


def tensor(net: Model, draw: random.Random) -> None:
    """Shape, type, scale, zero point or axis of a tensor."""
    each = draw.choice(net.tensors)
    change = draw.randrange(5)
    if change == 0 and each.shape:
        shape = list(each.shape)
        shape[draw.randrange(len(shape))] = draw.choice(ODD)
        each.shape = tuple(shape)
    elif change == 1:
        each.dtype = draw.choice(list(TYPES))
    elif change == 2 and each.scale:
        each.scale = (draw.choice(ODD_SCALES), *each.scale[1:])
    elif change == 3 and each.zero:
        each.zero = (draw.choice((*ODD, 1 << 62)), *each.zero[1:])
    else:
        each.axis = draw.choice(ODD)


def wires(net: Model, draw: random.Random) -> None:
    """What an operator reads or makes, or the ends of the network."""
    number = draw.randrange(-2, len(net.tensors))
    op = draw.choice(net.operators)
    change = draw.randrange(4)
    if change == 0:
        net.outputs = [number]
    elif change == 1:
        op.outputs = (number,)
    else:
        inputs = list(op.inputs)
        inputs[draw.randrange(len(inputs))] = number
        op.inputs = tuple(inputs[: draw.choice((1, 2, 3, 3, 3))])


def operators(net: Model, draw: random.Random) -> None:
    """Operators that are another, twice there, gone or elsewhere."""
    place = draw.randrange(len(net.operators))
    op = net.operators[place]
    change = draw.randrange(4)
    if change == 0:
        op.name = draw.choice(OTHERS)
        op.options = {}
    elif change == 1:
        net.operators.insert(draw.randrange(len(net.operators)), copy.copy(op))
    elif change == 2:
        del net.operators[place]
    else:
        net.operators[place], net.operators[0] = net.operators[0], op


def options(net: Model, draw: random.Random) -> None:
    """A field of an operator's options."""
    op = draw.choice([each for each in net.operators if each.name in OPTIONS and each.options])
    name = draw.choice(list(op.options))
    op.options[name] = draw.randrange(6) if name in BYTE_OPTIONS else draw.choice(ODD)


def constant(net: Model, draw: random.Random) -> None:
    """Elements of a constant, or their number."""
    each = draw.choice([each for each in net.tensors if each.data is not None])
    data = each.data.copy().reshape(-1)
    if draw.random() < 0.3:
        data = data[: draw.randrange(len(data))]
    else:
        info = np.iinfo(data.dtype)
        data[draw.randrange(len(data))] = draw.choice((info.min, info.max, 0, 1))
    each.data = data


EDITS = (tensor, tensor, wires, operators, options, constant)


def cut(content: bytes, draw: random.Random) -> bytes:
    """Bytes changed or cut out, most of them in the tables."""
    raw = bytearray(content)
    if draw.random() < 0.2:
        start = draw.randrange(8, len(raw))
        del raw[start : start + draw.choice((1, 4, 50, len(raw)))]
        return bytes(raw)
    for _ in range(draw.choice((1, 1, 4, 30))):
        place = draw.randrange(8, min(len(raw), draw.choice((400, 4000, len(raw)))))
        if draw.random() < 0.5:
            raw[place] = draw.randrange(256)
        else:
            odd = draw.choice(ODD) % (1 << 32)
            raw[place // 4 * 4 : place // 4 * 4 + 4] = odd.to_bytes(4, "little")
    return bytes(raw)


def make(seed: int, number: int) -> Case:
    """Case of a seed and a number."""
    draw = random.Random(f"{seed} {number}")
    changed = copy.deepcopy(draw.choice(models()))
    if draw.random() < 0.5:
        name, content = "bytes", cut(changed.write(), draw)
    else:
        edits = [draw.choice(EDITS) for _ in range(draw.choice((1, 1, 1, 2, 4)))]
        content = changed.write()
        for edit in edits:
            edit(changed, draw)
            try:
                content = changed.write()
            except (OverflowError, TypeError, ValueError):
                # The field's type cannot hold it.
                break
        name = ", ".join(edit.__name__ for edit in edits)
    return Case(name, {"n.tflite": content}, ("compile", "n.tflite", "-o", "n.syp"))


if __name__ == "__main__":
    imports = ["steelyard_cli.commands.compile", "steelyard.importer", "tflite"]
    sys.exit(main(make, COUNT, __doc__, imports))
