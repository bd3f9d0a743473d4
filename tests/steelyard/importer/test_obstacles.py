"""Obstacles of float graphs: what is listed is what the importer refuses, and all of it at once."""

import itertools
import random

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from qdq_graphs import start
from steelyard import quantize
from steelyard.errors import UserError
from steelyard.importer import load
from steelyard.importer.obstacles import obstacles


def exported(model: nn.Module, shape: tuple[int, ...], path) -> onnx.ModelProto:
    images = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    quantize.export_onnx(model.eval(), images, path)
    return onnx.load(path)


class Add(nn.Module):
    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x):
        return self.left(x) + self.right(x)


class Join(Add):
    def forward(self, x):
        return torch.cat([self.left(x), self.right(x), x], 1)


class Then(nn.Module):
    """A function behind a layer."""

    def __init__(self, layer: nn.Module, function) -> None:
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x):
        return self.function(self.layer(x))


FLAT = (nn.Flatten(), nn.Linear(4 * 6 * 6, 3))
STEM = (nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())
CASES = {
    "plain": (nn.Sequential(*STEM, *FLAT), ()),
    "residual": (Add(nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 3, padding=1)), ()),
    "joined": (nn.Sequential(Join(nn.Conv2d(2, 4, 1), nn.ReLU()), nn.Conv2d(8, 4, 1)), ()),
    "joined rows": (Then(STEM[0], lambda y: torch.cat([y, y], 2)), ("Concat",)),
    "padded sum": (Add(nn.ZeroPad2d((1, 0, 0, 9)), nn.ConstantPad2d((0, 1, 9, 0), 0)), ()),
    "part": (Then(STEM[0], lambda y: y[:, 1:, 2:4]), ()),
    "parts": (Then(STEM[0], lambda y: torch.add(*torch.chunk(y, 2, 1))), ()),
    "every other row": (Then(STEM[0], lambda y: y[:, :, ::2]), ()),
    "every other channel": (Then(STEM[0], lambda y: y[:, ::2]), ("steps",)),
    "upsampled": (nn.Sequential(*STEM, nn.Upsample(scale_factor=2)), ()),
    "bilinear": (nn.Sequential(*STEM, nn.Upsample(scale_factor=2, mode="bilinear")), ()),
    "bicubic": (nn.Sequential(*STEM, nn.Upsample(scale_factor=2, mode="bicubic")), ("mode",)),
    "shuffled": (nn.Sequential(*STEM, nn.PixelShuffle(2)), ()),
    "pool first": (nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3)), ()),
    "relu6": (nn.Sequential(*STEM, nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), ()),
    "view": (Then(STEM[0], lambda y: y.view(y.size(0), -1)), ()),
    "norm": (nn.Sequential(STEM[0], nn.BatchNorm2d(4), nn.ReLU()), ()),
    "norm of vectors": (nn.Sequential(*STEM, *FLAT, nn.BatchNorm1d(3)), ()),
    "mean of rows": (Then(STEM[0], lambda y: y.mean(3)), ()),
    "mean of channels": (Then(STEM[0], lambda y: y.mean(1)), ("axes",)),
    "mean": (Then(STEM[0], lambda y: y.mean((2, 3))), ()),
    "grouped": (nn.Sequential(*STEM, nn.Conv2d(4, 4, 3, groups=2), nn.Flatten()), ()),
    "dilated": (nn.Sequential(*STEM, nn.Conv2d(4, 4, 2, dilation=2)), ()),
    "strides": (nn.Sequential(*STEM, nn.Conv2d(4, 4, 3, stride=(1, 2))), ()),
    "stride 4": (nn.Sequential(nn.Conv2d(2, 4, 3, stride=4), nn.ReLU()), ()),
    "large stride": (nn.Sequential(nn.Conv2d(2, 4, 3, stride=5), nn.ReLU()), ("stride",)),
    "large padded kernel": (nn.Conv2d(2, 4, 9, padding=4), ()),
    "large kernel": (nn.Sequential(nn.ZeroPad2d(3), *STEM, nn.Conv2d(4, 2, 11)), ()),
    "large pool": (nn.Sequential(*STEM, nn.MaxPool2d(5, stride=16, padding=2)), ("stride",)),
    "all at once": (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.Softmax2d(), nn.Conv2d(4, 4, 3, dilation=2),
            nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 1, stride=(2, 5)), nn.Flatten(),
            nn.LogSoftmax(1),
        ),
        ("Softmax", "InstanceNorm", "stride", "LogSoftmax"),
    ),
    "transposed": (nn.Sequential(*STEM, nn.ConvTranspose2d(4, 2, 2)), ()),
    "product": (Then(STEM[0], lambda y: y * torch.sigmoid(y)), ()),
    "excited": (Then(STEM[0], lambda y: y * y.mean((2, 3), keepdim=True)), ()),
    "product of rows": (Then(STEM[0], lambda y: y * y[:, :, :1]), ("multiplies tensors",)),
    "quotient": (Then(STEM[0], lambda y: y[:, 2:] / y[:, :2]), ("divides one activation",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_obstacle_is_named(tmp_path, name):
    model, words = CASES[name]
    found = obstacles(exported(model, (2, 6, 6), tmp_path / "f.onnx"))
    assert len(found) == len(words), found
    for word, sentence in zip(words, found, strict=True):
        assert word in sentence and "; " in sentence and sentence.endswith("."), found
        assert "uantize" not in sentence


def test_conv1d_is_named_once_with_its_input():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> one (float[n,4,16] x, float[8,4,3] w,'
        " float[8,3] m) => (float[n,3] y)"
        " { a = Conv(x, w) b = LpNormalization(a) c = GlobalAveragePool(b) d = Flatten(c)"
        " y = Gemm(d, m) }"
    )
    for name, shape in (("w", (8, 4, 3)), ("m", (8, 3))):
        constant = onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        model.graph.initializer.append(constant)
    found = obstacles(model)
    assert len(found) == 2 and "3 axes" in found[0] and "LpNormalization" in found[1], found


def test_nodes_that_fail_alike_share_a_sentence(tmp_path):
    layers = [nn.InstanceNorm2d(2) if i % 2 else nn.Conv2d(2, 2, 3, padding=1) for i in range(12)]
    found = obstacles(exported(nn.Sequential(*layers), (2, 6, 6), tmp_path / "f.onnx"))
    alike = [sentence for sentence in found if sentence.startswith("InstanceNormalization node")]
    assert len(alike) == 2 and "likewise" in alike[0] and "2 more" in alike[0], found
    # The last of them can be the host's.
    assert alike[1].endswith(".") and "--cut" in alike[1] and "likewise" not in alike[1]


def test_several_inputs_and_outputs_that_are_none():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> two (float[1,2] a, float[1,2] b)'
        " => (float[1,2] c, float[1,2] d, float[1,2] d, float[1,2] a)"
        " { c = Add(a, b) d = Relu(a) }"
    )
    words = ["2 inputs ('a', 'b')", "lists output 'd' 2 times", "gives its input 'a' out unchanged"]
    found = obstacles(model)
    assert len(found) == len(words)
    assert all(part in sentence for part, sentence in zip(words, found, strict=True)), found


def test_an_output_that_does_not_depend_on_the_input_is_one_of_several():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> two (float[n,2] a)'
        " => (float[n,2] c, float[2] d) { d = Constant<value_floats = [1.0, 2.0]>() c = Relu(a) }"
    )
    (found,) = obstacles(model)
    assert found == (
        "Network output 'd' does not depend on the input; export the network without it."
    )


