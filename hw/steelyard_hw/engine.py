"""What an engine is in gateware: the ports that the accelerator connects, and where it is found."""

from importlib import import_module
from typing import ClassVar

from amaranth import Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from .cells.target import Target
from .output.stage import Beat
from .shell.layer import LayerLayout
from .shell.ports import EdgePort

__all__ = ["Engine", "OutputPlaces", "engine_class"]


class Engine(wiring.Component):
    """Component that computes layers with weights, between loader, weight fetch and output stage.

    Latency and throughput are each engine's own; none may lose a sum when `o_ready` is low.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
    target : :class:`.cells.target.Target`
        Whose cells to instantiate; results and cycles do not depend on it.
    members : :class:`dict`
        Further members: `event`, of what `COUNTERS` counts.
    idle : :class:`bool`
        Whether `done` is high after a reset.

    Attributes
    ----------
    COUNTERS : type of :class:`~amaranth.lib.wiring.Component`, or None
        Counters that only this engine has, with the members of
        :class:`.crossbar.counters.UnitCounters`.

    Members
    -------
    layer : ``In(LayerLayout)``
        Registers of the layer, static from `start` on.
    start : ``In(1)``
        A layer with weights begins.
    done : ``Out(1)``
        Everything of the layer has been issued.
    busy : ``Out(1)``
        Sums are on their way out.
    weights : ``In(stream.Signature(weight_item_bits))``
        Weight items of the layer, again for every tile of pixels.
    word : ``In(8 * window_lanes)``
        Activations of a position, from the loader.
    edges : ``In(EdgePort(config))``
        Where rows end among a group's lanes; only if words can be shared by taps.
    window_valid : ``In(1)``
        Strobe: `word` belongs to `window_address`.
    window_address : ``In(range(window_groups * group))``
        Its place in the window memory.
    group_loaded : ``In(1)``
        Strobe, with the last word of a group.
    group_free : ``Out(1)``
        Strobe: the oldest group may be overwritten.
    o_valid : ``Out(1)``, o_ready : ``In(1)``, o : ``Out(Beat)``
        Sums, `requantizers` lanes at a time.
    issue, stall_load, stall_weights, stall_drain : ``Out(1)``
        For the performance counters: the engine works, or waits for one of these.
    """

    COUNTERS: ClassVar[type[wiring.Component] | None] = None

    def __init__(
        self,
        config: AcceleratorConfig,
        target: Target = Target.PORTABLE,
        *,
        members: dict[str, wiring.Member] | None = None,
        idle: bool = False,
    ):
        self._config = config
        self._target = target
        engine = config.engine
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "done": Out(1, init=int(idle)),
                "busy": Out(1),
                "weights": In(stream.Signature(engine.weight_item_bits)),
                "word": In(8 * engine.window_lanes),
                **({"edges": In(EdgePort(config))} if engine.window_lanes > engine.lanes else {}),
                "window_valid": In(1),
                "window_address": In(range(engine.window_groups * engine.group)),
                "group_loaded": In(1),
                "group_free": Out(1),
                "o_valid": Out(1),
                "o_ready": In(1, init=1),
                "o": Out(Beat(config)),
                **(members or {}),
                "issue": Out(1),
                "stall_load": Out(1),
                "stall_weights": Out(1),
                "stall_drain": Out(1),
            }
        )


class OutputPlaces:
    """Names sums as they leave an engine: parameters, and place in the output plane.

    Not a component: it adds its registers to the module that steps it, and drives `param`, `row`
    and `beat` of what leaves there.

    Parameters
    ----------
    m : :class:`~amaranth.hdl.Module`
    config : :class:`~steelyard.contract.AcceleratorConfig`
    layer : :class:`.shell.layer.LayerLayout`
        Registers of the layer.
    o : :class:`.output.stage.Beat`

    Attributes
    ----------
    last_beat : :class:`~amaranth.hdl.Value`
        The beat that is named is a channel's last one.
    """

    def __init__(self, m, config: AcceleratorConfig, layer, o):
        self._layer = layer
        self._beat = Signal(range(max(config.drain_beats, 2)), name="beat")
        self._parameter = Signal.like(o.param, name="parameter")
        self._row = Signal.like(o.row, name="row")
        self._tile_row = Signal.like(o.row, name="tile_row")
        self.last_beat = self._beat == config.drain_beats - 1
        m.d.comb += [
            o.param.eq(self._parameter),
            o.row.eq(self._row),
            o.beat.eq(self._beat),
        ]

    def begin(self, m):
        """Begin a layer."""
        m.d.sync += [
            self._beat.eq(0),
            self._parameter.eq(self._layer.param_base),
            self._row.eq(self._layer.out_base),
            self._tile_row.eq(self._layer.out_base),
        ]

    def step(self, m):
        """Go on to the next beat, after a channel's last one to the next channel."""
        m.d.sync += self._beat.eq(Mux(self.last_beat, 0, self._beat + 1))
        with m.If(self.last_beat):
            m.d.sync += [
                self._parameter.eq(self._parameter + 1),
                self._row.eq(self._row + self._layer.out_pitch),
            ]

    def next_tile(self, m, tiles=1):
        """Go on to the first channel of the tile of pixels so many `tiles` on; 0 for the same."""
        m.d.sync += [
            self._parameter.eq(self._layer.param_base),
            self._row.eq(self._tile_row + tiles),
            self._tile_row.eq(self._tile_row + tiles),
        ]


def engine_class(config: AcceleratorConfig) -> type[Engine]:
    """Component of a configuration's engine, which its configuration's class names."""
    module, _, name = config.engine.gateware.partition(":")
    found: type[Engine] = getattr(import_module(module), name)
    return found
