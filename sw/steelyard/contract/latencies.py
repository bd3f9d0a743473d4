"""Latencies of the gateware, in cycles.

The gateware is built with them, the cycle model counts with them and the gateware's tests measure
them.
"""

from .accelerator import AcceleratorConfig
from .descriptor import DESCRIPTOR_WORDS
from .limits import TABLE_ITEMS
from .registers import COUNTERS

__all__ = [
    "ADDEND_LATENCY",
    "ALIGN_LATENCY",
    "FUSED_LATENCY",
    "LANE_SUM_LATENCY",
    "MINIMUM_DRAIN",
    "OUTPUT_LATENCY",
    "REQUANTIZER_LATENCY",
    "SUM_LATENCY",
    "TABLE_CYCLES",
    "TABLE_LATENCY",
    "VECTOR_LATENCY",
    "array_latency",
    "between",
    "column_latency",
    "loader_latency",
    "opening",
    "read_latency",
    "settle",
]

ALIGN_LATENCY = 3
"""From the bytes of all banks to a word of one lane per output pixel."""
VECTOR_LATENCY = 3
"""Of the vector unit, from the last tap of a window to its first beat."""
LANE_SUM_LATENCY = 2
"""Of the sum of a word's lanes before the vector unit."""
SUM_LATENCY = 4
"""Of the output stage, from a beat to its whole sums."""
REQUANTIZER_LATENCY = 14
"""Of a requantizer of one cycle, from a sum to its int8."""
OUTPUT_LATENCY = SUM_LATENCY + REQUANTIZER_LATENCY
"""Of the output stage, from a beat to its write."""
TABLE_LATENCY = 2
"""Of the tables behind the output stage. No layer takes longer for it: before anything reads what
was written last, the sequencer stores counters and fetches a descriptor."""
TABLE_CYCLES = 2 * TABLE_ITEMS
"""Of a layer with a table before all else: the table is copied, half an item a cycle."""
FUSED_LATENCY = 11
"""Of a fused residual addition, from both operands to the sum's code. No layer takes longer for it,
as for a table."""
ADDEND_LATENCY = 4
"""From the row of a fused addition's other operand to its bytes: address register, block RAM,
output register, choice of the beat's bytes. With `FUSED_LATENCY` an odd number: where each beat has
its place in a rhythm of an even number of beats, other lanes are read than are written."""
MINIMUM_DRAIN = 8
"""Least cycles between two drains, so between the ends of two passes: a stored partial sum is read
again no earlier than that."""


def between(config: AcceleratorConfig) -> int:
    """Beside a layer's own: its descriptor is fetched or taken, it starts, counters are stored."""
    return (1 if config.load.ahead else DESCRIPTOR_WORDS) + 1 + len(COUNTERS)


def opening(config: AcceleratorConfig) -> int:
    """Before the first layer of a run: its descriptor is fetched, with `ahead` by nobody else."""
    return (DESCRIPTOR_WORDS + 2) * config.load.ahead


MOVE_CYCLES = 2
"""Of a descriptor with a move that waits for nothing: it is given away, and others are counted."""


def fetched_after(config: AcceleratorConfig) -> int:
    """Longer after a move that waits: with `ahead` its successor's descriptor is fetched only then,
    while the counters are stored."""
    return (DESCRIPTOR_WORDS + 2 - len(COUNTERS)) * config.load.ahead


def fetched_meanwhile(config: AcceleratorConfig) -> int:
    """Longer after a move that does not wait: with `ahead` it is over before its successor's
    descriptor is fetched."""
    return (DESCRIPTOR_WORDS + 3 - between(config) - MOVE_CYCLES) * config.load.ahead


def read_latency(config: AcceleratorConfig) -> int:
    """From a row of the activation memory to its bytes: row and the one behind it, address
    register, block RAM, output register.

    Without `read_registers` the first and the last are no registers.
    """
    return 4 if config.memory.read_registers else 2


def loader_latency(config: AcceleratorConfig) -> int:
    """From the issue of a word's last segment to the word."""
    return 2 + read_latency(config) + ALIGN_LATENCY


def column_latency(config: AcceleratorConfig) -> int:
    """From the last weight of a pass in a column's control to the captured sums.

    Register, memory, output register, multiplier, accumulator; without `carry_registers` memory,
    output register, multiplier, accumulator, capture. With `shared_taps` one more register, behind
    the selection of a tap.
    """
    selection = config.engine.window_lanes > config.engine.lanes
    return 3 + selection + config.engine.multiplier_stages + 1


def array_latency(config: AcceleratorConfig) -> int:
    """From the issue of a pass's last item to the captured sums, less one."""
    engine = config.engine
    return engine.broadcast_stages + column_latency(config) - (not engine.carry_registers)


def settle(config: AcceleratorConfig) -> int:
    """Without activity, after which every result of a layer has been written: the layer ends."""
    output = OUTPUT_LATENCY if config.output.requantizer_cycles == 1 else 0
    return max(loader_latency(config) + VECTOR_LATENCY, output) + 4
