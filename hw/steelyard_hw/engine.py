"""What an engine is in gateware: the ports that the accelerator connects, and where it is found."""

from importlib import import_module
from typing import ClassVar

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from .cells.target import Target
from .output.stage import Beat
from .shell.layer import LayerLayout

__all__ = ["Engine", "engine_class"]


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
        A layer begins, with weights or not.
    done : ``Out(1)``
        Everything of the layer has been issued.
    busy : ``Out(1)``
        Sums are on their way out.
    weights : ``In(stream.Signature(weight_item_bits))``
        Weight items of the layer, again for every tile of pixels.
    word : ``In(8 * lanes)``
        Activations of a position, from the loader.
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
                "word": In(8 * engine.lanes),
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


def engine_class(config: AcceleratorConfig) -> type[Engine]:
    """Component of a configuration's engine, which its configuration's class names."""
    module, _, name = config.engine.gateware.partition(":")
    found: type[Engine] = getattr(import_module(module), name)
    return found
