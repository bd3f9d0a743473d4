"""The RRAM crossbar in integers: configuration, mapping of weights, golden model.

Everything follows docs/crossbar.md to the bit; layers without weights go through the integer
golden model, so it needs what that needs: numpy and threadpoolctl.
"""

from .analog import AnalogEffects
from .areas import MAPPINGS
from .blocks import Block, LayerMapping, OperationUnit, matrix_of, operation_units, unmap
from .bounds import accumulator_bound, greatest_sum
from .cells import DeviceEffects, bit_slices, block_cells
from .config import CrossbarTileConfig
from .converters import Converter
from .counters import StoppedCounters, UnitCounters
from .counts import Activity, Counts, count
from .crossbar import CrossbarConfig
from .effects import ANALOG_EFFECTS, FAULTS, EffectLevel, effect_levels
from .fitting import fit_converters
from .golden import Result, activity, layer, most_activity, pixel_times, run
from .index import Index
from .mapping import NetworkMapping, decode_index, map_layer, map_network
from .patterns import row_sets
from .placing import decode_places
from .reaches import block_reaches, decode_reaches
from .settings import CrossbarTileSettings

__all__ = [
    "ANALOG_EFFECTS",
    "FAULTS",
    "MAPPINGS",
    "Activity",
    "AnalogEffects",
    "Block",
    "Converter",
    "Counts",
    "CrossbarConfig",
    "CrossbarTileConfig",
    "CrossbarTileSettings",
    "DeviceEffects",
    "EffectLevel",
    "Index",
    "LayerMapping",
    "NetworkMapping",
    "OperationUnit",
    "Result",
    "StoppedCounters",
    "UnitCounters",
    "accumulator_bound",
    "activity",
    "bit_slices",
    "block_cells",
    "block_reaches",
    "count",
    "decode_index",
    "decode_places",
    "decode_reaches",
    "effect_levels",
    "fit_converters",
    "greatest_sum",
    "layer",
    "map_layer",
    "map_network",
    "matrix_of",
    "most_activity",
    "operation_units",
    "pixel_times",
    "row_sets",
    "run",
    "unmap",
]
