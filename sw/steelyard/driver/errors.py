"""Errors of the driver."""

from ..errors import UserError

__all__ = [
    "BadAddress",
    "BadInput",
    "ConfigurationMismatch",
    "DamagedLink",
    "DeviceBusy",
    "DeviceTimeout",
    "LinkError",
    "MemoryFault",
    "NoSuchDevice",
    "SessionLost",
    "WrongDevice",
]


class DeviceTimeout(TimeoutError):
    """Device that did not answer in time."""


class LinkError(OSError):
    """Link to a board that failed; load the program again."""


class DamagedLink(LinkError):
    """Link that brought damaged answers only, until the time was up."""


class SessionLost(LinkError):
    """Board that was reset, or that another program took over."""


class MemoryFault(RuntimeError):
    """Memory of a device that gives back other words than were written."""


class NoSuchDevice(UserError):
    """Device that cannot be opened; names those that can."""


class BadAddress(NoSuchDevice):
    """Address of a device that cannot be understood."""


class DeviceBusy(UserError):
    """Device that another program uses."""


class WrongDevice(UserError):
    """Other end of the link that is not an accelerator, or one of another version."""


class ConfigurationMismatch(UserError):
    """Accelerator of another configuration than the program's; names the fields that differ."""


class BadInput(UserError):
    """Images of the wrong shape or type."""
