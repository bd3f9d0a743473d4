"""Devices as the commands use them: what goes wrong inside one is a bad result, not a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from steelyard import driver
from steelyard.config import ArrayConfig
from steelyard_sim.toolchain import BuildFailed

from .console import note
from .errors import BadResult

__all__ = ["board_configs", "opened"]


def board_configs(device: str) -> list[ArrayConfig]:
    """Configurations that an accelerator behind a serial port may have: the boards' defaults.

    A simulated one tells its own, or is made for one that must be given.
    """
    if not (device.startswith(("serial:", "/")) or device.upper().startswith("COM")):
        return []
    from steelyard_boards import BOARDS

    return list(dict.fromkeys(board.default for board in BOARDS.values()))


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
