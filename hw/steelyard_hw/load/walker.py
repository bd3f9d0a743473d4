"""Tile walker: where the lanes of a tile begin, which taps they may see, and how they cluster."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.contract import AcceleratorConfig

from ..lib.countdown import Countdown
from ..shell.layer import LayerLayout, pixel_bits

__all__ = ["TileWalker"]


class Walk:
    """Where the lane at hand begins in the input, and whether it follows the lane before.

    Not a component: its registers belong to the module that steps it.

    Parameters
    ----------
    layer : LayerLayout view
        Registers of the layer, static from `begin` on.
    pixel : :class:`int`
        Bits of a signed linear pixel.

    Attributes
    ----------
    x, y : ``Signal(signed)``
        Column and row of its tap (0, 0). Lanes past the last pixel may wrap around, since nobody
        looks at them.
    origin : ``Signal(signed(pixel))``
        Linear input pixel of that tap.
    follows : ``Signal(1)``
        It lies a step behind that of the lane before.
    """

    def __init__(self, layer, pixel: int):
        self._layer = layer
        self._skips = "skipped_columns" in layer.shape().members
        self._images = Countdown("images", layer.batch.shape())
        self._columns = Countdown("columns", layer.out_w.shape())
        self._one_image = Signal(name="one_image")
        self._one_column = Signal(name="one_column")
        self.x = Signal(signed(len(layer.in_w) + 2), name="x", reset_less=True)
        self.y = Signal(signed(len(layer.in_h) + 2), name="y", reset_less=True)
        self.origin = Signal(signed(pixel), name="origin", reset_less=True)
        self.follows = Signal(name="follows")
        # Whether it would at the next column and at the next row.
        self._column_follows = Signal(name="column_follows")
        self._row_follows = Signal(name="row_follows")

    def step(self, m):
        """Go on to the next lane: image, column and row."""
        layer = self._layer
        image_ends = self._images.last
        row_ends = image_ends & self._columns.last
        self._images.step(m, layer.batch, self._one_image)
        at_column = Mux(image_ends, self._column_follows, ~layer.step2)
        m.d.sync += self.follows.eq(Mux(row_ends, self._row_follows, at_column))
        with m.If(image_ends):
            self._columns.step(m, layer.out_w, self._one_column)
        with m.If(row_ends):
            m.d.sync += [
                self.x.eq(layer.x_origin),
                self.y.eq(self.y + layer.stride_h),
                self.origin.eq(self.origin + layer.delta_row),
            ]
        with m.Elif(image_ends):
            m.d.sync += [
                self.x.eq(self.x + layer.stride_w),
                self.origin.eq(self.origin + layer.delta_pixel),
            ]
        with m.Else():
            m.d.sync += self.origin.eq(self.origin + 1)

    def begin(self, m):
        """Begin with the first lane of the layer."""
        layer = self._layer
        step = Mux(layer.step2, 2, 1)
        columns, x = layer.out_w, layer.x_origin
        if self._skips:
            # Strips of a map in external memory may begin within a row.
            columns = (layer.out_w - layer.skipped_columns)[: len(layer.out_w)]
            x = (layer.x_origin + layer.skipped_x)[: len(self.x)]
        self._images.begin(m, layer.batch)
        self._columns.begin(m, columns)
        m.d.sync += [
            self._one_image.eq(layer.batch == 1),
            self._one_column.eq(layer.out_w == 1),
            self._column_follows.eq(layer.delta_pixel == step),
            self._row_follows.eq(layer.delta_row == step),
            self.x.eq(x),
            self.y.eq(layer.y_origin),
            self.origin.eq(layer.origin),
        ]


class TileWalker(wiring.Component):
    """Visits the lanes of one output tile after the other and describes the tile.

    One lane a cycle; a tile is ready ``lanes`` cycles after the one before was taken. The
    description of the tile in use stays while the next one is prepared. Without `ahead` there is
    one description alone: that of the tile that is ready, which `take` ends.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
        Registers of the layer, static from `start` on.
    start : ``In(1)``
        Begins at the layer's first tile.
    ready : ``Out(1)``
        The next tile is described.
    take : ``In(1)``
        Makes the next tile the one in use, or without `ahead` ends its use; only while `ready`.
    last : ``Out(1)``
        The tile described is the layer's last.
    segment : ``In(range(lanes))``
        Segment of the tile in use that is looked at.
    origin, lane : ``Out``
        Linear input pixel of the segment's first lane at tap (0, 0), and that lane (combinational).
    segments_last : ``Out(range(lanes))``
        Number of the last segment of the tile in use.
    valid_x, valid_y : ``Out(lanes * padded_kernel)``
        Bit ``lane * padded_kernel + k``: tap column (row) `k` lies inside the map for that lane;
        from the second cycle after `take` to the first after the next one.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        lanes = config.engine.lanes
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "ready": Out(1),
                "take": In(1),
                "last": Out(1),
                "segment": In(range(lanes)),
                "origin": Out(signed(pixel_bits(config))),
                "lane": Out(range(lanes)),
                "segments_last": Out(range(lanes)),
                "valid_x": Out(lanes * config.load.padded_kernel),
                "valid_y": Out(lanes * config.load.padded_kernel),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, layer = self._config.engine.lanes, self.layer
        walk = Walk(layer, pixel_bits(self._config))
        lane = Signal(range(lanes))
        tile = Signal.like(layer.out_tiles)
        running = Signal()
        bank = Signal()
        last_tile = Signal()
        m.d.comb += self.last.eq(last_tile)
        m.d.sync += last_tile.eq(tile == layer.out_tiles - 1)

        present = Signal()
        m.d.comb += present.eq(~last_tile | (lane < layer.last_lanes))
        segment = self._segments(m, walk, lane, running, present, bank)
        shadows = self._shadows(m, walk, running)
        with m.If(running):
            walk.step(m)
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == lanes - 1):
                m.d.sync += [lane.eq(0), running.eq(0), self.ready.eq(1)]
        with m.If(self.take):
            m.d.sync += [
                self.ready.eq(0),
                running.eq(~last_tile),
                tile.eq(tile + 1),
                bank.eq(~bank),
            ]
        self._describe(m, segment, shadows)
        with m.If(self.start):
            walk.begin(m)
            m.d.sync += [
                lane.eq(0),
                tile.eq(0),
                running.eq(1),
                self.ready.eq(0),
                last_tile.eq(layer.out_tiles == 1),
            ]
        return m

    def _segments(self, m, walk, lane, running, present, bank):
        """Memory of the segments: where each begins, of two tiles in turn; the number of the last.

        Without `ahead` there is one description alone, and no bank.
        """
        lanes, layer, ahead = self._config.engine.lanes, self.layer, self._config.load.ahead
        m.submodules.segments = segments = memory.Memory(
            shape=len(walk.origin) + bits_for(lanes - 1),
            depth=2 * lanes if ahead else lanes,
            init=[],
        )
        write = segments.write_port()
        read = segments.read_port(domain="comb")
        length = Signal(range(lanes + 1))
        segment = Signal(range(lanes))
        begins = Signal()
        too_long = layer.step2 & (length == lanes // 2) & (self._config.banks == lanes)
        number = Mux(lane == 0, 0, segment + begins)[: len(segment)]
        m.d.comb += [
            begins.eq((lane == 0) | ~walk.follows | too_long),
            write.addr.eq(Cat(number, bank) if ahead else number),
            write.data.eq(Cat(walk.origin, lane)),
            write.en.eq(running & present & begins),
            read.addr.eq(Cat(self.segment, ~bank) if ahead else self.segment),
            Cat(self.origin, self.lane).eq(read.data),
        ]
        with m.If(running & present):
            m.d.sync += [segment.eq(number), length.eq(Mux(begins, 1, length + 1))]
        return segment

    def _shadows(self, m, walk, running):
        """Taps that lie inside the map for the lanes so far, the last lane's at the top."""
        layer, taps = self.layer, self._config.load.padded_kernel
        shadow_x = Signal.like(self.valid_x, reset_less=True)
        shadow_y = Signal.like(self.valid_y, reset_less=True)
        with m.If(running):
            m.d.sync += [
                shadow_x.eq(Cat(shadow_x[taps:], self._inside(m, "x", walk.x, layer.in_w))),
                shadow_y.eq(Cat(shadow_y[taps:], self._inside(m, "y", walk.y, layer.in_h))),
            ]
        return shadow_x, shadow_y

    def _describe(self, m, segment, shadows):
        """The description of the tile in use: a copy, or without `ahead` the one that is made."""
        shadow_x, shadow_y = shadows
        if not self._config.load.ahead:
            m.d.comb += [
                self.segments_last.eq(segment),
                self.valid_x.eq(shadow_x),
                self.valid_y.eq(shadow_y),
            ]
            return
        # A cycle later, for what decides to take a tile comes late and these are many.
        taken = Signal()
        m.d.sync += taken.eq(self.take)
        with m.If(self.take):
            m.d.sync += self.segments_last.eq(segment)
        with m.If(taken):
            m.d.sync += [self.valid_x.eq(shadow_x), self.valid_y.eq(shadow_y)]

    def _inside(self, m, name, first, size):
        """Validity of the taps of a lane whose first tap lies at `first` on an axis of `size`."""
        taps = self._config.load.padded_kernel
        low = bits_for(taps)
        room = Signal(signed(len(first) + 1), name=f"room_{name}")
        bits = Signal(taps, name=f"inside_{name}")
        m.d.comb += room.eq(size - first)
        # A few low bits count the taps, so they alone decide near the edges of the map.
        just_before = first[low:].all()
        far_from_end = room[low:].any()
        for k in range(taps):
            after_start = ~first[-1] | (just_before & (first[:low] >= (1 << low) - k))
            before_end = ~room[-1] & (far_from_end | (room[:low] > k))
            m.d.comb += bits[k].eq(after_start & before_end)
        return bits
