"""Places on the word bus: how many words an item of each memory has, and what follows a place."""

from collections.abc import Mapping

from amaranth.hdl import Module, Signal, Value

from steelyard.contract import AcceleratorConfig
from steelyard.contract.descriptor import DESCRIPTOR_WORDS
from steelyard.contract.registers import Space

__all__ = ["item_words", "items", "step_place"]


def item_words(config: AcceleratorConfig) -> dict[Space, int]:
    """32-bit words of an item of each space whose items have more than one."""
    words = {
        Space.PARAMETERS: len(config.parameter_bits),
        Space.WEIGHTS: config.engine.weight_item_words,
        Space.ACTIVATIONS: config.activation_item_words,
    }
    if config.engine.counts:
        words[Space.UNITS] = 2
    return words


def items(config: AcceleratorConfig) -> dict[Space, int]:
    """Items of each memory."""
    return {
        Space.DESCRIPTORS: config.memory.max_layers * DESCRIPTOR_WORDS,
        Space.PARAMETERS: config.memory.parameter_words,
        Space.WEIGHTS: config.memory.weight_words,
        Space.ACTIVATIONS: config.memory.activation_words,
    }


def step_place(m: Module, space: Value, bus, words: Mapping[Space, int]) -> None:
    """Let the bus go on to the next word, in the condition that `m` is in.

    Parameters
    ----------
    space : that the bus addresses
    bus : whose `address` and `sub` are registers
    words : as :func:`item_words` gives them
    """
    last_sub = Signal.like(bus.sub, name="last_sub")
    with m.Switch(space):
        for each, count in words.items():
            with m.Case(each):
                m.d.comb += last_sub.eq(count - 1)
        with m.Default():
            m.d.comb += last_sub.eq(0)
    m.d.sync += bus.sub.eq(bus.sub + 1)
    with m.If(bus.sub == last_sub):
        m.d.sync += [bus.sub.eq(0), bus.address.eq(bus.address + 1)]
