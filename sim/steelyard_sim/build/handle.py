"""Handle of one simulation inside a shared library, freed once."""

import ctypes
from collections.abc import Mapping
from ctypes import c_void_p
from pathlib import Path
from typing import Any

__all__ = ["Handle"]


class Handle:
    """Functions of a library that share a prefix, and the simulation that they work on.

    Calls after :meth:`close` raise ValueError.

    Parameters
    ----------
    library : shared library
    prefix : of the functions' names, before an underscore
    functions : result and argument types by name; ``create``, ``destroy``, ``cycles`` and ``reset``
        are among them
    arguments : for ``create``
    """

    def __init__(
        self,
        library: Path,
        prefix: str,
        functions: Mapping[str, tuple[type | None, list[type]]],
        *arguments: Any,
    ) -> None:
        self._handle: c_void_p | None = None
        self._library = ctypes.CDLL(str(library))
        self._prefix = prefix
        for name, (result, types) in functions.items():
            function = self._function(name)
            function.restype, function.argtypes = result, types
        self._handle = self._function("create")(*arguments)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Free the simulation. May be called again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._function("destroy")(handle)

    @property
    def cycles(self) -> int:
        """Clock cycles since creation."""
        return self._call("cycles")

    def reset(self) -> None:
        """Hold reset for four cycles; memories keep what they hold."""
        self._call("reset")

    def _function(self, name: str) -> Any:
        return getattr(self._library, f"{self._prefix}_{name}")

    def _call(self, name: str, *arguments: Any) -> Any:
        if self._handle is None:
            raise ValueError("The simulation is closed")
        return self._function(name)(self._handle, *arguments)
