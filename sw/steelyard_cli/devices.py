"""Devices as the commands use them: what goes wrong inside one is a bad result, not a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from steelyard import driver
from steelyard.config import ArrayConfig
from steelyard_sim.toolchain import BuildFailed

from .console import note
from .errors import BadResult

__all__ = ["opened"]


@contextmanager
def opened(name: str, config: ArrayConfig | None = None) -> Iterator[driver.Device]:
    """Device of a name, closed at the end.

    Raises
    ------
    UserError
        If there is no such device, or a tool that it needs is missing.
    BadResult
        If it hangs, its memories are faulty or its simulation cannot be built.
    """
    try:
        with driver.open(name, config=config, progress=note) as device:
            yield device
    except (BuildFailed, driver.DeviceTimeout, driver.LinkError, driver.MemoryFault) as error:
        raise BadResult(f"Device {name!r} failed: {error}") from error
