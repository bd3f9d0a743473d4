"""Compiled simulation behind a Python object and behind the driver's transport."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint16, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from steelyard.contract import AcceleratorConfig
from steelyard.driver.errors import DeviceTimeout
from steelyard.errors import UserError
from steelyard.progress import Log

from .build.handle import Handle
from .build.library import build_library

__all__ = ["Clocked", "Simulation", "SimulationTransport", "open_transport"]

FUNCTIONS: dict[str, tuple[type | None, list[type]]] = {
    "create": (c_void_p, [c_uint32]),
    "destroy": (None, [c_void_p]),
    "reset": (None, [c_void_p]),
    "cycles": (c_uint64, [c_void_p]),
    "step": (None, [c_void_p, c_uint64]),
    "write": (c_size_t, [c_void_p, POINTER(c_uint32), c_size_t, c_uint64]),
    "read": (c_size_t, [c_void_p, POINTER(c_uint32), c_size_t, c_uint64]),
    "wait_idle": (c_int, [c_void_p, c_uint64]),
    "trace": (c_int, [c_void_p, c_char_p]),
    "cells": (POINTER(c_uint16), [c_void_p, c_uint64]),
    "violation": (c_uint32, [c_void_p]),
}

WORD_CYCLES = 64
"""Cycles that a word may take through the host port, far more than it does."""
CELLS = 1 << 25
"""16-bit cells of the largest external memory; those that nobody touches take no memory."""
SLICE_CYCLES = 100_000
"""Cycles simulated between two looks at the clock, some tenths of a second."""


class Simulation(Handle):
    """One simulated accelerator, reset and clocked only when asked to.

    Parameters
    ----------
    library : shared library of :func:`steelyard_sim.build.library.build_library`
    trace : path of a VCD to write, for libraries built with tracing; complete after `close`
    seed : of what has no initial value in a library built with ``unknown="unique"``; 0 means zero
    external : whether the library has an external memory

    Members
    -------
    cells : what the external memory holds, uint16, two for each word, the low half first; empty
        without one

    Raises
    ------
    ValueError
        If a trace is asked of a library without tracing.
    """

    def __init__(
        self, library: Path, *, trace: Path | None = None, seed: int = 0, external: bool = False
    ) -> None:
        super().__init__(library, "simulation", FUNCTIONS, seed)
        self.cells = np.zeros(0, np.uint16)
        if external:
            self.cells = np.ctypeslib.as_array(self._call("cells", CELLS), (CELLS,))
        if trace is not None and not self._call("trace", str(trace).encode()):
            self.close()
            raise ValueError(f"Library {library.name!r} cannot write the trace {str(trace)!r}")
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.cells = np.zeros(0, np.uint16)
        super().close()

    def _clocked(self, name: str, *arguments: object) -> Any:
        """Call what lets time pass.

        Raises
        ------
        RuleBroken
            If the controller of an external memory breaks a rule of the chip.
        """
        result = self._call(name, *arguments)
        broken = self._call("violation")
        if broken:
            from .memory.sdram import Rule
            from .memory.simulation import RuleBroken

            raise RuleBroken(Rule(broken), self.cycles)
        return result

    def step(self, cycles: int) -> None:
        """Clock with no transfer on either stream."""
        self._clocked("step", cycles)

    def write(self, words: NDArray[np.uint32], limit: int) -> int:
        """Number of `words`, uint32 (n,), that the accelerator takes within `limit` cycles."""
        words = np.ascontiguousarray(words, np.uint32)
        pointer = words.ctypes.data_as(POINTER(c_uint32))
        return self._clocked("write", pointer, words.size, limit)

    def read(self, count: int, limit: int) -> NDArray[np.uint32]:
        """Up to `count` words that the accelerator gives within `limit` cycles, uint32 (n,)."""
        words = np.empty(max(count, 1), np.uint32)
        pointer = words.ctypes.data_as(POINTER(c_uint32))
        done = self._clocked("read", pointer, count, limit)
        return words[:done]

    def wait_idle(self, limit: int) -> bool:
        """Whether the accelerator is idle within `limit` cycles."""
        return bool(self._clocked("wait_idle", limit))


class Clocked(Protocol):
    """What the transport needs of a simulation, as :class:`Simulation` has it."""

    @property
    def cycles(self) -> int: ...
    def step(self, cycles: int) -> None: ...
    def write(self, words: NDArray[np.uint32], limit: int) -> int: ...
    def read(self, count: int, limit: int) -> NDArray[np.uint32]: ...
    def wait_idle(self, limit: int) -> bool: ...
    def close(self) -> None: ...


class SimulationTransport:
    """Driver's transport to a simulation; time passes only inside its calls.

    Parameters
    ----------
    simulation : closed with the transport
    """

    def __init__(self, simulation: Clocked) -> None:
        self.simulation = simulation
        self._last_cycle: int | None = None

    @contextmanager
    def expecting(self, cycles: int, words: int) -> Iterator[float]:
        """Context in which the simulation's cycles are the limit, whatever else the machine does.

        Gives infinite seconds.
        """
        self._last_cycle = self.simulation.cycles + cycles + WORD_CYCLES * words
        try:
            yield math.inf
        finally:
            self._last_cycle = None

    def _check(self, end: float, what: str) -> None:
        """Give up if the time is over, in seconds or in cycles of a run.

        Raises
        ------
        DeviceTimeout
            Says what the accelerator has done so far.
        """
        late = self._last_cycle is not None and self.simulation.cycles > self._last_cycle
        if late or time.monotonic() > end:
            raise DeviceTimeout(
                f"The simulated accelerator {what} in its time, after {self.simulation.cycles:,} "
                "cycles in all; it hangs."
            )

    def write(self, words: NDArray[np.uint32], timeout: float) -> None:
        """Send words, uint32 (n,).

        Raises
        ------
        DeviceTimeout
            If the accelerator does not take them within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        done = 0
        while True:
            done += self.simulation.write(words[done:], SLICE_CYCLES)
            if done == len(words):
                return
            self._check(end, f"took {done} of {len(words)} words")

    def read(self, count: int, timeout: float) -> NDArray[np.uint32]:
        """Receive `count` words, uint32 (count,).

        Raises
        ------
        DeviceTimeout
            If they do not arrive within `timeout` seconds.
        """
        end = time.monotonic() + timeout
        parts: list[NDArray[np.uint32]] = []
        done = 0
        while True:
            parts.append(self.simulation.read(count - done, SLICE_CYCLES))
            done += len(parts[-1])
            if done == count:
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
            self._check(end, f"gave {done} of {count} words")

    def wait_idle(self, timeout: float) -> None:
        """Clock until the accelerator is idle.

        Raises
        ------
        DeviceTimeout
            If it is busy for longer than `timeout` seconds.
        """
        end = time.monotonic() + timeout
        # The last word of a START takes some cycles through the host port to raise busy.
        self.simulation.step(16)
        while not self.simulation.wait_idle(SLICE_CYCLES):
            self._check(end, "did not finish")

    def close(self) -> None:
        """Free the simulation."""
        self.simulation.close()


def open_transport(
    address: str, config: AcceleratorConfig | None, log: Log | None = None
) -> SimulationTransport:
    """Transport of a fresh simulation of a configuration, the driver's device ``sim``.

    Parameters
    ----------
    address : path of a VCD to write, or empty
    log : called with each step before it when the simulation must be built

    Raises
    ------
    UserError
        If there is no configuration, a tool is missing or the cache cannot be written.
    """
    if config is None:
        raise UserError("A simulation needs a configuration; give the file of one.")
    external = bool(config.memory.external_words)
    if external:
        # With it comes Amaranth, which takes a second.
        from .memory.accelerator import build_external

        library = build_external(config, trace=bool(address), log=log)
    else:
        library = build_library(config, trace=bool(address), log=log)
    trace = Path(address) if address else None
    return SimulationTransport(Simulation(library, trace=trace, external=external))
