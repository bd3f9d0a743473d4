"""Where the words that the vector unit finishes go."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..lib.countdown import Countdown
from ..lib.delay import delay
from ..shell.layer import LayerLayout

__all__ = ["VectorTags"]


class VectorTags(wiring.Component):
    """Parameters and output row of each word that the vector unit finishes, in their fixed order.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    advance : ``In(1)``
        A word with the last tap of its window passes, or without `tag_registers` its last beat.
    param, row : ``Out``
        Of that word, in the same cycle, with `tag_registers` in the next.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "advance": In(1),
                "param": Out(range(config.memory.parameter_words)),
                "row": Out(range(config.memory.activation_words)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        channels = Countdown("channels", layer.in_channels.shape())
        channel = Signal.like(self.param)
        one_channel = Signal()
        tile_row = Signal.like(self.row)
        row = Signal.like(self.row)
        last = channels.last
        m.d.comb += [
            self.row.eq(row),
            self.param.eq(layer.param_base + channel),
        ]
        advance = self.advance
        if self._config.vector.tag_registers:
            advance = delay(m, advance, 1, "advance", reset_less=False)
        with m.If(advance):
            channels.step(m, layer.in_channels, one_channel)
            m.d.sync += [channel.eq(Mux(last, 0, channel + 1)), row.eq(row + layer.out_pitch)]
            with m.If(last):
                m.d.sync += [row.eq(tile_row + 1), tile_row.eq(tile_row + 1)]
        with m.If(self.start):
            channels.begin(m, layer.in_channels)
            m.d.sync += one_channel.eq(layer.in_channels == 1)
            m.d.sync += [channel.eq(0), row.eq(layer.out_base), tile_row.eq(layer.out_base)]
        return m
