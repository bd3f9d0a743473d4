"""Virtual board: a board's gateware behind a pseudo-terminal, for the unmodified serial driver.

The gateware is the one of a bitstream, its serial port included: the simulation drives the pin
``rx`` and watches the pin ``tx`` in every clock cycle.
"""

import ctypes
import math
import os
import select
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from steelyard.contract import AcceleratorConfig
from steelyard.driver.boards import find_board
from steelyard.driver.errors import BadAddress
from steelyard.driver.serial import BITS_A_BYTE, WORD_BYTES, SerialPort, SerialTransport
from steelyard.errors import UserError
from steelyard.progress import Log

from .build.handle import Handle
from .build.library import build_board

if TYPE_CHECKING:
    from steelyard_hw.memory.external import ExternalMemory

__all__ = [
    "Address",
    "BoardSimulation",
    "VirtualBoard",
    "VirtualTransport",
    "open_transport",
]

DIVIDER = 4
CLOCK_HZ = 48_000_000
"""Clock of a board that has no name, as it tells the host."""
SLICE_CYCLES = 20_000
"""Cycles simulated between two looks at the terminal, some hundredths of a second."""
PIECE_BYTES = 4096
POLL_SECONDS = 0.01
MEASURED_CYCLES = 2_000
"""Cycles that tell the speed of a simulation."""
RUN_CYCLES = 2_000_000
"""Cycles that a run may take beyond those of its own and of its words: frames that are sent again
because the simulation is slow."""
OPEN_SECONDS = 60.0
"""Time that opening the session may take where other programs want the machine too."""
STALLED_SECONDS = 180.0
"""Time in which a board that is waited for may stand still, more than the link's longest pause."""
SIMULATED_HZ = 100_000
"""Cycles a second that even a large configuration reaches, for the driver's patience."""

FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "create": (c_void_p, [c_uint32]),
    "destroy": (None, [c_void_p]),
    "cycles": (c_uint64, [c_void_p]),
    "reset": (None, [c_void_p]),
    "cells": (POINTER(c_uint16), [c_void_p, c_uint64]),
    "violation": (c_uint32, [c_void_p]),
    "run": (
        c_size_t,
        [
            *(c_void_p, c_char_p, c_size_t, POINTER(c_size_t)),
            *(c_char_p, c_size_t, c_uint64, POINTER(c_int)),
        ],
    ),
}


class BoardSimulation(Handle):
    """One simulated board, clocked only inside :meth:`run`.

    Parameters
    ----------
    library : shared library of :func:`steelyard_sim.build.library.build_board`
    divider : the one it was built with
    external : 16-bit cells of its external memory

    Members
    -------
    cells : what they hold, uint16, two for each word, the low half first; gone with the simulation
    """

    def __init__(self, library: Path, divider: int, external: int = 0) -> None:
        super().__init__(library, "board", FUNCTIONS, divider)
        self.cells = np.zeros(0, np.uint16)
        if external:
            self.cells = np.ctypeslib.as_array(self._call("cells", external), (external,))
        self._out = ctypes.create_string_buffer(PIECE_BYTES)
        self.reset()

    def run(self, data: bytes, limit: int) -> tuple[int, bytes, bool]:
        """Clock for up to `limit` cycles.

        Parameters
        ----------
        data : bytes for the pin ``rx``, one after the other

        Returns
        -------
        number of bytes that went in, bytes from the pin ``tx``, whether the board came to rest

        Raises
        ------
        RuleBroken
            If the controller of an external memory breaks a rule of the chip.
        """
        taken, idle = c_size_t(), c_int()
        count = self._call(
            "run",
            data,
            len(data),
            byref(taken),
            self._out,
            PIECE_BYTES,
            limit,
            byref(idle),
        )
        broken = self._call("violation")
        if broken:
            from .memory.sdram import Rule
            from .memory.simulation import RuleBroken

            raise RuleBroken(Rule(broken), self.cycles)
        return taken.value, self._out.raw[:count], bool(idle.value)


