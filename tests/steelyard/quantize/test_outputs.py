"""Torch networks of several outputs: names, file, quantizers and integer network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from qdq_graphs import assert_within_a_step
from steelyard import importer, quantize
from steelyard.errors import UserError


class Found(NamedTuple):
    boxes: Tensor
    scores: Tensor


@dataclass
class Kept:
    scores: Tensor
    nothing: Tensor | None
    boxes: Tensor


class Net(nn.Module):
    """Convolution and ReLU, and two convolutions one after the other behind it."""

    def __init__(self, gives: Callable[[Tensor, Tensor, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.gives = gives
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 1)
        self.c = nn.Conv2d(5, 6, 1)

    def forward(self, x: Tensor) -> Any:
        a = self.a(x)
        r = torch.relu(a)
        b = self.b(r)
        return self.gives(a, r, b, self.c(b))


def images() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(20, 3, 8, 8)).astype(np.float32)


def net(gives: Callable[..., Any]) -> nn.Module:
    torch.manual_seed(3)
    return Net(gives).eval()


GIVES: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "tuple": (lambda a, r, b, c: (b, c), ("output0", "output1")),
    "list": (lambda a, r, b, c: [c, b], ("output0", "output1")),
    "list of one": (lambda a, r, b, c: [c], ("output",)),
    "dictionary": (lambda a, r, b, c: {"boxes": b, "all/scores": c}, ("boxes", "all/scores")),
    "named tuple": (lambda a, r, b, c: Found(b, c), ("boxes", "scores")),
    "dataclass": (lambda a, r, b, c: Kept(c, None, b), ("scores", "boxes")),
    "nested": (lambda a, r, b, c: (b, [c, {"tap": r}]), ("output0", "output1/0", "output1/1/tap")),
    "text beside": (lambda a, r, b, c: {"out": c, "names": ["a"]}, ("out",)),
    "tap behind a relu": (lambda a, r, b, c: (r, c), ("output0", "output1")),
    "tap before a relu": (lambda a, r, b, c: (a, c), ("output0", "output1")),
    "one twice": (lambda a, r, b, c: (c, c), ("output0", "output1")),
    "view": (lambda a, r, b, c: (c.flatten(1), c), ("output0", "output1")),
    "joined": (lambda a, r, b, c: (torch.cat([b, c], 1), b), ("output0", "output1")),
    "parts": (lambda a, r, b, c: c.chunk(2, 1), ("output0", "output1")),
    "clamped": (lambda a, r, b, c: (c, torch.relu(c)), ("output0", "output1")),
}


@pytest.mark.parametrize("case", GIVES)
def test_outputs_have_names_and_agree(case: str) -> None:
    gives, names = GIVES[case]
    model, x = net(gives), images()
    content = quantize.quantize(model, x)
    made = onnx.load_from_string(content)
    assert tuple(item.name for item in made.graph.output) == names
    network = importer.load(made)
    assert network.outputs == names
    assert_within_a_step(made, network, x)


def test_the_float_file_gives_what_the_module_gives(tmp_path) -> None:
    model, x = net(GIVES["nested"][0]), images()
    quantize.export_onnx(model, x, tmp_path / "f.onnx")
    assert not model._forward_hooks
    session = onnxruntime.InferenceSession(str(tmp_path / "f.onnx"))
    found = session.run(list(GIVES["nested"][1]), {"input": x})
    with torch.no_grad():
        b, (c, rest) = model(torch.from_numpy(x))
    for one, other in zip(found, (b, c, rest["tap"]), strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-4)


def test_an_output_that_the_file_gets_wrong_is_noticed(tmp_path) -> None:
    """Only the second output depends on a decision that an export fixes."""
    model = net(lambda a, r, b, c: (c, c if float(a.mean()) > 1e6 else c * float(b.mean())))
    with pytest.raises(UserError, match="computes something else in its ONNX file"):
        quantize.export_onnx(model, images(), tmp_path / "f.onnx")


@pytest.mark.parametrize(
    ("gives", "sentence"),
    [
        (lambda a, r, b, c: (c, 3), "gives int '3' as 'output1', allowed are tensors, and tuples"),
        (lambda a, r, b, c: {"input": c}, "gives output 'input', a name that another value has"),
        (lambda a, r, b, c: ((None,), {}), "Model Net gives no tensor, which it must"),
    ],
)
def test_what_is_no_output_is_refused(gives: Callable[..., Any], sentence: str, tmp_path) -> None:
    with pytest.raises(UserError, match=sentence):
        quantize.export_onnx(net(gives), images(), tmp_path / "f.onnx")
    assert not any(tmp_path.iterdir())


def test_a_network_whose_second_output_is_constant_is_refused(tmp_path) -> None:
    model = net(lambda a, r, b, c: (c, torch.ones(1, 4)))
    with pytest.raises(UserError, match="Output 'output1' of ONNX graph .* without it"):
        quantize.quantize(model, images())


def test_a_pass_that_changes_the_second_output_alone_is_noticed(monkeypatch) -> None:
    from steelyard.quantize import normalize

    right = normalize.fold_constants

    def wrong(model: onnx.ModelProto) -> None:
        right(model)
        (bias,) = (item for item in model.graph.initializer if item.name.endswith("c.bias"))
        values = onnx.numpy_helper.to_array(bias) + np.float32(0.1)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))

    monkeypatch.setattr(normalize, "fold_constants", wrong)
    with pytest.raises(UserError, match="would give other scores after its constants are folded"):
        quantize.quantize(net(lambda a, r, b, c: (b, c)), images())
