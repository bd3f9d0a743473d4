"""Devices as the commands use them: what goes wrong inside one is a bad result, not a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from steelyard import driver
from steelyard.contract import AcceleratorConfig
from steelyard.program import Program
from steelyard_sim.build.toolchain import BuildFailed

from ..errors import BadResult
from ..view.console import duration, note

__all__ = ["announce", "board_configs", "opened"]

SLOW_SECONDS = 10.0
"""Time of a simulated board from which on users are told of it beforehand."""


def board_configs(device: str) -> list[AcceleratorConfig]:
    """Configurations that an accelerator behind a serial port may have: the boards' defaults.

    A simulated one tells its own, or is made for one that must be given.
    """
    if not (device.startswith(("serial:", "/")) or device.upper().startswith("COM")):
        return []
    from steelyard_boards import BOARDS

    return list(dict.fromkeys(board.default for board in BOARDS.values()))


@contextmanager
def opened(name: str, config: AcceleratorConfig | None = None) -> Iterator[driver.Device]:
    """Device of a name, closed at the end.

    Raises
    ------
    UserError
        If there is no such device, or a tool that it needs is missing.
    BadResult
        If it hangs, its memories are faulty or its simulation cannot be built.
    """
    try:
        with driver.open(name, config=config, log=note) as device:
            yield device
    except (BuildFailed, driver.DeviceTimeout, driver.LinkError, driver.MemoryFault) as error:
        raise BadResult(f"Device {name!r} failed: {error}") from error


def announce(
    device: driver.Device, program: Program, images: int, *, verify: bool, check: bool
) -> None:
    """Say what a simulated board will take, before it is loaded and run, if that is long.

    Parameters
    ----------
    images : to be run
    verify : whether the program will be read back
    check : whether all layers will be compared too
    """
    found = device.forecast(program, images, verify=verify, check=check)
    if found is None or found.seconds < SLOW_SECONDS:
        return
    parts = [("loading", found.load), (f"{images} images", found.run)]
    if check:
        parts.append(("comparing every layer", found.check))
    times = ", ".join(f"{what} {duration(n / found.cycles_per_second)}" for what, n in parts)
    note(
        f"Device {device.name!r} simulates the board with every bit of its serial line, "
        f"{found.cycles_per_second:,.0f} cycles a second here: about {duration(found.seconds)} "
        f"({times}). 'sim' simulates the accelerator without the line, 'golden' starts at once."
    )
