"""Virtual board: a board's gateware behind a pseudo-terminal, for the unmodified serial driver.

The gateware is the one of a bitstream, its serial port included: the simulation drives the pin
``rx`` and watches the pin ``tx`` in every clock cycle.
"""

import ctypes
import os
import select
import threading
import tty
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Protocol, Self

from steelyard.config import ArrayConfig
from steelyard.driver.errors import BadAddress
from steelyard.driver.serial import SerialPort, SerialTransport

from .handle import Handle
from .library import Progress, build_board

__all__ = ["BoardSimulation", "Line", "VirtualBoard", "VirtualTransport", "open_transport"]

DIVIDER = 4
SLICE_CYCLES = 20_000
"""Cycles simulated between two looks at the terminal, some hundredths of a second."""
PIECE_BYTES = 4096
POLL_SECONDS = 0.01
BAUD = 200_000
"""Bits a second that a simulation of a small configuration reaches, for the driver's patience."""

FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "create": (c_void_p, [c_uint32]),
    "destroy": (None, [c_void_p]),
    "cycles": (c_uint64, [c_void_p]),
    "reset": (None, [c_void_p]),
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
    library : shared library of :func:`steelyard_sim.library.build_board`
    divider : the one it was built with
    """

    def __init__(self, library: Path, divider: int) -> None:
        super().__init__(library, "board", FUNCTIONS, divider)
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
        return taken.value, self._out.raw[:count], bool(idle.value)


class Line(Protocol):
    """What happens to the bytes of one direction on their way."""

    def carry(self, data: bytes) -> bytes:
        """Bytes that arrive for those that left; called often, also with none."""


class _Wire:
    """Line that changes nothing."""

    def carry(self, data: bytes) -> bytes:
        return data


class VirtualBoard:
    """Simulated board whose serial port is a pseudo-terminal, run by a thread of its own.

    Use it as a context manager and give :attr:`path` to the device ``serial``.

    Parameters
    ----------
    config : of the accelerator
    divider : clock cycles of a bit on the pins
    progress : called before each step when the simulation must be built
    to_board, to_host : lines that lose or damage bytes; by default perfect

    Raises
    ------
    UserError
        If a tool is missing or the cache cannot be written.
    """

    def __init__(
        self,
        config: ArrayConfig,
        *,
        divider: int = DIVIDER,
        progress: Progress | None = None,
        to_board: Line | None = None,
        to_host: Line | None = None,
    ) -> None:
        self._simulation = BoardSimulation(
            build_board(config, divider=divider, progress=progress), divider
        )
        self._to_board: Line = to_board or _Wire()
        self._to_host: Line = to_host or _Wire()
        self._reset_at: int | None = None
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

    def reset(self, after: int = 0) -> None:
        """Press the reset button when the clock has made `after` more cycles, without waiting."""
        self._reset_at = self._simulation.cycles + after

    def cancel_reset(self) -> None:
        """Leave the reset button alone if it was not pressed yet."""
        self._reset_at = None

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
        waiting = b""
        idle = True
        while not self._stop.is_set():
            ready, _, _ = select.select([self._master], [], [], POLL_SECONDS if idle else 0)
            waiting += self._to_board.carry(os.read(self._master, PIECE_BYTES) if ready else b"")
            limit = SLICE_CYCLES
            if (reset_at := self._reset_at) is not None:
                limit = min(limit, reset_at - self._simulation.cycles)
                if limit <= 0:
                    self._reset_at, limit = None, SLICE_CYCLES
                    self._simulation.reset()
            taken, data, idle = self._simulation.run(waiting, limit)
            waiting = waiting[taken:]
            self._put(self._to_host.carry(data))

    def _put(self, data: bytes) -> None:
        while data and not self._stop.is_set():
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                # The host does not read: like a serial port, drop what there is no room for.
                return


class VirtualTransport(SerialTransport):
    """Serial driver's transport with a virtual board of its own.

    Parameters
    ----------
    board : closed with the transport
    """

    def __init__(self, board: VirtualBoard) -> None:
        self.board = board
        try:
            super().__init__(SerialPort(board.path, BAUD), baud=BAUD)
        except BaseException:
            board.close()
            raise

    def close(self) -> None:
        """End the session and free the board."""
        super().close()
        self.board.close()


def open_transport(
    address: str, config: ArrayConfig, progress: Progress | None = None
) -> VirtualTransport:
    """Transport to a fresh virtual board of a configuration, the driver's device ``virtual``.

    Parameters
    ----------
    address : empty
    progress : called before each step when the simulation must be built

    Raises
    ------
    BadAddress
        If there is an address.
    UserError
        If a tool is missing or the cache cannot be written.
    """
    if address:
        raise BadAddress(
            f"The device 'virtual' takes no address, and got {address!r}; write 'virtual:'."
        )
    return VirtualTransport(VirtualBoard(config, progress=progress))
