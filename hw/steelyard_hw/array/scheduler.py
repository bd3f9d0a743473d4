"""Scheduler: which weight group and item the array takes next, and what holds it back."""

from amaranth import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import MINIMUM_DRAIN

from ..lib.countdown import Countdown
from ..lib.delay import delay
from ..shell.layer import LayerLayout, paired
from .column import Control

__all__ = ["PassEnd", "Scheduler"]


def drain_bits(config: AcceleratorConfig) -> int:
    """Bits of a count of drain cycles of one pass."""
    return bits_for(max(config.engine.columns * config.drain_cycles, MINIMUM_DRAIN))


class PassEnd(data.StructLayout):
    """What a finished pass means to the drain."""

    def __init__(self, config: AcceleratorConfig):
        super().__init__({"valid": 1, "first_chunk": 1, "last_chunk": 1, "last_pass": 1})


class Loops:
    """Nested loops of a convolution: tile, chunk, pass, group, tap and item.

    Each counter comes with a register that says whether it stands at its last value, made a step
    ahead from the counter and, where it begins anew, from constants of the layer. Not a component:
    its registers belong to the module that steps it.

    Parameters
    ----------
    layer : LayerLayout view
        Registers of the layer, static from `begin` on.
    shares : :class:`bool`
        Whether several taps can take a group of words.
    twice : a value
        Whether groups come in pairs, from the cycle after `begin` on.

    Attributes
    ----------
    tiles, chunks, passes, groups, items : :class:`Countdown`
    tap : a value
        Which of the taps that take the group of words.
    group_ends : a value
        The present item is the last of a group of words, or of two that belong together.
    slot_ends : a value
        It is the last of a group of the ring.
    pass_ends : a value
        The present item is the last of a pass.
    """

    def __init__(self, layer, shares, twice):
        self._layer = layer
        self._taps = Countdown("taps", range(4))
        self._shares = shares
        self.tap = Signal(range(3 if shares else 1), name="tap")
        self.tiles = Countdown("tiles", layer.out_tiles.shape())
        self.chunks = Countdown("chunks", layer.chunks.shape())
        self.passes = Countdown("passes", layer.passes.shape())
        self.groups = Countdown("groups", layer.chunk_groups.shape())
        self.items = Countdown("items", layer.k.shape())
        self.group_ends = self.slot_ends = self.items.last
        if shares:
            self.group_ends = self.items.last & self._taps.last
            # At stride 2 the first tap has a group of its own.
            own = twice & (self.tap == 0)
            self.slot_ends = self.items.last & (self._taps.last | own)
        self.pass_ends = self.groups.last & self.group_ends
        self._one_chunk, self._one_pass = Signal(name="one_chunk"), Signal(name="one_pass")
        self._one_group, self._one_item = Signal(name="one_group"), Signal(name="one_item")
        self._one_group_last = Signal(name="one_group_last")
        self._one_item_last = Signal(name="one_item_last")

    def begin(self, m):
        """Begin with the first item of the layer."""
        layer = self._layer
        alone = layer.chunks == 1
        first_groups = Mux(alone, layer.last_chunk_groups, layer.chunk_groups)
        self.tiles.begin(m, layer.out_tiles)
        self.chunks.begin(m, layer.chunks)
        self.passes.begin(m, layer.passes)
        self.groups.begin(m, first_groups)
        self.items.begin(m, Mux(alone & (first_groups == 1), layer.k_last, layer.k))
        if self._shares:
            self._taps.begin(m, Mux(layer.shared, 3, 1))
            m.d.sync += self.tap.eq(0)
        m.d.sync += [
            self._one_chunk.eq(alone),
            self._one_pass.eq(layer.passes == 1),
            self._one_group.eq(layer.chunk_groups == 1),
            self._one_group_last.eq(layer.last_chunk_groups == 1),
            self._one_item.eq(layer.k == 1),
            self._one_item_last.eq(layer.k_last == 1),
        ]

    def step(self, m):
        """Go on to the next item."""
        layer = self._layer
        # What the next group will be, should this one end. Groups that taps share have all one K.
        chunk_then_last = Mux(self.chunks.last, self._one_chunk, self.chunks.two)
        in_last_chunk = Signal(name="in_last_chunk")
        final_group = Signal(name="final_group")
        one_group = Mux(in_last_chunk, self._one_group_last, self._one_group)
        m.d.comb += [
            in_last_chunk.eq(
                Mux(self.groups.last & self.passes.last, chunk_then_last, self.chunks.last)
            ),
            final_group.eq(in_last_chunk & Mux(self.groups.last, one_group, self.groups.two)),
        ]
        self.items.step(
            m,
            Mux(final_group, layer.k_last, layer.k),
            Mux(final_group, self._one_item_last, self._one_item),
        )
        if self._shares:
            with m.If(self.items.last):
                self._taps.step(m, Mux(layer.shared, 3, 1), ~layer.shared)
                m.d.sync += self.tap.eq(Mux(self._taps.last, 0, self.tap + 1))
        with m.If(self.group_ends):
            self.groups.step(
                m, Mux(in_last_chunk, layer.last_chunk_groups, layer.chunk_groups), one_group
            )
        with m.If(self.pass_ends):
            self.passes.step(m, layer.passes, self._one_pass)
        with m.If(self.pass_ends & self.passes.last):
            self.chunks.step(m, layer.chunks, self._one_chunk)
        with m.If(self.pass_ends & self.passes.last & self.chunks.last):
            self.tiles.step(m, 0, 0)


