"""What a quantizer may change and what it may not, with each fault planted into a right result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from float_variants import Draft
from steelyard.errors import UserError
from steelyard.quantize import quantize_measured, static
from steelyard.quantize.normalize import Normalized, normalized
from steelyard.quantize.proof import prove

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((12, 3, 10, 10)).astype(np.float32)


@pytest.fixture
def pair(images: np.ndarray, tmp_path: Path) -> tuple[Normalized, onnx.ModelProto]:
    """A float network and its quantized form."""
    made = Draft(np.random.default_rng(4)).conv().relu()
    made.node("Clip", np.float32(0.2), np.float32(1.5)).conv(8).relu()
    path = tmp_path / "f.onnx"
    onnx.save(made.tail().model(), path)
    reference = normalized(path, images, tmp_path)
    return reference, static._quantized(reference, images, "minmax", tmp_path)


def stored(model: onnx.ModelProto, ending: str) -> onnx.TensorProto:
    return next(item for item in model.graph.initializer if item.name.endswith(ending))


def edited(item: onnx.TensorProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = numpy_helper.to_array(item).copy()
    item.CopyFrom(numpy_helper.from_array(change(array).astype(array.dtype), item.name))


def drop(operator: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        node = next(each for each in model.graph.node if each.op_type == operator)
        for other in model.graph.node:
            other.output[:] = [node.output[0] if v == node.input[0] else v for v in other.output]
        model.graph.node.remove(node)

    return change


def move_a_weight(model: onnx.ModelProto) -> None:
    def change(codes: np.ndarray) -> np.ndarray:
        codes.flat[np.argmin(np.abs(codes.astype(int)))] += 2
        return codes

    edited(next(i for i in model.graph.initializer if len(i.dims) == 4), change)


def move_a_bias(model: onnx.ModelProto) -> None:
    edited(next(i for i in model.graph.initializer if i.data_type == onnx.TensorProto.INT32),
           lambda codes: codes + 1)  # fmt: skip


def halve_a_scale(model: onnx.ModelProto) -> None:
    """Of a DequantizeLinear alone, so that codes are read otherwise than they were written."""
    codes = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    node = [each for each in model.graph.node if each.input[0] in codes][2]
    scale = next(item for item in model.graph.initializer if item.name == node.input[1])
    other = numpy_helper.from_array(numpy_helper.to_array(scale) / 2, "other")
    model.graph.initializer.append(other)
    node.input[1] = "other"


def other_stride(model: onnx.ModelProto) -> None:
    node = next(each for each in model.graph.node if each.op_type == "Conv")
    node.attribute.append(helper.make_attribute("dilations", [1, 1]))


def swap_readers(model: onnx.ModelProto) -> None:
    """The second layer reads what the first reads."""
    layers = [each for each in model.graph.node if each.op_type in ("GlobalAveragePool", "Conv")]
    layers[2].input[0] = layers[1].input[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (drop("Relu"), "Relu node 'Relu_v4' is missing after quantization"),
        (drop("Clip"), "Clip node 'Clip_v2' is missing after quantization"),
        (move_a_weight, "Layer 'Conv_v0' has weights that quantization by onnxruntime moved by up"),
        (move_a_bias, "has a bias that quantization by onnxruntime moved by up to 1"),
        (halve_a_scale, "gives values that differ by .* steps from the float network's"),
        (other_stride, "Conv node 'Conv_v0' has other attributes after quantization"),
        (swap_readers, "gives values that differ by"),
    ],
)
def test_a_changed_function_is_named(pair, images, change: Change, sentence: str) -> None:
    reference, quantized = pair
    prove(reference, quantized, images, lambda *_: None)
    change(quantized)
    with pytest.raises(UserError, match=sentence):
        prove(reference, quantized, images, lambda *_: None)


def test_lost_zeros_are_named(pair, images) -> None:
    reference, quantized = pair
    weight = next(item for item in reference.model.graph.initializer if len(item.dims) == 4)
    edited(weight, lambda values: np.where(np.abs(values) < 0.2, 0, values))
    with pytest.raises(UserError, match="Layer 'Conv_v0' lost pruned zeros or holds -128"):
        prove(reference, quantized, images, lambda *_: None)


def test_noise_of_each_layer_is_that_of_rounding(pair, images) -> None:
    reference, quantized = pair
    rows, count = prove(reference, quantized, images, lambda *_: None)
    assert count == len(images)
    assert [(row.operator, row.name) for row in rows] == [
        ("input", "x"), ("Clip", "Clip_v2"), ("Relu", "Relu_v4"),
        ("GlobalAveragePool", "GlobalAveragePool_v5"), ("Flatten", "Flatten_v6"),
        ("Gemm", "Gemm_v7"),
    ]  # fmt: skip
    first = rows[0]
    # Rounding to steps of s adds s**2 / 12.
    power = 10 * np.log10(np.mean(images.astype(np.float64) ** 2) / (first.scale**2 / 12))
    assert first.snr_db == pytest.approx(power, abs=0.2)
    assert (first.low, first.high, first.clipped) == (images.min(), images.max(), 0)
    assert rows[1].low == pytest.approx(0.2) and rows[1].high == pytest.approx(1.5)
    assert all(row.snr_db > 25 and row.warning() is None for row in rows)


def test_a_layer_that_is_zero_on_all_images_is_warned_of(images, tmp_path: Path) -> None:
    made = Draft(np.random.default_rng(4)).conv().relu()
    source = made.value
    weight = -np.abs(made.values(8, 8, 3, 3, scale=0.1))
    made.node("Conv", weight, np.full(8, -1, np.float32), pads=[1] * 4).relu()
    path = tmp_path / "f.onnx"
    onnx.save(made.node("Add", source).tail().model(), path)
    result = quantize_measured(path, images)
    assert [text for text in result.warnings() if "gives 0 on all calibration images" in text] == [
        "Layer 'Relu_v3' gives 0 on all calibration images, so that its scale stands for nothing; "
        "calibrate with images that reach it."
    ]


def test_calibration_takes_lists_and_other_floats(images, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "f.onnx"
    onnx.save(Draft(np.random.default_rng(4)).conv().relu().tail().model(), path)
    expected = quantize_measured(path, images).content
    for given in (images.tolist(), images.astype(np.float64), torch.from_numpy(images)):
        assert quantize_measured(path, given).content == expected


def test_images_with_channels_last_are_told_how_to_be_turned(images, tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    onnx.save(Draft(np.random.default_rng(4)).conv().relu().tail().model(), path)
    turned = np.transpose(images, (0, 2, 3, 1))
    with pytest.raises(UserError, match="channels come first") as caught:
        quantize_measured(path, turned)
    advice = str(caught.value).split(" with ")[1].rstrip(".")
    fixed = eval(advice, {"numpy": np, "images": turned})
    assert quantize_measured(path, np.ascontiguousarray(fixed)).layers


def test_what_will_not_compile_is_said_before_the_work(images, tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    made = Draft(np.random.default_rng(4)).conv().node("Hardmax", axis=1).conv(4)
    onnx.save(made.node("Softmax", axis=1).tail().model(), path)
    said: list[str] = []
    quantize_measured(
        path, images, warn=said.append, progress=lambda done, of, now: said.append(now)
    )
    calibrating = said.index("calibrating")
    first = said[:calibrating]
    assert [text.split(" node ")[0].split()[-1] for text in first if "not compile" in text] == [
        "Hardmax", "Softmax",
    ]  # fmt: skip


def test_two_runs_give_the_same_bytes_and_rows(images, tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    onnx.save(Draft(np.random.default_rng(4)).conv().norm().relu().tail().model(), path)
    assert quantize_measured(path, images) == quantize_measured(path, images)


def test_a_small_file_cannot_ask_for_all_memory(images, tmp_path: Path) -> None:
    made = Draft(np.random.default_rng(4))
    source = made.conv().relu().value
    bomb = made.node("ConstantOfShape", first=made.constant(np.full(5, 1 << 12, np.int64))).value
    made.node("ReduceSum", keepdims=0)
    made.node("Add", made.value, first=source)
    path = tmp_path / "f.onnx"
    onnx.save(made.tail().model(), path)
    with pytest.raises(UserError, match=rf"ConstantOfShape node 'ConstantOfShape_{bomb}' makes"):
        quantize_measured(path, images)
    made = Draft(np.random.default_rng(4)).conv()
    made.node("Resize", None, np.array([1, 1, 3000, 3000], np.float32)).relu()
    onnx.save(made.tail().model(), path)
    with pytest.raises(UserError, match="Resize node 'Resize_v1' makes 7200000000 elements for"):
        quantize_measured(path, images)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.graph.output.append(m.graph.output[0]), "lists output .* 2 times"),
        (lambda m: m.graph.input.append(helper.make_tensor_value_info("z", 1, [1])),
         r"has 2 inputs \('x', 'z'\), one is allowed"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 2),
         "Network input 'x' is of type UINT8, allowed are FLOAT, FLOAT16 and DOUBLE"),
        (lambda m: setattr(m.opset_import[0], "version", 99), "uses opset 99, allowed are 7 to"),
        (lambda m: setattr(m.graph.node[0], "op_type", "Convolution"), "cannot be run by"),
        (lambda m: m.graph.node[0].input.__setitem__(0, "nothing"),
         "Conv node 'Conv_v0' reads 'nothing', which nothing makes"),
    ],
)  # fmt: skip
def test_what_is_no_float_network_is_refused(images, tmp_path: Path, change, sentence) -> None:
    model = Draft(np.random.default_rng(4)).conv().relu().tail().model()
    change(model)
    path = tmp_path / "f.onnx"
    onnx.save(model, path)
    with pytest.raises(UserError, match=sentence):
        quantize_measured(path, images)
