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
        lanes, layer, ahead = self._config.engine.lanes, self.layer, self._config.load.ahead
        taps, pixel = self._config.load.padded_kernel, pixel_bits(self._config)

        m.submodules.segments = segments = memory.Memory(
            shape=pixel + bits_for(lanes - 1), depth=2 * lanes if ahead else lanes, init=[]
        )
        write = segments.write_port()
        read = segments.read_port(domain="comb")

        images = Countdown("images", layer.batch.shape())
        columns = Countdown("columns", layer.out_w.shape())
        one_image, one_column = Signal(), Signal()
        # Lanes past the last pixel may wrap around, since nobody looks at them.
        x = Signal(signed(len(layer.in_w) + 2), reset_less=True)
        y = Signal(signed(len(layer.in_h) + 2), reset_less=True)
        origin = Signal(signed(pixel), reset_less=True)
        # Whether the lane's origin follows the one before by a step, and when it would at the
        # next image's pixel, the next column and the next row.
        follows, column_follows, row_follows = Signal(), Signal(), Signal()
        lane = Signal(range(lanes))
        length = Signal(range(lanes + 1))
        segment = Signal(range(lanes))
        tile = Signal.like(layer.out_tiles)
        running = Signal()
        bank = Signal()
        shadow_x = Signal(lanes * taps, reset_less=True)
        shadow_y = Signal(lanes * taps, reset_less=True)

        last_tile = Signal()
        m.d.comb += self.last.eq(last_tile)
        m.d.sync += last_tile.eq(tile == layer.out_tiles - 1)

        begins = Signal()
        present = Signal()
        too_long = layer.step2 & (length == lanes // 2)
        m.d.comb += [
            begins.eq((lane == 0) | ~follows | too_long),
            present.eq(~last_tile | (lane < layer.last_lanes)),
        ]
        number = Mux(lane == 0, 0, segment + begins)[: len(segment)]
        m.d.comb += [
            write.addr.eq(Cat(number, bank) if ahead else number),
            write.data.eq(Cat(origin, lane)),
            write.en.eq(running & present & begins),
            read.addr.eq(Cat(self.segment, ~bank) if ahead else self.segment),
            Cat(self.origin, self.lane).eq(read.data),
        ]

        step_x = Signal()
        step_y = Signal()
        m.d.comb += [
            step_x.eq(images.last),
            step_y.eq(images.last & columns.last),
        ]
        with m.If(running):
            images.step(m, layer.batch, one_image)
            m.d.sync += [
                lane.eq(lane + 1),
                follows.eq(Mux(step_y, row_follows, Mux(step_x, column_follows, ~layer.step2))),
                shadow_x.eq(Cat(shadow_x[taps:], self._inside(m, "x", x, layer.in_w))),
                shadow_y.eq(Cat(shadow_y[taps:], self._inside(m, "y", y, layer.in_h))),
            ]
            with m.If(present):
                m.d.sync += [segment.eq(number), length.eq(Mux(begins, 1, length + 1))]
            with m.If(step_x):
                columns.step(m, layer.out_w, one_column)
            with m.If(step_y):
                m.d.sync += [
                    x.eq(layer.x_origin),
                    y.eq(y + layer.stride),
                    origin.eq(origin + layer.delta_row),
                ]
            with m.Elif(step_x):
                m.d.sync += [
                    x.eq(x + layer.stride),
                    origin.eq(origin + layer.delta_pixel),
                ]
            with m.Else():
                m.d.sync += origin.eq(origin + 1)
            with m.If(lane == lanes - 1):
                m.d.sync += [lane.eq(0), running.eq(0), self.ready.eq(1)]

        with m.If(self.take):
            m.d.sync += [
                self.ready.eq(0),
                running.eq(~last_tile),
                tile.eq(tile + 1),
                bank.eq(~bank),
            ]
        # A cycle later, for what decides to take a tile comes late and these are many.
        taken = Signal()
        m.d.sync += taken.eq(self.take)
        if not ahead:
            m.d.comb += [
                self.segments_last.eq(segment),
                self.valid_x.eq(shadow_x),
                self.valid_y.eq(shadow_y),
            ]
        else:
            with m.If(self.take):
                m.d.sync += self.segments_last.eq(segment)
            with m.If(taken):
                m.d.sync += [self.valid_x.eq(shadow_x), self.valid_y.eq(shadow_y)]
        with m.If(self.start):
            images.begin(m, layer.batch)
            columns.begin(m, layer.out_w)
            step = Mux(layer.step2, 2, 1)
            m.d.sync += [
                one_image.eq(layer.batch == 1),
                one_column.eq(layer.out_w == 1),
                column_follows.eq(layer.delta_pixel == step),
                row_follows.eq(layer.delta_row == step),
                x.eq(layer.x_origin),
                y.eq(layer.y_origin),
                origin.eq(layer.origin),
                lane.eq(0),
                tile.eq(0),
                running.eq(1),
                self.ready.eq(0),
                last_tile.eq(layer.out_tiles == 1),
            ]
        return m

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