class Scheduler(wiring.Component):
    """Walks tile, chunk, pass, group and weight; issues one weight item a cycle.

    An item is issued in a cycle in which its weights are there, its group is loaded and, for the
    last item of a pass, the drain of the pass before has ended. Outputs are combinational with the
    issue.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    done : ``Out(1)``
        All items of the layer have been issued.
    weights : ``In(stream.Signature(columns * weight_bits))``
    group_loaded : ``In(1)``
    group_free : ``Out(1)``
    control : ``Out(Control)``
    pass_end : ``Out(PassEnd)``
    issue, stall_load, stall_weights, stall_drain : ``Out(1)``
        What the array does in this cycle; at most one is high.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "done": Out(1, init=1),
                "weights": In(stream.Signature(config.engine.columns * config.engine.weight_bits)),
                "group_loaded": In(1),
                "group_free": Out(1),
                "control": Out(Control(config)),
                "pass_end": Out(PassEnd(config)),
                "issue": Out(1),
                "stall_load": Out(1),
                "stall_weights": Out(1),
                "stall_drain": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, layer = self._config, self.layer
        twice = delay(m, paired(layer), 1, "twice") if config.engine.shared_taps else Const(0, 1)
        loops = Loops(layer, config.engine.shared_taps, twice)
        chunk_ends = Signal()
        group = Signal.like(layer.chunk_groups)
        head = Signal(range(config.engine.window_groups))
        loaded = Signal(range(config.engine.window_groups + 1))
        first_chunk = Signal()

        no_group = self._missing(m, loops, loaded)
        no_drain = loops.pass_ends & ~self._drained(m, loops)
        running = Signal()
        m.d.comb += running.eq(~self.done)
        if not config.engine.carry_registers:
            # The columns take a cycle for the capture alone.
            captures = Signal()
            m.d.sync += captures.eq(self.pass_end.valid)
            m.d.comb += running.eq(~self.done & ~captures)
        m.d.comb += [
            self.stall_load.eq(running & no_group),
            self.stall_weights.eq(running & ~no_group & ~self.weights.valid),
            self.stall_drain.eq(running & ~no_group & self.weights.valid & no_drain),
            self.issue.eq(running & ~no_group & self.weights.valid & ~no_drain),
            self.weights.ready.eq(running & ~no_group & ~no_drain),
            self.control.valid.eq(self.issue),
            self.control.last.eq(loops.pass_ends),
            self.control.slot.eq(head + group),
            self.control.tap.eq(loops.tap),
            self.pass_end.valid.eq(self.issue & loops.pass_ends),
            self.pass_end.first_chunk.eq(first_chunk),
            self.pass_end.last_chunk.eq(loops.chunks.last),
            self.pass_end.last_pass.eq(loops.passes.last),
            self.group_free.eq(self.issue & loops.slot_ends & loops.passes.last),
            chunk_ends.eq(self.issue & loops.pass_ends & loops.passes.last),
        ]

        chunk_groups = Mux(loops.chunks.last, layer.last_chunk_groups, layer.chunk_groups)
        if config.engine.shared_taps:
            chunk_groups = Mux(twice, chunk_groups << 1, chunk_groups)
        m.d.sync += loaded.eq(loaded + self.group_loaded - Mux(chunk_ends, chunk_groups, 0))
        with m.If(self.issue):
            loops.step(m)
            with m.If(loops.slot_ends):
                m.d.sync += group.eq(Mux(loops.pass_ends, 0, group + 1))
        with m.If(chunk_ends):
            m.d.sync += [head.eq(head + chunk_groups), first_chunk.eq(loops.chunks.last)]
            with m.If(loops.chunks.last):
                m.d.sync += self.done.eq(loops.tiles.last)
        with m.If(self.start):
            loops.begin(m)
            m.d.sync += [
                self.done.eq(0),
                group.eq(0),
                head.eq(0),
                loaded.eq(0),
                first_chunk.eq(1),
            ]
        return m

    def _missing(self, m, loops, loaded):
        """Whether the present group is not loaded yet: known a cycle ahead."""
        # Groups from the present one on that are loaded; where a chunk ends, as many stay.
        ahead = Signal.like(loaded, name="ahead")
        missing = Signal(init=1)
        arrives = self.group_loaded
        with m.If(self.issue & loops.slot_ends):
            m.d.sync += [ahead.eq(ahead - 1 + arrives), missing.eq((ahead == 1) & ~arrives)]
            with m.If(loops.pass_ends & ~loops.passes.last):
                # The next pass begins with the groups that this one had.
                m.d.sync += [ahead.eq(loaded + arrives), missing.eq(0)]
        with m.Else():
            m.d.sync += [ahead.eq(ahead + arrives), missing.eq(missing & ~arrives)]
        with m.If(self.start):
            m.d.sync += [ahead.eq(0), missing.eq(1)]
        return missing

    def _drained(self, m, loops):
        """Whether the last pass's sums will have left when this one's are captured."""
        config, layer = self._config, self.layer
        left = Signal(drain_bits(config))
        last_pass = Signal(drain_bits(config))
        drained = Signal(init=1)
        in_step = self._in_step(m)
        cycles = layer.last_columns * config.drain_cycles
        full = max(config.engine.columns * config.drain_cycles, MINIMUM_DRAIN) - 1
        with m.If(~drained):
            m.d.sync += [left.eq(left - 1), drained.eq(left == 1)]
        with m.If(self.issue & loops.pass_ends):
            m.d.sync += [left.eq(Mux(loops.passes.last, last_pass, full)), drained.eq(0)]
        with m.If(self.start):
            m.d.sync += drained.eq(1)
            m.d.sync += last_pass.eq(Mux(cycles > MINIMUM_DRAIN, cycles, MINIMUM_DRAIN) - 1)
        return drained & in_step

    def _in_step(self, m):
        """Whether a pass may end by the rhythm of the beats, which fused additions rely on."""
        if not self._config.fuses_additions:
            return Const(1)
        beats = self._config.drain_beats
        beat = Signal(range(beats))
        in_step = Signal()
        m.d.sync += [beat.eq(beat + 1), in_step.eq(~self.layer.fused | (beat == beats - 2))]
        with m.If(self.start):
            m.d.sync += [beat.eq(0), in_step.eq(0)]
        return in_step
