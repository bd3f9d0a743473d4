"""Transports: ways to move words between the host and an accelerator, found by name.

A package offers one through the entry-point group ``steelyard.transports``; the ones of this
project are also found without installed metadata, as in a checkout on the Python path.
"""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..config import ArrayConfig
from .errors import NoSuchDevice

__all__ = ["Progress", "Transport", "TransportFactory", "find_transport", "transport_names"]

GROUP = "steelyard.transports"

# Named here and not imported: the library knows nothing of the rooms above it.
OWN = {
    "serial": ("steelyard.driver.serial", "open_transport"),
    "sim": ("steelyard_sim", "open_transport"),
    "virtual": ("steelyard_sim.virtual", "open_transport"),
}

Progress = Callable[[str], None]
"""Called with what takes time next, in words."""


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


class TransportFactory(Protocol):
    """Function behind an entry point."""

    def __call__(
        self, address: str, config: ArrayConfig, progress: Progress | None = None
    ) -> Transport:
        """Transport of what follows the colon in the device's name, for a configuration."""


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
