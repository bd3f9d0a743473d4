"""Window memory of the crossbar tile, and the rows that an operation unit takes out of it."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..lib.delay import delay
from ..shell.layer import LayerLayout
from .items import RowsItem

__all__ = ["Gather"]


class GatheredRun(data.StructLayout):
    """What is known of gathered rows.

    Members
    -------
    count : ``count_bits``
        Rows in use.
    final : ``1``
        They belong to the last tile of pixels.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__({"count": config.engine.count_bits, "final": 1})


class Gather(wiring.Component):
    """Takes rows out of the window memory while the rows before are in use.

    One row a cycle, and a cycle between two items: an item's rows are complete three cycles after
    the last was read. A row waits until its group is loaded. After the last rows of a tile all its
    groups are freed, one a cycle.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Attributes
    ----------
    PAIRS_LATENCY : :class:`int`
        Cycles from `run` to its `pairs`.

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    word, window_valid, window_address, group_loaded : ``In``
        Activations from the loader.
    group_free : ``Out(1)``
    rows : ``In(stream.Signature(RowsItem))``
    full : ``Out(1)``
        The next rows are complete.
    steps : ``Out(steps)``
        Steps in which any lane of these has an input bit.
    take : ``In(1)``
        Strobe: they become the present ones.
    inputs : ``Out(ArrayLayout(8, ou_rows * lanes))``
        Present rows, the lanes of the first row first; lanes and rows not in use are 0.
    run : ``Out(GatheredRun)``
        Of the present rows.
    pairs : ``Out(range(lanes * steps + 1))``
        Lanes with an input bit in a step, summed over the steps.
    """

    PAIRS_LATENCY = 2

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        unit = config.engine.crossbar
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "word": In(8 * config.engine.lanes),
                "window_valid": In(1),
                "window_address": In(range(config.engine.window_positions)),
                "group_loaded": In(1),
                "group_free": Out(1),
                "rows": In(stream.Signature(RowsItem(config))),
                "full": Out(1),
                "steps": Out(unit.steps),
                "take": In(1),
                "inputs": Out(data.ArrayLayout(8, unit.ou_rows * config.engine.lanes)),
                "run": Out(GatheredRun(config)),
                "pairs": Out(range(config.engine.lanes * unit.steps + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, layer = self._config, self.layer
        m.submodules.window = window = memory.Memory(
            shape=8 * config.engine.lanes, depth=config.engine.window_positions, init=[]
        )
        write, read = window.write_port(), window.read_port()
        # Signed activations become unsigned ones, offset by 128.
        offset = Const(0x80, 8).replicate(config.engine.lanes)
        m.d.sync += [
            write.en.eq(self.window_valid),
            write.addr.eq(self.window_address),
            write.data.eq(self.word ^ offset),
        ]

        head = Signal(range(config.engine.window_positions))
        loaded = Signal(range(config.engine.window_groups + 1))
        advance = Signal()
        item, have, row = Signal(RowsItem(config)), Signal(), Signal(config.engine.count_bits)
        final = Signal()
        ends = Signal()
        issue, release = Signal(), Signal()
        place = Signal(config.engine.address_bits)
        group = place >> (config.engine.group.bit_length() - 1)
        m.d.comb += [
            place.eq(item.addresses[0]),
            ends.eq(item.count == row + 1),
            issue.eq(have & (group < loaded) & advance),
            read.addr.eq(head + place),
            read.en.eq(advance),
            self.rows.ready.eq(~have & ~release),
        ]
        with m.If(issue):
            m.d.sync += [
                item.addresses.eq(item.addresses.as_value()[config.engine.address_bits :]),
                row.eq(row + 1),
                have.eq(~ends),
            ]
        self._tiles(m, release, issue & ends & item.last, head, loaded, final)
        with m.If(self.rows.ready & self.rows.valid):
            m.d.sync += [item.eq(self.rows.payload), have.eq(1), row.eq(0)]
        with m.If(self.start):
            m.d.sync += have.eq(0)

        valid = [Signal(name=f"valid_{n}") for n in range(2)]
        m.d.comb += advance.eq(~(valid[1] & self.full))
        flags = Cat(row, ends, final)
        travelling = [Signal(len(flags), name=f"flags_{n}", reset_less=True) for n in range(2)]
        word = Signal(8 * config.engine.lanes, reset_less=True)
        lane_mask = Signal(config.engine.lanes)
        m.d.sync += lane_mask.eq(
            Cat(layer.last_lanes > lane for lane in range(config.engine.lanes))
        )
        with m.If(advance):
            m.d.sync += [
                valid[0].eq(issue),
                valid[1].eq(valid[0]),
                travelling[0].eq(flags),
                travelling[1].eq(travelling[0]),
            ]
            for lane in range(config.engine.lanes):
                used = lane_mask[lane] | ~travelling[0][-1]
                own = slice(8 * lane, 8 * lane + 8)
                m.d.sync += word[own].eq(Mux(used, read.data[own], 0))
        with m.If(self.start):
            m.d.sync += [each.eq(0) for each in valid]
        self._rows(m, valid[1], word, travelling[1])
        return m

    def _tiles(self, m, release, ended, head, loaded, final):
        """Free the groups of a tile whose last rows were read, as soon as all are loaded."""
        config, layer = self._config, self.layer
        groups = layer.chunks
        freed = Signal(range(2 * config.engine.window_groups + 1))
        left = Signal.like(layer.out_tiles)
        frees = Signal()
        # The last word of a group is written a cycle after it came.
        arrived = Signal()
        m.d.comb += [self.group_free.eq(freed != 0), frees.eq(release & (loaded >= groups))]
        m.d.sync += [
            arrived.eq(self.group_loaded),
            loaded.eq(loaded + arrived - Mux(frees, groups, 0)),
            freed.eq(freed - self.group_free + Mux(frees, groups, 0)),
        ]
        with m.If(ended):
            m.d.sync += release.eq(1)
        with m.If(frees):
            m.d.sync += [
                release.eq(0),
                head.eq(head + (groups << (config.engine.group.bit_length() - 1))),
                left.eq(left - 1),
                final.eq(left == 2),
            ]
        with m.If(self.start):
            m.d.sync += [
                release.eq(0),
                head.eq(0),
                loaded.eq(0),
                freed.eq(0),
                arrived.eq(0),
                left.eq(layer.out_tiles),
                final.eq(layer.out_tiles == 1),
            ]

    def _rows(self, m, valid, word, flags):
        """Fill the next rows, and keep the present ones."""
        config, unit = self._config, self._config.engine.crossbar
        lanes = config.engine.lanes
        row, ends, final = flags[: config.engine.count_bits], flags[-2], flags[-1]
        rows = [Signal(8 * lanes, name=f"next_{n}", reset_less=True) for n in range(unit.ou_rows)]
        any_lane = Signal(8, reset_less=True)
        any_row = Signal(8 * lanes, reset_less=True)
        run = Signal(GatheredRun(config), reset_less=True)
        first = row == 0
        with m.If(valid & ~self.full):
            for number, each in enumerate(rows):
                with m.If(row == number):
                    m.d.sync += each.eq(word)
                with m.Elif(first):
                    m.d.sync += each.eq(0)
            bits = [word[8 * lane : 8 * lane + 8] for lane in range(lanes)]
            while len(bits) > 1:
                bits = [a | b for a, b in zip(bits[::2], bits[1::2], strict=True)]
            m.d.sync += [
                any_lane.eq(Mux(first, 0, any_lane) | bits[0]),
                any_row.eq(Mux(first, 0, any_row) | word),
                self.full.eq(ends),
                run.count.eq(row + 1),
                run.final.eq(final),
            ]
        live = self._live(any_lane)
        present = Signal(8 * lanes, reset_less=True)
        m.d.comb += self.steps.eq(live)
        with m.If(self.take):
            m.d.sync += [
                self.full.eq(0),
                self.inputs.eq(Cat(rows)),
                present.eq(any_row),
                self.run.eq(run),
            ]
        with m.If(self.start):
            m.d.sync += self.full.eq(0)
        counts = []
        for lane in range(lanes):
            own = self._live(present[8 * lane : 8 * lane + 8])
            counts.append(delay(m, sum(own[n] for n in range(unit.steps))))
        m.d.sync += self.pairs.eq(sum(counts))

    def _live(self, byte):
        """Steps in which a byte has a bit."""
        bits = self._config.engine.crossbar.dac_bits
        return Cat(byte[n : n + bits].any() for n in range(0, 8, bits))
