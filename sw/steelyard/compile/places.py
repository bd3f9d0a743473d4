"""Which tensors lie in one another: the parts of a concatenation, and slices.

A concatenation costs nothing where its parts are written into it, a slice never does. Where a
tensor would have to lie in two places, a copy is made.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..network import Concat, Layer, MaxPool, Network, Slice, Tensor
from .fusion import Fusion

__all__ = ["Places", "separate"]


@dataclass
class _Group:
    """Tensors of one buffer.

    Members
    -------
    starts : first channel of each
    made : channels (start, stop) that layers write, or the host; the others lie in these
    """

    starts: dict[str, int]
    made: list[tuple[int, int]]


class Places:
    """Where tensors lie in the buffers that they share, in channels.

    Parameters
    ----------
    source : the network's input
    """

    def __init__(self, source: Tensor) -> None:
        self._group: dict[str, _Group] = {}
        self._add(source)

    def buffer(self, name: str) -> str:
        """What the buffer of a tensor is called."""
        return next(iter(self._group[name].starts))

    def channels(self, name: str) -> int:
        """Channels of the whole buffer that a tensor lies in."""
        made = self._group[name].made
        return max(stop for _, stop in made) - min(start for start, _ in made)

    def start(self, name: str) -> int:
        """First channel of a tensor in its buffer."""
        group = self._group[name]
        return group.starts[name] - min(start for start, _ in group.made)

    def share(self, source: str, output: str) -> None:
        """Take in a tensor that lies where `source` would, which gets into no memory."""
        group = self._group[source]
        group.starts[output] = group.starts[source]
        self._group[output] = group

    def enter(self, layer: Layer, output: Tensor, channels: dict[str, int]) -> list[int]:
        """Take in a layer's output; numbers of the inputs that it needs copies of first.

        Parameters
        ----------
        channels : of every tensor
        """
        if isinstance(layer, Slice):
            group = self._group[layer.inputs[0]]
            group.starts[output.name] = group.starts[layer.inputs[0]] + layer.first
            self._group[output.name] = group
            return []
        if isinstance(layer, Concat):
            return self._join(layer, channels)
        self._add(output)
        return []

    def _join(self, layer: Concat, channels: dict[str, int]) -> list[int]:
        conflicts = []
        whole = _Group({}, [])
        stops = np.cumsum([channels[name] for name in layer.inputs]).tolist()
        starts = [0, *stops[:-1]]
        groups = [self._group[name] for name in layer.inputs]
        wanted = [
            (id(group), start - group.starts[name])
            for name, group, start in zip(layer.inputs, groups, starts, strict=True)
        ]
        for number, (name, part) in enumerate(zip(layer.inputs, groups, strict=True)):
            offset = wanted[number][1]
            if self._group[name] is whole:
                if whole.starts[name] != starts[number]:
                    conflicts.append(number)
                continue
            made = [(first + offset, last + offset) for first, last in part.made]
            # What comes along must not lie where another input goes.
            others = [
                (a, b)
                for a, b, other in zip(starts, stops, wanted, strict=True)
                if other != wanted[number]
            ]
            if _overlap(made, [*others, *whole.made]):
                conflicts.append(number)
                continue
            for each, place in part.starts.items():
                whole.starts[each] = place + offset
                self._group[each] = whole
            whole.made += made
        whole.starts[layer.output] = 0
        self._group[layer.output] = whole
        return conflicts

    def _add(self, tensor: Tensor) -> None:
        self._group[tensor.name] = _Group({tensor.name: 0}, [(0, tensor.shape[0])])


def separate(network: Network, fusions: Iterable[Fusion] = ()) -> tuple[Network, Places]:
    """Network with copies where a concatenation needs them, and where its tensors lie.

    A copy is a max pooling of single pixels, called after the concatenation. Of layers that are
    computed together, as `fusions` say, the results of the last one take the place of all.
    """
    sources: dict[str, str] = {}
    for fusion in fusions:
        names = [fusion.conv.output, *(each.output for each in fusion.following)]
        sources |= dict(zip(names[1:], names, strict=False))
    tensors = dict(network.tensors)
    channels = {name: tensor.shape[0] for name, tensor in tensors.items()}
    places = Places(network.tensor(network.input))
    layers: list[Layer] = []
    for layer in network.layers:
        if layer.output in sources:
            places.share(sources[layer.output], layer.output)
            layers.append(layer)
            continue
        inputs = list(layer.inputs)
        while conflicts := places.enter(layer, tensors[layer.output], channels):
            for number in conflicts:
                copied = tensors[inputs[number]]
                name = _unused(f"{layer.name}/copy {number}", tensors, layers)
                tensors[name] = replace(copied, name=name)
                channels[name] = copied.shape[0]
                copy = MaxPool(name=name, inputs=(copied.name,), output=name, kernel=(1, 1))
                places.enter(copy, tensors[name], channels)
                layers.append(copy)
                inputs[number] = name
            layer = replace(layer, inputs=tuple(inputs))
        layers.append(layer)
    if len(layers) == len(network.layers):
        return network, places
    return replace(network, tensors=tensors, layers=tuple(layers)), places


def _overlap(these: list[tuple[int, int]], those: list[tuple[int, int]]) -> bool:
    return any(a < d and c < b for a, b in these for c, d in those)


def _unused(name: str, tensors: dict[str, Tensor], layers: list[Layer]) -> str:
    taken = {*tensors, *(layer.name for layer in layers)}
    count, candidate = 1, name
    while candidate in taken:
        count += 1
        candidate = f"{name}/{count}"
    return candidate
