"""From a board and a configuration to a bitstream and its summary."""

import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.contract import AcceleratorConfig
from steelyard.files import replacing
from steelyard.progress import Log

from ..board import MHZ, Board
from ..demo import demo_cycles
from . import nextpnr
from .flow import Flow, Job
from .summary import Outcome, Summary
from .tools import tool_version
from .vivado import Vivado

__all__ = [
    "FLOWS",
    "Synthesis",
    "bitstream_file",
    "build",
    "prepare",
    "route",
    "synthesize",
    "tool_versions",
]

DESIGNS = (".il", ".v")
"""Endings of files that synthesis reads and place and route does not."""

FLOWS: dict[str, Flow] = {flow.toolchain: flow for flow in (*nextpnr.FLOWS, Vivado())}
"""Flows by the families' toolchains."""


def prepare(board: Board, config: AcceleratorConfig) -> dict[str, str]:
    """Files of a build by name: netlist, scripts and constraints.

    Raises
    ------
    UserError
        If the board's clock or serial rate cannot be made.
    """
    return FLOWS[board.device.family.toolchain].prepare(board, config)


def bitstream_file(board: Board, folder: Path) -> Path:
    """Where a build in `folder` leaves the board's bitstream."""
    return folder / f"{board.name}{FLOWS[board.device.family.toolchain].suffix}"


@dataclass(frozen=True)
class Synthesis:
    """A design that is synthesized, but not placed.

    Attributes
    ----------
    outcome : cells as placement counts them
    files : what place and route starts from, by name, text; empty where synthesis and placement
        are not told apart
    """

    outcome: Outcome
    files: dict[str, str]


def synthesize(
    board: Board, config: AcceleratorConfig, folder: Path, *, log: Log = lambda now: None
) -> Synthesis:
    """Synthesize a configuration for a board; `folder` receives the tools' files and logs.

    Raises
    ------
    UserError
        If the configuration does not fit the board, or a tool is missing.
    BuildFailed
        If a tool fails.
    """
    board.check(config)
    board = board.clocked(config)
    flow = FLOWS[board.device.family.toolchain]
    tools = flow.synthesis_tools()
    log("elaborating")
    files = prepare(board, config)
    _write(folder, files)
    outcome = flow.synthesize(Job(board, folder, folder, files, tools, (), log))
    if not flow.netlist:
        return Synthesis(outcome, {})
    netlist = (folder / flow.netlist).read_text(encoding="utf-8")
    kept = {name: text for name, text in files.items() if not name.endswith(DESIGNS)}
    return Synthesis(outcome, {**kept, flow.netlist: netlist})


def route(
    board: Board,
    files: Mapping[str, str],
    folder: Path,
    *,
    seeds: Sequence[int] = (1,),
    log: Log = lambda now: None,
) -> list[float]:
    """Place and route what was synthesized, once with each seed: highest clocks, MHz.

    0 MHz of a seed whose router found no way.

    Parameters
    ----------
    files : of :class:`Synthesis`; written into `folder`

    Raises
    ------
    UserError
        If a tool is missing.
    BuildFailed
        If a tool fails, or the board's maker places and routes.
    """
    flow = FLOWS[board.device.family.toolchain]
    _write(folder, files)
    tools = flow.synthesis_tools()
    return flow.route(Job(board, folder, folder, files, tools, tuple(seeds), log))


def tool_versions(board: Board) -> dict[str, str]:
    """Versions of the tools that synthesize and place, in their own words, by their variables.

    Raises
    ------
    UserError
        If a tool is missing.
    """
    tools = FLOWS[board.device.family.toolchain].synthesis_tools()
    return {variable: tool_version(command) for variable, command in sorted(tools.items())}


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        with replacing(folder / name, "Build file") as temporary:
            temporary.write_text(content, encoding="utf-8")


def build(
    board: Board,
    config: AcceleratorConfig,
    folder: Path,
    *,
    seeds: Sequence[int] = (1, 2, 3),
    log: Log = lambda now: None,
) -> tuple[Summary, Outcome]:
    """Build a bitstream.

    `folder` receives the bitstream, named as the board, and ``config.toml``, and the tools' files
    and logs below ``work``. Seeds are placed and routed side by side, as many as there are
    processors.

    Parameters
    ----------
    seeds : of placement
    log : called often with what is at work

    Raises
    ------
    UserError
        If the configuration does not fit the board, or a tool is missing.
    BuildFailed
        If a tool fails.
    """
    board.check(config)
    board = board.clocked(config)
    flow = FLOWS[board.device.family.toolchain]
    tools = flow.find_tools()
    work = folder / "work"
    # What an earlier build left must not be taken for this one's.
    for stale in (bitstream_file(board, folder), folder / "summary.json"):
        stale.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    log("elaborating")
    files = prepare(board, config)
    _write(work, files)
    config.to_toml(folder / "config.toml")
    outcome = flow.build(Job(board, folder, work, files, tools, tuple(seeds), log))
    return _summary(board, config, outcome), outcome


def _summary(board: Board, config: AcceleratorConfig, outcome: Outcome) -> Summary:
    cycles = demo_cycles(config)
    seeds = outcome.fmax_seeds
    macs = config.engine.macs_per_cycle
    return Summary(
        lut=outcome.lut,
        ff=outcome.ff,
        dsp=outcome.dsp,
        bram=outcome.bram,
        lut_per_mac=None if macs is None else round(outcome.lut / macs, 1),
        fmax_mhz=round(statistics.median(seeds), 2) if seeds else None,
        fmax_seeds=[round(each, 2) for each in seeds],
        clock_mhz=board.clock_hz / MHZ,
        macs_per_cycle=macs,
        demo_fps=None if cycles is None else round(board.clock_hz / cycles, 1),
        bitstream=None if outcome.bitstream is None else str(outcome.bitstream),
    )
