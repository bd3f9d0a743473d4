"""The later stages' jobs: synthesis of a configuration, and one placement of it."""

import json
import tempfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import steelyard
import steelyard_boards
import steelyard_hw
from steelyard.contract import AcceleratorConfig
from steelyard.errors import DoesNotFit, UserError
from steelyard_boards import Board
from steelyard_boards.flow import BuildFailed, route, synthesize, tool_versions

from .cluster import check_wanted, scratch_folder
from .jobs import DONE, FAILED, NEVER, Job, Result
from .record import code_hash

__all__ = ["STAGES", "placement_job", "synthesis_job"]

STAGES = ("cycles", "synthesis", "placement")
"""Each works on the front that the one before it left."""
GATEWARE = ("contract", "engines")
"""Rooms of the core that the gateware follows from."""
PACKAGES = ("amaranth", "amaranth-boards")
"""Others' packages that the design follows from."""


def synthesis_job(board: Board, config: AcceleratorConfig[Any]) -> Job:
    """Synthesis of a configuration: LUTs, registers, multipliers and block RAMs.

    Its result holds for every network: no weight is in a design.

    Raises
    ------
    UserError
        If a tool is missing.
    """
    identity = {
        "stage": "synthesis",
        "board": repr(board),
        "config": config.hash().hex(),
        "versions": _versions(board),
    }
    return Job(identity, _synthesize, (board, config, identity["versions"]))


def placement_job(board: Board, synthesis: Job, made: bytes, seed: int) -> Job:
    """One placement of what a synthesis made: the highest clock.

    Parameters
    ----------
    made : by that synthesis
    seed : of the placement
    """
    versions = synthesis.identity["versions"]
    identity = {"stage": "placement", "synthesis": synthesis.key, "seed": seed}
    return Job(identity, _place, (board, made, seed, versions))


def _versions(board: Board) -> dict[str, str]:
    """Of the gateware and of all that makes a build of it, on this machine."""
    return {
        "gateware": _gateware(),
        **{name: version(name) for name in PACKAGES},
        **tool_versions(board),
    }


@cache
def _gateware() -> str:
    core = Path(steelyard.__path__[0])
    rooms = [core / name for name in GATEWARE]
    return code_hash([*rooms, Path(steelyard_hw.__path__[0]), Path(steelyard_boards.__path__[0])])


def _synthesize(
    board: Board, config: AcceleratorConfig[Any], versions: Mapping[str, str]
) -> Result:
    """Synthesize on this machine."""

    def work(folder: Path) -> Result:
        made = synthesize(board, config, folder, log=check_wanted)
        cells = made.outcome
        values = {
            "lut": cells.lut, "ff": cells.ff, "multipliers": cells.dsp, "block_rams": cells.bram
        }  # fmt: skip
        return Result(DONE, values, made=zlib.compress(json.dumps(made.files).encode()))

    return _tried(work, board, versions)


def _place(board: Board, made: bytes, seed: int, versions: Mapping[str, str]) -> Result:
    """Place and route on this machine."""

    def work(folder: Path) -> Result:
        files = json.loads(zlib.decompress(made))
        (fmax,) = route(board, files, folder, seeds=(seed,), log=check_wanted)
        if not fmax:
            return Result(NEVER, reason=f"With seed {seed} the router finds no way.")
        return Result(DONE, {"fmax_mhz": fmax})

    return _tried(work, board, versions)


def _tried(work: Callable[[Path], Result], board: Board, versions: Mapping[str, str]) -> Result:
    """Result of work in an empty folder, or why there is none."""
    try:
        here = _versions(board)
        if here != versions:
            (name, *_) = (each for each in versions if here.get(each) != versions[each])
            return Result(
                FAILED,
                reason=f"A worker has {name} {here.get(name)!r} in place of {versions[name]!r}; "
                "install there what is here.",
            )
        with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
            return work(Path(folder))
    except DoesNotFit as error:
        return Result(NEVER, reason=str(error))
    except BuildFailed as error:
        return Result(FAILED, reason=error.reason)
    except (UserError, OSError) as error:
        # A full disk, say, or a tool that is missing there.
        return Result(FAILED, reason=str(error))