class VirtualBoard:
    """Simulated board whose serial port is a pseudo-terminal, run by a thread of its own.

    Use it as a context manager and give ``path`` to the device ``serial``.

    Parameters
    ----------
    config : of the accelerator
    divider : clock cycles of a bit on the pins
    clock_hz : frequency that the board tells the host
    memory : its external memory, if the configuration has one and that of no named board is meant
    late : cycles that this memory's data come later than the board was made for
    log : called with each step before it when the simulation must be built

    Members
    -------
    failure : what ended the simulation, if anything did

    Raises
    ------
    UserError
        If a tool is missing or the cache cannot be written.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        *,
        divider: int = DIVIDER,
        clock_hz: int = CLOCK_HZ,
        memory: "ExternalMemory | None" = None,
        late: int = 0,
        log: Log | None = None,
    ) -> None:
        self.config = config
        self.divider = divider
        self._busy_cycles = 0
        self._busy_seconds = 0.0
        self.failure: Exception | None = None
        self._simulation = _simulation(config, divider, clock_hz, memory, late, log)
        self._stop = threading.Event()
        self._master, self._slave = os.openpty()
        # No echo, no translation of line ends, from the first byte on.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._serve, name="virtual board", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def cycles(self) -> int:
        """Clock cycles so far; the clock stands still when the board has nothing to do."""
        return self._simulation.cycles

    @property
    def cycles_per_second(self) -> float:
        """Speed of the simulation while the board has something to do, as measured so far."""
        if self._busy_cycles < MEASURED_CYCLES:
            return SIMULATED_HZ
        return self._busy_cycles / self._busy_seconds

    @property
    def cells(self) -> NDArray[np.uint16]:
        """What the external memory holds, two for each word, the low half first."""
        return self._simulation.cells

    def close(self) -> None:
        """Stop and free the board. May be called again."""
        self._stop.set()
        self._thread.join()
        for number in (self._master, self._slave):
            if number >= 0:
                os.close(number)
        self._master = self._slave = -1
        self._simulation.close()

    def _serve(self) -> None:
        try:
            self._exchange()
        except AssertionError as error:
            # Whoever waits for the board is told.
            self.failure = error

    def _exchange(self) -> None:
        waiting = b""
        idle = True
        while not self._stop.is_set():
            ready, _, _ = select.select([self._master], [], [], POLL_SECONDS if idle else 0)
            waiting += os.read(self._master, PIECE_BYTES) if ready else b""
            before, start = self._simulation.cycles, time.perf_counter()
            taken, data, idle = self._simulation.run(waiting, SLICE_CYCLES)
            self._busy_seconds += time.perf_counter() - start
            self._busy_cycles += self._simulation.cycles - before
            waiting = waiting[taken:]
            self._put(data)

    def _put(self, data: bytes) -> None:
        while data and not self._stop.is_set():
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                # The host does not read: like a serial port, drop what there is no room for.
                return


def _simulation(
    config: AcceleratorConfig,
    divider: int,
    clock_hz: int,
    memory: "ExternalMemory | None",
    late: int,
    log: Log | None,
) -> BoardSimulation:
    """Simulation of a board, with its external memory if the configuration has one."""
    if not config.memory.external_words:
        library = build_board(config, divider=divider, clock_hz=clock_hz, log=log)
        return BoardSimulation(library, divider)
    # With it comes Amaranth, which takes a second.
    from .memory.board import build_external_board, memory_of

    memory = memory or memory_of(config)
    library = build_external_board(
        config, divider=divider, clock_hz=clock_hz, memory=memory, late=late, log=log
    )
    return BoardSimulation(library, divider, 2 * memory.words)


class VirtualTransport(SerialTransport):
    """Serial driver's transport with a virtual board of its own.

    Parameters
    ----------
    board : closed with the transport
    """

    def __init__(self, board: VirtualBoard) -> None:
        self.board = board
        self._last_cycle: int | None = None
        self._seen = 0, 0.0
        try:
            # As patient as the simulation is slow, which is slower than the line it simulates.
            baud = SIMULATED_HZ / board.divider
            super().__init__(
                SerialPort(board.path, round(baud)),
                baud=baud,
                timeout=OPEN_SECONDS,
                clock=self._seconds,
            )
        except BaseException:
            board.close()
            raise

    @property
    def board_config(self) -> AcceleratorConfig:
        """Configuration of the accelerator."""
        return self.board.config

    @property
    def baud(self) -> float:
        """Bits a second of the line if the board had its clock."""
        return self.clock_hz / self.board.divider

    @property
    def cycles_per_byte(self) -> int:
        """Clock cycles of a byte on the line."""
        return BITS_A_BYTE * self.board.divider

    @property
    def cycles_per_second(self) -> float:
        """Speed of the simulation, as measured so far."""
        return self.board.cycles_per_second

    def place(self, address: int, words: NDArray[np.uint32]) -> None:
        """Put words, uint32 (n,), into the external memory from an address on, past its pins."""
        cells = np.ascontiguousarray(words, "<u4").view("<u2")
        self.board.cells[2 * address : 2 * address + cells.size] = cells

    def placed(self, address: int, count: int) -> NDArray[np.uint32]:
        """Words that the external memory holds, uint32 (count,)."""
        return self.board.cells[2 * address : 2 * (address + count)].copy().view("<u4")

    @contextmanager
    def expecting(self, cycles: int, words: int) -> Iterator[float]:
        """Context in which the board's own cycles are the limit, whatever else the machine does.

        Gives infinite seconds.
        """
        line = 3 * WORD_BYTES * self.cycles_per_byte * words
        self._seen = self.board.cycles, time.monotonic()
        self._last_cycle = self.board.cycles + cycles + line + RUN_CYCLES
        try:
            yield math.inf
        finally:
            self._last_cycle = None

    def _seconds(self) -> float:
        """Time for the link, which is over when a run has taken too many cycles."""
        if self.board.failure is not None:
            raise self.board.failure
        now = time.monotonic()
        if self._last_cycle is None:
            return now
        cycles = self.board.cycles
        if cycles != self._seen[0]:
            self._seen = cycles, now
        late = cycles > self._last_cycle or now - self._seen[1] > STALLED_SECONDS
        return math.inf if late else now

    @property
    def board_cycles(self) -> int:
        """Clock cycles that the board has made."""
        return self.board.cycles

    def close(self) -> None:
        """End the session and free the board."""
        super().close()
        self.board.close()


@dataclass(frozen=True, kw_only=True)
class Address:
    """Which board is simulated.

    Members
    -------
    board : its name, or empty
    config : file of the accelerator's configuration, in place of the board's own, or None
    divider : clock cycles of a bit on the pins, in place of the board's own, or None
    """

    board: str = ""
    config: Path | None = None
    divider: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Address of ``BOARD?config=FILE.toml&divider=N``, each part being optional.

        Raises
        ------
        BadAddress
            If an option is not one of these, or the divider no whole number of at least 4.
        """
        board, _, query = text.partition("?")
        config = divider = None
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name == "config":
                config = Path(value)
            elif name == "divider":
                if not value.isdecimal() or not DIVIDER <= int(value) < 1 << 16:
                    raise BadAddress(
                        f"Virtual board option 'divider' must be a whole number of at least "
                        f"{DIVIDER}, not {value!r}; write for example 'divider=4'."
                    )
                divider = int(value)
            else:
                raise BadAddress(
                    f"Virtual board option {name!r} is unknown; use 'config' or 'divider'."
                )
        return cls(board=board, config=config, divider=divider)


