"""Flow from a board and a configuration to a bitstream, with tools from PyPI or the system."""

from .build import bitstream_file, build, prepare
from .summary import Summary
from .tools import BuildFailed

__all__ = ["BuildFailed", "Summary", "bitstream_file", "build", "prepare"]
