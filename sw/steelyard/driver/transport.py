"""Transports: ways to move words between the host and an accelerator, found by name.

A package offers one through the entry-point group ``steelyard.transports``; the ones of this
project are also found without installed metadata, as in a checkout on the Python path.
"""

import importlib
import importlib.metadata
import importlib.util
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..contract import AcceleratorConfig
from ..progress import Log
from .errors import NoSuchDevice
from .link import LinkStatistics

__all__ = [
    "MeteredTransport",
    "PacedTransport",
    "PlacingTransport",
    "PostingTransport",
    "SimulatedLine",
    "Transport",
    "TransportFactory",
    "find_transport",
    "transport_names",
]

GROUP = "steelyard.transports"

# Named here and not imported: the library knows nothing of the rooms above it.
OWN = {
    "serial": ("steelyard.driver.serial", "open_transport"),
    "sim": ("steelyard_sim", "open_transport"),
    "virtual": ("steelyard_sim.virtual", "open_transport"),
}


class Transport(Protocol):
    """Two streams of 32-bit words, to and from one accelerator."""

    def write(self, words: NDArray[np.uint32], timeout: float) -> None:
        """Send words, uint32 (n,); raises DeviceTimeout if not taken within `timeout` seconds."""

    def read(self, count: int, timeout: float) -> NDArray[np.uint32]:
        """Receive words, uint32 (count,); raises DeviceTimeout after `timeout` seconds."""

    def wait_idle(self, timeout: float) -> None:
        """Return when the accelerator may be idle; raises DeviceTimeout after `timeout` seconds.

        A transport that cannot see the accelerator's state returns at once: the driver asks the
        status register afterwards, and calls again while it is busy.
        """

    def close(self) -> None:
        """Give the link back."""


@runtime_checkable
class PostingTransport(Protocol):
    """Transport that need not wait for answers: the next words travel meanwhile."""

    def post(self, words: NDArray[np.uint32], count: int, timeout: float) -> Any:
        """Send words, uint32 (n,), and ask for `count` words; gives what `fetch` takes."""

    def fetch(self, posted: Any, timeout: float) -> NDArray[np.uint32] | None:
        """Words asked for, uint32 (count,); None if they were lost and must be asked for anew."""


@runtime_checkable
class MeteredTransport(Protocol):
    """Transport over a serial line that counts what it moves.

    Members
    -------
    statistics : what was moved so far
    baud : bits a second of the line
    clock_hz : of the board, 0 if it does not tell
    payload_words : most words of a frame to the board
    board_cycles : clock cycles that a simulated board has made; None for a real one
    """

    @property
    def statistics(self) -> LinkStatistics: ...
    @property
    def baud(self) -> float: ...
    @property
    def clock_hz(self) -> int: ...
    @property
    def payload_words(self) -> int: ...
    @property
    def board_cycles(self) -> int | None: ...


@runtime_checkable
class PacedTransport(Protocol):
    """Transport that knows how long the accelerator may take for so many cycles."""

    def expecting(self, cycles: int, words: int) -> AbstractContextManager[float]:
        """Context in which a run ends before it is given up.

        Gives the seconds that each call may take; infinite where the transport counts cycles itself
        and raises DeviceTimeout after too many.

        Parameters
        ----------
        cycles : that the accelerator may take
        words : that travel meanwhile, both ways
        """


@runtime_checkable
class SimulatedLine(Protocol):
    """Transport to a simulated board, whose every bit takes the simulation's time.

    Members
    -------
    cycles_per_byte : clock cycles of a byte on the line
    cycles_per_second : speed of the simulation, as measured so far
    payload_words, answer_words : most words of a frame to the board and from it
    """

    @property
    def cycles_per_byte(self) -> int: ...
    @property
    def cycles_per_second(self) -> float: ...
    @property
    def payload_words(self) -> int: ...
    @property
    def answer_words(self) -> int: ...


@runtime_checkable
class PlacingTransport(Protocol):
    """Transport to a simulated board whose external memory can be filled and read past its pins."""

    def place(self, address: int, words: NDArray[np.uint32]) -> None:
        """Put words, uint32 (n,), into the memory from an address on."""

    def placed(self, address: int, count: int) -> NDArray[np.uint32]:
        """Words that the memory holds, uint32 (count,)."""


class TransportFactory(Protocol):
    """Function behind an entry point."""

    def __call__(
        self, address: str, config: AcceleratorConfig | None, log: Log | None = None
    ) -> Transport:
        """Transport of what follows the colon in the device's name.

        Its attribute ``board_config``, where it has one, is the accelerator's configuration.

        Parameters
        ----------
        config : the accelerator's configuration, for those that must make one; None if unknown
        log : called with what takes time before it is begun, in words
        """


def transport_names() -> list[str]:
    """Names of the transports that can be opened here, sorted."""
    names = {entry.name for entry in importlib.metadata.entry_points(group=GROUP)}
    for name, (module, _) in OWN.items():
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            names.add(name)
    return sorted(names)


def find_transport(name: str) -> TransportFactory:
    """Factory of a transport.

    Raises
    ------
    NoSuchDevice
        If no package offers the name, or the one that does cannot be imported.
    """
    entries = importlib.metadata.entry_points(group=GROUP, name=name)
    try:
        for entry in entries:
            return cast(TransportFactory, entry.load())
        if name in OWN:
            module, function = OWN[name]
            return cast(TransportFactory, getattr(importlib.import_module(module), function))
    except ImportError as error:
        raise NoSuchDevice(
            f"Device {name!r} cannot be opened because {error.name or 'a module'!r} is not "
            "installed; install the packages of its extra, or use the device 'golden'."
        ) from None
    choices = ", ".join(sorted({"golden", *transport_names()}))
    raise NoSuchDevice(f"There is no device {name!r}; use one of {choices}.")
