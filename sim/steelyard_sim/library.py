"""Cache of compiled simulations: one shared library a configuration, built when first asked for."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from steelyard import config as config_module
from steelyard import tile as tile_module
from steelyard.config import ArrayConfig
from steelyard.crossbar import config as crossbar_module
from steelyard.errors import UserError
from steelyard.tile import TileConfig

from .toolchain import HARNESS, SERIAL_HARNESS, Toolchain, compile_library

__all__ = [
    "Progress",
    "build",
    "build_board",
    "build_verilog",
    "cache_folder",
    "cached_file",
    "cached_library",
    "gateware_digest",
]

Progress = Callable[[str], None]
"""Called with what is done next, in words; not called when the library is in the cache."""


def cache_folder() -> Path:
    """Folder of the libraries: ``$XDG_CACHE_HOME/steelyard``, by default ``~/.cache/steelyard``."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root else Path.home() / ".cache") / "steelyard"


def build(config: ArrayConfig, *, trace: bool = False, progress: Progress | None = None) -> Path:
    """Shared library that simulates the accelerator of a configuration.

    Taken from the cache unless the configuration, the gateware's sources, a tool or the processor
    changed. May be called by several processes at once; one builds and the others wait.

    Parameters
    ----------
    trace : whether the simulation can write a VCD
    progress : called before each step of a build

    Raises
    ------
    UserError
        If Verilator, Yosys or a C++ compiler is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the gateware.
    """

    def verilog() -> str:
        # Amaranth is imported only when a library is built: a cached one starts a second sooner.
        from steelyard_hw.verilog import convert

        return convert(config)

    return cached_library(
        f"{config.canonical()}\n{gateware_digest(config, link=False)}",
        verilog,
        "steelyard",
        f"accelerator of {config.lanes} lanes x {config.columns} columns",
        trace,
        progress,
    )


def build_board(
    config: ArrayConfig,
    *,
    divider: int,
    clock_hz: int,
    progress: Progress | None = None,
) -> Path:
    """Shared library that simulates a board's gateware behind its serial pins, cached as well.

    Parameters
    ----------
    divider : clock cycles of a bit on the pins
    clock_hz : frequency that the board tells the host
    progress : called before each step of a build

    Raises
    ------
    UserError
        If Verilator, Yosys or a C++ compiler is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the gateware.
    """

    def verilog() -> str:
        from steelyard_hw.link import SerialAccelerator
        from steelyard_hw.verilog import convert_component

        board = SerialAccelerator(config, divider=divider, clock_hz=clock_hz)
        return convert_component(board, "steelyard_board")

    return cached_library(
        f"board {divider} {clock_hz}\n{config.canonical()}\n{gateware_digest(config, link=True)}",
        verilog,
        "steelyard_board",
        f"board with {config.lanes} lanes x {config.columns} columns",
        False,
        progress,
        SERIAL_HARNESS,
    )


def build_verilog(
    verilog: str, top: str, *, trace: bool = False, progress: Progress | None = None
) -> Path:
    """Shared library of any SystemVerilog design with the accelerator's ports, cached as well.

    Parameters
    ----------
    verilog : SystemVerilog text
    top : its top module

    Raises
    ------
    UserError
        If Verilator or a C++ compiler is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the design.
    """
    return cached_library(
        f"{top}\n{verilog}", lambda: verilog, top, f"design {top!r}", trace, progress
    )


def gateware_digest(config: ArrayConfig, *, link: bool) -> str:
    """Digest of all sources that the Verilog depends on, found without importing the gateware.

    Parameters
    ----------
    config : configuration, whose own sources are among them
    link : whether the link of a board is part of it
    """
    try:
        amaranth = importlib.metadata.version("amaranth")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            "Simulation needs Amaranth, which is not installed; "
            "install it with 'pip install amaranth', or use the device 'golden'."
        ) from None
    modules = [config_module]
    if isinstance(config, TileConfig):
        modules += [tile_module, crossbar_module]
    files = [Path(module.__file__ or "") for module in modules]
    package = importlib.util.find_spec("steelyard_hw")
    for folder in (package and package.submodule_search_locations) or ():
        sources = sorted(Path(folder).rglob("*.py"))
        files += [file for file in sources if link or not file.name.startswith("link")]
    digest = hashlib.sha256(amaranth.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def cached_library(
    key: str,
    verilog: Callable[[], str],
    top: str,
    what: str,
    trace: bool,
    progress: Progress | None,
    harness: Path = HARNESS,
    unknown: str = "fast",
) -> Path:
    """Shared library of a design, from the cache if one of the same key and tools is there.

    Parameters
    ----------
    key : text that changes with anything that the design depends on
    verilog : gives the SystemVerilog, called only when it is needed
    top : its top module
    what : the design in words, for `progress`
    trace : whether the simulation can write a VCD
    progress : called before each step of a build
    harness : C++ source that clocks the design
    unknown : as :attr:`.toolchain.Toolchain.unknown`

    Raises
    ------
    UserError
        If a tool is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the design.
    """
    tools = Toolchain.find(harness, unknown)

    def make(target: Path) -> None:
        if progress is not None:
            progress(f"Generating Verilog of the {what}")
        design = verilog()
        if progress is not None:
            progress(f"Compiling the simulation of the {what}")
        compile_library(design, top, target, tools, trace=trace)

    return cached_file(f"{key}\n{tools.identity()}\n{trace}", ".so", make)


def cached_file(key: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """File of the cache, made when first asked for.

    May be called by several processes at once; one makes it and the others wait.

    Parameters
    ----------
    key : text that changes with anything that the file depends on
    suffix : of its name
    make : makes it at the path that it gets, whole or not at all

    Raises
    ------
    UserError
        If the cache cannot be written.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:40]
    folder = cache_folder()
    target = folder / f"{name}{suffix}"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / f"{name}.lock"):
            if not target.exists():
                make(target)
    except OSError as error:
        raise UserError(
            f"The cache of simulations {str(folder)!r} cannot be written ({error.strerror}); "
            "set XDG_CACHE_HOME to a folder that can."
        ) from None
    return target


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Exclusive lock between processes; the file is left, for removing it would race."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
