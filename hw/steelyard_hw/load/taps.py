"""Tap sequence: which channel, tap and operand the loader reads next."""

from amaranth import Const, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..lib.countdown import Countdown
from ..lib.delay import delay
from ..shell.layer import LayerLayout, Operation, joins, paired, pixel_bits

__all__ = ["TapSequence"]


class TapSequence(wiring.Component):
    """Order of the words of a tile, the same for every tile.

    A convolution goes through the channels of a tap before the next tap; pooling through the taps
    of a channel before the next channel; an add or product through both operands of a channel.
    Where taps share words at stride 2, a group of channels comes twice, the second time a pixel to
    the right. Outputs describe the present word; one step a cycle.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
        Static from the cycle before `start` on.
    start : ``In(1)``
        Begin with the first word.
    step : ``In(1)``
        Go on to the next word, after the last to the first.
    turn : ``In(1)``
        The present word is the last of a group.
    between : ``Out(1)``
        The group comes for the second time; only where taps can share words.
    before : ``Out(signed(pixel_bits))``
        Offset two pixels left of `tap`, while `between`.
    plane : ``Out(range(activation_words))``
        First activation word of the channel.
    tap : ``Out(signed(pixel_bits))``
        Offset of the tap in linear pixels.
    kx, ky : ``Out``
        Column and row of the tap.
    operand : ``Out(1)``
        Second operand of an add or product.
    first, last : ``Out(1)``
        First and last word of a pooling window, or of a pair of operands.
    ends : ``Out(1)``
        Last word of the tile.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        self._shares = config.engine.window_lanes > config.engine.lanes
        layer = LayerLayout(config)
        super().__init__(
            {
                "layer": In(layer),
                "start": In(1),
                "step": In(1),
                "turn": In(1),
                **(
                    {"between": Out(1), "before": Out(signed(pixel_bits(config)))}
                    if self._shares
                    else {}
                ),
                "plane": Out(layer["in_base"].shape),
                "tap": Out(signed(pixel_bits(config))),
                "kx": Out(layer["kernel_w"].shape),
                "ky": Out(layer["kernel_h"].shape),
                "operand": Out(1),
                "first": Out(1),
                "last": Out(1),
                "ends": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        convolution, two = self._kinds(m)

        # Whether a loop is at its end is worked out a step ahead: no comparison lies in the path
        # that decides what is issued.
        channels = Countdown("channels", layer.in_channels.shape())
        one_channel, one_kx, one_ky = Signal(), Signal(), Signal()
        plane, plane2 = Signal.like(self.plane), Signal.like(self.plane)
        last_kx, last_ky, last_tap = Signal(), Signal(), Signal()
        first_time = Signal()
        if self._shares:
            m.d.comb += first_time.eq(self._pairs & ~self.between)
        m.d.comb += [
            last_tap.eq(Mux(two, self.operand, last_kx & last_ky)),
            self.plane.eq(Mux(self.operand, plane2, plane)),
            self.first.eq(~self.operand & (self.kx == 0) & (self.ky == 0)),
            self.last.eq(last_tap),
            self.ends.eq(last_tap & channels.last),
        ]

        def next_channel():
            channels.step(m, layer.in_channels, one_channel)
            m.d.sync += [
                plane.eq(Mux(channels.last, layer.in_base, plane + layer.in_pitch)),
                plane2.eq(Mux(channels.last, layer.in2_base, plane2 + layer.in_pitch)),
            ]

        def next_tap():
            m.d.sync += [
                self.kx.eq(Mux(last_kx, 0, self.kx + 1)),
                last_kx.eq(Mux(last_kx, one_kx, self.kx + 1 == layer.kernel_w)),
            ]
            with m.If(last_kx):
                m.d.sync += [
                    self.ky.eq(Mux(last_ky, 0, self.ky + 1)),
                    last_ky.eq(Mux(last_ky, one_ky, self.ky + 1 == layer.kernel_h)),
                    self.tap.eq(Mux(last_ky, 0, self.tap + layer.tap_row)),
                ]
            with m.Else():
                m.d.sync += self.tap.eq(self.tap + layer.batch)

        with m.If(self.start):
            channels.begin(m, layer.in_channels)
            m.d.sync += [
                one_channel.eq(layer.in_channels == 1),
                one_kx.eq(layer.kernel_w == 0),
                one_ky.eq(layer.kernel_h == 0),
                last_kx.eq(layer.kernel_w == 0),
                last_ky.eq(layer.kernel_h == 0),
                self.kx.eq(0),
                self.ky.eq(0),
                self.tap.eq(0),
                self.operand.eq(0),
                plane.eq(layer.in_base),
                plane2.eq(layer.in2_base),
            ]
            if self._shares:
                m.d.sync += self.between.eq(0)
        with m.Elif(self.step & convolution):
            with m.If(first_time):
                m.d.sync += plane.eq(plane + layer.in_pitch)
            with m.Else():
                next_channel()
                with m.If(channels.last):
                    next_tap()
            if self._shares:
                self._turns(m, first_time, plane, channels.last)
        with m.Elif(self.step):
            with m.If(two):
                m.d.sync += self.operand.eq(~self.operand)
            with m.Else():
                next_tap()
            with m.If(last_tap):
                next_channel()
        return m

    def _kinds(self, m):
        """Whether the layer is a convolution, and whether it has two operands.

        What kind of layer it is begins long paths, and is known a cycle before its start.
        """
        layer, convolution = self.layer, Const(1, 1)
        if self._config.vector.bits:
            convolution = delay(m, layer.op == Operation.CONV, 1, "convolution")
        self._pairs = delay(m, paired(layer), 1, "pairs") if self._shares else Const(0, 1)
        return convolution, delay(m, joins(layer, self._config), 1, "two")

    def _turns(self, m, first_time, plane, last_channel):
        """At the end of a group go back to its first channel, or on to the next group."""
        begin = Signal.like(plane)
        begun = Signal()
        with m.If(first_time & ~begun):
            m.d.sync += [begin.eq(plane), begun.eq(1)]
        with m.If(self.turn & self._pairs):
            m.d.sync += [self.between.eq(~self.between), begun.eq(0)]
            with m.If(first_time):
                m.d.sync += [
                    plane.eq(begin),
                    self.tap.eq(self.tap + 1),
                    self.before.eq(self.tap - 1),
                ]
            with m.Elif(~last_channel):
                m.d.sync += self.tap.eq(self.tap - 1)
