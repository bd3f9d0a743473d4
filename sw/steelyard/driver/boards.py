"""Boards by name: what the driver must know of one, told by the package that has them."""

import importlib
import importlib.metadata
from typing import Any, Protocol, cast

from ..contract import AcceleratorConfig
from .errors import NoSuchDevice

__all__ = ["BoardFacts", "find_board"]

GROUP = "steelyard.boards"

# Named here and not imported: the library knows nothing of the rooms above it.
OWN = ("steelyard_boards", "board")


class BoardFacts(Protocol):
    """Board as its bitstream makes it.

    Members
    -------
    name : what users call it
    default : its configuration unless another one is asked for
    clock_hz : its clock
    baud : bits a second of its serial line
    external : a configuration with that, or None
    """

    @property
    def name(self) -> str: ...
    @property
    def default(self) -> AcceleratorConfig: ...
    @property
    def clock_hz(self) -> int: ...
    @property
    def baud(self) -> int: ...
    @property
    def external(self) -> AcceleratorConfig | None: ...
    def check(self, config: AcceleratorConfig) -> None:
        """Refuse a configuration that cannot fit; raises UserError."""

    def clock_of(self, config: AcceleratorConfig) -> int:
        """Its clock with a configuration, in hertz."""

    def memory_of(self, config: AcceleratorConfig) -> Any:
        """Its external memory as the gateware of a configuration has it, or None."""


class BoardFinder(Protocol):
    """Function behind an entry point of the group ``steelyard.boards``."""

    def __call__(self, name: str) -> BoardFacts:
        """Board of a name; raises UserError if there is none."""


def find_board(name: str) -> BoardFacts:
    """Board of a name.

    Raises
    ------
    UserError
        If there is no such board; the sentence lists the names.
    NoSuchDevice
        If the package of the boards is not installed.
    """
    try:
        for entry in importlib.metadata.entry_points(group=GROUP):
            return cast(BoardFinder, entry.load())(name)
        module, function = OWN
        return cast(BoardFinder, getattr(importlib.import_module(module), function))(name)
    except ImportError as error:
        raise NoSuchDevice(
            f"Board {name!r} cannot be looked up because {error.name or 'a module'!r} is not "
            "installed; install the package with its extra 'boards'."
        ) from None