def open_transport(
    address: str, config: AcceleratorConfig | None, log: Log | None = None
) -> VirtualTransport:
    """Transport to a fresh virtual board, the driver's device ``virtual``.

    A named board has its own clock, serial rate and default configuration; without a name it is a
    board of `config` with the fastest line.

    Parameters
    ----------
    address : as :meth:`Address.parse` takes it
    config : of a board without name and without file
    log : called with each step before it when the simulation must be built

    Raises
    ------
    BadAddress
        If the address cannot be understood.
    UserError
        If there is no such board, no configuration, or a tool is missing or the cache cannot be
        written.
    """
    where = Address.parse(address)
    divider, clock_hz, memory = DIVIDER, CLOCK_HZ, None
    if where.board:
        named = find_board(where.board)
        config = named.default
    if where.config is not None:
        config = AcceleratorConfig.from_toml(where.config)
        if where.board and config.memory.external_words:
            named.check(config)
            memory = named.memory_of(config)
    if config is None:
        raise UserError(
            "A virtual board needs a configuration; name a board as in 'virtual:ulx3s_85f', or "
            "write 'virtual:?config=FILE.toml'."
        )
    if where.board:
        clock_hz = named.clock_of(config)
        divider = round(clock_hz / named.baud)
    divider = where.divider or divider
    board = VirtualBoard(config, divider=divider, clock_hz=clock_hz, memory=memory, log=log)
    return VirtualTransport(board)
