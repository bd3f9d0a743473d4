"""Flow from a board and a configuration to a bitstream, with tools from PyPI or the system."""

from .build import (
    Synthesis,
    bitstream_file,
    build,
    prepare,
    route,
    synthesize,
    tool_versions,
)
from .summary import Outcome, Summary
from .tools import BuildFailed

__all__ = [
    "BuildFailed",
    "Outcome",
    "Summary",
    "Synthesis",
    "bitstream_file",
    "build",
    "prepare",
    "route",
    "synthesize",
    "tool_versions",
]
