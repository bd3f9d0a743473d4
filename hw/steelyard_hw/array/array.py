"""Load-balanced sparse array: columns in lockstep, one weight each a cycle."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import array_latency

from ..cells.target import Target, local_copy
from ..engine import Engine, OutputPlaces
from ..lib.delay import delay, delays
from ..output.stage import Beat
from ..shell.layer import LayerLayout, paired
from .column import Column, Control, Selection, chain_layout, select_latency
from .scheduler import PassEnd, Scheduler

__all__ = ["COLUMNS_A_COPY", "Drain", "SparseArray"]

COLUMNS_A_COPY = 4
"""Columns that share a register of the broadcast."""


class Drain(wiring.Component):
    """Names the captured sums as they leave the columns: parameters and place in the output plane.

    Beats follow each other without a gap from the cycle after `pass_end`, each until it is taken.
    With `requantizer_cycles` of 1 that must be the cycle in which it is offered, for the sums move
    on by themselves; else a beat may wait for less than so many cycles, for the scheduler begins
    the next drain by then.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    pass_end : ``In(PassEnd)``
        The columns capture their sums in this cycle.
    sums : ``In(ArrayLayout(signed(accumulator_bits), requantizers))``
    busy : ``Out(1)``
    o_valid : ``Out(1)``, o_ready : ``In(1)``, o : ``Out(Beat)``
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "pass_end": In(PassEnd(config)),
                "sums": In(chain_layout(config)),
                "busy": Out(1),
                "o_valid": Out(1),
                "o_ready": In(1, init=1),
                "o": Out(Beat(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, layer = self._config, self.layer
        left = Signal(range(config.engine.columns * config.drain_beats + 1))
        # Of its own, since it goes far.
        active = Signal()
        kind = Signal.like(self.pass_end)
        sums = Signal(self.o.psum.shape(), name="partial_sum")

        m.d.comb += [
            self.busy.eq(active | self.pass_end.valid),
            self.o_valid.eq(active),
            self.o.accumulate.eq(~kind.first_chunk),
            self.o.store.eq(~kind.last_chunk),
            self.o.psum.eq(sums),
        ]
        places = OutputPlaces(m, config, layer, self.o)
        m.d.comb += [self.o.data[n].eq(self.sums[n]) for n in range(config.output.requantizers)]

        with m.If(active & self.o_ready):
            m.d.sync += [left.eq(left - 1), active.eq(left != 1), sums.eq(sums + 1)]
            places.step(m)
            with m.If((left == 1) & kind.last_pass):
                m.d.sync += sums.eq(0)
                places.next_tile(m, kind.last_chunk)
        with m.If(self.pass_end.valid):
            columns = Mux(self.pass_end.last_pass, layer.last_columns, config.engine.columns)
            m.d.sync += [
                left.eq(columns * config.drain_beats),
                active.eq(1),
                kind.eq(self.pass_end),
            ]
        with m.If(self.start):
            m.d.sync += [active.eq(0), sums.eq(0)]
            places.begin(m)
        return m


class SparseArray(Engine):
    """Balanced sparse matrix engine of ``lanes * columns`` multipliers.

    Sustains one weight item (a weight for every column) a cycle; the first beat of a pass's sums
    appears ``array_latency(config) + 1`` cycles after its last item was issued. Each beat is taken
    within `requantizer_cycles`, as :class:`Drain` says. Parameters and members are those of
    :class:`~steelyard_hw.engine.Engine`.

    Members
    -------
    taken : ``In(weight_item_bits)``
        The payload of `weights` a cycle late, which then is not read itself; only with
        `weight_queue` and `carry_registers`.
    """

    def __init__(self, config: AcceleratorConfig, target: Target = Target.PORTABLE):
        late = config.memory.weight_queue and config.engine.carry_registers
        super().__init__(
            config, target, members={"taken": In(config.engine.weight_item_bits)} if late else {}
        )
        self._late = late

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
            drain.o_ready.eq(self.o_ready),
            self.o.eq(drain.o),
            self.issue.eq(scheduler.issue),
            self.stall_load.eq(scheduler.stall_load),
            self.stall_weights.eq(scheduler.stall_weights),
            self.stall_drain.eq(scheduler.stall_drain),
        ]

        self._columns(m, scheduler, drain)

        _, *waiting = delays(
            m, scheduler.pass_end, array_latency(config), "pass_end", reset_less=False
        )
        m.d.comb += [
            scheduler.group_loaded.eq(self.group_loaded),
            drain.pass_end.eq(waiting[-1]),
            self.busy.eq(drain.busy | Cat(each.valid for each in waiting).any()),
        ]
        return m

    def _columns(self, m, scheduler, drain):
        """The columns, what they take and the chain of their sums."""
        config = self._config
        control = Signal(Control(config))
        weights = Signal(config.engine.columns * config.engine.weight_bits, reset_less=True)
        if self._late:
            m.d.comb += weights.eq(self.taken)
        window_valid = Signal()
        window_address = Signal.like(self.window_address, reset_less=True)
        window_word = Signal.like(self.word, reset_less=True)
        # Signed activations become unsigned ones, offset by 128.
        offset = Const(0x80, 8).replicate(config.engine.window_lanes)
        # One register less where logic counts: the columns have another.
        domain = m.d.sync if config.engine.carry_registers else m.d.comb
        domain += [
            control.eq(scheduler.control),
            *([] if self._late else [weights.eq(self.weights.payload)]),
            window_valid.eq(self.window_valid),
            window_address.eq(self.window_address),
            window_word.eq(self.word ^ offset),
        ]
        spread = config.engine.broadcast_stages
        # Columns have a register of their own for what they read, not for what is written.
        writes = Cat(window_valid, window_address, window_word)
        waits = config.engine.carry_registers + spread
        writes = delay(m, writes, max(waits - 1, 0), "writes")
        select = self._select(m, control) if config.engine.shared_taps else Const(0, 0)
        weights = delay(m, weights, spread, "weights")
        bits = config.engine.weight_bits
        columns = [Column(config, self._target) for _ in range(config.engine.columns)]
        for number, column in enumerate(columns):
            m.submodules[f"column_{number}"] = column
            if number % COLUMNS_A_COPY == 0:
                own_control, own_select = Value.cast(control), Value.cast(select)
                if spread:
                    own_control = local_copy(m, own_control, f"control_{number}")
                    own_select = local_copy(m, own_select, f"select_{number}")
                own_writes = local_copy(m, writes, f"writes_{number}") if waits else writes
            m.d.comb += [
                column.control.as_value().eq(own_control),
                Cat(column.window_valid, column.window_address, column.window_word).eq(own_writes),
                column.weight.eq(weights[number * bits : (number + 1) * bits]),
                column.shift.eq(drain.o_ready),
            ]
            if config.engine.shared_taps:
                m.d.comb += column.select.as_value().eq(own_select)
            if number + 1 < config.engine.columns:
                m.d.comb += column.chain_in.eq(columns[number + 1].chain_out)
        m.d.comb += drain.sums.eq(columns[0].chain_out)

    def _select(self, m, control):
        """Byte that each lane takes of a word, as much later than `control` as columns want it.

        A lane takes nothing where its tap lies beyond an end of its row; where rows end is kept of
        every group in the window ring.
        """
        config = self._config
        lanes = config.engine.lanes
        m.submodules.edges = edges = memory.Memory(
            shape=2 * lanes, depth=config.engine.window_groups, init=[]
        )
        write, read = edges.write_port(), edges.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.edges.valid),
            write.addr.eq(self.edges.slot),
            write.data.eq(self.edges.outside),
            read.addr.eq(control.slot),
        ]
        # At stride 2 the middle tap comes first, with words of its own; then come left and right.
        twice = delay(m, paired(self.layer), 1, "twice")
        first, last = control.tap == twice, control.tap == 2
        second = last & ~twice
        outside = Cat(
            (first & read.data[2 * lane]) | (last & read.data[2 * lane + 1])
            for lane in range(lanes)
        )
        select = Signal(Selection(config), name="selection")
        late = select_latency(config)
        m.d.comb += [
            select.step.eq(delay(m, Mux(twice, last, control.tap != 0), late, "step")),
            select.second.eq(delay(m, second, late + 1, "second")),
            select.outside.eq(delay(m, outside, late + 2, "outside")),
        ]
        return select
