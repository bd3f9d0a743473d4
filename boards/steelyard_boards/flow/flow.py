"""What all flows have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from steelyard.contract import AcceleratorConfig
from steelyard.progress import Log
from steelyard_hw.cells.synthesis import TOP
from steelyard_hw.verilog import bare_memories

from ..board import Board
from ..top import Top
from .summary import Outcome
from .tools import BuildFailed, Command

__all__ = ["Flow", "Job", "plan"]


@dataclass(frozen=True)
class Job:
    """One build: its folders, the files that were prepared, tools by variable, and seeds."""

    board: Board
    folder: Path
    work: Path
    files: Mapping[str, str]
    tools: Mapping[str, Command]
    seeds: tuple[int, ...]
    log: Log


class Flow(ABC):
    """Tools of a family, from the design to the bitstream.

    Attributes
    ----------
    toolchain : what a family calls it
    suffix : of the bitstream's name
    netlist : what synthesis leaves for place and route; empty where the maker's tools do both
    """

    toolchain: ClassVar[str]
    suffix: ClassVar[str]
    netlist: ClassVar[str] = ""

    @abstractmethod
    def find_tools(self) -> dict[str, Command]:
        """Tools by the variables that may name them.

        Raises
        ------
        UserError
            If one is missing that can be installed.
        """

    def synthesis_tools(self) -> dict[str, Command]:
        """Those of them that decide what synthesis and placement make.

        Raises
        ------
        UserError
            If one is missing that can be installed.
        """
        return self.find_tools()

    @abstractmethod
    def prepare(self, board: Board, config: AcceleratorConfig) -> dict[str, str]:
        """Files of a build by name: design, scripts and constraints.

        Raises
        ------
        UserError
            If the board's clock or serial rate cannot be made.
        """

    @abstractmethod
    def synthesize(self, job: Job) -> Outcome:
        """Synthesize alone: cells as placement counts them, and the netlist in the work folder.

        Raises
        ------
        BuildFailed
            If a tool fails.
        """

    def route(self, job: Job) -> list[float]:
        """Place and route a netlist in the work folder: highest clock of each seed, MHz.

        0 MHz of a seed whose router found no way.

        Raises
        ------
        BuildFailed
            If a tool fails, or the flow leaves no netlist.
        """
        raise BuildFailed(
            f"Devices of board {job.board.name!r} are placed by {self.toolchain} as a whole; run "
            f"'steelyard bitstream {job.board.name}'."
        )

    @abstractmethod
    def build(self, job: Job) -> Outcome:
        """Run the tools.

        Raises
        ------
        BuildFailed
            If one fails.
        """


def plan(board: Board, config: AcceleratorConfig, **overrides: str) -> dict[str, str]:
    """Files that the board's platform makes of the design, by name.

    Raises
    ------
    UserError
        If the board's clock or serial rate cannot be made.
    """
    with bare_memories():
        files = board.platform().prepare(Top(board, config), TOP, emit_src=False, **overrides).files
    return {
        name: content if isinstance(content, str) else content.decode()
        for name, content in files.items()
    }
