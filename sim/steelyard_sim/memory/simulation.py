"""Compiled controller and model behind a Python object."""

from ctypes import POINTER, Structure, byref, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from steelyard.progress import Log
from steelyard_hw.memory.chips import SdramChip
from steelyard_hw.memory.timing import SdramTiming
from steelyard_hw.verilog import convert_component

from ..build.handle import Handle
from ..build.library import cached_library, gateware_digest
from .bench import MemoryBench
from .sdram import Rule

__all__ = ["Burst", "MemorySimulation", "RuleBroken", "Stalls", "build_memory"]

HARNESS = Path(__file__).with_name("harness.cpp")
TOP = "memory_bench"


class _Work(Structure):
    _fields_ = (
        ("commands", POINTER(c_uint64)),
        ("writes", POINTER(c_uint32)),
        ("reads", POINTER(c_uint32)),
        ("command_count", c_uint64),
        ("write_count", c_uint64),
        ("read_count", c_uint64),
        ("command_stall", c_uint32),
        ("write_stall", c_uint32),
        ("read_stall", c_uint32),
        ("seed", c_uint64),
        ("commands_done", c_uint64),
        ("writes_done", c_uint64),
        ("reads_done", c_uint64),
    )


FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "create": (c_void_p, [c_uint64, c_uint32]),
    "destroy": (None, [c_void_p]),
    "reset": (None, [c_void_p]),
    "cycles": (c_uint64, [c_void_p]),
    "cells": (POINTER(c_uint16), [c_void_p]),
    "set_latency": (None, [c_void_p, c_uint32]),
    "step": (None, [c_void_p, c_uint64]),
    "start": (None, [c_void_p]),
    "violation": (c_uint32, [c_void_p]),
    "unstable": (c_uint32, [c_void_p]),
    "ready": (c_uint32, [c_void_p]),
    "run": (c_uint64, [c_void_p, POINTER(_Work), c_uint64]),
}


class RuleBroken(AssertionError):
    """The controller broke a rule of the chip.

    Members
    -------
    rule : the first one
    """

    def __init__(self, rule: Rule, cycle: int) -> None:
        super().__init__(f"The controller broke the rule {rule.name} in or before cycle {cycle}")
        self.rule = rule


@dataclass(frozen=True)
class Burst:
    """One command of the port.

    Members
    -------
    address : of the first word
    words : number of words
    write : whether they go into the memory
    """

    address: int
    words: int
    write: bool


@dataclass(frozen=True)
class Stalls:
    """How often a cycle offers or takes nothing on a stream, of 256 cycles, below 256."""

    command: int = 0
    write: int = 0
    read: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0 <= value < 256:
                raise ValueError(f"Stalls of {each.name!r} must be from 0 to 255, not {value!r}")


NEVER = Stalls()


def build_memory(
    chip: SdramChip, clock_hz: int, *, delay: int = 0, slots: int = 1, log: Log | None = None
) -> Path:
    """Shared library of a chip's controller with its model, cached.

    Parameters
    ----------
    chip, clock_hz, delay, slots : as those of :class:`.bench.MemoryBench`
    log : called with each step of a build before it

    Raises
    ------
    UserError
        If Verilator, Yosys or a C++ compiler is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the gateware.
    """
    return cached_library(
        f"memory {chip!r} {clock_hz} {delay} {slots}\n"
        f"{gateware_digest('steelyard_hw.verilog', 'steelyard_sim.memory.bench')}",
        lambda: convert_component(MemoryBench(chip, clock_hz, delay=delay, slots=slots), TOP),
        TOP,
        f"memory ({chip.name} at {slots * clock_hz / 1e6:g} MHz)",
        False,
        log,
        HARNESS,
    )


