"""Sequencer: runs the layers of a network from one start command and counts what they did."""

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.contract import AcceleratorConfig
from steelyard.contract.descriptor import ANY_UNDER_WAY
from steelyard.contract.registers import COUNTERS

from ..lib.delay import delay
from .layer import DESCRIPTOR_WORDS, FIELDS, LayerLayout, Operation, moves
from .mover import Move
from .ports import ReadPort, WritePort

__all__ = ["Sequencer"]

START_MOST = (1 << 16) - 1
"""Descriptors of a start at most."""


class EventCounters(wiring.Component):
    """Counts events of every cycle into a memory, one counter's sum a cycle.

    What a counter gathers between two visits, eight cycles apart, stands in four bits of its own;
    each visit adds them to the sum in memory, three cycles later. After eight more visits without
    an event all sums are on their way there.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    begin : ``In(1)``
        Strobe: the sums start at zero, with the events from the next cycle on.
    active : ``In(1)``
        Visit a counter in this cycle.
    layer : ``In(range(max_layers))``
        Whose counters; stable while `active`.
    events : ``In(len(COUNTERS))``
        What happens in this cycle.
    read : ``Out(ReadPort)``, write : ``Out(WritePort)``
        Ports of the counter memory, ``max_layers * 8`` words; reading takes a cycle.
    """

    def __init__(self, config: AcceleratorConfig):
        self._registered = config.memory.read_registers
        words = config.memory.max_layers * len(COUNTERS)
        super().__init__(
            {
                "begin": In(1),
                "active": In(1),
                "layer": In(range(config.memory.max_layers)),
                "events": In(len(COUNTERS)),
                "read": Out(ReadPort(words, 32)),
                "write": Out(WritePort(words, 32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = bits_for(len(COUNTERS))
        gathered = Array(Signal(bits, name=f"gathered_{name}") for name in COUNTERS)
        visited = Signal(range(len(COUNTERS)))
        first_round = Signal()
        m.d.sync += visited.eq(visited + 1)
        for number, (count, event) in enumerate(zip(gathered, self.events, strict=True)):
            m.d.sync += count.eq(Mux(visited == number, 0, count) + event)

        # Read, register (with `read_registers`), add, write: a counter is visited again well after.
        m.d.comb += self.read.addr.eq(Cat(visited, self.layer))
        stages = 3 if self._registered else 2
        address = delay(m, self.read.addr, stages, "address")
        valid = delay(m, self.active, stages, "valid", reset_less=False)
        added = delay(m, gathered[visited], stages - 1, "added")
        begins = delay(m, first_round, stages - 1, "begins")
        fetched = delay(m, self.read.data, 1, "fetched") if self._registered else self.read.data
        total = Signal(32, reset_less=True)
        with m.If(begins):
            m.d.sync += total.eq(added)
        with m.Else():
            m.d.sync += total.eq(fetched + added)
        m.d.comb += [
            self.write.en.eq(valid),
            self.write.addr.eq(address),
            self.write.data.eq(total),
        ]
        with m.If(visited == len(COUNTERS) - 1):
            m.d.sync += first_round.eq(0)
        with m.If(self.begin):
            m.d.sync += [visited.eq(0), first_round.eq(1)]
        return m


class DescriptorFetch(wiring.Component):
    """Fetches a descriptor, a word a cycle, into the registers of its fields.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    begin : ``In(1)``
        Strobe: fetch the descriptor of the next cycle's `number`.
    number : ``In(range(max_layers))``
        Which one; stable until the cycle of `last`.
    last : ``Out(1)``
        The last word is asked for; with the cycle after the next all registers are in place, with
        `ahead` one later.
    ready : ``Out(1)``
        All of them are.
    layer : ``Out(LayerLayout)``
    descriptors : ``Out(ReadPort)``
        Descriptor memory of 32-bit words, one cycle of latency.
    """

    def __init__(self, config: AcceleratorConfig):
        self._registered = int(config.load.ahead)
        super().__init__(
            {
                "begin": In(1),
                "number": In(range(config.memory.max_layers)),
                "last": Out(1),
                "ready": Out(1),
                "layer": Out(LayerLayout(config)),
                "descriptors": Out(ReadPort(config.memory.max_layers * DESCRIPTOR_WORDS, 32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = Signal(range(DESCRIPTOR_WORDS))
        asking = Signal()
        # Fetched ahead it may be a cycle later, which leaves one to come from block RAM and one to
        # reach the fields.
        registered = self._registered
        data = delay(m, self.descriptors.data, registered, "data")
        fetched = delay(m, word, 1 + registered)
        fetching = delay(m, asking, 1 + registered, reset_less=False)
        m.d.comb += [
            self.descriptors.addr.eq(Cat(word, self.number)),
            self.last.eq(asking & (word == DESCRIPTOR_WORDS - 1)),
        ]
        with m.If(asking):
            m.d.sync += word.eq(word + 1)
        with m.If(self.last):
            m.d.sync += asking.eq(0)
        with m.If(fetching):
            m.d.sync += self.ready.eq(fetched == DESCRIPTOR_WORDS - 1)
            self._store(m, fetched, data)
        with m.If(self.begin):
            m.d.sync += [asking.eq(1), word.eq(0), self.ready.eq(0)]
        return m

    def _store(self, m, fetched, data):
        """Spread the descriptor word that has arrived over the registers of its fields."""
        for name in self.layer.shape().members:
            field = FIELDS[name]
            with m.If(fetched == field.word):
                m.d.sync += self.layer[name].eq(data[field.low : field.low + field.width])


class Sequencer(wiring.Component):
    """Runs layers: fetches a descriptor, starts the engines, waits for quiet, stores the counters.

    A layer costs ``DESCRIPTOR_WORDS`` + ``len(COUNTERS)`` + 1 cycles beside those that it counts;
    with `ahead` its descriptor is fetched while the one before runs, and it costs
    ``len(COUNTERS)`` + 2, the first ``DESCRIPTOR_WORDS`` + 2 more.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
    settle : :class:`int`
        Cycles without activity after which all results of a layer are written.

    Members
    -------
    start : ``In(1)``, start_first, start_count : ``In(16)``
        Run `start_count` layers from `start_first`; a count of zero ends at once. With external
        memory there may be more than descriptors: behind the last comes the first.
    busy : ``Out(1)``, finished : ``Out(1)``
        Running; ended since the last start.
    total : ``Out(32)``
        Cycles from the last start to its end.
    descriptors : ``Out(ReadPort)``
        Descriptor memory of 32-bit words, one cycle of latency.
    layer : ``Out(LayerLayout)``
    go : ``Out(1)``, convolve : ``Out(1)``
        Strobes of one cycle: a layer begins; it is a convolution.
    copy : ``Out(1)``, copied : ``In(1)``
        The layer's table is to be copied before they begin; the last cycle of that. Only with
        `tables`.
    moves : ``Out(stream.Signature(Move))``, under_way : ``In(4)``
        Moves that descriptors name, and how many of them are not done, one that is taken counted in
        the next cycle. Only with external memory. A descriptor with a move takes its place among
        the layers, and a cycle for the move and one to see that no more are under way than it says;
        only then is the descriptor behind it fetched, unless it says that any number may be.
    active : ``In(1)``
        An engine has work, or results are between the units.
    events : ``In(len(COUNTERS) - 1)``
        What happens in this cycle, in the order of ``COUNTERS`` after the cycles.
    counter_read : ``Out(ReadPort)``, counter_write : ``Out(WritePort)``
        Ports of the counter memory; reading takes a cycle. The last counter is written three cycles
        after `busy` falls, or sooner.
    """

    def __init__(self, config: AcceleratorConfig, *, settle: int):
        if not isinstance(settle, int) or settle < 1:
            raise ValueError(f"Settling time must be a positive number of cycles, not {settle!r}")
        self._config = config
        self._settle = settle
        self._moves = bool(config.memory.external_words)
        words = config.memory.max_layers * len(COUNTERS)
        # What is moved into descriptors that have run is run in the same start.
        self._most = START_MOST if self._moves else config.memory.max_layers
        super().__init__(
            {
                "start": In(1),
                "start_first": In(16),
                "start_count": In(16),
                "busy": Out(1),
                "finished": Out(1),
                "total": Out(32),
                "descriptors": Out(ReadPort(config.memory.max_layers * DESCRIPTOR_WORDS, 32)),
                "layer": Out(LayerLayout(config)),
                "go": Out(1),
                "convolve": Out(1),
                **({"copy": Out(1), "copied": In(1)} if config.output.tables else {}),
                **(self._move_members(config) if self._moves else {}),
                "active": In(1),
                "events": In(len(COUNTERS) - 1),
                "counter_read": Out(ReadPort(words, 32)),
                "counter_write": Out(WritePort(words, 32)),
            }
        )

    @staticmethod
    def _move_members(config):
        return {
            "moves": Out(stream.Signature(Move(config))),
            "under_way": In(range(ANY_UNDER_WAY + 1)),
        }

    def elaborate(self, platform):
        m = Module()
        number = Signal(range(self._config.memory.max_layers))
        left = Signal(range(self._most + 1))
        quiet = Signal(range(self._settle + 1))
        counter = Signal(range(len(COUNTERS)))
        counting = Signal()
        m.submodules.fetch = fetch = DescriptorFetch(self._config)
        following = self._following(m, fetch, number)
        m.submodules.counters = counters = EventCounters(self._config)
        wiring.connect(m, fetch.descriptors, wiring.flipped(self.descriptors))
        wiring.connect(m, counters.read, wiring.flipped(self.counter_read))
        wiring.connect(m, counters.write, wiring.flipped(self.counter_write))
        m.d.comb += [
            fetch.number.eq(following),
            counters.layer.eq(number),
            counters.events.eq(Mux(counting, Cat(Const(1, 1), self.events), 0)),
        ]
        m.d.sync += [self.go.eq(0), self.convolve.eq(0)]
        if not self._config.load.ahead:
            m.d.comb += self.layer.eq(fetch.layer)
        with m.If(self.busy):
            m.d.sync += self.total.eq(self.total + 1)

        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        number.eq(self.start_first),
                        left.eq(self.start_count),
                        self.total.eq(0),
                        self.finished.eq(self.start_count == 0),
                        self.busy.eq(self.start_count != 0),
                    ]
                    with m.If(self.start_count != 0):
                        m.d.comb += fetch.begin.eq(1)
                        m.next = "NEXT"
            with m.State("NEXT"):
                self._next(m, fetch, left)
            with m.State("GO"):
                # Engines see `go` with all registers in place.
                m.d.sync += [*self._goes(), quiet.eq(self._settle)]
                m.d.comb += counters.begin.eq(1)
                m.next = "WAIT"
                if self._config.output.tables:
                    self._copy_first(m)
                if self._moves:
                    self._move_first(m)
            if self._moves:
                self._move(m, fetch, left, counters, counting, counter)
            if self._config.output.tables:
                with m.State("TABLE"):
                    m.d.comb += [counting.eq(1), counters.active.eq(1)]
                    with m.If(self.copied):
                        m.d.sync += [*self._goes(), self.copy.eq(0)]
                        m.next = "WAIT"
            with m.State("WAIT"):
                m.next = "RUN"
                m.d.comb += [counting.eq(1), counters.active.eq(1)]
            with m.State("RUN"):
                m.d.comb += [counting.eq(1), counters.active.eq(1)]
                m.d.sync += quiet.eq(Mux(self.active, self._settle, quiet - 1))
                with m.If(quiet == 0):
                    m.d.sync += counter.eq(0)
                    m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += counters.active.eq(1)
                m.d.sync += counter.eq(counter + 1)
                with m.If(counter == len(COUNTERS) - 1):
                    m.d.sync += [number.eq(number + 1), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.d.sync += [self.busy.eq(0), self.finished.eq(1)]
                        m.next = "IDLE"
                    with m.Else():
                        m.d.comb += fetch.begin.eq(not self._config.load.ahead)
                        m.next = "NEXT"
        return m

    def _goes(self):
        """What strobes as a layer begins; its kind comes with its first word, before all others."""
        return [self.go.eq(1), self.convolve.eq(self.layer.op == Operation.CONV)]

    def _following(self, m, fetch, number):
        """Whose descriptor is fetched: the running layer's, or with `ahead` the one's behind it."""
        if not self._config.load.ahead:
            return number
        following = Signal.like(number)
        with m.If(fetch.last):
            m.d.sync += following.eq(following + 1)
        with m.If(self.start):
            m.d.sync += following.eq(self.start_first)
        return following

    def _next(self, m, fetch, left):
        """Take the next descriptor once it is there; with `ahead` the one behind it is fetched."""
        if not self._config.load.ahead:
            # The last word arrives in the next cycle.
            with m.If(fetch.last):
                m.next = "GO"
            return
        with m.If(fetch.ready):
            m.d.sync += self.layer.eq(fetch.layer)
            m.d.comb += fetch.begin.eq((left != 1) & ~self._waits(fetch.layer))
            m.next = "GO"

    def _waits(self, layer):
        """Whether it is a move that waits for those before it."""
        if not self._moves:
            return Const(0, 1)
        return moves(layer) & (layer.under_way != ANY_UNDER_WAY)

    def _move(self, m, fetch, left, counters, counting, counter):
        """States of a descriptor with a move."""
        layer, move = self.layer, self.moves.payload
        m.d.comb += [
            *(move[name].eq(layer[name]) for name in ("space", "external", "item", "length")),
            move.store.eq(layer.op == Operation.STORE),
            move.rows.eq(layer.batch),
            move.external_pitch.eq(layer.out_pitch),
            move.item_pitch.eq(layer.in_pitch),
        ]
        with m.State("MOVE"):
            m.d.comb += [
                counting.eq(1),
                counters.active.eq(1),
                self.moves.valid.eq(layer.length != 0),
            ]
            with m.If((layer.length == 0) | self.moves.ready):
                m.next = "UNDER_WAY"
        with m.State("UNDER_WAY"):
            m.d.comb += [counting.eq(1), counters.active.eq(1)]
            with m.If(self.under_way <= layer.under_way):
                m.d.sync += counter.eq(0)
                # What was fetched before might be what these moves bring.
                if self._config.load.ahead:
                    m.d.comb += fetch.begin.eq((left != 1) & self._waits(layer))
                m.next = "STORE"

    def _copy_first(self, m):
        """Let a layer with a table wait until that has been copied."""
        with m.If(self.layer.table):
            m.d.sync += [self.go.eq(0), self.convolve.eq(0), self.copy.eq(1)]
            m.next = "TABLE"

    def _move_first(self, m):
        """Let a move take the place of a layer."""
        with m.If(moves(self.layer)):
            m.d.sync += self.go.eq(0)
            if self._config.output.tables:
                m.d.sync += self.copy.eq(0)
            m.next = "MOVE"
