"""Share of codes in which an imported network equals onnxruntime, and why others differ.

onnxruntime adds up float32 numbers, the accelerator integers. Where the exact result lies in the
middle between two codes, the rounding noise of float32 decides; such an element is a tie. So is one
that a bias puts there: the accelerator rounds biases to whole steps of its sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from qdq_graphs import Watched, runtime_names, session
from steelyard.network import Conv, Layer, Network, golden

NOISE = 2e-4
"""Steps by which float32 sums of a few thousand products miss the exact one."""


@dataclass(frozen=True)
class Agreement:
    """Comparison of one layer, fed onnxruntime's own codes of its inputs.

    Members
    -------
    layer : name
    kind : of the layer
    elements : compared
    equal : of the same code
    ties : differ where onnxruntime's real value lies in the middle between two codes, within NOISE
        and half a step of the layer's sums
    worst : largest difference
    """

    layer: str
    kind: str
    elements: int
    equal: int
    ties: int
    worst: int

    @property
    def others(self) -> int:
        """Elements that differ and are no ties."""
        return self.elements - self.equal - self.ties


def agreements(model: onnx.ModelProto, network: Network, x: np.ndarray) -> list[Agreement]:
    """Every layer whose output the model quantizes, in order.

    A layer that the importer added in between passes its own codes on.
    """
    source = network.tensor(network.input)
    names: dict[str, Watched] = {}
    for name, each in runtime_names(model):
        tensor = _tensor(model, network, name, each)
        if tensor is not None:
            names[tensor] = each
    codes = {name: each.codes for name, each in names.items()}
    reals = {name: each.real for name, each in names.items() if each.real}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    wanted = dict.fromkeys([*codes.values(), *reals.values()])
    given = [name for name in wanted if name != model.graph.input[0].name]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in given)
    values = dict(zip(given, session(watched).run(given, {source.name: x}), strict=True))
    values[model.graph.input[0].name] = x
    truth = {source.name: _signed(values[codes[source.name]]).reshape(len(x), *source.shape)}
    margins: dict[str, float] = {}
    found = []
    for layer in network.layers:
        alone = golden.layer(network, layer, *(truth[name] for name in layer.inputs))
        truth[layer.output] = alone
        # What moves codes that the model does not show ties where these tie.
        margins[layer.output] = _margin(layer) + max(
            (margins[name] for name in layer.inputs if name not in codes), default=0.0
        )
        if layer.output not in codes:
            continue
        right = _signed(values[codes[layer.output]]).reshape(alone.shape)
        truth[layer.output] = right
        difference = np.abs(alone.astype(np.int16) - right)
        tied = np.zeros(alone.shape, bool)
        if layer.output in reals:
            real = values[reals[layer.output]].astype(np.float64).reshape(alone.shape)
            steps = real / network.tensor(layer.output).scale
            tied = np.abs(steps - np.floor(steps) - 0.5) <= NOISE + margins[layer.output]
        found.append(
            Agreement(
                layer.name,
                layer.kind,
                alone.size,
                int(np.sum(difference == 0)),
                int(np.sum((difference == 1) & tied)),
                int(difference.max()),
            )
        )
    return found


def _tensor(model: onnx.ModelProto, network: Network, name: str, watched: Watched) -> str | None:
    """Tensor of a value's codes, None if the network's output does not need them.

    One that only moves codes may have the value's name, and so may other codes of it.
    """
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    same = [each for each in (name, f"{name}/2", f"{name}/3") if each in network.tensors]
    parameters = [stored[each] for each in watched.parameters if each in stored]
    if len(parameters) < 2:
        return same[0] if same else None
    scale, zero = parameters
    step = (float(scale.item()), int(zero.item()) - (128 if zero.dtype == np.uint8 else 0))
    tensors = map(network.tensor, same)
    return next((t.name for t in tensors if (t.scale, t.zero_point) == step), None)


def _margin(layer: Layer) -> float:
    """Half a step of a layer's sums, in steps of its output."""
    if not isinstance(layer, Conv):
        return 0.0
    return float(0.5 * np.max(layer.multiplier / np.exp2(layer.shift)))


def assert_ties(found: Iterable[Agreement], share: float = 0.999) -> None:
    """Nothing is off by more than one, what differs is a tie, and together they are few."""
    rows = list(found)
    for each in rows:
        assert each.worst <= 1, f"{each.layer} is off by {each.worst}"
        assert not each.others, f"{each.layer}: {each.others} of {each.elements} differ and no tie"
    elements, equal = (sum(getattr(each, key) for each in rows) for key in ("elements", "equal"))
    assert equal >= share * elements, f"{equal / elements:.4%} of {elements} are equal"


def table(found: Iterable[Agreement]) -> str:
    """A line a kind of layer, and one for all."""
    rows: dict[str, list[Agreement]] = {}
    for each in found:
        rows.setdefault(each.kind, []).append(each)
        rows.setdefault("all", []).append(each)
    rows["all"] = rows.pop("all")
    lines = ["kind        layers     elements        equal   ties  others  worst"]
    for kind, group in rows.items():
        elements, equal = (sum(getattr(e, key) for e in group) for key in ("elements", "equal"))
        ties, others = (sum(getattr(e, key) for e in group) for key in ("ties", "others"))
        lines.append(
            f"{kind:10} {len(group):7} {elements:12} {equal / elements:12.5%} {ties:6} {others:7} "
            f"{max(e.worst for e in group):6}"
        )
    return "\n".join(lines)


def _signed(codes: np.ndarray) -> np.ndarray:
    return (codes.astype(np.int16) - (128 if codes.dtype == np.uint8 else 0)).astype(np.int8)
