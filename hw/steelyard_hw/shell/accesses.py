"""Accesses to the activation memory in cycles in which the engine leaves its ports alone."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from .ports import HostBus, MovedWord

__all__ = ["MovedAccess"]


class MovedAccess(wiring.Component):
    """Lets words of host and mover wait for block RAM ports that the engine does not use.

    A word takes two cycles or more until it is read or written. As often as the external memory has
    one, so every second cycle or with two `external_slots` in each, one is taken. It has four
    lanes, whose parts belong to different beats where a beat has fewer: each part takes the first
    cycle in which no results of its beat are written and no addends of it are read.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        With external memory.

    Members
    -------
    access : ``In(stream.Signature(MovedWord(config)))``
        Of the mover. A word is taken whatever the engine does in that cycle.
    host : ``In(HostBus)``
        Writes of the host, one a cycle, while neither engine nor mover are at work.
    writes : ``In(1)``, write_beat : ``In(range(drain_beats))``
        The engine writes results of a beat in this cycle.
    reads : ``In(1)``, read_beat : ``In(range(drain_beats))``
        It reads addends.
    place : ``Out(MovedWord(config))``
        Word that waits for its parts.
    parts : ``Out(4 / part_lanes)``
        Strobes: these lanes are accessed in this cycle, in none that the engine uses.
    done : ``Out(1)``
        Strobe: with this cycle all parts are.
    """

    def __init__(self, config: AcceleratorConfig):
        self._lanes = config.output.requantizers
        self._each_cycle = config.memory.external_slots == 2
        self._word = MovedWord(config)
        beat = range(config.drain_beats)
        super().__init__(
            {
                "access": In(stream.Signature(self._word)),
                "host": In(HostBus(config.memory.activation_words, config.activation_item_words)),
                "writes": In(1),
                "write_beat": In(beat),
                "reads": In(1),
                "read_beat": In(beat),
                "place": Out(self._word),
                "parts": Out(4 // self.part_lanes),
                "done": Out(1),
            }
        )

    @property
    def part_lanes(self) -> int:
        """Lanes of a part."""
        return min(4, self._lanes)

    def elaborate(self, platform):
        m = Module()
        access, host, place = self.access, self.host, self.place
        coming = Signal(self._word, reset_less=True)
        comes = Signal()
        spare = Signal(self._word, reset_less=True)
        behind = Signal()
        waiting = Signal()
        free = Signal()
        left = Signal.like(self.parts)
        used = Cat(self._used(number) for number in range(len(self.parts)))
        m.d.comb += [
            # No long path from the engine's writes to the external memory.
            access.ready.eq(~(behind if self._each_cycle else comes)),
            self.parts.eq(Mux(waiting, left & ~used, 0)),
            self.done.eq(waiting & ((left & used) == 0)),
            free.eq(~waiting | self.done),
        ]
        m.d.sync += left.eq(left & ~self.parts)
        given = Signal(self._word)
        taken = host.write | (access.valid & access.ready)
        m.d.comb += given.eq(access.payload)
        with m.If(host.select):
            m.d.comb += [given[name].eq(getattr(host, name)) for name in ("address", "sub", "data")]
            m.d.comb += given.write.eq(1)
        with m.If(free | ~comes):
            m.d.sync += [coming.eq(given), comes.eq(taken)]
            if self._each_cycle:
                with m.If(behind):
                    m.d.sync += [coming.eq(spare), comes.eq(1), behind.eq(0)]
        if self._each_cycle:
            with m.Elif(taken):
                m.d.sync += [spare.eq(given), behind.eq(1)]
        with m.If(free):
            m.d.sync += [place.eq(coming), waiting.eq(comes), left.eq(~0)]
        return m

    def _used(self, number):
        """Whether the engine uses the ports of a part's lanes in this cycle."""
        lane = Cat(Const(number * self.part_lanes, 2), self.place.sub)
        beat = lane[self._lanes.bit_length() - 1 :]
        return (self.writes & (self.write_beat == beat)) | (self.reads & (self.read_beat == beat))
