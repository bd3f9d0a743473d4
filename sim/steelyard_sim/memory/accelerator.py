"""Accelerator with its external memory: controller and model of a chip behind it."""

from pathlib import Path

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from steelyard.contract import AcceleratorConfig
from steelyard.progress import Log
from steelyard_hw.accelerator import Accelerator
from steelyard_hw.memory.chips import CHIPS, SdramChip
from steelyard_hw.verilog import convert_component

from ..build.library import CONVERTER, REMARK, cached_library, gateware_digest
from .bench import MemoryBench
from .sdram import CellPort, Rule

__all__ = ["CLOCKS_HZ", "ExternalAccelerator", "build_external", "chip_of"]

CLOCKS_HZ = {1: 80_000_000, 2: 71_250_000}
"""Clock of an accelerator whose memory's chip has so many cycles in one of it; of two
that of the ulx3s_85f."""


def chip_of(config: AcceleratorConfig) -> SdramChip:
    """Chip of simulations that no board stands for: the smaller one that has a configuration's
    words."""
    chips = (CHIPS["W9825G6KH-6"], CHIPS["AS4C32M16SB-7"])
    bits = config.memory.external_address_bits
    return next(chip for chip in chips if bits <= chip.word_bits)


class ExternalAccelerator(wiring.Component):
    """Accelerator of a configuration with external memory, the chip's data outside.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
    clock_hz : :class:`int`
        Frequency of the accelerator's clock; that of :data:`CLOCKS_HZ` unless given.

    Members
    -------
    i, o, busy
        As those of :class:`~steelyard_hw.accelerator.Accelerator`.
    cells, violation
        As those of :class:`.sdram.SdramModel`.
    """

    def __init__(self, config: AcceleratorConfig, clock_hz: int | None = None) -> None:
        chip, slots = chip_of(config), config.memory.external_slots
        self._config = config
        self._bench = MemoryBench(chip, clock_hz or CLOCKS_HZ[slots], slots=slots)
        super().__init__(
            {
                "i": In(stream.Signature(32)),
                "o": Out(stream.Signature(32)),
                "busy": Out(1),
                "cells": Out(CellPort(chip)),
                "violation": Out(Rule),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self._config)
        m.submodules.memory = bench = self._bench
        connect(m, flipped(self.i), accelerator.i)
        connect(m, accelerator.o, flipped(self.o))
        connect(m, bench.cells, flipped(self.cells))
        ours, port = accelerator.external, bench.port
        m.d.comb += [
            port.command.valid.eq(ours.command.valid),
            ours.command.ready.eq(port.command.ready),
            *(
                port.command.payload[name].eq(ours.command.payload[name])
                for name in ("address", "words", "write")
            ),
            bench.start.eq(accelerator.begins),
            bench.latency.eq(
                Mux(accelerator.read_latency == 0, bench.own_latency, accelerator.read_latency)
            ),
            self.busy.eq(accelerator.busy),
            self.violation.eq(bench.violation),
        ]
        connect(m, ours.write, port.write)
        connect(m, port.read, ours.read)
        return m


def build_external(
    config: AcceleratorConfig, *, trace: bool = False, log: Log | None = None
) -> Path:
    """Shared library of an accelerator with external memory, as
    :func:`~steelyard_sim.build.library.build_library` makes those without.

    Raises
    ------
    UserError
        If Verilator, Yosys or a C++ compiler is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the gateware.
    """
    return cached_library(
        f"external\n{config.canonical()}\n{gateware_digest(*CONVERTER, __name__)}",
        lambda: convert_component(ExternalAccelerator(config), "steelyard"),
        "steelyard",
        f"accelerator ({config.outline}, external memory)",
        trace,
        log,
        remark=REMARK,
    )
