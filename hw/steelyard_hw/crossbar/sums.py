"""Accumulators of the crossbar tile: sums of all output channels of a tile of pixels."""

from amaranth import Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..engine import OutputPlaces
from ..lib.countdown import Countdown
from ..lib.delay import delay
from ..output.stage import Beat
from ..shell.layer import LayerLayout
from .bitlines import product_shape

__all__ = ["ChannelSums", "Token"]

SUM_BITS = 32


class Token(data.StructLayout):
    """What becomes of the products of an item of cells.

    Members
    -------
    valid : ``1``
    last : ``1``
        No more products in this tile of pixels.
    count : ``count_bits``
        Products in use.
    channels : ``ArrayLayout(channel_bits, item_weights)``
        Their output channels, all different.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "valid": 1,
                "last": 1,
                "count": config.engine.count_bits,
                "channels": data.ArrayLayout(
                    config.engine.channel_bits, config.engine.item_weights
                ),
            }
        )


class ChannelSums(wiring.Component):
    """Adds products to the sums of their output channels, and gives the sums away after a tile.

    A token comes in the cycle before its products, which then stay for ``count`` cycles: they are
    added one a cycle. An output channel may come again `DISTANCE` cycles after its last addition
    began, not sooner. Sums are cleared as they leave, and after a reset, while `ready` is low.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Attributes
    ----------
    DISTANCE : :class:`int`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    token : ``In(Token)``
    products : ``In(ArrayLayout(product_shape, item_weights * lanes))``
    ready : ``Out(1)``
        The memory has been cleared after the reset.
    drained : ``Out(1)``
        Strobe: all sums of the tile have left.
    o_valid : ``Out(1)``, o_ready : ``In(1)``, o : ``Out(Beat)``
    """

    DISTANCE = 4

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        product = Signal(product_shape(config.engine.crossbar)).shape()
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "token": In(Token(config)),
                "products": In(
                    data.ArrayLayout(product, config.engine.item_weights * config.engine.lanes)
                ),
                "ready": Out(1),
                "drained": Out(1),
                "o_valid": Out(1),
                "o_ready": In(1, init=1),
                "o": Out(Beat(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        depth = config.engine.partial_sum_channels
        m.submodules.sums = sums = memory.Memory(
            shape=SUM_BITS * config.engine.lanes, depth=depth, init=[]
        )
        read, write = sums.read_port(), sums.write_port()
        fetched = Signal(SUM_BITS * config.engine.lanes, reset_less=True)
        m.d.sync += fetched.eq(read.data)
        m.d.comb += read.en.eq(0)

        added = self._add(m, read, write, fetched)
        # The drain begins when the last product has been written.
        last, begin = Signal(), Signal()
        settling = Signal(range(self.DISTANCE + 1), init=self.DISTANCE)
        m.d.comb += begin.eq(last & added & (settling == 0))
        with m.If(begin | ~added):
            m.d.sync += settling.eq(self.DISTANCE)
        with m.Elif(last):
            m.d.sync += settling.eq(settling - 1)
        with m.If(begin):
            m.d.sync += last.eq(0)
        with m.If(self.token.valid & self.token.last):
            m.d.sync += last.eq(1)
        self._drain(m, begin, read, write, fetched)

        swept = Signal(range(depth))
        with m.If(~self.ready):
            m.d.comb += [write.en.eq(1), write.addr.eq(swept), write.data.eq(0)]
            m.d.sync += [swept.eq(swept + 1), self.ready.eq(swept == depth - 1)]
        return m

    def _add(self, m, read, write, fetched):
        """Add a token's products one by one; whether none is left to begin."""
        config, lanes = self._config, self._config.engine.lanes
        left = Signal(config.engine.count_bits)
        number = Signal(range(max(config.engine.item_weights, 2)))
        channels = Signal(config.engine.item_weights * config.engine.channel_bits, reset_less=True)
        with m.If(left != 0):
            m.d.comb += [read.en.eq(1), read.addr.eq(channels[: config.engine.channel_bits])]
            m.d.sync += [
                left.eq(left - 1),
                number.eq(number + 1),
                channels.eq(channels[config.engine.channel_bits :]),
            ]
        with m.If(self.token.valid):
            m.d.sync += [
                left.eq(self.token.count),
                number.eq(0),
                channels.eq(self.token.channels.as_value()),
            ]

        m.d.comb += [
            write.en.eq(delay(m, left != 0, 3, "valid", reset_less=False)),
            write.addr.eq(delay(m, channels[: config.engine.channel_bits], 3, "place")),
        ]
        width = len(self.products[0])
        own = Signal(width * lanes, name="own")
        with m.Switch(number):
            for weight in range(config.engine.item_weights):
                with m.Case(weight):
                    part = slice(weight * lanes * width, (weight + 1) * lanes * width)
                    m.d.comb += own.eq(self.products.as_value()[part])
        own = delay(m, own, 2, "products")
        for lane in range(lanes):
            total = Signal(signed(SUM_BITS), name=f"total_{lane}", reset_less=True)
            product = own[lane * width : (lane + 1) * width].as_signed()
            stored = fetched[lane * SUM_BITS : (lane + 1) * SUM_BITS].as_signed()
            m.d.sync += total.eq(stored + product)
            m.d.comb += write.data[lane * SUM_BITS : (lane + 1) * SUM_BITS].eq(total)
        return left == 0

    def _drain(self, m, begin, read, write, fetched):
        """Give the sums away in channel order, and clear them behind."""
        config, layer = self._config, self.layer
        beat_bits = SUM_BITS * config.output.requantizers
        word = Signal(SUM_BITS * config.engine.lanes, reset_less=True)
        left = Signal(range(config.drain_beats + 1))
        final = Signal()
        move = Signal()
        next_read = Signal()
        pending = Signal()
        there = Signal()
        address = Signal(config.engine.channel_bits)
        channels = Countdown("channels", layer.passes.shape())
        leaves = (left != 0) & self.o_ready
        m.d.comb += [
            self.o_valid.eq(left != 0),
            self.o.data.as_value().eq(word[:beat_bits]),
            move.eq(there & ((left == 0) | ((left == 1) & self.o_ready))),
            next_read.eq(begin | (move & ~channels.last)),
            self.drained.eq(leaves & (left == 1) & final),
        ]
        m.d.sync += pending.eq(next_read)
        read_address = Signal(config.engine.channel_bits)
        m.d.comb += read_address.eq(Mux(begin, 0, address + 1))
        with m.If(next_read):
            m.d.comb += [read.en.eq(1), read.addr.eq(read_address)]
            m.d.sync += address.eq(read_address)
        with m.If(pending):
            m.d.sync += there.eq(1)
        with m.If(leaves):
            m.d.sync += [left.eq(left - 1), word.eq(word[beat_bits:])]
        with m.If(move):
            m.d.comb += [write.en.eq(1), write.addr.eq(address), write.data.eq(0)]
            m.d.sync += [
                word.eq(fetched),
                left.eq(config.drain_beats),
                final.eq(channels.last),
                there.eq(0),
            ]
            channels.step(m, layer.passes, layer.passes == 1)
        with m.If(self.start):
            channels.begin(m, layer.passes)
            m.d.sync += [left.eq(0), there.eq(0), final.eq(0)]
        places = OutputPlaces(m, config, layer, self.o)
        with m.If(leaves):
            places.step(m)
            with m.If(self.drained):
                places.next_tile(m)
        with m.If(self.start):
            places.begin(m)
