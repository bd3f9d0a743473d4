"""What quantization changed: every weight, every layer on its own inputs, and the noise of each.

Three checks together leave no room for a changed function. Every node of the float graph is in the
quantized one, with the same attributes. Every weight and bias is within half of its own step. Every
layer of the float graph, given the quantized graph's weights and inputs, makes the quantized
graph's output up to half a step of it. All that is left is rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.progress import Progress
from steelyard.quantize.complete import BEFORE_OUTPUT
from steelyard.quantize.edit import Edit
from steelyard.quantize.normalize import Normalized, batches
from steelyard.quantize.sessions import Session

if TYPE_CHECKING:
    import onnx


PROOF_IMAGES = 64
"""Calibration images on which layers are compared, spread evenly over all."""
HALF_STEP = 0.51
"""Rounding to the nearest code, with what float32 sums may add at a tie."""
FLOAT_NOISE = 2e-6
"""Of the largest value of a tensor: what the order of a float32 sum may change."""
LOW_DB = 10.0
"""Below this a layer's codes say little of its values."""
BYTES_A_BATCH = 1 << 28
"""Most bytes of activations that are held at a time."""
LINEAR = ("Conv", "Gemm", "MatMul", "ConvTranspose")


@dataclass(frozen=True)
class LayerNoise:
    """Noise of one quantized activation, over all images that were compared.

    Members
    -------
    name : the node that makes it in the float graph; the network's input has its own name
    operator : ONNX operator of that node, ``input`` for the network's input
    tensor : name of the value
    snr_db : power of the float values over that of the difference between the two networks, each
        run on its own from the input, in dB; infinite where nothing differs
    scale : real value of one step
    low, high : smallest and largest float value
    clipped : share of the float values that lie outside the codes' range
    """

    name: str
    operator: str
    tensor: str
    snr_db: float
    scale: float
    low: float
    high: float
    clipped: float

    def warning(self) -> str | None:
        """Sentence if the codes say little of the values, else None."""
        if self.low == self.high:
            return (
                f"Layer {self.name!r} gives {self.low:g} on all calibration images, so that its "
                "scale stands for nothing; calibrate with images that reach it."
            )
        if self.snr_db < LOW_DB:
            return (
                f"Layer {self.name!r} is left with a signal-to-noise ratio of {self.snr_db:.1f} dB "
                f"({LOW_DB:g} is little); calibrate with more images or other --ranges."
            )
        return None


@dataclass(frozen=True)
class _Activation:
    """A quantized activation: its name in the float graph and behind the DequantizeLinear."""

    tensor: str
    real: str
    scale: float
    low: float
    high: float


def prove(
    reference: Normalized,
    quantized: onnx.ModelProto,
    images: NDArray[np.float32],
    progress: Progress,
) -> tuple[list[LayerNoise], int]:
    """Noise of every layer, and on how many images it was measured.

    Parameters
    ----------
    reference : float graph that was quantized
    quantized : what became of it
    images : calibration images, float32, batch first
    progress : called with images done, images in all and what is being done

    Raises
    ------
    UserError
        If anything but rounding differs; names the layer.
    """
    _check_nodes(reference.model, quantized)
    stored = _check_constants(reference.model, quantized)
    activations = _activations(reference.model, quantized)
    places = np.linspace(0, len(images) - 1, min(PROOF_IMAGES, len(images))).astype(int)
    chosen = images[np.unique(places)]

    made = {name: node for node in reference.model.graph.node for name in node.output}
    inner = [each for each in activations if each.tensor in made]
    name = reference.model.graph.input[0].name
    whole = Session(_with_outputs(reference.model, [each.tensor for each in inner]),
                    [each.tensor for each in inner])  # fmt: skip
    codes = Session(_with_outputs(quantized, [each.real for each in activations]),
                    [each.real for each in activations])  # fmt: skip
    cut = Session(_cut(reference.model, stored, activations), [each.tensor for each in inner])
    sums = {each.tensor: _Sums() for each in activations}
    size = reference.batch or _batch_size(whole, name, chosen)
    done = 0
    for batch in batches(chosen, size) if reference.batch else _slices(chosen, size):
        progress(done, len(chosen), "comparing")
        real = dict(zip((a.tensor for a in activations), codes.run({name: batch}), strict=True))
        floats = dict(zip((a.tensor for a in inner), whole.run({name: batch}), strict=True))
        floats[name] = batch
        fed = {_fed(tensor): values for tensor, values in real.items()}
        if name not in real:
            fed[name] = batch
        alone = dict(zip((a.tensor for a in inner), cut.run(fed), strict=True))
        alone[name] = batch
        for each in activations:
            _check_layer(each, alone[each.tensor], real[each.tensor], made.get(each.tensor))
            sums[each.tensor].add(floats[each.tensor], real[each.tensor], each)
        done += len(batch)
    progress(done, len(chosen), "comparing")
    rows = [sums[each.tensor].noise(each, made.get(each.tensor)) for each in activations]
    return rows, len(chosen)


