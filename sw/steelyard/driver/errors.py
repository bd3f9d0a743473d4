"""Errors of the driver."""

from ..errors import UserError

__all__ = ["BadInput", "ConfigurationMismatch", "DeviceTimeout", "NoSuchDevice", "WrongDevice"]


class DeviceTimeout(TimeoutError):
    """Device that did not answer in time."""


class NoSuchDevice(UserError):
    """Device that cannot be opened; names those that can."""


class WrongDevice(UserError):
    """Other end of the link that is not an accelerator, or one of another version."""


class ConfigurationMismatch(UserError):
    """Accelerator of another configuration than the program's; names the fields that differ."""


class BadInput(UserError):
    """Images of the wrong shape or type."""
