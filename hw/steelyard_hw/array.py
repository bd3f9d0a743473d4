"""Load-balanced sparse array: columns in lockstep, one weight each a cycle."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.config import ArrayConfig

from .column import Column, Control, chain_layout
from .descriptor import LayerLayout, Operation
from .output import Beat

__all__ = ["MINIMUM_DRAIN", "Drain", "Scheduler", "SparseArray", "drain_bits"]

MINIMUM_DRAIN = 8
"""Least cycles between two drains: a stored partial sum is read again no earlier than that."""


def drain_bits(config: ArrayConfig) -> int:
    """Bits of a count of drain beats of one pass."""
    return bits_for(max(config.columns * config.drain_beats, MINIMUM_DRAIN))


class PassEnd(data.StructLayout):
    """What a finished pass means to the drain."""

    def __init__(self, config: ArrayConfig):
        super().__init__(
            {"valid": 1, "first_chunk": 1, "last_chunk": 1, "last_pass": 1}
        )


class Scheduler(wiring.Component):
    """Walks tile, chunk, pass, group and weight; issues one weight item a cycle.

    An item is issued in a cycle in which its weights are there, its group is loaded and, for the
    last item of a pass, the drain of the pass before has ended. Outputs are combinational with the
    issue.

    Parameters
    ----------
    config : :class:`ArrayConfig`

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

    def __init__(self, config: ArrayConfig):
        self._config = config
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "done": Out(1, init=1),
                "weights": In(stream.Signature(config.columns * config.weight_bits)),
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
        beats = config.drain_beats

        tiles_left = Signal.like(layer.out_tiles)
        chunk, pass_ = Signal(16), Signal(16)
        group = Signal.like(layer.chunk_groups)
        item = Signal.like(layer.k)
        head = Signal(range(config.window_groups))
        loaded = Signal(range(config.window_groups + 1))
        draining = Signal(drain_bits(config))

        last_tile, last_chunk, last_pass = Signal(), Signal(), Signal()
        groups = Signal.like(layer.chunk_groups)
        m.d.comb += [
            last_tile.eq(tiles_left == 1),
            last_chunk.eq(chunk == layer.chunks - 1),
            last_pass.eq(pass_ == layer.passes - 1),
            groups.eq(Mux(last_chunk, layer.last_chunk_groups, layer.chunk_groups)),
        ]
        last_group, last_item, pass_ends = Signal(), Signal(), Signal()
        m.d.comb += [
            last_group.eq(group == groups - 1),
            last_item.eq(item == Mux(last_group & last_chunk, layer.k_last, layer.k) - 1),
            pass_ends.eq(last_group & last_item),
        ]

        no_group = group >= loaded
        no_drain = pass_ends & (draining != 0)
        running = ~self.done
        m.d.comb += [
            self.stall_load.eq(running & no_group),
            self.stall_weights.eq(running & ~no_group & ~self.weights.valid),
            self.stall_drain.eq(running & ~no_group & self.weights.valid & no_drain),
            self.issue.eq(running & ~no_group & self.weights.valid & ~no_drain),
            self.weights.ready.eq(running & ~no_group & ~no_drain),
            self.control.valid.eq(self.issue),
            self.control.first.eq((group == 0) & (item == 0)),
            self.control.last.eq(pass_ends),
            self.control.slot.eq(head + group),
            self.pass_end.valid.eq(self.issue & pass_ends),
            self.pass_end.first_chunk.eq(chunk == 0),
            self.pass_end.last_chunk.eq(last_chunk),
            self.pass_end.last_pass.eq(last_pass),
            self.group_free.eq(self.issue & last_item & last_pass),
        ]

        chunk_ends = self.issue & pass_ends & last_pass
        m.d.sync += loaded.eq(loaded + self.group_loaded - Mux(chunk_ends, groups, 0))
        with m.If(draining != 0):
            m.d.sync += draining.eq(draining - 1)
        with m.If(self.issue):
            m.d.sync += item.eq(Mux(last_item, 0, item + 1))
            with m.If(last_item):
                m.d.sync += group.eq(Mux(last_group, 0, group + 1))
            with m.If(pass_ends):
                columns = Mux(last_pass, layer.last_columns, config.columns)
                cycles = Signal.like(draining)
                m.d.comb += cycles.eq(columns * beats)
                m.d.sync += [
                    pass_.eq(Mux(last_pass, 0, pass_ + 1)),
                    draining.eq(Mux(cycles > MINIMUM_DRAIN, cycles, MINIMUM_DRAIN) - 1),
                ]
        with m.If(chunk_ends):
            m.d.sync += [chunk.eq(Mux(last_chunk, 0, chunk + 1)), head.eq(head + groups)]
            with m.If(last_chunk):
                m.d.sync += [tiles_left.eq(tiles_left - 1), self.done.eq(last_tile)]
        with m.If(self.start & (layer.op == Operation.CONV)):
            m.d.sync += [
                self.done.eq(0),
                tiles_left.eq(layer.out_tiles),
                chunk.eq(0),
                pass_.eq(0),
                group.eq(0),
                item.eq(0),
                head.eq(0),
                loaded.eq(0),
                draining.eq(0),
            ]
        return m


