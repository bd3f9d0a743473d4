"""What is no network for us: every obstacle at once, and files that are none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest

import tflite_cases
from steelyard.errors import FileRefused, Obstacles, UserError
from steelyard.importer import load
from tflite_models import NONE, RELU, SAME, VALID, Model, Net, mobilenet

SHAPE = (9, 8, 6)


def reshaped_map(n: Net) -> int:
    return n.conv(n.reshaped(n.conv(n.input, 6), (8, 9, 6)), 3)


def joined(n: Net, name: str, other: int) -> int:
    return n.op(name, (n.input, other), n.like(n.input, SHAPE), FusedActivationFunction=NONE)


def broadcast(n: Net) -> int:
    return joined(n, "ADD", n.part(n.input, (9, 1, 6), "SLICE", [0] * 4, [1, 9, 1, 6]))


def constant_map(n: Net) -> int:
    return joined(n, "SUB", n.constant(np.ones((1, *SHAPE), np.int8), 0.1))


def flattened_constants(n: Net) -> int:
    x = n.reshaped(n.input, (432,))
    each = n.constant(np.arange(432).astype(np.int8), 0.1)
    return n.op("MUL", (x, each), n.like(n.input, (432,)), FusedActivationFunction=NONE)


def huge_constants(n: Net) -> int:
    return joined(n, "ADD", n.constant(np.arange(6).astype(np.int8), 1e9))


def bounds(n: Net) -> int:
    x = n.tensors[n.input]
    return joined(n, "MINIMUM", n.constant(np.arange(6).astype(np.int8), x.scale, x.zero))


def sloped(n: Net, slopes: list[int] | None) -> int:
    alpha = n.mean(n.input, keep=True)
    if slopes is not None:
        alpha = n.constant(np.array(slopes, np.int8).reshape(1, 1, 6), 0.01)
    return n.op("PRELU", (n.input, alpha), n.like(n.input, SHAPE))


def sloped_flat(n: Net) -> int:
    x = n.reshaped(n.input, (432,))
    alpha = n.constant((np.arange(432) % 100).astype(np.int8), 0.01)
    return n.op("PRELU", (x, alpha), n.like(n.input, (432,)))


def padded_by(n: Net, name: str, counts: list[int], fill: int | None = None, **options: int) -> int:
    top, bottom, left, right = counts
    pads = n.constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
    inputs = (n.input, pads) if fill is None else (n.input, pads, fill)
    shape = (9 + top + bottom, 8 + left + right, 6)
    return n.op(name, inputs, n.like(n.input, shape), **options)


def strided(n: Net, begin: list[int], end: list[int], steps: list[int], **masks: int) -> int:
    return n.part(n.input, SHAPE, "STRIDED_SLICE", begin, end, steps, **masks)


def split(n: Net, name: str, axis: int, parts: int, counts: list[int] | None = None) -> int:
    outputs = tuple(n.like(n.input, (9, 8, 2)) for _ in range(parts))
    place = n.constant(np.array(axis, np.int32))
    inputs = (place, n.input)
    if counts is not None:
        inputs = (n.input, n.constant(np.array(counts, np.int32)), place)
    return n.ops(name, inputs, outputs, NumSplits=parts)[0]


def grown(n: Net, size: tuple[int, int], channels: int = 6, kernel: int = 3) -> int:
    shape = n.constant(np.array((1, *size, 4), np.int32))
    weight = n.constant(n.weight((4, kernel, kernel, channels)), n.weight_scale(4))
    y = n.tensor((1, *size, 4), 1.0)
    return n.op(
        "TRANSPOSE_CONV", (shape, weight, n.input), y, Padding=SAME, StrideH=2, StrideW=2,
        FusedActivationFunction=NONE,
    )  # fmt: skip


def softened(n: Net, alpha: float) -> int:
    return n.function("LEAKY_RELU", n.input, 0.1, 0, Alpha=alpha)


def bilinear(n: Net, factor: int, **options: bool) -> int:
    size = (9 * factor, 8 * factor)
    return n.part(n.input, (*size, 6), "RESIZE_BILINEAR", size, **options)


def softmax_inside(n: Net) -> int:
    y = n.mean(n.input)
    y = n.op("SOFTMAX", (y,), n.tensor((1, 6), 1 / 256, -128), Beta=1.0)
    return n.dense(y, 4)


def other_scale(n: Net) -> int:
    y = n.rescaled(n.input, (9, 8, 12), 2)
    return n.op("CONCATENATION", (n.input, n.input), y, Axis=3, FusedActivationFunction=NONE)


def along_rows(n: Net) -> int:
    y = n.like(n.input, (18, 8, 6))
    return n.op("CONCATENATION", (n.input, n.input), y, Axis=1, FusedActivationFunction=NONE)


def padded_channels(n: Net) -> int:
    pads = n.constant(np.array([[0, 0], [0, 0], [0, 0], [1, 1]], np.int32))
    return n.op("PAD", (n.input, pads), n.like(n.input, (9, 8, 8)))


def resized(n: Net, size: tuple[int, int], **options: bool) -> int:
    target = n.constant(np.array(size, np.int32))
    return n.op("RESIZE_NEAREST_NEIGHBOR", (n.input, target), n.like(n.input, (*size, 6)),
                **options)  # fmt: skip


def unsigned_weights(n: Net) -> int:
    y = n.conv(n.input, 4)
    weight = n.tensors[_weight(n)]
    weight.data, weight.dtype = weight.data.view(np.uint8), np.dtype(np.uint8)
    return y


def shifted_weights(n: Net) -> int:
    y = n.conv(n.input, 4)
    n.tensors[_weight(n)].zero = (1,) * 4
    return y


def widest_weights(n: Net) -> int:
    y = n.conv(n.input, 4)
    n.tensors[_weight(n)].data[0, 0, 0, 0] = -128
    return y


def scales_of_inputs(n: Net) -> int:
    y = n.conv(n.input, 6)
    n.tensors[_weight(n)].axis = 3
    return y


def computed_weights(n: Net) -> int:
    y = n.dense(n.input, 432)
    op = n.operators[0]
    op.inputs = (op.inputs[0], n.input, op.inputs[2])
    return y


def int16_output(n: Net) -> int:
    y = n.conv(n.input, 4)
    n.tensors[y].dtype = np.dtype(np.int16)
    return y


def wrong_output(n: Net) -> int:
    y = n.conv(n.input, 4)
    n.tensors[y].shape = (1, 9, 8, 5)
    return y


def another_batch(n: Net) -> int:
    return n.dense(n.op("RESHAPE", (n.input,), n.tensor((2, 216), 0.1)), 4)


def tanh(n: Net) -> int:
    return n.conv(n.input, 4, act=4)


def many_scales(n: Net) -> int:
    y = n.conv(n.input, 4)
    n.tensors[y].scale, n.tensors[y].zero = (0.1,) * 4, (0,) * 4
    return y


def _weight(n: Net) -> int:
    return n.operators[0].inputs[1]


CASES: dict[str, tuple[Callable[[Net], int], str]] = {
    "newer operator": (
        lambda n: n.op("SIGN", (n.input,), n.like(n.input, SHAPE)),
        "SIGN operator 0 ('tensor 1') is not supported; replace the operator",
    ),
    "quotient": (
        lambda n: n.op("DIV", (n.input, n.input), n.like(n.input, SHAPE)),
        "is not supported; multiply by a constant in its place",
    ),
    "dilation": (
        lambda n: n.conv(n.input, 4, dilation=200),
        "has a kernel of 3x3 with dilations (200, 200), which spans 401x401 pixels",
    ),
    "no dilation": (lambda n: n.depthwise(n.input, dilation=0), "with dilations (0, 0), which"),
    "strides": (lambda n: n.conv(n.input, 4, strides=(1, 5)), "stride must be an integer from 1"),
    "stride": (lambda n: n.conv(n.input, 4, stride=5), "stride must be an integer from 1 to 4"),
    "large padded pool": (
        lambda n: n.pool("MAX_POOL_2D", n.input, (8, 8), 1, SAME),
        "kernel height with padding must be an integer from 1 to 7, not 8",
    ),
    "kernel over the map": (
        lambda n: n.conv(n.input, 4, (10, 3), padding=VALID),
        "has a kernel of 10x3 for a map of 9x8",
    ),
    "mean over channels": (
        lambda n: n.mean(n.input, axes=(3,)),
        "averages over axes [3], allowed are height and width",
    ),
    "reshaped map": (reshaped_map, "allowed is the map as it was made, ('batch', 9, 8, 6)"),
    "broadcast": (broadcast, "adds shapes ('batch', 9, 8, 6) and ('batch', 9, 1, 6)"),
    "constant map": (constant_map, "a constant of shape (1, 9, 8, 6) beside ('batch', 9, 8, 6)"),
    "flattened constants": (flattened_constants, "takes the flattened map (432,) and a constant"),
    "huge constants": (huge_constants, "has constants up to 5e+09 for steps of"),
    "bounds": (bounds, "has 6 bounds, allowed is one for all channels"),
    "larger of two": (
        lambda n: joined(n, "MAXIMUM", n.conv(n.input, 6)),
        "takes the larger of two activations, allowed are one and a constant",
    ),
    "slopes below 0": (lambda n: sloped(n, [1, -2, 0, 3, 4, 5]), "has slopes from -0.02, allowed"),
    "computed slopes": (lambda n: sloped(n, None), "computes its slopes, allowed are constants"),
    "slopes of a flat map": (sloped_flat, "takes the flattened map (432,), allowed is a map or"),
    "no slope": (lambda n: softened(n, float("nan")), "has alpha = nan, allowed are finite"),
    "reflected too far": (
        lambda n: padded_by(n, "MIRROR_PAD", [9, 0, 0, 0], Mode=0),
        "cannot run: 9 rows cannot be padded by 9 and 0 in mode 'reflect'; use less padding.",
    ),
    "mirror mode": (
        lambda n: padded_by(n, "MIRROR_PAD", [1, 0, 0, 0], Mode=2),
        "has mode 2, allowed are REFLECT (0) and SYMMETRIC (1)",
    ),
    "computed padding": (
        lambda n: padded_by(n, "PADV2", [1, 0, 0, 0], n.input),
        "pads with no constant number, as it must; use PAD.",
    ),
    "bilinear corners": (
        lambda n: bilinear(n, 2, AlignCorners=True),
        "aligns the corners, allowed is half_pixel_centers or neither",
    ),
    "bilinear by 3": (
        lambda n: bilinear(n, 3, HalfPixelCenters=True),
        "resizes by 3 and 3, allowed are powers of two with weights up to 63 of 9",
    ),
    "bilinear by 8": (
        lambda n: bilinear(n, 8),
        "resizes by 8 and 8, allowed are powers of two with weights up to 63 of 64",
    ),
    "depth": (
        lambda n: n.part(n.input, (18, 16, 1), "DEPTH_TO_SPACE", BlockSize=2),
        "has a block size of 2 for 6 channels",
    ),
    "slice of images": (
        lambda n: strided(n, [1, 0, 0, 0], [2, 9, 8, 6], [1] * 4),
        "takes [(1, 1), (0, 9), (0, 8), (0, 6)] in steps of [1, 1, 1, 1] of shape",
    ),
    "slice backwards": (lambda n: strided(n, [0, 8, 0, 0], [1, 0, 8, 6], [1, -1, 1, 1]), "(8, 0)"),
    "every other channel": (
        lambda n: strided(n, [0] * 4, [1, 9, 8, 6], [1, 1, 1, 2]),
        "in steps of [1, 1, 1, 2]",
    ),
    "new axis": (
        lambda n: strided(n, [0] * 4, [1, 9, 8, 6], [1] * 4, NewAxisMask=2),
        "adds axes or leaves some out by a mask",
    ),
    "slice of three axes": (
        lambda n: strided(n, [0] * 3, [1, 9, 8], [1] * 3),
        "has places of shapes (3,), (3,), (3,) for 4 axes",
    ),
    "split of images": (lambda n: split(n, "SPLIT", 0, 1), "splits axis [0] of 4, allowed is one"),
    "split of rows": (
        lambda n: split(n, "SPLIT", 1, 2),
        "splits 9 places of axis 1 into 2 equal parts",
    ),
    "split that misses some": (
        lambda n: split(n, "SPLIT_V", 3, 2, [2, 2]),
        "splits 6 places of axis 3 into [2, 2] for 2 outputs",
    ),
    "transpose conv of a size": (
        lambda n: grown(n, (17, 13)),
        "makes 17x13 of 9x8, where a convolution would give 9x7 of that",
    ),
    "transpose conv of channels": (
        lambda n: grown(n, (18, 16), 5),
        "with kernels of shape (4, 3, 3, 5) for an input of 6 channels",
    ),
    "softmax inside": (softmax_inside, "stands behind a SOFTMAX, which is left to the host"),
    "other scale": (other_scale, "concat needs equal scale and zero point in and out"),
    "along rows": (along_rows, "has axis 1 for shapes like ('batch', 9, 8, 6)"),
    "padded channels": (padded_channels, "0 for batch and channels; pad height and width alone"),
    "resize down": (lambda n: resized(n, (3, 4)), "makes [3, 4] of 9x8, allowed are whole"),
    "resize corners": (lambda n: resized(n, (27, 24), AlignCorners=True), "makes 27x24 of 9x8"),
    "unsigned weights": (unsigned_weights, "has weights of type UINT8, allowed is dense INT8"),
    "shifted weights": (shifted_weights, "zero points from 1 to 1"),
    "widest weights": (widest_weights, "weights must lie from -127 to 127, but -128 occurs"),
    "scales of inputs": (scales_of_inputs, "has weights with 6 scales along axis 3"),
    "computed weights": (computed_weights, "has weights that are computed"),
    "int16 output": (int16_output, "of type INT16, allowed is INT8"),
    "wrong output": (wrong_output, "has an output of shape (1, 9, 8, 5), where (1, 9, 8, 4)"),
    "another batch": (another_batch, "makes shape (2, 216), allowed are shapes whose first axis"),
    "tanh": (tanh, "has the fused activation TANH, allowed are NONE, RELU"),
    "many scales": (many_scales, "with 4 scales and 4 zero points, allowed is one of each"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_run_is_named(name: str) -> None:
    make, expected = CASES[name]
    net = Net(SHAPE, seed=1)
    content = net.made(make(net))
    with pytest.raises(Obstacles) as caught:
        load(content)
    (sentence,) = caught.value.sentences
    assert str(caught.value) == sentence
    assert expected in sentence
    assert net.operators[-1].name in sentence or " operator 0 (" in sentence
    assert sentence.endswith(".") and ";" in sentence


def test_all_obstacles_come_at_once_and_alike_ones_together() -> None:
    net = Net((16, 16, 4), seed=2)
    x = net.conv(net.input, 4, dilation=200)
    for _ in range(5):
        x = net.op("RSQRT", (net.conv(x, 4),), net.rescaled(x, (16, 16, 4), 1))
    x = net.op("SIN", (x,), net.rescaled(x, (16, 16, 4), 1))
    x = net.conv(x, 8, stride=5, act=RELU)
    content = net.made(net.dense(net.mean(x), 3))
    with pytest.raises(Obstacles) as caught:
        load(content)
    title, *lines = str(caught.value).split("\n")
    assert title == "TFLite network 'network' cannot run for 4 reasons:"
    assert lines == [f"- {each}" for each in caught.value.sentences]
    assert [line.split()[1] for line in lines] == [
        "CONV_2D", "RSQRT", "SIN", "CONV_2D",
    ]  # fmt: skip
    assert (
        "(likewise 4 (" in lines[1] and "2 more) is not supported; replace the operator" in lines[1]
    )


def test_a_float_network_is_told_how_to_be_converted() -> None:
    model = Model()
    x = model.tensor((1, 4), name="x", dtype=np.float32)
    y = model.tensor((1, 4), name="y", dtype=np.float32)
    model.inputs, model.outputs = [x], [model.op("RELU", (x,), y)]
    with pytest.raises(UserError, match="is not quantized to int8, only such.*representative"):
        load(model.write())


@pytest.mark.parametrize("count", [0, 2])
def test_several_inputs_are_refused(count: int) -> None:
    net = Net(SHAPE, seed=3)
    y = net.conv(net.input, 4)
    net.inputs, net.outputs = [net.input, y][:count], [y]
    with pytest.raises(UserError, match=f"has {count} inputs .*one is allowed"):
        load(net.write())


def test_outputs_that_cannot_be_are_refused() -> None:
    net = Net(SHAPE, seed=3)
    y = net.conv(net.input, 4)
    with pytest.raises(UserError, match="has no outputs, at least one is needed"):
        load(net.write())
    net.outputs = [y, net.input]
    with pytest.raises(UserError, match="gives its input 'x' out unchanged"):
        load(net.write())


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 8 + b"TFL3", b"\x08\x07onnx" * 9])
def test_a_file_of_that_ending_must_be_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    with pytest.raises(FileRefused, match=r"^File '.*net.tflite' is no TFLite file; "):
        load(path)


def test_files_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(mobilenet(0)[1])
    assert load(tmp_path / "model").name == "model"
    with pytest.raises(UserError, match="none.tflite' does not exist; give the path of a TFLite"):
        load(tmp_path / "none.tflite")
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(UserError, match="cannot be read .Is no regular file.; give the path"):
        load(tmp_path / "folder.tflite")


def _changed(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    # Weights are most of a file and may be anything, so tables are changed more often.
    places = rng.integers(0, min(len(data), rng.choice([400, 4000, len(data)])), rng.integers(1, 6))
    for place in places:
        place = int(place) if rng.random() < 0.5 else len(data) - 1 - int(place)
        if rng.random() < 0.5:
            data[place] = int(rng.choice([0, 1, 4, 127, 128, 255, int(rng.integers(256))]))
        else:
            value = int(rng.choice([0, 1, 4, 8, 1 << 16, (1 << 31) - 1, (1 << 32) - 1]))
            start = place // 4 * 4
            data[start : start + 4] = value.to_bytes(4, "little")[: len(data) - start]
    return bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_altered_files_load_or_are_refused_in_a_sentence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = mobilenet(seed, 16)[1]
    refused = 0
    for count in range(150):
        altered = _changed(content, rng)
        started = time.monotonic()
        try:
            load(altered)
        except UserError as error:
            refused += 1
            assert str(error).endswith("."), (seed, count)
        assert time.monotonic() - started < 10, (seed, count)
    assert refused > 50


@pytest.mark.parametrize("name", tflite_cases.CASES)
def test_altered_operators_load_or_are_refused_in_a_sentence(name: str) -> None:
    seed = [*tflite_cases.CASES].index(name)
    rng = np.random.default_rng(seed)
    net = Net(SHAPE, seed)
    content = net.made(tflite_cases.CASES[name](net))
    for count in range(40):
        try:
            load(_changed(content, rng))
        except UserError as error:
            assert str(error).endswith("."), (name, seed, count)


def test_truncated_files_are_refused() -> None:
    content = mobilenet(1, 16)[1]
    for length in [*range(8, 200), *range(200, len(content), 97)]:
        with pytest.raises(UserError):
            load(content[:length])


def test_a_small_file_cannot_ask_for_endless_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[tuple[int, str], int] = {}
    create = flatbuffers.Builder.CreateString

    def shared(builder: flatbuffers.Builder, text: str) -> int:
        key = (id(builder), text)
        if key not in made:
            made[key] = create(builder, text)
        return made[key]

    monkeypatch.setattr(flatbuffers.Builder, "CreateString", shared)
    net = Net(SHAPE, seed=4)
    for _ in range(400):
        net.tensor((1, 2), 0.1, name="a" * 50_000)
    content = net.made(net.conv(net.input, 4))
    assert len(content) < 200_000
    with pytest.raises(FileRefused, match="its lists together are too long for the file"):
        load(content)
