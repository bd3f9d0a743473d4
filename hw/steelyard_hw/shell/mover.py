"""Mover: words between an external memory and the memories of the accelerator."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for

from steelyard.contract import AcceleratorConfig
from steelyard.contract.descriptor import ANY_UNDER_WAY, FIELDS
from steelyard.contract.registers import Space

from ..memory.port import WORD_BITS, BurstCommand, MemoryPort
from .layer import LayerLayout
from .place import item_words, step_place
from .ports import HostBus, MovedPort

__all__ = ["Move", "MoveRow", "MoveRows", "Mover"]


class Move(data.StructLayout):
    """One move of words between the external memory and another, row by row.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    space : ``3``
        Memory to write, see :class:`~steelyard.contract.registers.Space`; with `store` that of the
        activations.
    store
        Whether the words go into the external memory.
    external
        Address of the first word in the external memory.
    item : ``16``
        First item, from its first word on.
    length : ``16``
        Number of words of a row, at least one.
    rows
        Number of rows, 0 for one.
    external_pitch, item_pitch
        Words and items from the begin of a row to that of the next.
    """

    def __init__(self, config: AcceleratorConfig):
        layer = LayerLayout(config)
        super().__init__(
            {
                "space": FIELDS["space"].width,
                "store": 1,
                "external": config.memory.external_address_bits,
                "item": FIELDS["item"].width,
                "length": FIELDS["length"].width,
                "rows": layer["batch"].width,
                "external_pitch": config.memory.external_address_bits,
                "item_pitch": layer["in_pitch"].width,
            }
        )


class MoveRow(data.StructLayout):
    """Row of a move, whose burst has been asked for.

    Members
    -------
    space, store, item, length
        As those of the :class:`Move`, but the first item of this row.
    final
        Whether it is the move's last.
    """

    def __init__(self):
        names = ("space", "item", "length")
        super().__init__({name: FIELDS[name].width for name in names} | {"store": 1, "final": 1})


class MoveRows(wiring.Component):
    """Asks for the bursts of moves, a row each, one burst ahead of the row that is at work.

    A cycle for each move, and one for each row; more as long as bursts or rows are not taken.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        With external memory.

    Members
    -------
    i : ``In(stream.Signature(Move(config)))``
        Moves; one is taken with its last row.
    command : ``Out(stream.Signature(BurstCommand))``
        Bursts.
    o : ``Out(stream.Signature(MoveRow()))``
        Rows.
    """

    def __init__(self, config: AcceleratorConfig):
        self._move = Move(config)
        command = BurstCommand(config.memory.external_address_bits)
        super().__init__(
            {
                "i": In(stream.Signature(self._move)),
                "command": Out(stream.Signature(command)),
                "o": Out(stream.Signature(MoveRow())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        move, row, command = self.i.payload, self.o.payload, self.command
        begun = Signal()
        asked = Signal()
        external = Signal.like(move.external)
        item = Signal.like(move.item)
        left = Signal.like(move.rows)
        taken = asked & self.o.ready
        m.d.comb += [
            command.valid.eq(begun & ~asked),
            command.payload.address.eq(external),
            command.payload.words.eq(move.length),
            command.payload.write.eq(move.store),
            *(row[name].eq(move[name]) for name in ("space", "store", "length")),
            row.item.eq(item),
            # Of no rows there is one.
            row.final.eq(left[1:] == 0),
            self.o.valid.eq(asked),
            self.i.ready.eq(taken & row.final),
        ]
        with m.If(command.valid & command.ready):
            m.d.sync += asked.eq(1)
        with m.If(taken):
            m.d.sync += [
                asked.eq(0),
                begun.eq(~row.final),
                external.eq(external + move.external_pitch),
                item.eq(item + move.item_pitch),
                left.eq(left - 1),
            ]
        with m.If(self.i.valid & ~begun):
            m.d.sync += [
                begun.eq(1),
                external.eq(move.external),
                item.eq(move.item),
                left.eq(move.rows),
            ]
        return m


class Mover(wiring.Component):
    """Carries out moves in their order, at most ``ANY_UNDER_WAY`` of them waiting or at work.

    Each row is a burst. Words for most memories are written in the cycle in which they come, one a
    cycle at most; nothing on the side of these makes them wait. Activations are accessed as the
    engine leaves their ports alone, a word every second cycle, or with two `external_slots` one in
    each. A lone move asks for its burst two cycles after it is taken. That of the next row is asked
    for while the words of the one before come, so rows of two words and more, and moves of three,
    follow each other without a gap if the external memory has none.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        With external memory.
    bus : :class:`~steelyard_hw.shell.ports.HostBus`
        Shape of the word bus.

    Attributes
    ----------
    STORE_WORDS : :class:`int`
        Words on their way from the activations to the external memory at most, for each of the
        memory's slots: those that wait for a port, that are read, and that the external memory has
        not taken.

    Members
    -------
    moves : ``In(stream.Signature(Move))``
        A move of no words must not be offered.
    under_way : ``Out(4)``
        Moves taken whose last word is not on the bus yet, or has not been taken by the external
        memory; one that is taken is counted in the next cycle.
    port : ``Out(MemoryPort)``
        External memory.
    space : ``Out(3)``, bus : ``Out(HostBus)``
        Memory and place of a word, with a strobe of `write`, which no word of activations has;
        never `select`.
    activations : ``Out(MovedPort(config))``
        Activation memory.
    """

    STORE_WORDS = 8

    def __init__(self, config: AcceleratorConfig, bus: HostBus):
        self._config = config
        self._move = Move(config)
        self._item_words = item_words(config)
        super().__init__(
            {
                "moves": In(stream.Signature(self._move)),
                "under_way": Out(range(ANY_UNDER_WAY + 1)),
                "port": Out(MemoryPort(config.memory.external_address_bits)),
                "space": Out(Space),
                "bus": Out(bus),
                "activations": Out(MovedPort(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFIFO(
            width=self._move.size, depth=1 << bits_for(ANY_UNDER_WAY)
        )
        m.submodules.rows = rows = MoveRows(self._config)
        port, bus, access = self.port, self.bus, self.activations.access
        row = rows.o.payload
        working = Signal()
        store = Signal()
        inside = Signal()
        final = Signal()
        left = Signal(FIELDS["length"].width)
        last = Signal()
        step = Signal()
        ends = Signal()
        allowed = self.under_way != ANY_UNDER_WAY
        connect(m, rows.command, flipped(port.command))
        room, stored = self._stores(m, store & access.valid & access.ready)

        m.d.comb += [
            queue.w_data.eq(self.moves.payload.as_value()),
            queue.w_en.eq(self.moves.valid & allowed),
            self.moves.ready.eq(allowed & queue.w_rdy),
            rows.i.valid.eq(queue.r_rdy),
            rows.i.payload.eq(queue.r_data),
            queue.r_en.eq(rows.i.ready),
            rows.o.ready.eq(~working | ends),
            port.read.ready.eq(working & ~store & (access.ready | ~inside)),
            bus.write.eq(working & ~store & ~inside & port.read.valid),
            bus.data.eq(port.read.payload),
            access.valid.eq(working & Mux(store, room, inside & port.read.valid)),
            access.payload.address.eq(bus.address),
            access.payload.sub.eq(bus.sub),
            access.payload.write.eq(~store),
            access.payload.last.eq(last & final),
            access.payload.data.eq(port.read.payload),
            step.eq(bus.write | (access.valid & access.ready)),
            ends.eq(step & last),
        ]
        begun = self.moves.valid & self.moves.ready
        loaded = ends & final & ~store
        m.d.sync += self.under_way.eq(self.under_way + begun - loaded - stored)
        with m.If(step):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
            step_place(m, self.space, bus, self._item_words)
        with m.If(ends):
            m.d.sync += working.eq(0)
        with m.If(rows.o.valid & rows.o.ready):
            m.d.sync += [
                working.eq(1),
                store.eq(row.store),
                inside.eq(row.space == Space.ACTIVATIONS),
                final.eq(row.final),
                left.eq(row.length),
                last.eq(row.length == 1),
                self.space.eq(row.space),
                bus.address.eq(row.item),
                bus.sub.eq(0),
            ]
        return m

    def _stores(self, m, asked):
        """Words on their way to the external memory: is there room for one more, and a strobe as
        the last one of a move is taken.
        """
        write, activations = self.port.write, self.activations
        depth = self.STORE_WORDS * self._config.memory.external_slots
        m.submodules.words = words = SyncFIFO(width=WORD_BITS + 1, depth=depth)
        room = Signal(range(depth + 1), init=depth)
        given = Signal()
        m.d.comb += [
            words.w_data[:WORD_BITS].eq(activations.result),
            words.w_data[WORD_BITS].eq(activations.last),
            words.w_en.eq(activations.found),
            write.payload.eq(words.r_data),
            write.valid.eq(words.r_rdy),
            words.r_en.eq(write.ready),
            given.eq(write.valid & write.ready),
        ]
        m.d.sync += room.eq(room - asked + given)
        return room != 0, given & words.r_data[WORD_BITS]
