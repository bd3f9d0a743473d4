"""Flow from a board and a configuration to a bitstream, with tools from PyPI or the system."""

from .build import build, prepare
from .summary import Summary
from .tools import BuildFailed

__all__ = ["BuildFailed", "Summary", "build", "prepare"]
