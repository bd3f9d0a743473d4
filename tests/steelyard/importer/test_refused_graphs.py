"""Graphs that the importer refuses, and in which words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from qdq_graphs import Qdq, codes_of, images, start
from steelyard import importer, quantize
from steelyard.errors import UserError


def two_convolutions(g: Qdq, v: str, **attributes: Any) -> str:
    return g.pair(g.conv(v, **attributes), 0.1)


def uneven_pair(
    g: Qdq, v: str, scale: float, zero: int, second: float, point: int, dtype: type
) -> str:
    """Convolution whose DequantizeLinear takes the codes otherwise than they were made."""
    made = (g.constant(np.float32(scale)), g.constant(np.array(zero, dtype)))
    taken = (g.constant(np.float32(second)), g.constant(np.array(point, dtype)))
    codes = g.op("QuantizeLinear", g.conv(v), *made)
    return g.conv(g.op("DequantizeLinear", codes, *taken), 4)


REFUSED: dict[str, tuple[Callable[[Qdq, str], str], str]] = {
    "operator": (
        lambda g, v: g.pair(g.op("Sin", v), 0.1),
        r"Sin node 'sin\d+' is not supported, allowed are Abs, Add, .*; replace the operator or",
    ),
    "foreign operator": (
        lambda g, v: g.pair(g.op("Conv", v, domain="com.other"), 0.1),
        r"com.other.Conv node 'conv\d+' is not supported",
    ),
    "groups": (
        lambda g, v: g.pair(g.conv(v, 1, 4, group=3), 0.1),
        r"Conv node 'conv\d+' has a weight of 4 outputs for 1 channels in each of 3 groups where "
        r"its input has 3 channels; export the network again\.",
    ),
    "dilation": (
        lambda g, v: two_convolutions(g, v, dilations=[2, 200]),
        r"has a kernel of 3x3 with dilations \(2, 200\), which spans 5x401 pixels, allowed are si",
    ),
    "strides of nothing": (
        lambda g, v: two_convolutions(g, v, strides=[0, 2]),
        r"has strides \(0, 2\), allowed are two, for height and width, from 1",
    ),
    "kernel larger than the map": (
        lambda g, v: g.pair(g.op("MaxPool", v, kernel_shape=[11, 3]), 0.02, 5),
        r"has a kernel of 11x3 for a padded map of 9x9, allowed is a kernel up to the map",
    ),
    "average of padding alone": (
        lambda g, v: g.pair(
            g.op("AveragePool", v, kernel_shape=[2, 3], pads=[2, 1, 0, 0]), 0.02, 5
        ),
        r"AveragePool node .* has pads \(2, 1, 0, 0\): window 0 of 2 pixels lies outside of a map",
    ),
    "NaN scale of weights": (
        lambda g, v: g.op("Conv", v, g.weight(np.ones((4, 3, 1, 1), np.int8), np.nan)),
        r"DequantizeLinear node .* has a scale that is not finite and positive \(NaN, .*train or",
    ),
    "NaN weights": (
        lambda g, v: g.pair(
            g.op("Conv", v, g.pair(g.constant(np.full((4, 3, 1, 1), np.nan, np.float32)), 0.1)), 0.1
        ),
        r"takes weights that are NaN or infinite, allowed are finite weights; train or load",
    ),
    "infinite bias": (
        lambda g, v: g.pair(
            g.op("Add", g.conv(v), g.constant(np.full((4, 1, 1), np.inf, np.float32))), 0.1
        ),
        r"Add node .* has a bias that is NaN or infinite",
    ),
    "zero scale of an activation": (
        lambda g, v: g.pair(g.conv(v), 0.0),
        r"has a scale that is not finite and positive",
    ),
    "weight of 255": (
        lambda g, v: g.pair(g.op("Conv", v, g.weight(np.full((4, 3, 1, 1), 255, np.uint8))), 0.1),
        r"has a weight whose codes run from 255 to 255 around their zero point, allowed are -254 ",
    ),
    "weight that is not quantized": (
        lambda g, v: g.pair(g.op("Conv", v, g.constant(np.ones((4, 3, 1, 1), np.float32))), 0.1),
        r"Conv node 'conv\d+' has a weight that is not quantized, allowed is int8; add",
    ),
    "one-dimensional weight": (
        lambda g, v: g.pair(g.op("Conv", v, g.weight(np.ones((4, 3, 3), np.int8))), 0.1),
        r"has a weight of 3 axes, allowed are 4",
    ),
    "channels that do not fit": (
        lambda g, v: g.pair(g.conv(v, channels=2), 0.1),
        r"has a weight of 4 outputs for 2 channels where its input has 3 channels; export the netw",
    ),
    "layer that is not quantized": (
        lambda g, v: g.pair(g.conv(g.op("Relu", g.conv(v)), 4), 0.1),
        r"Conv node .* takes 'relu\d+\.out', which is not quantized, as input 0, allowed is",
    ),
    "output that is not quantized": (
        lambda g, v: g.conv(v),
        r"Network output 'conv\d+\.out' is float, .*; add the missing quantizers with 'steelyard q",
    ),
    "reflection": (
        lambda g, v: g.pair(
            g.conv(g.op("Pad", v, g.constant(np.array([0, 0, 1, 1] * 2)), mode="mirror")), 0.1
        ),
        r"Pad node .* in mode 'mirror' with .*, allowed are zeros, or pixels of the map",
    ),
    "slice with gaps": (
        lambda g, v: g.pair(
            g.op("Slice", v, *(g.constant(np.array([n])) for n in (9, 0, 2, -1))), 0.02, 5
        ),
        r"Slice node .* has steps \[-1\], allowed are 1, and for rows and columns of a map up",
    ),
    "slice of some images": (
        lambda g, v: g.pair(
            g.op("Slice", v, *(g.constant(np.array([n])) for n in (0, 9, 0))), 0.02, 5
        ),
        r"Slice node .* takes images 0 to 9 of a batch of any size, allowed are all images; give",
    ),
    "slice of a flattened map": (
        lambda g, v: g.pair(
            g.op("Slice", g.op("Flatten", v), *(g.constant(np.array([n])) for n in (0, 9, 1))), 0.02
        ),
        r"Slice node .* takes a tensor of shape \('batch', 243\), allowed is the unflattened",
    ),
    "transposed pixels": (
        lambda g, v: g.pair(g.op("Transpose", v, perm=[0, 1, 3, 2]), 0.02, 5),
        r"Transpose node .* reorders the axes of an activation, allowed are channels that become l",
    ),
    "transposed in two ways": (
        lambda g, v: g.pair(
            g.op("Transpose", g.op("Transpose", v, perm=[0, 2, 3, 1]), perm=[0, 2, 1, 3]), 0.02, 5
        ),
        r"Transpose node 'transpose\d+' reorders the axes of an activation, allowed are channels",
    ),
    "convolution of channels that are last": (
        lambda g, v: g.pair(g.conv(g.op("Transpose", v, perm=[0, 2, 3, 1]), 9), 0.1),
        r"Conv node 'conv\d+' takes a map with channels last as input 0, as a Transpose before it ",
    ),
    "sum of two orders": (
        lambda g, v: g.pair(g.op("Add", v, g.op("Transpose", v, perm=[0, 2, 3, 1])), 0.1),
        r"Add node 'add\d+' combines a map with channels last, as a Transpose before it makes it, ",
    ),
    "slopes of channels that are last": (
        lambda g, v: g.pair(
            g.op(
                "PRelu",
                g.pair(g.op("Transpose", v, perm=[0, 2, 3, 1]), 0.02, 5),
                g.constant(np.float32([0.1, 0.2, 0.3])),
            ),
            0.1,
        ),
        r"PRelu node 'prelu\d+' combines a map with channels last, .* with a constant of several ",
    ),
    "smaller map": (
        lambda g, v: g.pair(
            g.op("Resize", v, "", g.constant(np.array([1, 1, 0.5, 1], np.float32)), mode="nearest"),
            0.02,
            5,
        ),
        r"Resize node .* resizes by \[1.0, 1.0, 0.5, 1.0\] along axes \[0, 1, 2, 3\], allowed are",
    ),
    "endless padding": (
        lambda g, v: g.pair(g.conv(v, pads=[1 << 40] * 4), 0.1),
        r"Tensor 'x' is padded by \(1099511627776, .*, allowed are up to 255 rows or columns on",
    ),
    "endless dilation": (
        lambda g, v: g.pair(
            g.op(
                "Conv",
                v,
                g.weight(np.ones((2000, 3, 3, 3), np.int8)),
                dilations=[120, 120],
                pads=[120] * 4,
            ),
            0.1,
        ),
        r"Conv node .* would become a convolution of 348486000 weights, allowed are 268435456; use",
    ),
    "endless stride": (
        lambda g, v: g.pair(
            g.op(
                "ConvTranspose",
                v,
                g.weight(np.ones((3, 2, 3, 3), np.int8), axis=1),
                strides=[1 << 40, 1 << 30],
            ),
            0.1,
        ),
        r"ConvTranspose node .* would become a convolution of \d+ weights, allowed are",
    ),
    "factor that is no number": (
        lambda g, v: g.pair(
            g.op(
                "Resize", v, "", g.constant(np.array([1, 1, np.nan, 1], np.float32)), mode="nearest"
            ),
            0.1,
        ),
        r"Resize node .* resizes by \[1.0, 1.0, nan, 1.0\] along axes",
    ),
    "factor without an end": (
        lambda g, v: g.pair(
            g.op(
                "Resize", v, "", g.constant(np.array([1, 1, 2, 1e30], np.float32)), mode="nearest"
            ),
            0.1,
        ),
        r"Resize node .* resizes by .* to sides of 65535; use nearest upsampling by a whole factor",
    ),
    "concatenation of a concatenation": (
        lambda g, v: g.pair(g.op("Concat", g.op("Concat", v, v, axis=1), v, axis=1), 0.1),
        r"Concat node .* takes 'concat\d+.out', which is not quantized, as input 0, allowed is",
    ),
    "concatenation of rows": (
        lambda g, v: g.pair(g.op("Concat", v, v, axis=2), 0.02, 5),
        r"Concat node .* joins along axis 2 of 4, allowed is the axis of channels \(1\); join al",
    ),
    "concatenation of other maps": (
        lambda g, v: g.pair(g.op("Concat", v, g.pair(g.conv(v), 0.1), axis=1), 0.02, 5),
        r"joins tensors of shapes \('batch', 3, 9, 9\), \('batch', 4, 7, 7\), allowed are shapes",
    ),
    "concatenation of other flattened maps": (
        lambda g, v: g.pair(
            g.op("Concat", g.op("Flatten", v), g.op("Flatten", g.pair(g.conv(v), 0.1)), axis=1), 1
        ),
        r"joins flattened maps of shapes .*, allowed are maps of one height and width; join the m",
    ),
    "concatenation of codes of other scales": (
        lambda g, v: g.op(
            "DequantizeLinear",
            g.op("Concat", codes_of(g, g.conv(v), 0.1), codes_of(g, g.conv(v), 0.2), axis=1),
            g.constant(np.float32(0.1)),
            g.constant(np.int8(3)),
        ),
        r"joins integer codes of different scales or zero points, allowed are equal ones; join",
    ),
    "shapes that differ": (
        lambda g, v: g.pair(g.op("Add", v, g.pair(g.conv(v), 0.1)), 0.1),
        r"adds tensors of shapes \('batch', 3, 9, 9\) and \('batch', 4, 7, 7\), only equal",
    ),
    "mean over channels": (
        lambda g, v: g.pair(g.op("ReduceMean", v, axes=[1]), 0.1),
        r"has axes \[1\], allowed is a mean over height \(2\), width \(3\) or both; use global",
    ),
    "sum of three": (
        lambda g, v: g.pair(g.op("Sum", v, v, v), 0.1),
        r"Sum node .* sums 3 values and rounds once, allowed are two; add them one after the other",
    ),
    "reshape that mixes images": (
        lambda g, v: g.pair(g.op("Reshape", v, g.constant(np.array([9, 27]))), 0.1),
        r"turns \('batch', 3, 9, 9\) into \(9, 27\), allowed are shapes of the same elements",
    ),
    "convolution of a flattened tensor": (
        lambda g, v: g.pair(g.conv(g.op("Flatten", v)), 0.1),
        r"takes a tensor of shape \('batch', 243\), allowed is the unflattened \('batch', 3",
    ),
    "16-bit activations": (
        lambda g, v: g.pair(g.conv(v), 0.1, 0, np.int16),
        r"quantizes an activation to int16, allowed are int8 and uint8",
    ),
    "scales by channel": (
        lambda g, v: g.pair(g.conv(v), [0.1, 0.2, 0.1, 0.2]),
        r"has 4 scales for an activation, one is allowed; quantize activations per tensor\.",
    ),
    "zero points of a pair that differ": (
        lambda g, v: uneven_pair(g, v, 0.1, 3, 0.1, 4, np.int8),
        r"has scale 0.1 and zero point 4 where the QuantizeLinear before it has "
        r"0.1 and 3, allowed are equal ones; make them equal, or ",
    ),
    "zero points of a pair that differ, unsigned": (
        lambda g, v: uneven_pair(g, v, 0.1, 131, 0.1, 3, np.uint8),
        r"and zero point 3 where the QuantizeLinear before it has .* and 131, allowed are equal",
    ),
    "scales of a pair that differ": (
        lambda g, v: uneven_pair(g, v, 0.1, 3, 0.2, 3, np.int8),
        r"has scale 0.2 and zero point 3 where the QuantizeLinear before it has 0.1",
    ),
    "ratio out of range": (
        lambda g, v: g.pair(g.conv(v), 1e-12),
        r"Layer 'conv\d+' has a scale ratio of 1.97\d*e\+08, allowed is less than 2\*\*23",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_graph_is_refused_in_one_sentence(case: str) -> None:
    build, sentence = REFUSED[case]
    graph, value = start()
    with pytest.raises(UserError, match=sentence) as caught:
        importer.load(graph.model(build(graph, value)))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (
            (9, 9),
            "Network input 'x' has 3 axes, allowed are 4 (batch, channels, height, width) or 2",
        ),
        ((3, "rows", 9), "Axis 2 of network input 'x' has no fixed size, only the batch axis may"),
    ],
)
def test_input_of_a_wrong_shape_is_refused(shape: tuple[int | str, ...], sentence: str) -> None:
    graph, value = start(*shape)
    with pytest.raises(UserError, match=re.escape(sentence)):
        importer.load(graph.model(value))


def test_float_graph_is_sent_to_quantize(tmp_path: Any) -> None:
    path = tmp_path / "float.onnx"
    quantize.export_onnx(nn.Conv2d(3, 4, 3), images((3, 5, 5), 1, seed=0), path)
    with pytest.raises(UserError, match=r"is not quantized, .*; run 'steelyard quantize'"):
        importer.load(path)


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ((), "has no outputs, at least one is needed"),
        (("{y}", "more"), "output 'more' is made by no node"),
        (("{y}", "{y}"), "lists output '.*' 2 times, allowed is each name once"),
        (("{y}", "x"), "gives its input 'x' out unchanged"),
        (("{y}", "constant0"), "output 'constant0' is not computed from the input"),
    ],
)
def test_outputs_that_cannot_be_are_refused(outputs: tuple[str, ...], sentence: str) -> None:
    graph, value = start()
    value = graph.pair(graph.conv(value), 0.1)
    model = graph.model(*(each.format(y=value) for each in outputs))
    with pytest.raises(UserError, match=sentence):
        importer.load(model)
