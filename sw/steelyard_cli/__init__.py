"""The command line: the commands, their progress bars and tables, the demo and the benchmark.

Commands are declared in `app`; the work of each lies in its own module, imported when it is called.
"""

from .app import main

__all__ = ["main"]
