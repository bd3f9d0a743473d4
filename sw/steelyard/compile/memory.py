"""Activation memory plan: where each tensor's planes lie, reused as soon as nobody reads them."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from ..network import Network
from .places import Places

__all__ = ["Buffer", "assign", "lifetimes", "plane_pitch"]


@dataclass(frozen=True)
class Buffer:
    """Stretch of activation memory a tensor needs.

    Members
    -------
    name : tensor
    words : size
    first, last : layers between which it is alive, both included; the network's input starts at -1
    """

    name: str
    words: int
    first: int
    last: int


def plane_pitch(shape: tuple[int, int, int], batch: int, lanes: int) -> int:
    """Words of one channel of a batch: ``ceil(height * width * batch / lanes)``."""
    return -(-shape[1] * shape[2] * batch // lanes)


def lifetimes(network: Network, places: Places, batch: int, lanes: int) -> list[Buffer]:
    """Buffers of all tensors in order of creation; the output outlives the last layer.

    Tensors that lie in one another share a buffer, alive from the first to the last.
    """
    first = {network.input: -1}
    last = {network.input: -1}
    for index, layer in enumerate(network.layers):
        for name in layer.inputs:
            last[name] = index
        first[layer.output] = last[layer.output] = index
    last |= dict.fromkeys(network.outputs, len(network.layers))
    buffers: dict[str, Buffer] = {}
    for name, start in first.items():
        root = places.buffer(name)
        words = places.channels(name) * plane_pitch(network.tensors[name].shape, batch, lanes)
        known = buffers.get(root, Buffer(root, words, start, last[name]))
        buffers[root] = replace(known, last=max(known.last, last[name]))
    return list(buffers.values())


def _first_fit(buffers: Sequence[Buffer]) -> tuple[int, dict[str, int]]:
    placed: list[tuple[int, Buffer]] = []
    for buffer in buffers:
        base = 0
        for start, other in placed:
            alive_together = other.first <= buffer.last and buffer.first <= other.last
            if alive_together and start < base + buffer.words and base < start + other.words:
                base = start + other.words
        insort(placed, (base, buffer), key=itemgetter(0))
    peak = max(base + buffer.words for base, buffer in placed)
    return peak, {buffer.name: base for base, buffer in placed}


def assign(buffers: Sequence[Buffer]) -> tuple[int, dict[str, int]]:
    """Words used and the base of each buffer; buffers alive together never overlap.

    First fit in several orders (largest, longest-lived, first-created first); the best is taken.
    """
    orders = (
        sorted(buffers, key=lambda b: -b.words),
        sorted(buffers, key=lambda b: (b.first - b.last, -b.words)),
        list(buffers),
    )
    return min((_first_fit(order) for order in orders), key=lambda plan: plan[0])
