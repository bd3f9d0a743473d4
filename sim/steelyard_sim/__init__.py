"""Simulation of the gateware: Verilator's shared libraries behind the driver's transport.

:func:`build_library` compiles and caches the library of a configuration for the driver's device
``sim``.
"""

from .build.cache import cache_folder
from .build.library import build_library, build_verilog
from .simulation import Simulation, SimulationTransport, open_transport

__all__ = [
    "Simulation",
    "SimulationTransport",
    "build_library",
    "build_verilog",
    "cache_folder",
    "open_transport",
]
