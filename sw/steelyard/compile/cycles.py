"""Cycle model: exactly how long a layer takes, by its descriptor.

Each engine says what its own layers with weights take; layers without are the same everywhere.

:mod:`steelyard.engines.timing` follows the walk over the input tile by tile; the gateware's
latencies are those of :mod:`steelyard.contract.latencies`.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..contract import AcceleratorConfig
from ..contract.descriptor import Descriptor, Operation
from ..contract.latencies import (
    LANE_SUM_LATENCY,
    VECTOR_LATENCY,
    between,
    loader_latency,
    opening,
)
from ..contract.registry import engine
from ..engines.timing import follow, reads, walker

if TYPE_CHECKING:
    from ..program import LayerEntry, Program

__all__ = [
    "busy", "layer_cycles", "predict", "predict_counters", "predict_program", "predict_total",
    "run_cycles", "vector_waits",
]  # fmt: skip


def taps(descriptor: Descriptor) -> int:
    """Words that the vector unit makes one of: the taps of a window, or both operands."""
    d = descriptor
    return 2 if Operation(d.op).joins else d.kernel_w * d.kernel_h


class Vector:
    """Loader and vector unit during pooling, a residual add or a product."""

    def __init__(self, descriptor: Descriptor, config: AcceleratorConfig) -> None:
        d = descriptor
        self._walked = walker(config)
        self._beats = config.drain_cycles
        self._latency = loader_latency(config) + VECTOR_LATENCY
        if d.lane_sum:
            self._latency += LANE_SUM_LATENCY
        self._taps = taps(d)
        self._words = d.in_channels
        self._taken = 0
        self._loaded = 0
        self._free = 0
        self._waited = 0

    def tile(self, segments: int, joined: bool) -> None:
        """Carry out the next tile, whose words take `segments` aligned reads each."""
        each = self._taps * segments
        self._taken = self._walked(self._taken, self._loaded)
        # A finished word waits until the vector unit has given away the one before.
        read = self._taken + each
        first = max(read, self._free)
        self._waited += first - read + (self._words - 1) * max(self._beats - each, 0)
        self._loaded = first + (self._words - 1) * max(each, self._beats)
        self._free = self._loaded + self._beats

    def state(self) -> tuple[int, tuple[int, ...]]:
        """A reference cycle, and all that the future depends on, relative to it."""
        return self._loaded, (self._walked(self._taken, self._loaded) - self._loaded,)

    def waited(self) -> tuple[int]:
        """Cycles so far in which a word could not be finished, for the one before was draining."""
        return (self._waited,)

    def shift(self, cycles: int, waits: Sequence[int]) -> None:
        """Let everything have happened `cycles` later, after so many more of :meth:`waited`."""
        self._waited += waits[0]
        self._taken += cycles
        self._loaded += cycles
        self._free += cycles

    def quiet(self) -> int:
        """Last cycle in which a unit is active: the last beat leaves the vector unit."""
        return self._loaded + self._latency + self._beats - 1


def predict(descriptor: Descriptor, config: AcceleratorConfig) -> int:
    """Cycles of a layer, exactly what the accelerator's first counter of the layer will say.

    Parameters
    ----------
    descriptor : of a layer that fits the configuration

    Raises
    ------
    ValueError
        If the descriptor alone does not decide it: of a convolution of some engines, and of a move.
    """
    if descriptor.moves:
        raise ValueError(
            "How long a move takes depends on those before it; take the cycles of the compiled "
            "program (predict_program)"
        )
    if descriptor.op != Operation.CONV:
        return follow(Vector(descriptor, config), descriptor, config)
    cycles: int = engine(config.engine.kind).predict(descriptor, config)
    return cycles


def busy(descriptor: Descriptor, config: AcceleratorConfig) -> dict[str, int]:
    """Cycles that each unit would take for a layer if it never waited, by the unit's name.

    The greatest says what bounds the layer: the engine, loading, draining or the vector unit. Empty
    for a layer with weights of an engine that does not tell its units apart.
    """
    d = descriptor
    if d.op == Operation.CONV:
        found: dict[str, int] = engine(config.engine.kind).busy(d, config)
        return found
    return {
        "loading": reads(d, config),
        "vector unit": d.in_channels * d.out_tiles * config.drain_cycles,
    }


def predict_counters(descriptor: Descriptor, config: AcceleratorConfig) -> dict[str, int]:
    """What the accelerator's counters of a layer will say, exactly, by the names of `COUNTERS`.

    Of a layer with weights only the words that are loaded and those through the vector unit, if its
    engine does not predict its counters.

    Parameters
    ----------
    descriptor : of a layer that fits the configuration
    """
    d = descriptor
    vector = d.op != Operation.CONV
    words = d.out_tiles * d.in_channels * taps(d) * d.ring
    common = {"words_loaded": words, "vector_operations": words * vector}
    if vector:
        idle = dict.fromkeys(("issue", "stall_load", "stall_weights", "stall_drain"), 0)
        written = {"words_written": d.out_tiles * d.in_channels}
        return {"cycles": predict(d, config), **idle, **common, **written}
    counts: dict[str, int] = engine(config.engine.kind).counts(d, config)
    return common | counts


def vector_waits(descriptor: Descriptor, config: AcceleratorConfig) -> tuple[int, int]:
    """Cycles in which the vector unit waits for words in several segments, and for its drain.

    Exact, although no counter tells them. None in a layer with weights, which does not use it.
    """
    d = descriptor
    if d.op == Operation.CONV:
        return 0, 0
    timing = Vector(d, config)
    follow(timing, d, config)
    (drain,) = timing.waited()
    return reads(d, config) - d.out_tiles * d.in_channels * taps(d), drain


def predict_total(descriptors: Iterable[Descriptor], config: AcceleratorConfig) -> int:
    """Cycles from START to the end of these layers, exactly what the total register will say.

    Beside its own cycles each layer takes the fetch of its descriptor, one cycle to start, and the
    store of its counters; with `ahead` only the first waits for the fetch.

    Raises
    ------
    ValueError
        If an engine's descriptors do not decide its time.
    """
    return opening(config) + sum(predict(d, config) + between(config) for d in descriptors)


def predict_program(program: "Program") -> int:
    """Cycles of a batch from START to the end of the last layer.

    Exactly what the total register will say, or of an engine that is not exact a bound: steps that
    are skipped, as the activations decide, undercut it. Where words are moved from external memory
    an estimate: how long they are waited for depends on where refreshes fall.
    """
    return run_cycles(program.layers, program.config)


def layer_cycles(entry: "LayerEntry", config: AcceleratorConfig) -> int:
    """Part of a layer in :func:`run_cycles`."""
    return entry.predicted_cycles + entry.count * between(config)


def run_cycles(entries: Sequence["LayerEntry"], config: AcceleratorConfig) -> int:
    """Cycles from START to the end of the last of some layers, as of :func:`predict_program`."""
    return opening(config) + sum(layer_cycles(entry, config) for entry in entries)
