"""Loader: reads activations tap by tap for the array or the vector unit."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.config import ArrayConfig

from .align import Aligner
from .descriptor import LayerLayout, Operation, pixel_bits
from .memory import ActivationMemory
from .walker import MASK_TAPS, TileWalker

__all__ = ["Loader"]


class Loader(wiring.Component):
    """Streams a layer's activations, one segment a cycle, in the order of docs/architecture.md.

    Words leave ``LATENCY`` cycles after their last segment was issued. Never stalled from outside:
    it issues into the window ring only while a group is free, and spaces finished vector words by
    ``drain_beats`` cycles.

    Parameters
    ----------
    config : :class:`ArrayConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    done : ``Out(1)``
        Everything of the layer has been issued.
    read_row, read_split : ``Out``
        Address for :class:`ActivationMemory`.
    read_data : ``In(ArrayLayout(signed(8), lanes))``
    group_free : ``In(1)``
        The array has released one group of the ring.
    word : ``Out(ArrayLayout(signed(8), lanes))``
        Activations of one tap, a lane each.
    window_valid : ``Out(1)``
        `word` goes into the window ring.
    window_address : ``Out(range(window_groups * group))``
        Its place there.
    group_loaded : ``Out(1)``
        It completes a group.
    vector_valid, vector_first, vector_last : ``Out(1)``
        `word` goes to the vector unit; first and last tap of its window.
    vector_operand : ``Out(1)``
        The word belongs to the second operand of an add.
    stalled : ``Out(1)``
        No group of the ring is free.
    """

    LATENCY = 2 + ActivationMemory.READ_LATENCY + Aligner.LATENCY

    def __init__(self, config: ArrayConfig):
        self._config = config
        word = data.ArrayLayout(signed(8), config.lanes)
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "done": Out(1, init=1),
                "read_row": Out(range(config.activation_words)),
                "read_split": Out(range(config.lanes)),
                "read_data": In(word),
                "group_free": In(1),
                "word": Out(word),
                "window_valid": Out(1),
                "window_address": Out(range(config.window_groups * config.group)),
                "group_loaded": Out(1),
                "vector_valid": Out(1),
                "vector_first": Out(1),
                "vector_last": Out(1),
                "vector_operand": Out(1),
                "stalled": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, layer = self._config, self.layer
        m.submodules.walker = walker = TileWalker(config)
        m.d.comb += [walker.layer.eq(layer), walker.start.eq(self.start)]

        convolution = Signal()
        add = Signal()
        m.d.sync += [
            convolution.eq(layer.op == Operation.CONV),
            add.eq(layer.op == Operation.ADD),
        ]

        have_tile = Signal()
        tiles_left = Signal.like(layer.out_tiles)
        segment = Signal(range(config.lanes))
        channel = Signal(16)
        kx, ky = Signal(8), Signal(8)
        operand = Signal()
        plane, plane2 = Signal.like(layer.in_base), Signal.like(layer.in_base)
        tap = Signal(signed(pixel_bits(config)))
        position = Signal(range(config.group))
        free = Signal(range(config.window_groups + 1))
        throttle = Signal(range(max(config.drain_beats, 2)))
        slot_address = Signal(range(config.window_groups * config.group))

        last_segment, last_channel, last_kx, last_ky = Signal(), Signal(), Signal(), Signal()
        last_tap, last_word, begins_group, group_ends = Signal(), Signal(), Signal(), Signal()
        blocked, issue = Signal(), Signal()
        m.d.comb += [
            last_segment.eq(segment == walker.segments_last),
            last_channel.eq(channel == layer.in_channels - 1),
            last_kx.eq(kx == layer.kernel_w),
            last_ky.eq(ky == layer.kernel_h),
            last_tap.eq(Mux(add, operand, last_kx & last_ky)),
            last_word.eq(last_tap & last_channel),
            group_ends.eq((position == config.group - 1) | last_word),
            begins_group.eq(convolution & (position == 0) & (segment == 0)),
            self.stalled.eq(have_tile & begins_group & (free == 0)),
            blocked.eq(~convolution & last_segment & (add | last_tap) & (throttle != 0)),
            issue.eq(have_tile & ~self.stalled & ~blocked),
        ]

        def next_channel():
            m.d.sync += [
                channel.eq(Mux(last_channel, 0, channel + 1)),
                plane.eq(Mux(last_channel, layer.in_base, plane + layer.in_pitch)),
                plane2.eq(Mux(last_channel, layer.in2_base, plane2 + layer.in_pitch)),
            ]

        def next_tap():
            m.d.sync += kx.eq(Mux(last_kx, 0, kx + 1))
            with m.If(last_kx):
                m.d.sync += [
                    ky.eq(Mux(last_ky, 0, ky + 1)),
                    tap.eq(Mux(last_ky, 0, tap + layer.tap_row)),
                ]
            with m.Else():
                m.d.sync += tap.eq(tap + layer.batch)

        with m.If(throttle != 0):
            m.d.sync += throttle.eq(throttle - 1)
        with m.If(issue):
            m.d.sync += segment.eq(Mux(last_segment, 0, segment + 1))
            with m.If(last_segment & convolution):
                next_channel()
                with m.If(last_channel):
                    next_tap()
                m.d.sync += position.eq(Mux(group_ends, 0, position + 1))
                m.d.sync += slot_address.eq(
                    Mux(group_ends, (slot_address | (config.group - 1)) + 1, slot_address + 1)
                )
            with m.Elif(last_segment):
                with m.If(add):
                    m.d.sync += operand.eq(~operand)
                with m.Else():
                    next_tap()
                with m.If(last_tap):
                    next_channel()
                with m.If(last_tap | add):
                    m.d.sync += throttle.eq(config.drain_beats - 1)

        m.d.sync += free.eq(free + self.group_free - (issue & begins_group))

        tile_ends = issue & last_segment & last_word
        m.d.comb += walker.take.eq(walker.ready & (~have_tile | tile_ends) & (tiles_left != 0))
        m.d.comb += walker.segment.eq(segment)
        with m.If(walker.take):
            m.d.sync += [have_tile.eq(1), tiles_left.eq(tiles_left - 1)]
        with m.Elif(tile_ends):
            m.d.sync += [have_tile.eq(0), self.done.eq(tiles_left == 0)]

        with m.If(self.start):
            m.d.sync += [
                self.done.eq(0),
                have_tile.eq(0),
                tiles_left.eq(layer.out_tiles),
                segment.eq(0),
                channel.eq(0),
                kx.eq(0),
                ky.eq(0),
                operand.eq(0),
                plane.eq(layer.in_base),
                plane2.eq(layer.in2_base),
                tap.eq(0),
                position.eq(0),
                free.eq(config.window_groups),
                throttle.eq(0),
                slot_address.eq(0),
            ]

        first_tap = add | ((kx == 0) & (ky == 0))
        flags = Cat(
            issue & last_segment & convolution,
            issue & last_segment & convolution & group_ends,
            issue & last_segment & ~convolution,
            first_tap,
            add | last_tap,
            operand,
            slot_address,
        )
        source = Mux(operand, plane2, plane)
        self._pipeline(m, walker, issue, last_segment, source, tap, kx, ky, flags)
        return m

    def _pipeline(self, m, walker, issue, last_segment, plane, tap, kx, ky, flags):
        """From an issued segment to the word: address, memory, alignment."""
        config, layer = self._config, self.layer
        lane_bits = bits_for(config.lanes - 1)

        def delayed(value, cycles, name, reset_less=True):
            for n in range(cycles):
                register = Signal.like(value, name=f"{name}_{n + 1}", reset_less=reset_less)
                m.d.sync += register.eq(value)
                value = register
            return value

        pixel = Signal(signed(pixel_bits(config)), reset_less=True)
        base = Signal.like(layer.in_base, reset_less=True)
        lane = Signal(lane_bits, reset_less=True)
        column_inside = Signal(config.lanes, reset_less=True)
        row_inside = Signal(config.lanes, reset_less=True)
        m.d.sync += [pixel.eq(walker.origin + tap), base.eq(plane), lane.eq(walker.lane)]
        for n in range(config.lanes):
            taps = slice(n * MASK_TAPS, (n + 1) * MASK_TAPS)
            m.d.sync += [
                column_inside[n].eq(walker.valid_x[taps].bit_select(kx[:3], 1)),
                row_inside[n].eq(walker.valid_y[taps].bit_select(ky[:3], 1)),
            ]

        rotate = Signal(lane_bits, reset_less=True)
        inside = Signal(config.lanes, reset_less=True)
        start = Signal(lane_bits, reset_less=True)
        row = Signal.like(self.read_row, reset_less=True)
        split = Signal.like(self.read_split, reset_less=True)
        m.d.sync += [
            row.eq(base + (pixel >> lane_bits)),
            split.eq(pixel[:lane_bits]),
            rotate.eq(pixel[:lane_bits] - Mux(layer.step2, lane << 1, lane)),
            inside.eq((column_inside & row_inside) | (~layer.padded).replicate(config.lanes)),
            start.eq(lane),
        ]
        m.d.comb += [self.read_row.eq(row), self.read_split.eq(split)]

        m.submodules.aligner = aligner = Aligner(config)
        wait = ActivationMemory.READ_LATENCY
        m.d.comb += [
            aligner.i_valid.eq(delayed(issue, 2 + wait, "issue", reset_less=False)),
            aligner.i_done.eq(delayed(last_segment, 2 + wait, "last_segment")),
            aligner.i_data.eq(self.read_data),
            aligner.i_rotate.eq(delayed(rotate, wait, "rotate")),
            aligner.i_from.eq(delayed(start, wait, "start")),
            aligner.i_inside.eq(delayed(inside, wait, "inside")),
            aligner.step2.eq(layer.step2),
            aligner.pad_value.eq(layer.pad_value),
            self.word.eq(aligner.o_data),
            Cat(
                self.window_valid,
                self.group_loaded,
                self.vector_valid,
                self.vector_first,
                self.vector_last,
                self.vector_operand,
                self.window_address,
            ).eq(delayed(flags, self.LATENCY, "flags", reset_less=False)),
        ]
