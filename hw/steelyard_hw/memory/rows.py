"""What a chip's banks are doing, and what may be asked of them."""

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .chips import SdramChip
from .pins import BANK_BITS, BANKS
from .timing import SdramTiming

__all__ = ["BankTable", "Steps"]


@dataclass(frozen=True)
class Steps:
    """Least distances in steps of two cycles of the chip, of which a column command has the first
    cycle and a row command the second.

    Members
    -------
    activate : from activating to a column
    active : from activating to precharging
    precharge : from precharging to activating or refreshing
    other : from activating to activating in another bank
    refresh : from refreshing to any row command
    mode : from setting the mode to any row command
    read : from reading to precharging
    written : from writing to precharging
    turn : from reading to writing
    """

    activate: int
    active: int
    precharge: int
    other: int
    refresh: int
    mode: int
    read: int
    written: int
    turn: int

    @classmethod
    def of(cls, timing: SdramTiming) -> "Steps":
        """Steps that are long enough."""

        def same(cycles: int) -> int:
            return max(1, -(-cycles // 2))

        precharge = same(timing.rp)
        return cls(
            # A row command comes in the second cycle, a column command in the first.
            activate=same(timing.rcd + 1),
            active=max(same(timing.ras), same(timing.rc) - precharge),
            precharge=precharge,
            other=same(timing.rrd),
            refresh=same(timing.rfc),
            mode=same(timing.mrd),
            # Two cycles, of which the second is a row command's.
            read=1,
            # The second half of a word is written in the second cycle.
            written=same(timing.wr),
            # Two halves arrive after the latency; then nobody drives the pins for a cycle.
            turn=same(timing.cas + 3),
        )

    @property
    def busy(self) -> int:
        """Steps at most from any command to a precharge of all banks."""
        return max(self.active, self.written, self.read, self.refresh, self.mode, self.precharge)


class BankTable(wiring.Component):
    """Open row of each bank, and countdowns to what it may do next.

    Works in steps. With one slot they are two cycles: in the first, `step` low, it looks up two
    places; in the second it takes the commands of this step. With two slots a step is one cycle,
    in which it takes commands and looks up what the next step may do if this one gives no command.

    Parameters
    ----------
    chip : :class:`SdramChip`
        Says how many rows there are.
    steps : :class:`Steps`
        Distances.
    slots : :class:`int`
        Cycles of the chip in one of the table, 1 or 2.

    Members
    -------
    step : ``In(1)``
        Second cycle of a step; always with two slots.
    shift : ``In(1)``
        With two slots: the second place becomes the first one after this step.
    banks, rows : ``In`` of two places
        To look up.
    open, row_ready : ``Out(1)`` of each place
        Whether the bank has an open row, and whether it may get a row command in this step, with
        two slots in the next one; look in the first cycle.
    hit : ``Out(1)`` of each place
        Whether the bank's open row is this one; look in the second cycle. With two slots that of
        the second place is a step late but for commands to that place itself.
    column_ready : ``Out(1)``
        Whether the first place may get a column command in this step; look in the first cycle.
    apart, quiet : ``Out(1)``
        Whether a row may be opened as far as other banks go, and whether every bank may get a row
        command, in the step that `row_ready` is about; look in the first cycle.
    activate, precharge : ``In(1)``
        Open the row, close the bank, at `bank` and `row`.
    everything : ``In(1)``
        A precharge is one of all banks.
    refresh, mode : ``In(1)``
        All banks are busy with it.
    column, write : ``In(1)``
        The first place gets a column command; it writes.
    """

    def __init__(self, chip: SdramChip, steps: Steps, slots: int = 1):
        self._steps = steps
        self._slots = slots
        rows = chip.row_bits
        super().__init__(
            {
                "step": In(1),
                **({} if slots == 1 else {"shift": In(1)}),
                "banks": In(BANK_BITS).array(2),
                "rows": In(rows).array(2),
                "open": Out(1).array(2),
                "hit": Out(1).array(2),
                "row_ready": Out(1).array(2),
                "column_ready": Out(1),
                "apart": Out(1),
                "quiet": Out(1),
                "bank": In(BANK_BITS),
                "row": In(rows),
                "activate": In(1),
                "precharge": In(1),
                "everything": In(1),
                "refresh": In(1),
                "mode": In(1),
                "column": In(1),
                "write": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        steps = self._steps
        opened = Signal(BANKS)
        rows = [Signal.like(self.row, name=f"row_{b}", reset_less=True) for b in range(BANKS)]
        longest = range(max(steps.busy, 2))
        row_waits = [Signal(longest, name=f"row_wait_{b}") for b in range(BANKS)]
        column_waits = [
            Signal(range(max(steps.activate, 2)), name=f"column_wait_{b}") for b in range(BANKS)
        ]
        other_wait = Signal(range(max(steps.other, 2)))

        def left(wait):
            """What is left of a wait in the step that is looked for."""
            return wait if self._slots == 1 else wait[1:]

        found = []
        for place, bank in enumerate(self.banks):
            held = Array(rows)[bank]
            m.d.comb += [
                self.open[place].eq(opened.bit_select(bank, 1)),
                self.row_ready[place].eq(Array(left(wait) == 0 for wait in row_waits)[bank]),
            ]
            found.append(self.open[place] & (held == self.rows[place]))
            if self._slots == 1:
                with m.If(~self.step):
                    m.d.sync += self.hit[place].eq(found[place])
        if self._slots != 1:
            # Where the first place has its row, commands are for the second one.
            first = found[0] | (self.activate & ~self.hit[0])
            second = found[1] | (self.activate & self.hit[0])
            m.d.sync += [self.hit[0].eq(Mux(self.shift, second, first)), self.hit[1].eq(second)]
        m.d.comb += [
            self.column_ready.eq(Array(wait == 0 for wait in column_waits)[self.banks[0]]),
            self.quiet.eq(Cat(left(wait) for wait in row_waits) == 0),
            self.apart.eq(left(other_wait) == 0),
        ]

        with m.If(self.step):
            m.d.sync += other_wait.eq(
                Mux(self.activate, steps.other - 1, other_wait - (other_wait != 0))
            )
            for number in range(BANKS):
                self._bank(m, number, opened, rows[number], row_waits[number],
                           column_waits[number])  # fmt: skip
        return m

    def _bank(self, m, number, opened, row, row_wait, column_wait):
        """What a step does to a bank."""
        steps = self._steps
        mine = self.bank == number
        m.d.sync += [
            row_wait.eq(row_wait - (row_wait != 0)),
            column_wait.eq(column_wait - (column_wait != 0)),
        ]
        with m.If(self.column & (self.banks[0] == number)):
            after = Mux(self.write, steps.written - 1, steps.read - 1)
            with m.If(row_wait <= after):
                m.d.sync += row_wait.eq(after)
        with m.If(self.activate & mine):
            m.d.sync += [
                opened[number].eq(1),
                row.eq(self.row),
                row_wait.eq(steps.active - 1),
                column_wait.eq(steps.activate - 1),
            ]
        with m.If(self.precharge & (mine | self.everything)):
            m.d.sync += [opened[number].eq(0), row_wait.eq(steps.precharge - 1)]
        with m.If(self.refresh):
            m.d.sync += row_wait.eq(steps.refresh - 1)
        with m.If(self.mode):
            m.d.sync += row_wait.eq(steps.mode - 1)
