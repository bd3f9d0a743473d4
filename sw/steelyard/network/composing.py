"""Chains of layers that compute each element on its own, as one table of all codes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..contract.limits import TABLE_ENTRIES
from .graph import Network
from .kinds import Lookup
from .layer import Layer

__all__ = ["compose_tables"]

CODES = np.arange(-TABLE_ENTRIES // 2, TABLE_ENTRIES // 2).astype(np.int8)


@dataclass(frozen=True)
class _Function:
    """A tensor as a function of one that it is computed from, element by element.

    Members
    -------
    root : name of that tensor
    table : int8 (256,), codes for the root's codes -128 to 127
    layers : how many layers are in between
    looks_up : whether one of them is a table already
    """

    root: str
    table: NDArray[np.int8]
    layers: int
    looks_up: bool


def compose_tables(network: Network) -> Network:
    """The same network with one `Lookup` in place of each chain that has one.

    A chain is two or more layers of which each element depends on one element of one tensor:
    tables, requantizations, clamps, and sums and products of such results, as exporters write a
    SiLU, a HardSwish or a GELU. The table holds what the layers give for each of the 256 codes, so
    all tensors that remain have the same codes as before. What only a chain read is left out.
    """
    functions: dict[str, _Function] = {}
    lasting = {*network.outputs, network.input}
    for layer in network.layers:
        if not layer.elementwise:
            lasting.update(layer.inputs)
    for layer in network.layers:
        # What is there anyway is as good a beginning as what it was made of, and needs no memory.
        near = len(layer.inputs) == 1 and layer.inputs[0] in lasting
        found = _function(network, layer, {} if near else functions)
        if found is not None:
            functions[layer.output] = found
    needed = set(network.outputs)
    kept: list[Layer] = []
    for layer in reversed(network.layers):
        if layer.output not in needed:
            continue
        found = functions.get(layer.output)
        if found is not None and found.looks_up and found.layers > 1:
            layer = Lookup(
                name=layer.name, inputs=(found.root,), output=layer.output, table=found.table
            )
        kept.append(layer)
        needed.update(layer.inputs)
    layers = tuple(reversed(kept))
    made = {network.input, *(layer.output for layer in layers)}
    tensors = {name: tensor for name, tensor in network.tensors.items() if name in made}
    return replace(network, layers=layers, tensors=tensors)


def _function(
    network: Network, layer: Layer, functions: Mapping[str, _Function]
) -> _Function | None:
    """What a layer gives as a function of the one tensor that all of its inputs come from."""
    if not layer.elementwise:
        return None
    given = [functions.get(name, _Function(name, CODES, 0, False)) for name in layer.inputs]
    if len({each.root for each in given}) > 1:
        return None
    inputs, output = network.inputs_of(layer), network.tensor(layer.output)
    blocks = [each.table.reshape(1, 1, 1, TABLE_ENTRIES) for each in given]
    table = layer.golden(inputs, output)(*blocks).reshape(TABLE_ENTRIES)
    before = {name: functions[name] for name in layer.inputs if name in functions}
    return _Function(
        given[0].root,
        table,
        1 + sum(each.layers for each in before.values()),
        isinstance(layer, Lookup) or any(each.looks_up for each in before.values()),
    )
