"""Finding tools and running them, with what they are at reported."""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from steelyard.errors import UserError
from steelyard.progress import Log
from steelyard_hw.lib.tools import Command, named_tool

__all__ = [
    "BuildFailed",
    "Command",
    "Hopeless",
    "find_tool",
    "last_line",
    "require_tool",
    "run_tool",
    "tool_version",
]

POLL_SECONDS = 0.5
GUARD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")))
"""What ends a tool when this process ends, however that is."""


class BuildFailed(Exception):
    """Tool that failed, although its input was allowed; the sentence names it and its log.

    Parameters
    ----------
    reason : what failed; a sentence, without its full stop if there is a log
    log : what the sentence names for more, if anything
    """

    def __init__(self, reason: str, log: Path | None = None) -> None:
        super().__init__(reason if log is None else f"{reason}; see {str(log)!r}.")
        self.reason = reason if log is None else f"{reason}."


def find_tool(variable: str, name: str) -> Command | None:
    """The tool that the environment's `variable` names, else that from PyPI, else the system's.

    Raises
    ------
    UserError
        If the variable names a command that is not here.
    """
    named = named_tool(variable)
    if named is not None:
        return named
    beside_python = str(Path(sys.executable).parent)
    found = (
        shutil.which(f"yowasp-{name}", path=beside_python)
        or shutil.which(name, path=beside_python)
        or shutil.which(name)
    )
    return None if found is None else (found,)


def require_tool(variable: str, name: str) -> Command:
    """The same, of a tool that can be installed.

    Raises
    ------
    UserError
        If it is missing.
    """
    command = find_tool(variable, name)
    if command is None:
        raise UserError(
            f"Building a bitstream needs {name!r}, which is not here; install it with "
            "\"pip install 'steelyard[boards]'\" or name your own in the variable "
            f"{variable}."
        )
    return command


@lru_cache
def tool_version(command: Command) -> str:
    """Version of a tool in its own words, the last line that it says of it.

    Raises
    ------
    UserError
        If it cannot be asked.
    """
    try:
        asked = subprocess.run(
            [*command, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise UserError(
            f"Tool {shlex.join(command)!r} cannot be run ({error}); install it anew, or name your "
            "own in its variable."
        ) from error
    lines = asked.stdout.strip().splitlines()
    return lines[-1].strip() if lines else ""


class Hopeless(BuildFailed):
    """Tool that was stopped because it would not end."""


def run_tool(
    command: Sequence[str],
    work: Path,
    name: str,
    what: str,
    log: Log,
    hopeless: Callable[[str], str] = lambda line: "",
) -> None:
    """Run a tool in the work folder, below which the tools from PyPI see files; log what it writes.

    Parameters
    ----------
    name : of the file that it writes its log to, in the work folder
    what : what it does, in words
    log : called often with the last line of that file
    hopeless : why what that line says cannot end well, else nothing; the tool is stopped then

    Raises
    ------
    BuildFailed
        If its exit status is not 0; :class:`Hopeless` if it was stopped.
    """
    # Two tools at once may be at work: each has an output of its own.
    output = work / f"{Path(name).stem}.out"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [*GUARD, *command], cwd=work,
            stdin=subprocess.PIPE, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            while process.poll() is None:
                line = last_line(work / name)
                log(f"{what}: {line}")
                if reason := hopeless(line):
                    raise Hopeless(f"{what.capitalize()} was stopped ({reason})", work / name)
                time.sleep(POLL_SECONDS)
        finally:
            # The guard takes the end of its input as the end of whoever wanted the tool.
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
    if process.returncode:
        reason = last_line(output) or last_line(work / name) or "it said nothing"
        raise BuildFailed(
            f"{what.capitalize()} failed with status {process.returncode} ({reason})", work / name
        )


def last_line(path: Path) -> str:
    """Last line of a log that is being written, empty if there is none yet."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1000))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:100] if lines else ""