class _Sums:
    """Signal, noise, ends and clipped values of one tensor over the batches."""

    def __init__(self) -> None:
        self.signal = self.difference = 0.0
        self.low, self.high = np.inf, -np.inf
        self.clipped = self.count = 0

    def add(self, floats: NDArray[Any], real: NDArray[Any], bounds: _Activation) -> None:
        values = floats.astype(np.float64)
        self.signal += float(np.sum(values**2))
        self.difference += float(np.sum((values - real) ** 2))
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        half = bounds.scale / 2
        outside = (values < bounds.low - half) | (values > bounds.high + half)
        self.clipped += int(np.count_nonzero(outside))
        self.count += values.size

    def noise(self, each: _Activation, node: onnx.NodeProto | None) -> LayerNoise:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = 10 * np.log10(np.float64(self.signal) / np.float64(self.difference))
        return LayerNoise(
            each.tensor if node is None else node.name,
            "input" if node is None else node.op_type,
            each.tensor,
            float(np.inf) if not self.difference else float(ratio),
            each.scale,
            self.low,
            self.high,
            self.clipped / self.count,
        )


def _check_nodes(reference: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
    found = {node.name: node for node in quantized.graph.node}
    for node in reference.graph.node:
        other = found.get(node.name)
        same = other is not None and other.op_type == node.op_type and (
            sorted(each.SerializeToString() for each in other.attribute)
            == sorted(each.SerializeToString() for each in node.attribute)
        )  # fmt: skip
        if not same:
            what = "is missing" if other is None else "has other attributes"
            raise UserError(
                f"{node.op_type} node {node.name!r} {what} after quantization by onnxruntime, "
                "allowed is the same network with rounded values; simplify the model around it."
            )


def _check_constants(
    reference: onnx.ModelProto, quantized: onnx.ModelProto
) -> dict[str, list[NDArray[np.float32]]]:
    """Weight and bias of every layer as the quantized graph has them, by node name."""
    before, after = Edit(reference), Edit(quantized)
    found = {node.name: node for node in after.nodes}
    stored: dict[str, list[NDArray[np.float32]]] = {}
    for node in before.nodes:
        if node.op_type not in LINEAR:
            continue
        kept = []
        for index in range(1, len(node.input)):
            wanted = before.constant(node.input[index])
            if wanted is None:
                raise UserError(
                    f"{node.op_type} node {node.name!r} computes its weight or bias from data, "
                    "allowed are constants; use an ordinary layer."
                )
            kept.append(_constant(after, found[node.name], index, wanted))
        stored[node.name] = kept
    return stored


def _constant(
    after: Edit, node: onnx.NodeProto, index: int, wanted: NDArray[Any]
) -> NDArray[np.float32]:
    """Constant of the quantized graph, proved to be the float one up to half a step."""
    maker = after.producer(node.input[index]) if len(node.input) > index else None
    codes = None if maker is None else after.constant(maker.input[0])
    if maker is None or maker.op_type != "DequantizeLinear" or codes is None:
        raise UserError(
            f"Layer {node.name!r} was not quantized to int8, allowed are layers whose input is an "
            "activation; simplify the model around it."
        )
    scale = after.constant(maker.input[1])
    axis = next((item.i for item in maker.attribute if item.name == "axis"), 1)
    assert scale is not None
    steps = scale.astype(np.float64)
    if steps.size > 1:
        steps = steps.reshape([-1 if place == axis else 1 for place in range(codes.ndim)])
    weight = index == 1
    if codes.shape != wanted.shape or (weight and codes.dtype != np.int8):
        raise UserError(
            f"Layer {node.name!r} was not quantized to int8, allowed are layers whose input is an "
            "activation; simplify the model around it."
        )
    if weight and (np.any(codes[wanted == 0]) or codes.min(initial=0) < -127):
        raise UserError(
            f"Layer {node.name!r} lost pruned zeros or holds -128 after quantization, only "
            "symmetric weights are allowed; report this model as a fault of steelyard."
        )
    with np.errstate(all="ignore"):  # of an infinite scale; nothing agrees with what comes of it
        real = codes * steps
    # Scales are rounded to float32, which moves the largest codes by a little.
    allowed = HALF_STEP * steps + FLOAT_NOISE * np.abs(wanted)
    # NaN is no agreement either.
    if not np.all(np.abs(real - wanted) <= allowed):
        worst = float(np.max(np.abs(real - wanted) / steps))
        raise UserError(
            f"Layer {node.name!r} has {'weights' if weight else 'a bias'} that quantization by "
            f"onnxruntime moved by up to {worst:.3g} steps, allowed is half a step of rounding; "
            "check the layer for weights of very different size, and report this model as a fault "
            "of steelyard."
        )
    return real.astype(np.float32)


def _activations(reference: onnx.ModelProto, quantized: onnx.ModelProto) -> list[_Activation]:
    """Quantized activations in the graph's order."""
    known = {name for node in reference.graph.node for name in node.output}
    known.add(reference.graph.input[0].name)
    after = Edit(quantized)
    found = []
    for node in after.nodes:
        if node.op_type != "QuantizeLinear" or after.constant(node.input[0]) is not None:
            continue
        tensor = node.input[0]
        if tensor not in known:
            # The network's output keeps its name behind the pair that onnxruntime or we add.
            tensor = tensor.removesuffix("_QuantizeLinear_Input").removesuffix(BEFORE_OUTPUT)
        real = after.only_reader(node.output[0])
        if tensor not in known or real is None or real.op_type != "DequantizeLinear":
            raise UserError(
                f"Value {node.input[0]!r} of the quantized network is none of the float one, so "
                "that nothing can be compared; simplify the model before it is exported."
            )
        scale, zero = after.constant(node.input[1]), after.constant(node.input[2])
        assert scale is not None and zero is not None
        ends = np.iinfo(zero.dtype)
        step, shift = float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0])
        found.append(
            _Activation(tensor, real.output[0], step, (ends.min - shift) * step,
                        (ends.max - shift) * step)
        )  # fmt: skip
    return found


