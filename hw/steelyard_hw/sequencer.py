"""Sequencer: runs the layers of a network from one start command and counts what they did."""

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.config import ArrayConfig

from .descriptor import DESCRIPTOR_WORDS, FIELDS, LayerLayout

__all__ = ["COUNTERS", "Sequencer"]

COUNTERS = (
    "cycles",
    "issue",
    "stall_load",
    "stall_weights",
    "stall_drain",
    "words_loaded",
    "words_written",
    "vector",
)
"""Counters of a layer in the order of their words."""


class Sequencer(wiring.Component):
    """Runs layers: fetches a descriptor, starts the engines, waits for quiet, stores the counters.

    A layer costs ``DESCRIPTOR_WORDS`` + ``len(COUNTERS)`` + 1 cycles beside those that it counts.

    Parameters
    ----------
    config : :class:`ArrayConfig`
    settle : :class:`int`
        Cycles without activity after which all results of a layer are written.

    Members
    -------
    start : ``In(1)``, start_first, start_count : ``In(16)``
        Run `start_count` layers from `start_first`; a count of zero ends at once.
    busy : ``Out(1)``, finished : ``Out(1)``
        Running; ended since the last start.
    total : ``Out(32)``
        Cycles from the last start to its end.
    address : ``Out``, data : ``In(32)``
        Descriptor memory, one cycle of latency.
    layer : ``Out(LayerLayout)``
    go : ``Out(1)``
        Strobe: the engines begin the layer.
    active : ``In(1)``
        An engine has work, or results are between the units.
    events : ``In(len(COUNTERS) - 1)``
        What happens in this cycle, in the order of ``COUNTERS`` after the cycles.
    counter_write : ``Out(1)``, counter_address : ``Out``, counter_data : ``Out(32)``
        Write port of the counter memory.
    """

    def __init__(self, config: ArrayConfig, *, settle: int):
        if not isinstance(settle, int) or settle < 1:
            raise ValueError(f"Settling time must be a positive number of cycles, not {settle!r}")
        self._config = config
        self._settle = settle
        super().__init__(
            {
                "start": In(1),
                "start_first": In(16),
                "start_count": In(16),
                "busy": Out(1),
                "finished": Out(1),
                "total": Out(32),
                "address": Out(range(config.max_layers * DESCRIPTOR_WORDS)),
                "data": In(32),
                "layer": Out(LayerLayout(config)),
                "go": Out(1),
                "active": In(1),
                "events": In(len(COUNTERS) - 1),
                "counter_write": Out(1),
                "counter_address": Out(range(config.max_layers * len(COUNTERS))),
                "counter_data": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        number = Signal(16)
        left = Signal(16)
        word = Signal(range(DESCRIPTOR_WORDS))
        fetched = Signal.like(word)
        fetching = Signal()
        quiet = Signal(range(self._settle + 1))
        counters = Array(Signal(32, name=f"counter_{name}") for name in COUNTERS)
        counter = Signal(range(len(COUNTERS)))

        m.d.comb += [
            self.address.eq(number * DESCRIPTOR_WORDS + word),
            self.counter_address.eq(number * len(COUNTERS) + counter),
            self.counter_data.eq(counters[counter]),
        ]
        m.d.sync += [fetched.eq(word), fetching.eq(0), self.go.eq(0)]
        with m.If(self.busy):
            m.d.sync += self.total.eq(self.total + 1)
        with m.If(fetching):
            self._store(m, fetched)

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        number.eq(self.start_first),
                        left.eq(self.start_count),
                        word.eq(0),
                        self.total.eq(0),
                        self.finished.eq(self.start_count == 0),
                        self.busy.eq(self.start_count != 0),
                    ]
                    with m.If(self.start_count != 0):
                        m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += [word.eq(word + 1), fetching.eq(1)]
                with m.If(word == DESCRIPTOR_WORDS - 1):
                    m.next = "GO"
            with m.State("GO"):
                # The last word arrives in this cycle; engines see `go` with all registers in place.
                m.d.sync += [self.go.eq(1), quiet.eq(self._settle)]
                m.d.sync += [value.eq(0) for value in counters]
                m.next = "WAIT"
            with m.State("WAIT"):
                m.next = "RUN"
                self._count(m, counters)
            with m.State("RUN"):
                self._count(m, counters)
                m.d.sync += quiet.eq(Mux(self.active, self._settle, quiet - 1))
                with m.If(quiet == 0):
                    m.d.sync += counter.eq(0)
                    m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += self.counter_write.eq(1)
                m.d.sync += counter.eq(counter + 1)
                with m.If(counter == len(COUNTERS) - 1):
                    m.d.sync += [number.eq(number + 1), left.eq(left - 1), word.eq(0)]
                    with m.If(left == 1):
                        m.d.sync += [self.busy.eq(0), self.finished.eq(1)]
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "FETCH"
        return m

    def _store(self, m, fetched):
        """Spread the descriptor word that has arrived over the registers of its fields."""
        for name, field in FIELDS.items():
            with m.If(fetched == field.word):
                m.d.sync += self.layer[name].eq(self.data[field.low : field.low + field.width])

    def _count(self, m, counters):
        m.d.sync += counters[0].eq(counters[0] + 1)
        for value, event in zip(list(counters)[1:], self.events, strict=True):
            m.d.sync += value.eq(value + event)