LAYERS = {
    "conv": lambda c: nn.Conv2d(c, 4, 3, padding=1),
    "grouped": lambda c: nn.Conv2d(c, 4, 3, padding=1, groups=2),
    "stride": lambda c: nn.Conv2d(c, 4, 3, stride=(1, 2), padding=1),
    "valid": lambda c: nn.Conv2d(c, 4, 2, padding="valid"),
    "same": lambda c: nn.Conv2d(c, 4, 3, padding="same"),
    "reflect": lambda c: nn.Conv2d(c, 4, 3, padding=1, padding_mode="reflect"),
    "pad": lambda c: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(c, 4, 3)),
    "average": lambda c: nn.AvgPool2d(2, padding=1, count_include_pad=False),
    "max": lambda c: nn.MaxPool2d(2, stride=1),
    "sigmoid": lambda c: nn.Sigmoid(),
    "leaky": lambda c: nn.LeakyReLU(0.1),
    "clip": lambda c: nn.Hardtanh(-1, 1),
    "large stride": lambda c: nn.Conv2d(c, 4, 3, stride=5, padding=1),
    "dilated": lambda c: nn.Conv2d(c, 4, 3, padding=2, dilation=2),
    "transposed": lambda c: nn.ConvTranspose2d(c, 4, 3, stride=2, padding=1, groups=2),
    "upsampled": lambda c: nn.Upsample(scale_factor=2),
    "bilinear": lambda c: nn.Upsample(scale_factor=2, mode="bilinear"),
    "bicubic": lambda c: nn.Upsample(scale_factor=2, mode="bicubic"),
    "joined": lambda c: Join(nn.Conv2d(c, 4, 1), nn.ReLU()),
    "part": lambda c: Then(nn.Conv2d(c, 6, 1), lambda y: y[:, 1:5, :, 1:]),
    "parts": lambda c: Then(nn.Conv2d(c, 8, 1), lambda y: torch.add(*torch.chunk(y, 2, 1))),
    "pixels": lambda c: nn.Sequential(nn.Conv2d(c, 16, 1), nn.PixelShuffle(2)),
    "padded sum": lambda c: Add(nn.ZeroPad2d((1, 0, 0, 2)), nn.ConstantPad2d((0, 1, 2, 0), 0)),
    "large kernel": lambda c: nn.Conv2d(c, 4, 9, padding=4),
}
FUNCTIONS = {
    "hard swish": lambda c: nn.Hardswish(),
    "silu": lambda c: nn.SiLU(),
    "gelu": lambda c: nn.GELU(),
    "norm": lambda c: nn.InstanceNorm2d(c),
    "excited": lambda c: Then(nn.Conv2d(c, 4, 1), lambda y: y * y.mean((2, 3), keepdim=True)),
}
SEED = 7
PAIRS = 64


