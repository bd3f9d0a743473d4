"""Controller of an SDR SDRAM."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from .bursts import BurstSplitter, Piece
from .chips import SdramChip
from .pins import ALL_BANKS, BANK_BITS, DATA_BITS, SdramCommand, SdramPins
from .port import WORD_BITS, MemoryPort
from .reads import LATENCY_BITS, ReadPath
from .rows import BankTable, Steps
from .timing import SdramTiming

__all__ = ["READ_WORDS", "SdramController", "mode_register", "refresh_period"]

FIRST_REFRESHES = 8
"""Before the mode is set: the most that any of the chips asks for."""
READ_WORDS = 16
"""Words read that are kept, more than the 12 that may be on their way: none waits for its place."""
WRITE_WORDS = 4


def mode_register(timing: SdramTiming) -> int:
    """Mode of a chip: bursts of two, in order, in both directions, and the CAS latency."""
    return 1 | timing.cas << 4


def refresh_period(timing: SdramTiming, slots: int = 1) -> int:
    """Cycles of the controller between the moments at which refreshes fall due.

    A refresh that is due waits until every bank may be closed and is closed, and longer where a run
    begins. With so much less than the chip's own interval no two of them are ever further apart
    than that.
    """
    steps = Steps.of(timing)
    # With two slots a row may still be opened behind a look, and one look more is lost.
    waits = 2 * steps.busy + steps.precharge + 2 * slots
    return (timing.refresh - 2 * waits) // slots


class SdramController(wiring.Component):
    """Controller of a chip with 16 data pins, at the clock of its user or at twice that.

    A word moves as a burst of two halves, the low one first, in two cycles of the chip at best.
    Rows stay open until another one of their bank is wanted. While a piece of a burst is moved, the
    row of the next one is closed and opened, where that is in another bank. Refreshes do not wait
    for streams: they come between two words. A reset initializes the chip again, which takes 200 us
    without a refresh.

    Works in steps of two cycles of the chip. In the first a step looks at the state, in the second
    it decides on one column command and one row command, which are on the pins in the second cycle
    of the step after it and in the first of the one after that. With two slots a step is one cycle
    of the controller: for a row command it looks a step ahead and for a column command at once; the
    column command is in the first slot of the step after it, the row command in the second. All
    pins are registers, and what comes from them goes into registers.

    With a CAS latency of 2, a word of an idle port is there 14 cycles after its command if its row
    is open, and up to 21 if another one is; with two slots 7 cycles and half of the latency after
    it, rounded up, and 5 more if another row is open. docs/notes/sdram.md says what is reached.

    Parameters
    ----------
    chip : :class:`SdramChip`
        The chip.
    clock_hz : :class:`int`
        Frequency of the controller's clock.
    slots : :class:`int`
        Cycles of the chip in one of the controller, 1 or 2.

    Members
    -------
    port : ``In(MemoryPort(chip.word_bits))``
        To the user.
    latency : ``In(4)``
        Cycles of the chip from that in which a command to read is on the pins to that in which the
        first half of its word is on ``pins.data_i``: the CAS latency of :attr:`timing` where there
        is no delay between chip and controller. May change only while no word is to be read.
    start : ``In(1)``
        A run begins. The next refresh comes some cycles later and all further ones follow from
        there; on a port that has been idle for 32 cycles the same commands take the same cycles
        from then on. At most once in 16 cycles, for it holds up the refreshes.
    ready : ``Out(1)``
        The chip is initialized. Commands may be given before; they wait.
    pins : ``Out(SdramPins(chip.address_pins, slots))``
        To the chip.

    Raises
    ------
    ValueError
        If the chip cannot work at that clock, or there are neither 1 nor 2 slots.
    """

    def __init__(self, chip, clock_hz, slots=1):
        if not isinstance(chip, SdramChip):
            raise ValueError(f"Chip must be an SdramChip, not {chip!r}")
        self._chip = chip
        pins = SdramPins(chip.address_pins, slots)
        self._slots = slots
        self._timing = SdramTiming.of(chip, slots * clock_hz)
        self._steps = Steps.of(self._timing)
        self._piece = Piece(chip)
        super().__init__(
            {
                "port": In(MemoryPort(chip.word_bits)),
                "latency": In(LATENCY_BITS),
                "start": In(1),
                "ready": Out(1),
                "pins": Out(pins),
            }
        )

    @property
    def timing(self):
        """The chip's timing in its cycles."""
        return self._timing

    def elaborate(self, platform):
        m = Module()
        m.submodules.splitter = splitter = BurstSplitter(self._chip)
        m.submodules.banks = banks = BankTable(self._chip, self._steps, self._slots)
        m.submodules.reads = reads = ReadPath(READ_WORDS, self._slots)
        m.submodules.writes = writes = SyncFIFO(width=WORD_BITS, depth=WRITE_WORDS)
        connect(m, flipped(self.port.command), splitter.i)
        connect(m, reads.o, flipped(self.port.read))
        m.d.comb += [
            writes.w_data.eq(self.port.write.payload),
            writes.w_en.eq(self.port.write.valid),
            self.port.write.ready.eq(writes.w_rdy),
            reads.latency.eq(self.latency),
        ]
        step = Const(1)
        if self._slots == 1:
            m.d.comb += reads.data.eq(self.pins.data_i)
            step = Signal()
            # A run begins with the first cycle of a step.
            m.d.sync += step.eq(~step & ~self.start)
        else:
            for mine, pin in zip(reads.data, self.pins.data_i, strict=True):
                m.d.comb += mine.eq(pin)
        m.d.comb += banks.step.eq(step)

        current, following = self._pieces(m, step, splitter.o, banks)
        due, refreshed = self._refreshes(m)
        column = self._columns(m, step, current, due, banks, reads, writes)
        row = self._rows(m, step, current, following, due, refreshed, banks)
        if self._slots == 1:
            self._pins(m, step, column, row, writes.r_data, reads)
        else:
            self._slot_pins(m, column, row, writes.r_data, reads)
        return m

    def _pieces(self, m, step, pieces, banks):
        """Piece at work and the one after it."""
        current, following = (
            Signal(data.StructLayout({"piece": self._piece, "valid": 1, "last": 1}), name=name)
            for name in ("current", "following")
        )
        free = (banks.column & current.last) | ~current.valid
        # Not while the place becomes free: long paths end here.
        m.d.comb += pieces.ready.eq(step & ~following.valid)
        with m.If(banks.column):
            m.d.sync += [
                current.piece.column.eq(current.piece.column + 1),
                current.piece.words.eq(current.piece.words - 1),
                current.last.eq(current.piece.words == 2),
            ]
        if self._slots != 1:
            m.d.comb += banks.shift.eq(free)
        with m.If(step & free):
            m.d.sync += [current.eq(following), following.valid.eq(0)]
        with m.If(pieces.ready & pieces.valid):
            m.d.sync += [
                following.piece.eq(pieces.payload),
                following.valid.eq(1),
                following.last.eq(pieces.payload.words == 1),
            ]
        for place, each in enumerate((current, following)):
            m.d.comb += [
                banks.banks[place].eq(each.piece.bank),
                banks.rows[place].eq(each.piece.row),
            ]
        return current, following

    def _refreshes(self, m):
        """Whether a refresh is due, and the strobe that says that one was made."""
        timing = self._timing
        period = refresh_period(timing, self._slots)
        power_up = -(-timing.power_up // self._slots)
        powered = Signal()
        left = Signal(range(max(power_up, period)), init=power_up - 1)
        number = Signal(range(FIRST_REFRESHES + 1), init=FIRST_REFRESHES)
        refreshed = Signal()
        elapsed = Signal()
        m.d.comb += elapsed.eq(left == 0)
        m.d.sync += [
            left.eq(Mux(elapsed | (self.start & powered), period - 1, left - 1)),
            powered.eq(powered | elapsed),
            number.eq(number + (elapsed & powered) - refreshed),
        ]
        # Until what was under way before the start is done, whatever it was.
        busy = 2 * self._steps.busy // self._slots
        settle = Signal(range(busy + 1))
        m.d.sync += settle.eq(settle - (settle != 0))
        with m.If(self.start):
            m.d.sync += settle.eq(busy)
            with m.If(number == refreshed):
                m.d.sync += number.eq(1)
        due = Signal(data.StructLayout({"due": 1, "wanted": 1, "able": 1}))
        m.d.comb += [
            due.wanted.eq(number != 0),
            due.due.eq(~self.ready | due.wanted),
            due.able.eq(powered & (settle == 0)),
        ]
        return due, refreshed

    def _columns(self, m, step, current, due, banks, reads, writes):
        """Column command of a step: moves a word of the current piece."""
        turn = Signal(range(max(self._steps.turn, 2)))
        may_move = Signal()
        piece = current.piece
        look, domain = (~step, m.d.sync) if self._slots == 1 else (step, m.d.comb)
        with m.If(look):
            domain += may_move.eq(
                current.valid
                & ~due.due
                & banks.column_ready
                & Mux(piece.write, writes.r_rdy & (turn == 0), reads.room)
            )
        moves = step & may_move & banks.hit[0]
        m.d.comb += [
            banks.column.eq(moves),
            banks.write.eq(piece.write),
            writes.r_en.eq(moves & piece.write),
            reads.ask.eq(moves & ~piece.write),
        ]
        with m.If(step):
            m.d.sync += turn.eq(Mux(reads.ask, self._steps.turn - 1, turn - (turn != 0)))
        command = Mux(piece.write, SdramCommand.WRITE, SdramCommand.READ)
        # Pins count halves of words.
        return moves, command, piece.bank, Cat(Const(0, 1), piece.column)

    def _rows(self, m, step, current, following, due, refreshed, banks):
        """Row command of a step: refreshes and the mode first, then what the pieces want."""
        may_close = Signal(2)
        may_open = Signal(2)
        may_refresh = Signal()
        mode = Signal()
        closed = Signal()
        with m.If(~step if self._slots == 1 else step):
            apart = following.piece.bank != current.piece.bank
            able = Cat(current.valid, following.valid & apart) & Cat(banks.row_ready)
            is_open = Cat(banks.open)
            m.d.sync += [
                may_close.eq(Mux(due.due, 0, able & is_open)),
                may_open.eq(Mux(due.due | ~banks.apart, 0, able & ~is_open)),
                may_refresh.eq(due.due & due.able & banks.quiet),
            ]
        # While the first piece has its row, the second one gets its own.
        later = banks.hit[0]
        target = self._piece(Mux(later, following.piece.as_value(), current.piece.as_value()))
        m.d.comb += [banks.bank.eq(target.bank), banks.row.eq(target.row)]
        with m.If(step):
            m.d.comb += [
                banks.activate.eq(Mux(later, may_open[1], may_open[0])),
                banks.precharge.eq(Mux(later, may_close[1] & ~banks.hit[1], may_close[0])),
            ]
        with m.If(step & may_refresh):
            m.d.sync += closed.eq(~closed)
            with m.If(~closed):
                m.d.comb += [banks.precharge.eq(1), banks.everything.eq(1)]
            with m.Elif(due.wanted):
                m.d.comb += [banks.refresh.eq(1), refreshed.eq(1)]
            with m.Else():
                m.d.comb += [banks.mode.eq(1), mode.eq(1)]
                m.d.sync += self.ready.eq(1)
        with m.If(self.start):
            m.d.sync += closed.eq(0)
        if self._slots != 1:
            # What was seen in this step is not what the next one finds.
            given = banks.activate | banks.precharge | banks.refresh | banks.mode
            with m.If(given | banks.shift):
                m.d.sync += [may_close.eq(0), may_open.eq(0)]
            with m.If(given | self.start):
                m.d.sync += may_refresh.eq(0)
        command = Signal(SdramCommand)
        address = Signal(self._chip.address_pins)
        m.d.comb += address.eq(Mux(mode, mode_register(self._timing), target.row))
        with m.If(banks.activate):
            m.d.comb += command.eq(SdramCommand.ACTIVATE)
        with m.If(banks.precharge):
            m.d.comb += command.eq(SdramCommand.PRECHARGE)
            m.d.comb += address[ALL_BANKS].eq(banks.everything)
        with m.If(banks.refresh):
            m.d.comb += command.eq(SdramCommand.REFRESH)
        with m.If(mode):
            m.d.comb += command.eq(SdramCommand.MODE)
        bank = Mux(mode, 0, target.bank)
        return command != SdramCommand.NOTHING, command, bank, address

    def _pins(self, m, step, column, row, word, reads):
        """Registers of the pins, and those that hold a step's commands until their cycle."""
        pins = self.pins
        layout = data.StructLayout(
            {
                "valid": 1,
                "command": SdramCommand,
                "bank": BANK_BITS,
                "address": self._chip.address_pins,
            }
        )
        held = [Signal(layout, name=name) for name in ("held_column", "held_row")]
        held_word = Signal(WORD_BITS, reset_less=True)
        second = Signal()
        with m.If(step):
            for each, (valid, command, bank, address) in zip(held, (column, row), strict=True):
                m.d.sync += [
                    each.valid.eq(valid),
                    each.command.eq(command),
                    each.bank.eq(bank),
                    each.address.eq(address),
                ]
            m.d.sync += held_word.eq(word)
        with m.Else():
            m.d.sync += held[0].valid.eq(0)
        now = layout(Mux(step, held[1].as_value(), held[0].as_value()))
        m.d.sync += [
            pins.clock_enable.eq(1),
            pins.select.eq(now.valid),
            pins.command.eq(now.command),
            pins.bank.eq(now.bank),
            pins.address.eq(now.address),
            pins.mask.eq(Mux(self.ready, 0, 0b11)),
        ]
        first = ~step & held[0].valid & (held[0].command == SdramCommand.WRITE)
        m.d.sync += [
            second.eq(first),
            pins.data_oe.eq(first | second),
            pins.data_o.eq(Mux(first, held_word[:DATA_BITS], held_word[DATA_BITS:])),
        ]
        m.d.sync += reads.sent.eq(~step & held[0].valid & (held[0].command == SdramCommand.READ))

    def _slot_pins(self, m, column, row, word, reads):
        """Registers of the pins, the column command of a step in the first slot."""
        pins = self.pins
        for slot, (valid, command, bank, address) in enumerate((column, row)):
            m.d.sync += [
                pins.select[slot].eq(valid),
                pins.command[slot].eq(command),
                pins.bank[slot].eq(bank),
                pins.address[slot].eq(address),
                pins.data_o[slot].eq(word.word_select(slot, DATA_BITS)),
            ]
        moves, command, *_ = column
        m.d.sync += [
            pins.clock_enable.eq(1),
            pins.mask.eq(Mux(self.ready, 0, 0b11)),
            pins.data_oe.eq(moves & (command == SdramCommand.WRITE)),
            reads.sent.eq(moves & (command == SdramCommand.READ)),
        ]
