"""Layers that are computed where a convolution's results leave the engine, in no pass of their own.

A table follows at once, and so does a residual addition whose other operand is there already: its
words are read meanwhile.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from ..contract import AcceleratorConfig
from ..contract.descriptor import FIELDS
from ..contract.latencies import TABLE_CYCLES
from ..network import Add, Conv, Layer, Lookup, Network
from ..network.grouped import block_count

__all__ = ["Fusion", "fusions"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fusion:
    """A convolution and what follows it at once.

    Members
    -------
    conv : the convolution
    lookup : table of its results, None for none
    add : residual addition of these, None for none
    """

    conv: Conv
    lookup: Lookup | None = None
    add: Add | None = None

    @property
    def following(self) -> list[Layer]:
        """Table and addition, as far as they are there."""
        return [each for each in (self.lookup, self.add) if each is not None]

    @property
    def result(self) -> str:
        """Tensor to which the addition adds."""
        return self.conv.output if self.lookup is None else self.lookup.output

    @property
    def addend(self) -> str | None:
        """Tensor that the addition adds, None without one."""
        if self.add is None:
            return None
        a, b = self.add.inputs
        return b if a == self.result else a

    def fields(self, network: Network) -> dict[str, Any]:
        """Fields of the convolution's descriptors, without addresses."""
        found: dict[str, Any] = {"table": int(self.lookup is not None)}
        add, addend = self.add, self.addend
        if add is None or addend is None:
            return found
        m_a, m_b = add.multiplier_a, add.multiplier_b
        if addend == add.inputs[0]:
            m_a, m_b = m_b, m_a
        return found | {
            "fused": 1,
            "z_a": network.tensor(self.result).zero_point,
            "z_b": network.tensor(addend).zero_point,
            "m_a": m_a,
            "m_b": m_b,
            "sum_shift": add.shift,
            "z_sum": network.tensor(add.output).zero_point,
            "lo_sum": add.lo,
            "hi_sum": add.hi,
        }


def fusions(network: Network, config: AcceleratorConfig, batch: int) -> dict[str, Fusion]:
    """What follows convolutions at once, by the names of those that something follows.

    Parameters
    ----------
    batch : images computed together
    """
    made = {layer.output: number for number, layer in enumerate(network.layers)}
    uses = Counter(name for layer in network.layers for name in layer.inputs)
    uses.update(network.outputs)
    found: dict[str, Fusion] = {}
    """By the tensor that may be followed, which nothing else reads."""
    for layer in network.layers:
        source = layer.inputs[0]
        if isinstance(layer, Conv) and uses[layer.output] == 1:
            found[layer.output] = Fusion(conv=layer)
        elif isinstance(layer, Lookup) and source in found:
            before = found[source]
            if not before.following and _table_pays(network, before.conv, config, batch):
                after = replace(found.pop(source), lookup=layer)
                # Under the table's name only if an addition may follow, else where nothing looks.
                found[layer.output if uses[layer.output] == 1 else source] = after
        elif isinstance(layer, Add) and config.fuses_additions:
            _fuse_addition(layer, found, made)
    return {each.conv.name: each for each in found.values() if each.following}


def _fuse_addition(add: Add, found: dict[str, Fusion], made: dict[str, int]) -> None:
    """Enter an addition, if an operand allows it: one that is made after the other."""
    shift = FIELDS["sum_shift"]
    if not shift.minimum <= add.shift <= shift.maximum:
        return
    for result in [name for name in add.inputs if name in found and found[name].add is None]:
        fusion = replace(found[result], add=add)
        # Not the network's input, which is there before all layers, but all that is made by then.
        if made.get(fusion.addend or "", -1) < made[fusion.conv.output]:
            found[result] = fusion
            return


def _table_pays(network: Network, conv: Conv, config: AcceleratorConfig, batch: int) -> bool:
    """Whether copying a table for each part of a convolution takes less than a layer of its own."""
    if not config.output.tables or not config.engine.steady_drain:
        return False
    channels, height, width = network.tensor(conv.output).shape
    parts = block_count(conv, config.engine.group, config.engine.width)
    words = channels * -(-height * width * batch // config.engine.lanes)
    return TABLE_CYCLES * parts <= words * config.drain_cycles
