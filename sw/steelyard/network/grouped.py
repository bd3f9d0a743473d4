"""Grouped convolutions as dense ones of a few channels each.

A block holds as many groups as fill the engine: its weights are those of the groups along a
diagonal, all others are zero, and zeros cost nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .graph import Network
from .kinds import Concat, Conv, Slice
from .layer import Layer

__all__ = ["Block", "block_count", "blocks", "ungroup"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Some groups of a convolution as a convolution of one.

    Members
    -------
    conv : the convolution, under the layer's name
    reads, writes : first channel of the input and of the output
    """

    conv: Conv
    reads: int
    writes: int

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the input and of the output."""
        return self.conv.weight.shape[1], self.conv.weight.shape[0]


def blocks(conv: Conv, inputs: int, outputs: int) -> Iterator[Block]:
    """Blocks of a convolution, itself where it has but one group.

    Parameters
    ----------
    inputs, outputs : channels that a block has at least, as far as there are so many
    """
    if conv.groups == 1:
        yield Block(conv=conv, reads=0, writes=0)
        return
    channels, own, height, width = conv.weight.shape
    each = channels // conv.groups
    wanted = _together(conv, inputs, outputs)
    for first in range(0, conv.groups, wanted):
        count = min(wanted, conv.groups - first)
        part = slice(first * each, (first + count) * each)
        weight = np.zeros((count, each, count, own, height, width), np.int8)
        diagonal = np.arange(count)
        weight[diagonal, :, diagonal] = conv.weight[part].reshape(count, each, own, height, width)
        yield Block(
            conv=replace(
                conv,
                weight=weight.reshape(count * each, count * own, height, width),
                bias=conv.bias[part],
                multiplier=conv.multiplier[part],
                shift=conv.shift[part],
                negative_multiplier=(
                    None if conv.negative_multiplier is None else conv.negative_multiplier[part]
                ),
                groups=1,
            ),
            reads=first * own,
            writes=first * each,
        )


def block_count(conv: Conv, inputs: int, outputs: int) -> int:
    """How many :func:`blocks` there are."""
    return 1 if conv.groups == 1 else -(-conv.groups // _together(conv, inputs, outputs))


def _together(conv: Conv, inputs: int, outputs: int) -> int:
    """Groups that a block holds."""
    channels, own, *_ = conv.weight.shape
    return max(-(-inputs // own), -(-outputs // (channels // conv.groups)))


def ungroup(network: Network, inputs: int, outputs: int) -> Network:
    """Network whose grouped convolutions are slices, convolutions of one group, and joins.

    For engines that plan whole layers alone; `inputs` and `outputs` as for :func:`blocks`.
    """
    if all(not isinstance(each, Conv) or each.groups == 1 for each in network.layers):
        return network
    tensors, layers = dict(network.tensors), list[Layer]()
    for layer in network.layers:
        if not isinstance(layer, Conv) or layer.groups == 1:
            layers.append(layer)
            continue
        x, y = network.tensor(layer.inputs[0]), network.tensor(layer.output)
        made = []
        for number, block in enumerate(blocks(layer, inputs, outputs)):
            taken, given = block.channels
            source, output = f"{layer.name}/input {number}", f"{layer.name}/output {number}"
            tensors[source] = replace(x, name=source, shape=(taken, *x.shape[1:]))
            tensors[output] = replace(y, name=output, shape=(given, *y.shape[1:]))
            layers += [
                Slice(name=source, inputs=(x.name,), output=source, first=block.reads, count=taken),
                replace(block.conv, name=f"{layer.name}/{number}", inputs=(source,), output=output),
            ]
            made.append(output)
        layers.append(Concat(name=layer.name, inputs=tuple(made), output=layer.output))
    return replace(network, tensors=tensors, layers=tuple(layers))
