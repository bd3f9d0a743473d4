"""Export to ONNX and post-training quantization."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from steelyard import quantize
from steelyard.errors import UserError


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def images(count: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2, 6, 6)).astype(np.float32)


def int8_weights(content: bytes) -> list[np.ndarray]:
    model = onnx.load_model_from_string(content)
    arrays = [numpy_helper.to_array(item) for item in model.graph.initializer]
    return [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]


def test_export_folds_batch_norm_and_leaves_the_batch_open(tmp_path: Path) -> None:
    model = network().train()
    model[2].eval()
    model[1].running_var.fill_(3)
    path = tmp_path / "float.onnx"
    quantize.export_onnx(model, images(2), path)
    assert [module.training for module in model] == [True, True, False, True, True, True]
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert "BatchNormalization" not in operators
    session = onnxruntime.InferenceSession(path)
    x = images(5, seed=3)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(session.run(None, {"input": x})[0], expected, rtol=1e-4, atol=1e-5)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ranges", quantize.RANGES)
def test_quantization_is_deterministic_and_close(ranges: str) -> None:
    model, x = network(), images()
    content = quantize.quantize(model, x, ranges=ranges)
    assert content == quantize.quantize(model, x, ranges=ranges)
    options = onnxruntime.SessionOptions()
    # Without this entry, x86 processors that lack VNNI saturate sums of two products at 16 bits.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(content, options)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(x)).numpy()
    found = session.run(None, {"input": x})[0]
    noise = float(np.mean((found - expected) ** 2))
    assert noise < 0.01 * float(np.var(expected, axis=0).mean())


def test_histogram_methods_take_any_number_of_images_and_print_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert quantize.quantize(network(), images(67), ranges="percentile")
    assert capsys.readouterr().out == ""


def test_weights_use_127_steps_and_a_scale_for_each_channel() -> None:
    convolution, matrix = int8_weights(quantize.quantize(network(), images()))
    assert convolution.shape == (8, 2, 3, 3)
    for codes in (convolution.reshape(8, -1), matrix.reshape(4, -1)):
        assert np.abs(codes.astype(np.int16)).max(axis=1).tolist() == [127] * len(codes)


def test_pruned_weights_stay_zero() -> None:
    model = network()
    rng = np.random.default_rng(1)
    kept = torch.from_numpy(rng.random((8, 2, 3, 3)) < 0.25)
    with torch.no_grad():
        model[0].weight.mul_(kept)
        model[0].weight[3] = 0
    convolution, _ = int8_weights(quantize.quantize(model, images()))
    assert not convolution[~kept.numpy()].any()
    assert not convolution[3].any()


def test_float_onnx_file_is_quantized_like_its_module(tmp_path: Path) -> None:
    model, x = network(), images()
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    quantize.export_onnx(model, x, source)
    content = quantize.quantize(source, x, target)
    assert target.read_bytes() == content == quantize.quantize(model, x)
    assert sorted(tmp_path.iterdir()) == [source, target]


def test_nan_weights_are_refused_by_name(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model[5].weight[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"Weight '5\.weight' holds NaN or infinite values"):
        quantize.quantize(model, images())


def test_nan_weights_of_a_file_are_refused_by_layer(tmp_path: Path) -> None:
    path = tmp_path / "float.onnx"
    quantize.export_onnx(network(), images(), path)
    model = onnx.load(path)
    for item in model.graph.initializer:
        array = numpy_helper.to_array(item)
        if array.shape == (4, 8):
            item.CopyFrom(numpy_helper.from_array(np.full_like(array, np.inf), item.name))
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"Layer '/5/Gemm' holds NaN or infinite weights"):
        quantize.quantize(path, images())


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        (images().astype(np.int32), r"are int32 of shape \(24, 2, 6, 6\), allowed is float32"),
        ([[1.0], [2.0, 3.0]], r"are a list of which numpy makes no array"),
        (images()[:, 0], r"of shape \(24, 6, 6\), allowed is float32 \(n, channels, height, width"),
        (images(0), r"of shape \(0, 2, 6, 6\), allowed is float32 .* n at least 1"),
        (np.full((4, 2, 6, 6), np.nan, np.float32), r"hold NaN or infinite values"),
        (images()[:, :1], r"Sequential cannot be exported for an input of shape \(1, 1, 6, 6\)"),
    ],
)
def test_bad_calibration_images_are_refused(calibration: np.ndarray, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        quantize.quantize(network(), calibration)


def test_images_that_do_not_fit_a_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.onnx"
    quantize.export_onnx(network(), images(), path)
    with pytest.raises(UserError, match=r"images of shape \(24, 1, 6, 6\) do not run through"):
        quantize.quantize(path, images()[:, :1])


def test_quantized_file_is_not_quantized_twice(tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize.quantize(network(), images(), path)
    with pytest.raises(UserError, match="is quantized already and misses no quantizer"):
        quantize.quantize(path, images())


def test_unknown_method_is_refused() -> None:
    with pytest.raises(UserError, match="must be one of minmax, percentile, entropy, not 'best'"):
        quantize.quantize(network(), images(), ranges="best")


def test_importing_the_rooms_loads_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, steelyard.quantize, steelyard.importer\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime') if name in sys.modules])"
    )
    folder = Path(quantize.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


class _Odd(nn.Module):
    """A function behind a convolution."""

    def __init__(self, function) -> None:
        super().__init__()
        self.layer, self.function = nn.Conv2d(2, 4, 3), function
        self.register_buffer("mask", torch.full((2, 2), -torch.inf))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x)).mean((2, 3))


def test_masks_of_infinite_values_are_exported(tmp_path: Path) -> None:
    quantize.export_onnx(_Odd(torch.relu), images(2), tmp_path / "odd.onnx")


def _halves(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return x @ x


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: x * 2 if float(x[0, 0, 0, 0]) > 0 else x, r"something else .* differ by"),
        (_halves, r"something else in its ONNX file .* without autocast"),
        (lambda x: torch.fft.fft2(x).real, r"cannot be exported \(Exporting .*replace"),
    ],
)
def test_exports_that_compute_something_else_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], function, sentence: str
) -> None:
    x = images(8) * np.float32([1, -1] * 4).reshape(8, 1, 1, 1)
    with pytest.raises(UserError, match=sentence):
        quantize.export_onnx(_Odd(function), x, tmp_path / "odd.onnx")
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")
