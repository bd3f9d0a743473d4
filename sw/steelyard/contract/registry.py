"""The one registry of engines: a line for each, which names its room in core.

A room has the module `config` with the class `CONFIG` of the engine's part of a configuration, and
the module `engine` with the object `ENGINE` (:class:`steelyard.engines.Engine`). They are imported
when first asked for, so that reading a configuration needs nothing else of an engine.
"""

from importlib import import_module
from typing import Any

from ..errors import UserError
from .configuration import shown

__all__ = ["config_class", "engine", "kinds", "modules", "register", "unregister"]

_ROOMS = {
    "array": "steelyard.engines.array",
    "crossbar": "steelyard.engines.crossbar",
}
"""Kind of an engine, as configurations name it, to its room."""
_REGISTERED: dict[str, tuple[type[Any], Any]] = {}


def register(kind: str, config: type[Any], engine: Any) -> None:
    """Add an engine from outside the package, for this process.

    Parameters
    ----------
    kind : how configurations name it
    config : subclass of :class:`steelyard.contract.EngineConfig`
    engine : :class:`steelyard.engines.Engine`

    Raises
    ------
    ValueError
        If the kind is taken.
    """
    if kind in kinds():
        raise ValueError(f"Engine {kind!r} is registered already; choose another name")
    _REGISTERED[kind] = config, engine


def unregister(kind: str) -> None:
    """Forget an engine that :func:`register` added."""
    del _REGISTERED[kind]


def kinds() -> tuple[str, ...]:
    """All kinds of engines."""
    return (*_ROOMS, *_REGISTERED)


def modules() -> tuple[str, ...]:
    """Modules that make the hardware of all engines, which no import statement names."""
    return tuple(
        name
        for each in map(config_class, kinds())
        for name in (each.__module__, each.gateware.partition(":")[0])
    )


def config_class(kind: object) -> type[Any]:
    """Class of an engine's part of a configuration.

    Raises
    ------
    UserError
        If there is no such engine.
    """
    if isinstance(kind, str) and kind in _REGISTERED:
        return _REGISTERED[kind][0]
    if not isinstance(kind, str) or kind not in _ROOMS:
        raise UserError(
            f"There is no engine {shown(kind)}; write kind = one of "
            f"{', '.join(map(repr, kinds()))} under '[engine]'."
        )
    found: type[Any] = import_module(f"{_ROOMS[kind]}.config").CONFIG
    return found


def engine(kind: str) -> Any:
    """Object of an engine, :class:`steelyard.engines.Engine`."""
    if kind in _REGISTERED:
        return _REGISTERED[kind][1]
    config_class(kind)
    return import_module(f"{_ROOMS[kind]}.engine").ENGINE
