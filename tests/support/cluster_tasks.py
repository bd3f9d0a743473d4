"""Tasks for a cluster's workers, which import them by this module's name."""

import os
import signal
import time
from pathlib import Path

from steelyard_explore.cluster import Unwanted, check_wanted
from steelyard_explore.jobs import Result

__all__ = ["counted", "double", "failing", "kill", "wait"]


def double(number: int) -> int:
    """Twice a number, at once."""
    return 2 * number


def kill() -> None:
    """End the worker that has this."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait(seconds: float, mark: str = "") -> int:
    """Wait while somebody wants it, else write the file `mark`; the worker's process."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
        try:
            check_wanted()
        except Unwanted:
            Path(mark).write_text("unwanted")
            raise
    return os.getpid()


def counted(number: int, folder: str | None, seconds: float = 0.0) -> Result:
    """A number's square; a line in the folder's file `begun` says that it was begun."""
    if folder is not None:
        with (Path(folder) / "begun").open("a") as file:
            file.write(f"{number}\n")
    time.sleep(seconds)
    return Result("done", {"square": number * number}, made=f"made {number} ".encode() * 1000)


def failing(number: int, folder: str) -> Result:
    """What never can be for 0, and what goes wrong this time for others."""
    if number:
        return Result("failed", reason="It failed.")
    return Result("never", reason="It cannot be.")
