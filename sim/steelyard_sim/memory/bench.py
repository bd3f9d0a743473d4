"""Controller and model, to be compiled together."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from steelyard_hw.memory.chips import SdramChip
from steelyard_hw.memory.port import MemoryPort
from steelyard_hw.memory.reads import LATENCY_BITS
from steelyard_hw.memory.sdram import SdramController

from .sdram import CellPort, Rule, SdramModel
from .slots import connect_chip

__all__ = ["MemoryBench"]


class MemoryBench(wiring.Component):
    """Controller of a chip with the model of it, the chip's data outside.

    Parameters
    ----------
    chip, delay
        As those of :class:`SdramModel`.
    clock_hz, slots
        As those of :class:`SdramController`. With two slots the model is in the domain
        :data:`.slots.CHIP_DOMAIN`, whose clock is twice as fast.

    Members
    -------
    port, latency, start, ready
        As those of :class:`SdramController`.
    cells, violation
        As those of :class:`SdramModel`.

    Attributes
    ----------
    own_latency : :class:`int`
        Read latency that fits the chip.
    """

    def __init__(self, chip: SdramChip, clock_hz: int, *, delay: int = 0, slots: int = 1) -> None:
        self._controller = SdramController(chip, clock_hz, slots)
        self._model = SdramModel(chip, slots * clock_hz, delay=delay)
        self.own_latency = self._controller.timing.cas + delay
        super().__init__(
            {
                "port": In(MemoryPort(chip.word_bits)),
                "latency": In(LATENCY_BITS, init=self.own_latency),
                "start": In(1),
                "ready": Out(1),
                "cells": Out(CellPort(chip)),
                "violation": Out(Rule),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = controller = self._controller
        model = self._model
        connect_chip(m, controller.pins, model)
        connect(m, flipped(self.port), controller.port)
        connect(m, model.cells, flipped(self.cells))
        m.d.comb += [
            controller.latency.eq(self.latency),
            controller.start.eq(self.start),
            self.ready.eq(controller.ready),
            self.violation.eq(model.violation),
        ]
        return m
