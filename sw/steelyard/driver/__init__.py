"""Driver: one way to run programs on every device, be it simulated, the golden model or a board.

:func:`open` gives a :class:`Device`; :func:`check` compares it with the golden model.
"""

import os

from ..contract import AcceleratorConfig
from ..errors import UserError
from ..progress import Log
from .array_device import ArrayDevice
from .check import Mismatch, check, check_known_answer, check_layers
from .device import Device, LayerCounters
from .errors import (
    BadAddress,
    BadInput,
    ConfigurationMismatch,
    DamagedLink,
    DeviceBusy,
    DeviceTimeout,
    LinkError,
    MemoryFault,
    NoSuchDevice,
    SessionLost,
    WrongDevice,
)
from .external import LostWord
from .forecast import Forecast
from .golden_device import GoldenDevice
from .inputs import float_codes, int8_codes, raw_output, real_output
from .selftest import SelfTest, Step
from .throughput import Throughput, Traffic
from .transport import Transport, find_transport, transport_names

__all__ = [
    "ArrayDevice",
    "BadAddress",
    "BadInput",
    "ConfigurationMismatch",
    "DamagedLink",
    "Device",
    "DeviceBusy",
    "DeviceTimeout",
    "Forecast",
    "GoldenDevice",
    "LayerCounters",
    "LinkError",
    "LostWord",
    "MemoryFault",
    "Mismatch",
    "NoSuchDevice",
    "SelfTest",
    "SessionLost",
    "Step",
    "Throughput",
    "Traffic",
    "Transport",
    "WrongDevice",
    "check",
    "check_known_answer",
    "check_layers",
    "float_codes",
    "int8_codes",
    "open",
    "raw_output",
    "real_output",
    "transport_names",
]


def open(
    device: str | os.PathLike[str] = "sim",
    *,
    config: AcceleratorConfig | None = None,
    timeout: float | None = None,
    log: Log | None = None,
) -> Device:
    """Device of a name: ``golden``, ``sim`` or another transport, which an address may follow.

    ``sim:FILE.vcd`` also writes a trace. ``serial:/dev/ttyUSB0?baud=3000000`` is a board; a path
    such as ``/dev/ttyUSB0`` or ``COM3`` means ``serial:`` with it. ``virtual:`` is a board's
    gateware, simulated with its serial port.

    Parameters
    ----------
    device : ``NAME``, ``NAME:ADDRESS`` or the path of a board's serial port
    config : the accelerator's configuration; without it the simulation takes each program's
    timeout : seconds that one command of the device may take; without it 600, and a run as long as
        its predicted cycles need on the device
    log : called with what takes time before the first run, in words

    Raises
    ------
    NoSuchDevice
        If there is no such device; names those that there are.
    """
    if not isinstance(device, str | os.PathLike):
        raise NoSuchDevice(
            f"A device is given by its name, not as {type(device).__name__}; "
            f"use one of {', '.join(['golden', *transport_names()])}."
        )
    if config is not None and not isinstance(config, AcceleratorConfig):
        raise UserError(
            f"A device's configuration is an AcceleratorConfig, not "
            f"{type(config).__name__}; read a file with AcceleratorConfig.from_toml."
        )
    device = os.fsdecode(device)
    name, _, address = device.partition(":")
    if device.startswith("/") or (device.upper().startswith("COM") and device[3:].isdigit()):
        name, address = "serial", device
    if name == "golden":
        return GoldenDevice()
    return ArrayDevice(name, find_transport(name), address, config=config, timeout=timeout, log=log)