def test_what_is_listed_is_what_the_importer_refuses(tmp_path):
    """Pairs of layers, quantized by the real quantizer and imported: both verdicts must agree."""
    print(f"seed {SEED}")
    images = np.random.default_rng(SEED).standard_normal((4, 4, 7, 7)).astype(np.float32)
    path = tmp_path / "f.onnx"
    drawn = random.Random(SEED).sample(list(itertools.product(LAYERS, LAYERS)), PAIRS)
    makers = {**LAYERS, **FUNCTIONS}
    for first, second in [*drawn, *itertools.product(FUNCTIONS, FUNCTIONS)]:
        parts = [LAYERS["conv"](4)]
        for layer in (makers[first], makers[second], lambda c: nn.Conv2d(c, 2, 1)):
            # A concatenation gives more channels than it takes.
            parts.append(layer(nn.Sequential(*parts)(torch.zeros(1, 4, 7, 7)).shape[1]))
        model = exported(nn.Sequential(*parts), (4, 7, 7), path)
        found = obstacles(model)
        try:
            load(quantize.quantize(path, images))
        except UserError as error:
            assert found, (first, second, str(error))
        else:
            assert found == [], (first, second)


def quantized_with_faults() -> onnx.ModelProto:
    g, x = start()
    y = g.pair(g.op("Relu", g.conv(x, pads=[1] * 4, strides=[1, 0])), 0.05, -128)
    y = g.op("InstanceNormalization", y, *(g.constant(np.ones(4, np.float32)) for _ in range(2)))
    y = g.conv(y, channels=4)
    y = g.pair(g.op("Nothing", y), 0.05)
    return g.model(g.op("Softmax", g.op("Flatten", g.op("GlobalAveragePool", y))))


