"""A board's gateware with its external memory: a model of the chip behind the pins."""

from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from steelyard.contract import AcceleratorConfig
from steelyard.progress import Log
from steelyard_hw.link.serial import SerialAccelerator
from steelyard_hw.memory.external import ExternalMemory
from steelyard_hw.verilog import convert_component

from ..build.library import CONVERTER, REMARK, cached_library, gateware_digest
from ..build.toolchain import SERIAL_HARNESS
from .accelerator import chip_of
from .sdram import CellPort, Rule, SdramModel
from .slots import connect_chip

__all__ = ["ExternalBoard", "build_external_board", "memory_of"]

DELAYS = {1: 3, 2: 6}
"""Of a board that has no name, by slots: registers of two slots hold values for two cycles."""


def memory_of(config: AcceleratorConfig) -> ExternalMemory:
    """External memory of a board that has no name."""
    slots = config.memory.external_slots
    return ExternalMemory(chip_of(config), DELAYS[slots], slots)


class ExternalBoard(wiring.Component):
    """Accelerator behind a serial line with external memory, the chip's data outside.

    Parameters
    ----------
    config, divider, clock_hz, memory
        As those of :class:`~steelyard_hw.link.serial.SerialAccelerator`.
    late : :class:`int`
        Cycles of the chip that its data come later than the board was made for.

    Members
    -------
    rx, tx, busy
        As those of :class:`~steelyard_hw.link.serial.SerialAccelerator`.
    cells, violation
        As those of :class:`.sdram.SdramModel`.

    Raises
    ------
    ValueError
        If the memory has fewer words than the configuration, or cannot work at that clock.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        *,
        divider: int,
        clock_hz: int,
        memory: ExternalMemory,
        late: int = 0,
    ) -> None:
        self._board = SerialAccelerator(config, divider=divider, clock_hz=clock_hz, memory=memory)
        self._model = SdramModel(memory.chip, memory.slots * clock_hz, delay=memory.delay + late)
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "busy": Out(1),
                "cells": Out(CellPort(memory.chip)),
                "violation": Out(Rule),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = board = self._board
        model = self._model
        connect_chip(m, board.pins, model)
        connect(m, model.cells, flipped(self.cells))
        m.d.comb += [
            board.rx.eq(self.rx),
            self.tx.eq(board.tx),
            self.busy.eq(board.busy),
            self.violation.eq(model.violation),
        ]
        return m


def build_external_board(
    config: AcceleratorConfig,
    *,
    divider: int,
    clock_hz: int,
    memory: ExternalMemory,
    late: int = 0,
    log: Log | None = None,
) -> Path:
    """Shared library of a board with external memory, as
    :func:`~steelyard_sim.build.library.build_board` makes those without.

    Raises
    ------
    UserError
        If Verilator, Yosys or a C++ compiler is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the gateware.
    """
    return cached_library(
        f"external board {divider} {clock_hz} {config.link} {memory} {late}\n{config.canonical()}\n"
        f"{gateware_digest(*CONVERTER, __name__)}",
        lambda: convert_component(
            ExternalBoard(config, divider=divider, clock_hz=clock_hz, memory=memory, late=late),
            "steelyard_board",
        ),
        "steelyard_board",
        f"board ({config.outline}, external memory)",
        False,
        log,
        SERIAL_HARNESS,
        remark=REMARK,
    )
