"""Whole channels taken out of a graph: which ones, and the graph without them.

What a channel is worth follows CPMC (Yan et al., Channel Pruning via Multi-Criteria based on Weight
Dependency, arXiv 2011.03240): its own weights together with those that read it, against the weights
and multiplications that go with it, in one ranking of the whole network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.balanced.atoms import TYING, WEIGHTED, Atoms, channel_axis, slice_of
from steelyard.balanced.budget import check_sparsity
from steelyard.balanced.float_graph import FloatGraph
from steelyard.balanced.running import Runner
from steelyard.errors import UserError
from steelyard.quantize import Edit, attribute

if TYPE_CHECKING:
    import onnx

LEAST = 1 / 8
"""Share of its channels that every layer keeps."""


@dataclass(frozen=True)
class Thinned:
    """A graph without some of its channels.

    Members
    -------
    model : the graph; other weights are as they were
    kept : output channels that are left, by the name of a layer
    layers : name, output channels before and after of each layer that lost some
    whole : why nodes hold their channels, by name
    share : of the weights outside the first layer that are gone
    """

    model: onnx.ModelProto
    kept: dict[str, NDArray[np.intp]]
    layers: tuple[tuple[str, int, int], ...]
    whole: dict[str, str]
    share: float


class _Layer:
    """A layer whose channels may go: its weights as (outputs, inputs), summed over taps."""

    def __init__(self, node: onnx.NodeProto, atoms: Atoms) -> None:
        weight = atoms.constant(node.input[1])
        assert weight is not None
        self.name, self.input = node.name, node.input[0]
        self.depthwise = int(attribute(node, "group", 1)) > 1
        self.outputs = atoms.of[node.output[0]]
        self.inputs = self.outputs if self.depthwise else atoms.of[node.input[0]]
        turned = _outputs_first(node, weight)
        self.energy = np.square(turned.astype(np.float64)).reshape(*turned.shape[:2], -1).sum(2)
        self.taps = math.prod(turned.shape[2:])
        made = atoms.shape(node.output[0])
        self.places = math.prod(made[2:])

    def weights(self, alive: NDArray[np.bool_]) -> int:
        """Weights that are left."""
        outputs = int(alive[self.outputs].sum())
        inputs = 1 if self.depthwise else int(alive[self.inputs].sum())
        return outputs * inputs * self.taps


def _outputs_first(node: onnx.NodeProto, weight: NDArray[Any]) -> NDArray[Any]:
    if node.op_type == "Conv" or attribute(node, "transB", 0):
        return weight
    return weight.swapaxes(0, 1)


def remove_channels(graph: FloatGraph, share: float) -> Thinned:
    """Take out the channels that are worth least for what they cost.

    Channels that an addition ties together go together, depthwise and normalized ones with the
    channel they belong to; every layer keeps an eighth.

    Parameters
    ----------
    graph : to be thinned; the layers that it excludes keep all inputs and outputs
    share : of the weights outside the first layer to remove, at least 0 and below 1

    Raises
    ------
    UserError
        If the share cannot be reached; names the nodes that hold their channels.
    """
    check_sparsity(share)
    nodes = [node for node in graph.dense.graph.node if node.name]
    fixed = {name: why for name, why in graph.layers.left_dense if why == "excluded"}
    atoms = Atoms(graph.dense, graph.constants, _shapes(graph), fixed)
    layers = [
        _Layer(node, atoms)
        for node in nodes
        if node.op_type in WEIGHTED and node.name not in atoms.reasons
    ]
    count = 1 + max(int(ids.max(initial=0)) for ids in atoms.of.values())
    alive = _chosen(graph, atoms, layers, share, count)
    kept = {
        node.name: np.flatnonzero(alive[atoms.of[node.output[0]]])
        for node in nodes
        if node.op_type in WEIGHTED
    }
    lost = [
        (layer.name, len(layer.outputs), len(kept[layer.name]))
        for layer in layers
        if len(kept[layer.name]) < len(layer.outputs)
    ]
    return Thinned(
        _without(graph, atoms, alive),
        kept,
        tuple(lost),
        atoms.reasons,
        _share(layers, alive, graph),
    )


def _shapes(graph: FloatGraph) -> dict[str, tuple[int, ...]]:
    names = [name for node in graph.dense.graph.node for name in node.output if name]
    arrays = Runner(graph.dense, names).run(graph.sample)
    source = graph.dense.graph.input[0].name
    found = {name: array.shape for name, array in zip(names, arrays, strict=True)}
    return {source: graph.sample.shape, **found}


def _powers(graph: FloatGraph, names: list[str]) -> dict[str, NDArray[np.float64]]:
    """Mean square of every channel of values, over all calibration images."""
    sums: dict[str, NDArray[np.float64]] = {}
    for _, arrays in Runner(graph.dense, names).stream(graph.images, graph.batch):
        for name, array in zip(names, arrays, strict=True):
            squares = np.square(array.astype(np.float64))
            own = squares.reshape(*array.shape[:2], -1).mean(2).sum(0)
            sums[name] = sums.get(name, 0.0) + own
    return {name: total / len(graph.images) for name, total in sums.items()}


def _share(layers: list[_Layer], alive: NDArray[np.bool_], graph: FloatGraph) -> float:
    """Share of the weights outside the first layer that are gone."""
    every = np.ones_like(alive)
    gone = sum(
        layer.weights(every) - layer.weights(alive)
        for layer in layers
        if layer.name != graph.layers.first
    )
    return gone / max(1, graph.layers.weights_outside_first)


def _chosen(
    graph: FloatGraph, atoms: Atoms, layers: list[_Layer], share: float, count: int
) -> NDArray[np.bool_]:
    """Which atoms stay."""
    value, weights, work = (np.zeros(count) for _ in range(3))
    powers = _powers(graph, list(dict.fromkeys(layer.input for layer in layers)))
    for layer in layers:
        power = powers[layer.input]
        if layer.depthwise:
            power = np.repeat(power, len(layer.outputs) // len(power))[:, None]
        energy = layer.energy * power
        energy /= max(float(energy.sum()), 1e-300)
        cost = np.full(energy.shape, float(layer.taps))
        np.add.at(value, layer.outputs, energy.sum(1))
        np.add.at(weights, layer.outputs, cost.sum(1))
        np.add.at(work, layer.outputs, cost.sum(1) * layer.places)
        if not layer.depthwise:
            np.add.at(value, layer.inputs, energy.sum(0))
            np.add.at(weights, layer.inputs, cost.sum(0))
            np.add.at(work, layer.inputs, cost.sum(0) * layer.places)
    cost = weights / max(1.0, weights.sum()) + work / max(1.0, work.sum())
    alive = np.ones(count, bool)
    held = atoms.held
    free = [each for each in np.unique(np.concatenate([layer.outputs for layer in layers]))
            if each not in held]  # fmt: skip
    order = sorted(free, key=lambda each: float(value[each] / max(cost[each], 1e-300)))
    least = {layer.name: max(1, math.ceil(LEAST * len(layer.outputs))) for layer in layers}
    made: dict[int, list[_Layer]] = {}
    for layer in layers:
        for each in np.unique(layer.outputs):
            made.setdefault(int(each), []).append(layer)
    for each in order:
        if _share(layers, alive, graph) >= share:
            return alive
        own = [(layer, int((layer.outputs == each).sum())) for layer in made[int(each)]]
        if all(int(alive[layer.outputs].sum()) - n >= least[layer.name] for layer, n in own):
            alive[each] = False
    reached = _share(layers, alive, graph)
    if reached >= share:
        return alive
    why = ", ".join(f"{name} ({reason})" for name, reason in atoms.reasons.items()) or "nothing"
    raise UserError(
        f"Whole channels remove at most {math.floor(1000 * reached) / 1000:g} of the weights "
        f"outside the first layer, not {share:g}: every layer keeps an eighth, and channels "
        f"are held by {why}; ask for less."
    )


def _without(graph: FloatGraph, atoms: Atoms, alive: NDArray[np.bool_]) -> onnx.ModelProto:
    """The graph with the constants of the channels that stay."""
    model = type(graph.dense)()
    model.CopyFrom(graph.dense)
    del model.graph.value_info[:]
    edit = Edit(model)
    for node in edit.nodes:
        _thin(edit, node, atoms, alive)
    edit.refresh()
    edit.finish()
    return model


def _thin(edit: Edit, node: onnx.NodeProto, atoms: Atoms, alive: NDArray[np.bool_]) -> None:
    """Give a node the constants of the channels that stay."""
    if node.name in atoms.reasons:
        return
    known = {
        name: np.flatnonzero(alive[atoms.of[name]])
        for name in (*node.input, *node.output)
        if name in atoms.of
    }
    if all(len(stay) == len(atoms.of[name]) for name, stay in known.items()):
        return
    made = known[node.output[0]]

    def replace(place: int, values: NDArray[Any]) -> None:
        hint = f"{node.name}/kept/{place}"
        node.input[place] = edit.add_constant(hint, np.ascontiguousarray(values))

    constants = {place: array for place, name in enumerate(node.input)
                 if name and (array := atoms.constant(name)) is not None}  # fmt: skip
    if node.op_type in WEIGHTED:
        _thin_weights(node, constants, known[node.input[0]], made, replace)
    elif node.op_type == "BatchNormalization":
        for place in range(1, 5):
            replace(place, constants[place][made])
    elif node.op_type in TYING:
        rank = len(atoms.shape(node.output[0]))
        for place, array in constants.items():
            axis = channel_axis(array.shape, rank)
            if axis is not None:
                replace(place, np.take(array, made, int(axis)))
    elif node.op_type == "Slice":
        _thin_slice(atoms, node, constants, known[node.input[0]], replace)
    elif node.op_type == "Split":
        sizes = np.array([len(known[name]) for name in node.output], np.int64)
        for item in [item for item in node.attribute if item.name == "num_outputs"]:
            node.attribute.remove(item)
        del node.input[1:]
        node.input.append(edit.add_constant(f"{node.name}/kept/1", sizes))
    elif node.op_type in ("Reshape", "Resize"):
        # The last constant is the wanted shape; Resize may have scales in place of it.
        place = max(constants)
        shape = constants[place].copy()
        if shape.dtype == np.int64 and len(shape) > 1 and shape[1] > 0:
            shape[1] = len(made)
            replace(place, shape)


def _thin_weights(
    node: onnx.NodeProto,
    constants: Mapping[int, NDArray[Any]],
    given: NDArray[np.intp],
    made: NDArray[np.intp],
    replace: Any,
) -> None:
    weight = constants[1]
    if int(attribute(node, "group", 1)) > 1:
        replace(1, weight[made])
        for item in node.attribute:
            if item.name == "group":
                item.i = len(given)
    elif node.op_type == "Conv" or attribute(node, "transB", 0):
        replace(1, weight[made][:, given])
    else:
        replace(1, weight[given][:, made])
    if 2 in constants and constants[2].size > 1:
        replace(2, constants[2][..., made])


def _thin_slice(
    atoms: Atoms,
    node: onnx.NodeProto,
    constants: Mapping[int, NDArray[Any]],
    given: NDArray[np.intp],
    replace: Any,
) -> None:
    taken = slice_of(atoms, node)
    total = len(atoms.of[node.input[0]])
    assert taken is not None
    first, last, _ = taken.indices(total)
    rank = len(atoms.shape(node.input[0]))
    axes = constants[3] if 3 in constants else np.arange(len(constants[1]))
    for place, bound in ((1, first), (2, last)):
        values = constants[place].copy()
        values[axes % rank == 1] = int(np.searchsorted(given, bound))
        replace(place, values)