class Drain(wiring.Component):
    """Names the captured sums as they leave the columns: parameters and place in the output plane.

    Beats follow each other without a gap from the cycle after `pass_end`.

    Parameters
    ----------
    config : :class:`ArrayConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    pass_end : ``In(PassEnd)``
        The columns capture their sums in this cycle.
    sums : ``In(ArrayLayout(signed(accumulator_bits), requantizers))``
    shift : ``Out(1)``
        The columns move their captured sums on.
    busy : ``Out(1)``
    o_valid : ``Out(1)``, o : ``Out(Beat)``
    """

    def __init__(self, config: ArrayConfig):
        self._config = config
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "pass_end": In(PassEnd(config)),
                "sums": In(chain_layout(config)),
                "shift": Out(1),
                "busy": Out(1),
                "o_valid": Out(1),
                "o": Out(Beat(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, layer = self._config, self.layer
        left = Signal(range(config.columns * config.drain_beats + 1))
        beat = Signal(range(max(config.drain_beats, 2)))
        kind = Signal.like(self.pass_end)
        sums = Signal(self.o.psum.shape(), name="partial_sum")
        parameter = Signal.like(self.o.param)
        row = Signal.like(self.o.row)
        tile_row = Signal.like(self.o.row)

        last_beat = beat == config.drain_beats - 1
        m.d.comb += [
            self.busy.eq((left != 0) | self.pass_end.valid),
            self.shift.eq(left != 0),
            self.o_valid.eq(left != 0),
            self.o.accumulate.eq(~kind.first_chunk),
            self.o.store.eq(~kind.last_chunk),
            self.o.psum.eq(sums),
            self.o.param.eq(parameter),
            self.o.row.eq(row),
            self.o.beat.eq(beat),
        ]
        m.d.comb += [self.o.data[n].eq(self.sums[n]) for n in range(config.requantizers)]

        with m.If(left != 0):
            m.d.sync += [
                left.eq(left - 1),
                sums.eq(sums + 1),
                beat.eq(Mux(last_beat, 0, beat + 1)),
            ]
            with m.If(last_beat):
                m.d.sync += [parameter.eq(parameter + 1), row.eq(row + layer.out_pitch)]
            with m.If((left == 1) & kind.last_pass):
                m.d.sync += [
                    sums.eq(0),
                    parameter.eq(layer.param_base),
                    row.eq(tile_row + kind.last_chunk),
                    tile_row.eq(tile_row + kind.last_chunk),
                ]
        with m.If(self.pass_end.valid):
            columns = Mux(self.pass_end.last_pass, layer.last_columns, config.columns)
            m.d.sync += [left.eq(columns * config.drain_beats), kind.eq(self.pass_end)]
        with m.If(self.start):
            m.d.sync += [
                left.eq(0),
                beat.eq(0),
                sums.eq(0),
                parameter.eq(layer.param_base),
                row.eq(layer.out_base),
                tile_row.eq(layer.out_base),
            ]
        return m


class SparseArray(wiring.Component):
    """Balanced sparse matrix engine of ``lanes * columns`` multipliers.

    Sustains one weight item (a weight for every column) a cycle; the first beat of a pass's sums
    appears ``Column.LATENCY + 1`` cycles after its last item was issued.

    Parameters
    ----------
    config : :class:`ArrayConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    done : ``Out(1)``
        Everything has been issued.
    busy : ``Out(1)``
        Sums are still on their way out.
    weights : ``In(stream.Signature(columns * weight_bits))``
    word, window_valid, window_address, group_loaded : ``In``
        Activations from the loader.
    group_free : ``Out(1)``
    o_valid : ``Out(1)``, o : ``Out(Beat)``
        Sums, `requantizers` lanes a cycle.
    issue, stall_load, stall_weights, stall_drain : ``Out(1)``
        For the performance counters.
    """

    def __init__(self, config: ArrayConfig):
        self._config = config
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "done": Out(1),
                "busy": Out(1),
                "weights": In(stream.Signature(config.columns * config.weight_bits)),
                "word": In(8 * config.lanes),
                "window_valid": In(1),
                "window_address": In(range(config.window_groups * config.group)),
                "group_loaded": In(1),
                "group_free": Out(1),
                "o_valid": Out(1),
                "o": Out(Beat(config)),
                "issue": Out(1),
                "stall_load": Out(1),
                "stall_weights": Out(1),
                "stall_drain": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.scheduler = scheduler = Scheduler(config)
        m.submodules.drain = drain = Drain(config)
        wiring.connect(m, wiring.flipped(self.weights), scheduler.weights)
        m.d.comb += [
            scheduler.layer.eq(self.layer),
            scheduler.start.eq(self.start),
            drain.layer.eq(self.layer),
            drain.start.eq(self.start),
            self.done.eq(scheduler.done),
            self.group_free.eq(scheduler.group_free),
            self.o_valid.eq(drain.o_valid),
            self.o.eq(drain.o),
            self.issue.eq(scheduler.issue),
            self.stall_load.eq(scheduler.stall_load),
            self.stall_weights.eq(scheduler.stall_weights),
            self.stall_drain.eq(scheduler.stall_drain),
        ]

        control = Signal(Control(config))
        weights = Signal(config.columns * config.weight_bits, reset_less=True)
        window_valid = Signal()
        window_address = Signal.like(self.window_address, reset_less=True)
        window_word = Signal.like(self.word, reset_less=True)
        m.d.sync += [
            control.eq(scheduler.control),
            weights.eq(self.weights.payload),
            window_valid.eq(self.window_valid),
            window_address.eq(self.window_address),
            window_word.eq(self.word),
        ]
        m.d.comb += scheduler.group_loaded.eq(self.group_loaded)

        columns = [Column(config) for _ in range(config.columns)]
        for number, column in enumerate(columns):
            m.submodules[f"column_{number}"] = column
            bits = config.weight_bits
            m.d.comb += [
                column.window_valid.eq(window_valid),
                column.window_address.eq(window_address),
                column.window_word.eq(window_word),
                column.control.eq(control),
                column.weight.eq(weights[number * bits : (number + 1) * bits]),
                column.shift.eq(drain.shift),
            ]
            if number + 1 < config.columns:
                m.d.comb += column.chain_in.eq(columns[number + 1].chain_out)
        m.d.comb += drain.sums.eq(columns[0].chain_out)

        delayed = scheduler.pass_end
        waiting = []
        for n in range(Column.LATENCY):
            register = Signal.like(delayed, name=f"pass_end_{n + 1}")
            m.d.sync += register.eq(delayed)
            delayed = register
            waiting.append(register.valid)
        m.d.comb += [drain.pass_end.eq(delayed), self.busy.eq(drain.busy | Cat(*waiting).any())]
        return m
