"""LUTs of an array on the ECP5, part by part of the gateware.

Every part has amounts that follow from its structure, and each of these takes so many LUTs. The
figures come from syntheses whose cells were counted by part: ``python experiments/estimators.py
fit`` prints them (docs/notes/explore.md). LUTs are as nextpnr counts them (TRELLIS_COMB): a carry
cell takes 2 and a chain of these 4 more, a RAM of 16x4 bits takes 6.
"""

from collections.abc import Mapping
from math import log2
from typing import Any

from steelyard.contract import AcceleratorConfig
from steelyard.contract.registers import COUNTERS
from steelyard_hw.cells.multiplier_ecp5 import EcpPairs
from steelyard_hw.shell.layer import DESCRIPTOR_WORDS

from . import memories
from .memories import RamCosts, mapped

__all__ = ["COSTS", "ERROR", "LUTS", "SHAPES", "amounts", "array_luts", "weight_cells"]

SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of a DP16KD."""
COSTS = RamCosts(block=128, words=16, bits=4, cost=4)
"""Those of yosys 0.70 (techlibs/lattice, brams_16kd.txt and lutrams_trellis.txt)."""
EXTERNAL = {"once": 1030, "lanes": 83}
"""Of an SDRAM's controller, of what guards its port, and of the mover: from two routed builds, of 4
and of 16 lanes (docs/notes/bitstreams.md)."""

LUTS: dict[str, dict[str, float]] = {
    "columns": {
        "bits of sums": 2.2,
        "lanes in pairs": 37.02,
        "chosen bits": 0.98,
        "ends of rows": 3.51,
    },
    "loader": {"once": 922.61, "lanes": 12.94, "taps": 205.06, "lanes with taps": 14.77},
    "aligner": {"bits": 1.0},
    "activations": {"once": 81.08, "banks": 14.74, "fused": 227.48},
    "weights": {"once": 254.33, "bits": 1.48, "selected bits": 0.87},
    "parameters": {"once": 58.62, "RAMs of LUTs": 6.21},
    "vector": {"once": 164.61, "lanes": -13.01, "bits": 4.38, "sums of lanes": 32.19},
    "outputs": {
        "once": 85.81,
        "requantizers": 681.38,
        "pairs": 134.43,
        "additions": 170.51,
        "slopes": 47.51,
        "tables": 15.92,
        "fused": 556.52,
        "RAMs of LUTs": 9.24,
    },
    "control": {"once": 1782.5, "taps": 33.49, "vector": 124.38},
}
"""LUTs of each amount of :func:`amounts`."""
ERROR = 0.05
"""By which estimates are off at most, of configurations that were held out of the fit."""


def array_luts(config: AcceleratorConfig[Any]) -> int:
    """LUTs of a design with an array and requantizers of a beat a cycle, with link and clock."""
    parts = amounts(config)
    total = sum(LUTS[part][what] * n for part, own in parts.items() for what, n in own.items())
    if config.memory.external_words:
        total += EXTERNAL["once"] + EXTERNAL["lanes"] * config.engine.lanes
    return round(total)


def amounts(config: AcceleratorConfig[Any]) -> dict[str, Mapping[str, float]]:
    """What each part of the gateware has, by its name and what it is."""
    return {
        "columns": _columns(config),
        "loader": _loader(config),
        "aligner": {"bits": _aligned_bits(config)},
        "activations": _activations(config),
        "weights": _weights(config),
        "parameters": _parameters(config),
        "vector": _vector(config),
        "outputs": _outputs(config),
        "control": _control(config),
    }


def _columns(config: AcceleratorConfig[Any]) -> dict[str, float]:
    """Accumulators with what captures and moves sums; carry chains that tell the products of two
    lanes apart; the choice among three taps, and where rows end."""
    engine = config.engine
    macs = engine.macs_per_cycle
    shared = int(engine.shared_taps)
    return {
        "bits of sums": macs * engine.accumulator_bits,
        "lanes in pairs": macs * (engine.multiplier_stages == EcpPairs.STAGES),
        "chosen bits": shared * 8 * engine.columns * (2 * engine.lanes + 1),
        "ends of rows": shared * 2 * engine.lanes * -(-engine.window_groups // COSTS.words),
    }


def _loader(config: AcceleratorConfig[Any]) -> dict[str, float]:
    """Walk over tiles and taps, and which bytes lie inside the map."""
    lanes, shared = config.engine.lanes, int(config.engine.shared_taps)
    return {"once": 1, "lanes": lanes, "taps": shared, "lanes with taps": shared * lanes}


def _aligned_bits(config: AcceleratorConfig[Any]) -> int:
    """Multiplexers of two that bring the bytes of a row to their lanes, but those nobody needs."""
    banks = config.banks
    bytes_ = banks * round(log2(banks)) - banks + config.engine.window_lanes
    return 8 * (bytes_ + config.load.wide_reads)


def _activations(config: AcceleratorConfig[Any]) -> dict[str, float]:
    """Addresses and write strobes of the banks, and the other operand of fused additions."""
    return {"once": 1, "banks": config.banks, "fused": int(config.fuses_additions)}


def _weights(config: AcceleratorConfig[Any]) -> dict[str, float]:
    """The queue in RAMs of LUTs, and the selection among block RAMs."""
    selected = sum(each.selected_bits for each in weight_cells(config))
    return {"once": 1, "bits": config.engine.weight_item_bits, "selected bits": selected}


def weight_cells(config: AcceleratorConfig[Any]) -> list[memories.Mapping]:
    """Cells of the memory of the weights, for each 32-bit word of an item."""
    bits = config.engine.weight_item_bits
    words = [min(32, bits - first) for first in range(0, bits, 32)]
    return [mapped(SHAPES, config.memory.weight_words, width, COSTS) for width in words]


def _parameters(config: AcceleratorConfig[Any]) -> dict[str, float]:
    """Parameters, descriptors and counters, which may be RAMs of LUTs."""
    memory = config.memory
    cells = [mapped(SHAPES, memory.parameter_words, bits, COSTS) for bits in config.parameter_bits]
    for words in (DESCRIPTOR_WORDS, len(COUNTERS)):
        cells.append(mapped(SHAPES, memory.max_layers * words, 32, COSTS))
    return {"once": 1, "RAMs of LUTs": sum(each.lut_rams for each in cells)}


def _vector(config: AcceleratorConfig[Any]) -> dict[str, float]:
    """Comparison and sum of each lane, and its queue."""
    lanes, bits = config.engine.lanes, config.vector.bits
    return {
        "once": bits > 0,
        "lanes": lanes * (bits > 0),
        "bits": lanes * bits,
        "sums of lanes": lanes * config.vector.adds_lanes,
    }


def _outputs(config: AcceleratorConfig[Any]) -> dict[str, float]:
    """Requantizers with what operators add to each, and partial sums."""
    output, engine = config.output, config.engine
    each = output.requantizers
    depth = engine.partial_sum_channels * config.drain_beats
    return {
        "once": 1,
        "requantizers": each,
        "pairs": each * config.vector.pairs,
        "additions": each * config.vector.additions,
        "slopes": each * output.slopes,
        "tables": each * output.tables,
        "fused": each * config.fuses_additions,
        "RAMs of LUTs": mapped(SHAPES, depth, 32 * each, COSTS).lut_rams,
    }


def _control(config: AcceleratorConfig[Any]) -> dict[str, float]:
    """Scheduler, drain, decoder, sequencer, host port and link."""
    return {
        "once": 1,
        "taps": int(config.engine.shared_taps),
        "vector": int(config.vector.bits > 0),
    }