@dataclass
class MemorySimulation:
    """One simulated memory behind its controller, initialized.

    Parameters
    ----------
    chip, clock_hz, delay, slots : as those of :class:`.bench.MemoryBench`
    log : called with each step of a build before it

    Members
    -------
    timing : the chip's, in its cycles
    cells : what the chip holds, uint16, two for each word, the low half first; may be written,
        which places bulk data without moving it through the pins
    """

    chip: SdramChip
    clock_hz: int
    delay: int = 0
    slots: int = 1
    log: Log | None = None
    timing: SdramTiming = field(init=False)
    cells: NDArray[np.uint16] = field(init=False)

    def __post_init__(self) -> None:
        self.timing = SdramTiming.of(self.chip, self.slots * self.clock_hz)
        library = build_memory(
            self.chip, self.clock_hz, delay=self.delay, slots=self.slots, log=self.log
        )
        size = 2 << self.chip.word_bits
        latency = self.timing.cas + self.delay
        self._memory = _Memory(library, "memory", FUNCTIONS, size, latency)
        self.cells = np.ctypeslib.as_array(self._memory.call("cells"), (size,))
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the simulation; `cells` is empty from then on."""
        self.cells = np.zeros(0, np.uint16)
        self._memory.close()

    @property
    def cycles(self) -> int:
        """Cycles of the controller's clock since creation."""
        return self._memory.cycles

    def reset(self) -> None:
        """Reset controller and model, and wait until the chip is initialized."""
        self._memory.reset()
        limit = 2 * self.timing.power_up + 1000
        for _ in range(0, limit, 64):
            if self._memory.call("ready"):
                break
            self.step(64)
        else:
            raise AssertionError(f"The memory is not ready after {limit} cycles")

    def set_latency(self, cycles: int) -> None:
        """Change the controller's read latency, 0 to 15 cycles of the chip."""
        self._memory.call("set_latency", cycles)

    def start(self) -> None:
        """Begin a run, so that refreshes follow from here. Takes a cycle."""
        self._memory.call("start")

    def step(self, cycles: int) -> None:
        """Clock with nothing on the streams.

        Raises
        ------
        RuleBroken
            If the controller breaks a rule.
        """
        self._memory.call("step", cycles)
        self._check()

    def run(
        self,
        bursts: list[Burst],
        writes: NDArray[np.uint32],
        *,
        stalls: Stalls = NEVER,
        seed: int = 0,
        limit: int | None = None,
    ) -> tuple[NDArray[np.uint32], int]:
        """Give commands and words, and take words, until all are moved through the port.

        Parameters
        ----------
        bursts : commands, in order
        writes : words of those that write, one after another, uint32
        stalls : how often a cycle offers or takes nothing
        seed : of the stalls
        limit : cycles at most; enough for the stalls unless given

        Returns
        -------
        Words read, uint32, and the cycles that it took. The last words to write may still be on
        their way into the chip.

        Raises
        ------
        RuleBroken
            If the controller breaks a rule.
        AssertionError
            If it does not end, or withdraws or changes a word that it offers.
        """
        bits = self.chip.word_bits
        commands = np.array(
            [each.address | each.words << bits | each.write << bits + 16 for each in bursts],
            np.uint64,
        )
        writes = np.ascontiguousarray(writes, np.uint32)
        expected = sum(each.words for each in bursts if each.write)
        if writes.size != expected:
            raise ValueError(f"The bursts write {expected} words, not {writes.size}")
        reads = np.zeros(sum(each.words for each in bursts if not each.write), np.uint32)
        work = _Work(
            commands.ctypes.data_as(POINTER(c_uint64)),
            writes.ctypes.data_as(POINTER(c_uint32)),
            reads.ctypes.data_as(POINTER(c_uint32)),
            *(commands.size, writes.size, reads.size),
            *(stalls.command, stalls.write, stalls.read, seed),
        )
        if limit is None:
            slowest = max(stalls.command, stalls.write, stalls.read)
            words = writes.size + reads.size + 20 * commands.size
            limit = 10_000 + 40 * words * 256 // (256 - slowest)
        cycles = self._memory.call("run", byref(work), limit)
        self._check()
        waiting = commands.size - work.commands_done
        unwritten, unread = writes.size - work.writes_done, reads.size - work.reads_done
        if waiting or unwritten or unread:
            raise AssertionError(
                f"After {cycles} cycles, {waiting} commands and {unwritten} words to write are not "
                f"taken and {unread} words not read"
            )
        return reads, cycles

    def _check(self) -> None:
        rule = Rule(self._memory.call("violation"))
        if rule is not Rule.NONE:
            raise RuleBroken(rule, self.cycles)
        if self._memory.call("unstable"):
            raise AssertionError(f"A word read was withdrawn or changed before cycle {self.cycles}")


class _Memory(Handle):
    def call(self, name: str, *arguments: object):
        """Result of a function of the library."""
        return self._call(name, *arguments)
