"""Tile walker: where the lanes of a tile begin, which taps they may see, and how they cluster."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.config import ArrayConfig

from .descriptor import LayerLayout, pixel_bits

__all__ = ["MASK_TAPS", "TileWalker"]

MASK_TAPS = 7
"""Largest kernel side with padding: taps for which a lane keeps a validity bit."""


class TileWalker(wiring.Component):
    """Visits the lanes of one output tile after the other and describes the tile.

    One lane a cycle; a tile is ready ``lanes`` cycles after the one before was taken. The
    description of the tile in use stays while the next one is prepared.

    Parameters
    ----------
    config : :class:`ArrayConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
        Registers of the layer, static from `start` on.
    start : ``In(1)``
        Begins at the layer's first tile.
    ready : ``Out(1)``
        The next tile is described.
    take : ``In(1)``
        Makes the next tile the one in use; only while `ready`.
    segment : ``In(range(lanes))``
        Segment of the tile in use that is looked at.
    origin, lane : ``Out``
        Linear input pixel of the segment's first lane at tap (0, 0), and that lane (combinational).
    segments_last : ``Out(range(lanes))``
        Number of the last segment of the tile in use.
    valid_x, valid_y : ``Out(lanes * MASK_TAPS)``
        Bit ``lane * MASK_TAPS + k``: tap column (row) `k` lies inside the map for that lane.
    """

    def __init__(self, config: ArrayConfig):
        self._config = config
        lanes = config.lanes
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "ready": Out(1),
                "take": In(1),
                "segment": In(range(lanes)),
                "origin": Out(signed(pixel_bits(config))),
                "lane": Out(range(lanes)),
                "segments_last": Out(range(lanes)),
                "valid_x": Out(lanes * MASK_TAPS),
                "valid_y": Out(lanes * MASK_TAPS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, layer = self._config.lanes, self.layer
        pixel = pixel_bits(self._config)

        m.submodules.segments = segments = memory.Memory(
            shape=pixel + bits_for(lanes - 1), depth=2 * lanes, init=[]
        )
        write = segments.write_port()
        read = segments.read_port(domain="comb")

        image = Signal(16)
        column = Signal(16)
        x = Signal(signed(17), reset_less=True)
        y = Signal(signed(17), reset_less=True)
        origin = Signal(signed(pixel), reset_less=True)
        expected = Signal(signed(pixel), reset_less=True)
        lane = Signal(range(lanes))
        length = Signal(range(lanes + 1))
        segment = Signal(range(lanes))
        tile = Signal.like(layer.out_tiles)
        running = Signal()
        bank = Signal()
        shadow_x = Signal(lanes * MASK_TAPS, reset_less=True)
        shadow_y = Signal(lanes * MASK_TAPS, reset_less=True)

        last_tile = Signal()
        m.d.sync += last_tile.eq(tile == layer.out_tiles - 1)

        begins = Signal()
        present = Signal()
        too_long = layer.step2 & (length == lanes // 2)
        m.d.comb += [
            begins.eq((lane == 0) | (origin != expected) | too_long),
            present.eq(~last_tile | (lane < layer.last_lanes)),
        ]
        number = Mux(lane == 0, 0, segment + begins)[: len(segment)]
        m.d.comb += [
            write.addr.eq(Cat(number, bank)),
            write.data.eq(Cat(origin, lane)),
            write.en.eq(running & present & begins),
            read.addr.eq(Cat(self.segment, ~bank)),
            Cat(self.origin, self.lane).eq(read.data),
        ]

        step_x = Signal()
        step_y = Signal()
        m.d.comb += [
            step_x.eq(image == layer.batch - 1),
            step_y.eq(step_x & (column == layer.out_w - 1)),
        ]
        with m.If(running):
            m.d.sync += [
                lane.eq(lane + 1),
                expected.eq(origin + Mux(layer.step2, 2, 1)),
                image.eq(Mux(step_x, 0, image + 1)),
                shadow_x.eq(Cat(shadow_x[MASK_TAPS:], self._inside(m, "x", x, layer.in_w))),
                shadow_y.eq(Cat(shadow_y[MASK_TAPS:], self._inside(m, "y", y, layer.in_h))),
            ]
            with m.If(present):
                m.d.sync += [segment.eq(number), length.eq(Mux(begins, 1, length + 1))]
            with m.If(step_y):
                m.d.sync += [
                    column.eq(0),
                    x.eq(layer.x_origin),
                    y.eq(y + layer.stride),
                    origin.eq(origin + layer.delta_row),
                ]
            with m.Elif(step_x):
                m.d.sync += [
                    column.eq(column + 1),
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
                self.segments_last.eq(segment),
                self.valid_x.eq(shadow_x),
                self.valid_y.eq(shadow_y),
            ]
        with m.If(self.start):
            m.d.sync += [
                image.eq(0),
                column.eq(0),
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
        room = Signal(signed(18), name=f"room_{name}")
        bits = Signal(MASK_TAPS, name=f"inside_{name}")
        m.d.comb += room.eq(size - first)
        for k in range(MASK_TAPS):
            after_start = (first >= 0) | (first + Const(k, signed(5)) >= 0)
            m.d.comb += bits[k].eq(after_start & (room > k))
        return bits
