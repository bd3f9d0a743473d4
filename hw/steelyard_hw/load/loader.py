"""Loader: reads activations tap by tap for the array or the vector unit."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import loader_latency, read_latency

from ..lib.delay import delay, delays
from ..shell.layer import LayerLayout, Operation, paired, pixel_bits
from ..shell.ports import EdgePort, RowReadPort
from .align import Aligner
from .taps import TapSequence
from .walker import TileWalker

__all__ = ["Loader"]


class Loader(wiring.Component):
    """Streams a layer's activations, one segment a cycle, in the order of docs/architecture.md.

    Words leave `loader_latency` cycles after their last segment was issued. Never stalled from
    outside: it issues into the window ring only while a group is free, and spaces finished vector
    words by ``drain_cycles``.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    done : ``Out(1)``
        Everything of the layer has been issued.
    read : ``Out(RowReadPort(config))``
        Read port of :class:`.memory.ActivationMemory`.
    group_free : ``In(1)``
        The array has released one group of the ring.
    word : ``Out(ArrayLayout(signed(8), window_lanes))``
        Activations of one tap, a lane each, in the lowest bytes; in a layer whose words are shared
        those of three taps, each a byte above the one before.
    edges : ``Out(EdgePort(config))``
        Of each group in a layer whose words are shared; only if there can be such.
    window_valid : ``Out(1)``
        `word` goes into the window ring.
    window_address : ``Out(range(window_groups * group))``
        Its place there.
    group_loaded : ``Out(1)``
        It completes a group.
    vector_valid, vector_first, vector_last : ``Out(1)``
        `word` goes to the vector unit; first and last tap of its window, or of a pair of operands.
    vector_ends : ``Out(1)``
        What `vector_last` will be in the next cycle.
    stalled : ``Out(1)``
        No group of the ring is free.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        self._shares = config.engine.window_lanes > config.engine.lanes
        word = data.ArrayLayout(signed(8), config.engine.window_lanes)
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "done": Out(1, init=1),
                "read": Out(RowReadPort(config)),
                "group_free": In(1),
                "word": Out(word),
                "window_valid": Out(1),
                "window_address": Out(range(config.engine.window_groups * config.engine.group)),
                "group_loaded": Out(1),
                **({"edges": Out(EdgePort(config))} if self._shares else {}),
                "vector_valid": Out(1),
                "vector_first": Out(1),
                "vector_last": Out(1),
                "vector_ends": Out(1),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, layer = self._config, self.layer
        m.submodules.walker = walker = TileWalker(config)
        m.submodules.taps = taps = TapSequence(config)
        convolution = Signal()
        if config.vector.bits:
            m.d.sync += convolution.eq(layer.op == Operation.CONV)
        else:
            m.d.comb += convolution.eq(1)

        if self._shares:
            self._twice = delay(m, paired(layer), 1, "twice")

        segment = Signal(range(config.engine.lanes))
        position = Signal(range(config.engine.group))
        have_tile = Signal()
        last_segment, group_ends, issue = Signal(), Signal(), Signal()
        # A read for the pixel left of the tile, before those of a word's segments; it was made.
        lead, led = Signal(name="lead"), Signal(name="led")
        begins_group = convolution & (position == 0) & (segment == 0) & ~led
        blocked = self._spacing(m, ~convolution & taps.last & last_segment, issue)
        m.d.comb += [
            walker.layer.eq(layer),
            walker.start.eq(self.start),
            walker.segment.eq(segment),
            taps.layer.eq(layer),
            taps.start.eq(self.start),
            taps.step.eq(issue & last_segment),
            taps.turn.eq(position == config.engine.group - 1),
            last_segment.eq((segment == walker.segments_last) & ~lead),
            group_ends.eq(taps.turn | taps.ends),
            self.stalled.eq(have_tile & begins_group & ~self._ring(m, issue & begins_group)),
            issue.eq(have_tile & ~self.stalled & ~blocked),
        ]
        with m.If(issue & ~lead):
            m.d.sync += segment.eq(Mux(last_segment, 0, segment + 1))
        with m.If(issue & last_segment & convolution):
            m.d.sync += position.eq(Mux(group_ends, 0, position + 1))
        with m.If(self.start):
            m.d.sync += [segment.eq(0), position.eq(0)]
        self._tiles(m, walker, have_tile, issue & last_segment & taps.ends)
        if self._shares:
            self._leads(m, walker, taps, issue, last_segment, lead, led)
            self._edges(m, walker, issue & begins_group, issue & last_segment & group_ends)

        word = issue & last_segment
        flags = Cat(
            word & convolution,
            word & convolution & group_ends,
            word & ~convolution,
            taps.first,
            taps.last,
        )
        self._pipeline(m, walker, taps, issue, last_segment, lead, flags)
        return m

    def _tiles(self, m, walker, have_tile, tile_ends):
        """Take tile after tile from the walker; `done` once the last has ended."""
        if not self._config.load.ahead:
            m.d.comb += [have_tile.eq(walker.ready), walker.take.eq(tile_ends)]
            with m.If(tile_ends):
                m.d.sync += self.done.eq(walker.last)
            with m.If(self.start):
                m.d.sync += self.done.eq(0)
            return
        left = Signal.like(self.layer.out_tiles)
        m.d.comb += walker.take.eq(walker.ready & (~have_tile | tile_ends) & (left != 0))
        with m.If(walker.take):
            m.d.sync += [have_tile.eq(1), left.eq(left - 1)]
        with m.Elif(tile_ends):
            m.d.sync += [have_tile.eq(0), self.done.eq(left == 0)]
        with m.If(self.start):
            m.d.sync += [self.done.eq(0), have_tile.eq(0), left.eq(self.layer.out_tiles)]

    def _ring(self, m, taken):
        """Whether a group of the window ring is free; `taken` uses one up."""
        free = Signal(range(self._config.engine.window_groups + 1))
        m.d.sync += free.eq(free + self.group_free - taken)
        with m.If(self.start):
            m.d.sync += free.eq(self._config.engine.window_groups)
        return free != 0

    def _spacing(self, m, finishes, issue):
        """Whether a segment that finishes a vector word must wait: the one before still drains."""
        cycles = self._config.drain_cycles
        wait = Signal(range(max(cycles, 2)))
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(issue & finishes):
            m.d.sync += wait.eq(cycles - 1)
        with m.If(self.start):
            m.d.sync += wait.eq(0)
        return finishes & (wait != 0)

    def _leads(self, m, walker, taps, issue, last_segment, lead, led):
        """Whether a read for the pixel left of the tile comes next: before each word of the pixels
        between, if the tile begins within a row."""
        within = walker.valid_x[0]
        with m.If(issue & last_segment):
            m.d.sync += [
                lead.eq(self._twice & within & (taps.between ^ taps.turn)),
                led.eq(0),
            ]
        with m.Elif(issue & lead):
            m.d.sync += [lead.eq(0), led.eq(1)]
        with m.If(self.start):
            m.d.sync += [lead.eq(0), led.eq(0)]

    def _pipeline(self, m, walker, taps, issue, last_segment, lead, flags):
        """From an issued segment to the word: address, memory, alignment."""
        config, layer = self._config, self.layer
        lane_bits = bits_for(config.engine.lanes - 1)
        offset, first, even = taps.tap, walker.lane, Const(0)
        if self._shares:
            # Pixels between stand a byte above their lanes; a lane below finds its left one there.
            offset = Mux(lead, taps.before, taps.tap)
            first = Mux(lead, 0, walker.lane + taps.between)
            even = delay(m, self._twice & ~taps.between)

        pixel = Signal(signed(pixel_bits(config)), name="pixel", reset_less=True)
        base = Signal.like(layer.in_base, reset_less=True)
        lane = Signal(range(config.engine.window_lanes), reset_less=True)
        kx = Signal(bits_for(config.load.padded_kernel), reset_less=True)
        ky = Signal.like(kx)
        m.d.sync += [
            pixel.eq(walker.origin + offset),
            base.eq(taps.plane),
            lane.eq(first),
            kx.eq(taps.kx),
            ky.eq(taps.ky),
        ]

        rotate = Signal(range(config.banks), reset_less=True)
        start = Signal.like(lane, reset_less=True)
        row = Signal.like(self.read.row, reset_less=True)
        split = Signal.like(self.read.split, reset_less=True)
        word = (base + (pixel >> lane_bits))[: len(base)]
        place = pixel[:lane_bits]
        if config.load.wide_reads:
            # The lowest bit of a word's address, without a carry, says which half of a row it is.
            place = Cat(place, base[0] ^ pixel[lane_bits])
        m.d.sync += [
            row.eq(word >> config.load.wide_reads),
            split.eq(place),
            rotate.eq(place - Mux(layer.step2, lane << 1, lane)),
            start.eq(lane),
        ]
        m.d.comb += [self.read.row.eq(row), self.read.split.eq(split)]
        inside = self._inside(m, walker, kx, ky, even)

        m.submodules.aligner = aligner = Aligner(config)
        wait = read_latency(config)
        marks = delays(m, flags, loader_latency(config), "flags", reset_less=False)
        m.d.comb += [
            aligner.i_valid.eq(delay(m, issue, 2 + wait, "issue", reset_less=False)),
            aligner.i_done.eq(delay(m, last_segment, 2 + wait, "last_segment")),
            aligner.i_data.eq(self.read.data),
            aligner.i_rotate.eq(delay(m, rotate, wait, "rotate")),
            aligner.i_from.eq(delay(m, start, wait, "start")),
            aligner.i_inside.eq(delay(m, inside, wait, "inside")),
            aligner.step2.eq(layer.step2),
            aligner.pad_value.eq(layer.pad_value),
            self.word.eq(aligner.o_data),
            Cat(
                self.window_valid,
                self.group_loaded,
                self.vector_valid,
                self.vector_first,
                self.vector_last,
            ).eq(marks[-1]),
            self.vector_ends.eq(marks[-2][-1]),
        ]
        # The words' places follow from their order, so they need not travel with them.
        with m.If(self.window_valid):
            ends = Mux(self.group_loaded, config.engine.group - 1, 0)
            m.d.sync += self.window_address.eq((self.window_address | ends) + 1)
        with m.If(self.start):
            m.d.sync += self.window_address.eq(0)

    def _inside(self, m, walker, kx, ky, even):
        """Register of which bytes of a word lie inside the map; `even` words are of middle taps."""
        config, layer = self._config, self.layer
        lanes, side = config.engine.lanes, config.load.padded_kernel
        inside = Signal(config.engine.window_lanes, reset_less=True)
        columns = [
            walker.valid_x[n * side : (n + 1) * side].bit_select(kx, 1) for n in range(lanes)
        ]
        lines = [walker.valid_y[n * side : (n + 1) * side].bit_select(ky, 1) for n in range(lanes)]
        for n in range(config.engine.window_lanes):
            own = (columns[n] & lines[n]) if n < lanes else Const(1, 1)
            if self._shares:
                # The middle byte of a lane; what is beside the first and last lane is of their row.
                line = Mux(even, lines[min(n, lanes - 1)], lines[min(max(n - 1, 0), lanes - 1)])
                own = Mux(layer.shared, line, own)
            m.d.sync += inside[n].eq(own | ~layer.padded)
        return inside

    def _edges(self, m, walker, begins, ends):
        """Say of each group where rows of the map end; its words come later."""
        config, layer = self._config, self.layer
        side = config.load.padded_kernel
        slot = Signal(range(config.engine.window_groups))
        with m.If(ends):
            m.d.sync += slot.eq(slot + 1)
        with m.If(self.start):
            m.d.sync += slot.eq(0)
        valid_x = walker.valid_x
        outside = Cat(
            Cat(~valid_x[n * side], ~valid_x[n * side + 2]) for n in range(config.engine.lanes)
        )
        # A cycle later, as the description of a tile comes then.
        m.d.sync += [self.edges.valid.eq(begins), self.edges.slot.eq(slot)]
        m.d.comb += self.edges.outside.eq(Mux(layer.shared, outside, 0))