def _fed(tensor: str) -> str:
    return f"{tensor}/fed"


def _cut(
    reference: onnx.ModelProto,
    stored: dict[str, list[NDArray[np.float32]]],
    activations: list[_Activation],
) -> onnx.ModelProto:
    """Float graph of separate layers: each reads what is fed, with the stored constants."""
    from onnx import TensorProto, helper

    model = type(reference)()
    model.CopyFrom(reference)
    edit = Edit(model)
    fed = {each.tensor for each in activations}
    for node in edit.nodes:
        for index, name in enumerate(node.input):
            if name in fed:
                node.input[index] = _fed(name)
        for index, values in enumerate(stored.get(node.name, ()), start=1):
            node.input[index] = edit.add_constant(f"{node.name}/stored", values)
    edit.refresh()
    edit.finish()
    del model.graph.input[:], model.graph.output[:], model.graph.value_info[:]
    made = {name for node in edit.nodes for name in node.output}
    read = {name for node in edit.nodes for name in node.input}
    source = reference.graph.input[0].name
    for name in [*map(_fed, sorted(fed)), *({source} & read)]:
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    for name in sorted(fed & made):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    from onnx import TensorProto, helper

    copy = type(model)()
    copy.CopyFrom(model)
    del copy.graph.value_info[:], copy.graph.output[:]
    for name in names:
        copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return copy


def _batch_size(session: Session, name: str, images: NDArray[np.float32]) -> int:
    held = sum(array.nbytes for array in session.run({name: images[:1]}))
    # Float, quantized and cut graph, and their differences in float64.
    return max(1, min(len(images), BYTES_A_BATCH // (8 * max(held, 1))))


def _slices(images: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


def _check_layer(
    each: _Activation, alone: NDArray[Any], real: NDArray[Any], node: onnx.NodeProto | None
) -> None:
    """The float layer on the quantized layer's inputs gives its outputs, rounded and saturated."""
    wanted = np.clip(alone.astype(np.float64), each.low, each.high)
    allowed = HALF_STEP * each.scale + FLOAT_NOISE * float(np.abs(alone).max(initial=0))
    worst = float(np.abs(real - wanted).max(initial=0))
    if not worst <= allowed:
        culprit = each.tensor if node is None else node.name
        raise UserError(
            f"Layer {culprit!r} gives values that differ by {worst / each.scale:.3g} steps from "
            "the float network's on the same inputs after quantization by onnxruntime, allowed is "
            "half a step of rounding; simplify the model around it, and report this model as a "
            "fault of steelyard."
        )