def test_every_obstacle_of_a_quantized_graph_is_listed_at_once():
    found = obstacles(quantized_with_faults())
    words = ("strides", "InstanceNorm", "Nothing", "Softmax")
    assert len(found) == len(words), found
    for word, sentence in zip(words, found, strict=True):
        assert word in sentence and "; " in sentence and sentence.endswith(".")


def test_missing_quantizers_are_obstacles_unless_they_are_added_next():
    g, x = start()
    y = g.op("Relu", g.conv(x, pads=[1] * 4))
    y = g.op("LpNormalization", g.conv(y, channels=4))
    model = g.model(g.conv(g.pair(y, 0.05), channels=4))
    found = obstacles(model)
    assert len(found) == 3, found
    assert "relu4.out" in found[0] and "steelyard quantize FILE" in found[0]
    assert "LpNormalization" in found[1] and "is float" in found[2]
    (only,) = obstacles(model, completing=True)
    assert only == found[1]


def test_a_layer_beyond_limits_is_named_in_a_quantized_graph():
    g, x = start(3, 40, 40)
    y = g.pair(g.conv(x, strides=[17, 17]), 0.05)
    y = g.pair(g.conv(y, channels=4, strides=[0, 2], pads=[1] * 4), 0.05)
    found = obstacles(g.model(y))
    assert len(found) == 2 and "17" in found[0] and "strides" in found[1], found


def test_a_quantized_graph_without_faults_has_no_obstacle():
    g, x = start()
    y = g.pair(g.op("Relu", g.conv(x, pads=[1] * 4)), 0.05, -128)
    y = g.pair(g.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), 0.05, -128)
    z = g.pair(g.conv(y, channels=4, pads=[1] * 4), 0.07)
    y = g.pair(g.op("Add", y, z), 0.08)
    model = g.model(g.pair(g.op("Flatten", g.op("GlobalAveragePool", y)), 0.01))
    assert obstacles(model) == []
    load(model)


def test_a_node_that_cannot_be_read_is_one_of_several_obstacles():
    model = quantized_with_faults()
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.attribute.append(onnx.helper.make_attribute("colour", "red"))
    found = obstacles(model)
    assert "'colour'" in found[0] and len(found) == 4, found


def test_nodes_of_every_output_are_listed():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> two (float[1,2] a)'
        " => (float[1,2] c, float[1,2] d) { c = Sin(a) d = Cos(a) }"
    )
    found = obstacles(model)
    assert [next(w for w in ("Sin", "Cos") if w in s) for s in found] == ["Sin", "Cos"]


def test_a_bad_quantizer_is_named_and_not_the_dequantizer_behind_it():
    g, x = start()
    scales = (g.constant(np.full(4, 0.05, np.float32)), g.constant(np.zeros(4, np.int8)))
    codes = g.op("QuantizeLinear", g.conv(x, pads=[1] * 4), *scales, axis=1)
    y = g.op("DequantizeLinear", codes, *scales, axis=1)
    model = g.model(g.pair(g.op("Flatten", g.op("GlobalAveragePool", y)), 0.01))
    (only,) = obstacles(model)
    assert only.startswith("QuantizeLinear node") and "4 scales for an activation" in only


def test_an_output_quantizer_without_inputs_is_one_of_several_obstacles():
    g, x = start()
    model = g.model(g.pair(g.op("Resize", x), 0.1))
    quantizer = next(node for node in reversed(model.graph.node) if node.op_type[0] == "Q")
    del quantizer.input[:]
    (sentence,) = obstacles(model)
    assert sentence.startswith(f"QuantizeLinear node {quantizer.name!r} has 0 inputs")
