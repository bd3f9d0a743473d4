"""SDR SDRAM that checks what a controller asks of it."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import enum, memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from steelyard_hw.memory.chips import SdramChip
from steelyard_hw.memory.pins import ALL_BANKS, BANKS, DATA_BITS, SdramCommand, SdramPins
from steelyard_hw.memory.timing import SdramTiming

__all__ = ["CellPort", "Rule", "SdramModel", "StoredSdram"]

FIRST_REFRESHES = 8
MOST_DELAY = 16
"""More than a controller waits for, so that it can be too much."""
NOISE = 0x9E37
"""Odd, so that undriven pins do not repeat themselves for 65,536 cycles."""


class Rule(enum.IntEnum, shape=5):  # type: ignore[call-arg]
    """What a controller broke first, :attr:`NONE` if nothing."""

    NONE = 0
    POWER_UP = 1
    """A command too early after power or out of the order of initialization, or with CKE low."""
    MODE = 2
    """A mode that this model or the chip does not have."""
    CAS = 3
    """A CAS latency too short for the clock."""
    RCD = 4
    RP = 5
    RAS = 6
    RC = 7
    RRD = 8
    RFC = 9
    WR = 10
    MRD = 11
    REFRESH = 12
    """Too long since the last refresh."""
    OPEN = 13
    """A command that wants the bank closed, with a row open."""
    CLOSED = 14
    """A read or write without an open row."""
    LENGTH = 15
    """A column or row beyond those of the chip."""
    BURST = 16
    """A burst cut short, or a command that this model does not have: burst stop, auto precharge."""
    CONTENTION = 17
    """The controller drives the data pins while the chip does, or in the cycle behind."""
    UNDRIVEN = 18
    """The controller writes without driving the data pins, or masks a byte."""
    STRAY = 19
    """The controller drives the data pins and writes nothing."""


class CellPort(wiring.Signature):
    """Port of a model to the cells that hold its data, 16 bits at an address.

    What is asked for in a cycle is answered in the same one. An address is a column, then a bank,
    then a row, from its low bits up, so that 16-bit halves of words lie in the order of addresses
    of the controller's port.

    Members
    -------
    address : ``Out``
        Of a cell.
    write : ``Out(1)``
        The cell takes `data_o`.
    data_o : ``Out(16)``
        What is written.
    data_i : ``In(16)``
        What the cell holds.
    """

    def __init__(self, chip: SdramChip) -> None:
        super().__init__(
            {
                "address": Out(chip.word_bits + 1),
                "write": Out(1),
                "data_o": Out(DATA_BITS),
                "data_i": In(DATA_BITS),
            }
        )


class _Age:
    """Cycles since an event, up to a number that is enough; enough at the beginning."""

    def __init__(self, name: str, enough: int) -> None:
        self._enough = enough
        self.value = Signal(range(enough + 1), init=enough, name=name)

    def less(self, cycles: int):
        """Whether the event was fewer cycles ago."""
        return self.value < cycles

    def count(self, m: Module, event) -> None:
        # A command a cycle after the event finds 1.
        m.d.sync += self.value.eq(Mux(event, 1, self.value + (self.value != self._enough)))


class SdramModel(wiring.Component):
    """SDR SDRAM with its data elsewhere. It names the first rule that is broken.

    Does bursts of 1, 2, 4 and 8 in order, with a CAS latency of 2 or 3. Pins that it does not drive
    carry noise. Has nothing of self refresh, power down, burst stop and auto precharge; the longest
    time that a row may stay open is not checked, for refreshes close rows long before.

    Parameters
    ----------
    chip : :class:`SdramChip`
        The chip.
    clock_hz : :class:`int`
        Frequency of the chip's clock.
    delay : :class:`int`
        Cycles that the data read are late, as a board and registers of an FPGA's pins make them.
    postponed : :class:`int`
        Refreshes that may be outstanding. With none, no two of them are ever further apart than the
        chip's interval, which is more than its datasheet asks for.

    Members
    -------
    pins : ``In(SdramPins)``
        From the controller.
    cells : ``Out(CellPort(chip))``
        To the data.
    violation : ``Out(Rule)``
        The first rule broken, from the cycle after it.
    """

    def __init__(
        self, chip: SdramChip, clock_hz: int, *, delay: int = 0, postponed: int = 0
    ) -> None:
        if not 0 <= delay <= MOST_DELAY:
            raise ValueError(f"Data may be late by 0 to {MOST_DELAY} cycles, not {delay!r}")
        if not 0 <= postponed <= 8:
            raise ValueError(f"From 0 to 8 refreshes may be outstanding, not {postponed!r}")
        self._chip = chip
        self._timing = SdramTiming.of(chip, clock_hz)
        self._delay = delay
        self._postponed = postponed
        super().__init__(
            {
                "pins": In(SdramPins(chip.address_pins)),
                "cells": Out(CellPort(chip)),
                "violation": Out(Rule),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pins = self.pins
        command = Signal(SdramCommand)
        m.d.comb += command.eq(Mux(pins.select, pins.command, SdramCommand.NOTHING))
        is_ = {each: Signal(name=f"is_{each.name.lower()}") for each in list(SdramCommand)}
        for each, signal in is_.items():
            m.d.comb += signal.eq(command == each)
        column = Signal()
        m.d.comb += column.eq(is_[SdramCommand.READ] | is_[SdramCommand.WRITE])
        length = Signal(range(9), init=1)
        latency = Signal(2)
        with m.If(is_[SdramCommand.MODE]):
            m.d.sync += [length.eq(1 << pins.address[:2]), latency.eq(pins.address[4:6])]

        broken = [
            *self._initialization(m, is_, command),
            *self._mode(is_),
            *self._banks(m, is_, column, length),
        ]
        broken += self._data(m, is_, column, length, latency)
        for rule, condition in reversed(broken):
            with m.If(condition & (self.violation == Rule.NONE)):
                m.d.sync += self.violation.eq(rule)
        return m

    def _initialization(self, m, is_, command):
        """Power, then a precharge of all banks, refreshes and the mode; refreshes from then on."""
        timing = self._timing
        power = Signal(range(timing.power_up + 1))
        with m.If(power != timing.power_up):
            m.d.sync += power.eq(power + 1)
        closed = Signal()
        refreshes = Signal(range(FIRST_REFRESHES + 1))
        mode = Signal()
        done = Signal()
        m.d.comb += done.eq(mode & (refreshes == FIRST_REFRESHES))
        with m.If(is_[SdramCommand.PRECHARGE] & self.pins.address[ALL_BANKS]):
            m.d.sync += closed.eq(1)
        with m.If(is_[SdramCommand.REFRESH] & (refreshes != FIRST_REFRESHES)):
            m.d.sync += refreshes.eq(refreshes + 1)
        with m.If(is_[SdramCommand.MODE]):
            m.d.sync += mode.eq(1)
        limit = timing.refresh * (self._postponed + 1)
        since = Signal(range(limit + 2))
        with m.If(is_[SdramCommand.REFRESH] | (refreshes != FIRST_REFRESHES)):
            m.d.sync += since.eq(1)
        with m.Elif(since <= limit):
            m.d.sync += since.eq(since + 1)
        early = (power != timing.power_up) | ~self.pins.clock_enable
        needs_closed = is_[SdramCommand.REFRESH] | is_[SdramCommand.MODE]
        needs_all = is_[SdramCommand.ACTIVATE] | is_[SdramCommand.READ] | is_[SdramCommand.WRITE]
        return [
            (Rule.POWER_UP, (command != SdramCommand.NOTHING) & early),
            (Rule.POWER_UP, (needs_closed & ~closed) | (needs_all & ~done)),
            (Rule.REFRESH, since > limit),
        ]

    def _mode(self, is_):
        """What may stand in the mode register."""
        address = self.pins.address
        cas = address[4:7]
        kept = (address[3] == 0) & (address[7:] == 0) & (address[2] == 0) & (self.pins.bank == 0)
        return [
            (Rule.MODE, is_[SdramCommand.MODE] & ~(kept & ((cas == 2) | (cas == 3)))),
            (Rule.CAS, is_[SdramCommand.MODE] & (cas < self._timing.cas)),
        ]

    def _banks(self, m, is_, column, length):
        """Open rows, and the time between commands."""
        t, pins = self._timing, self.pins
        row_bits, column_bits = self._chip.row_bits, self._chip.column_bits
        self._rows = [Signal(row_bits, name=f"row_{number}") for number in range(BANKS)]
        opened = Signal(BANKS)
        refreshed, mode_set = _Age("refreshed", t.rfc), _Age("mode_set", t.mrd)
        refreshed.count(m, is_[SdramCommand.REFRESH])
        mode_set.count(m, is_[SdramCommand.MODE])
        # A burst's data are moved from its command on, one half word a cycle.
        moved = _Age("moved", 8)
        moved.count(m, column)
        writing = Signal()
        with m.If(column):
            m.d.sync += writing.eq(is_[SdramCommand.WRITE])
        cut = moved.value < length
        rows = is_[SdramCommand.ACTIVATE] | is_[SdramCommand.PRECHARGE]
        resting = is_[SdramCommand.REFRESH] | is_[SdramCommand.MODE]
        broken = [
            (Rule.RFC, (rows | resting) & refreshed.less(t.rfc)),
            (Rule.MRD, (rows | resting) & mode_set.less(t.mrd)),
            (Rule.OPEN, resting & opened.any()),
            (Rule.LENGTH, is_[SdramCommand.ACTIVATE] & pins.address[row_bits:].any()),
            (Rule.BURST, column & (cut | pins.address[ALL_BANKS])),
            (Rule.BURST, is_[SdramCommand.STOP]),
        ]
        beyond = [bit for bit in range(column_bits, len(pins.address)) if bit != ALL_BANKS]
        broken.append((Rule.LENGTH, column & Cat(pins.address[bit] for bit in beyond).any()))
        for number in range(BANKS):
            mine = pins.bank == number
            activate = is_[SdramCommand.ACTIVATE] & mine
            close = is_[SdramCommand.PRECHARGE] & (mine | pins.address[ALL_BANKS])
            used = column & mine
            activated = _Age(f"activated_{number}", max(t.rcd, t.ras, t.rc, t.rrd))
            closed = _Age(f"closed_{number}", t.rp)
            written = _Age(f"written_{number}", t.wr)
            busy = Signal(name=f"busy_{number}")
            activated.count(m, activate)
            closed.count(m, close & opened[number])
            with m.If(column):
                m.d.sync += busy.eq(mine)
            beat = (is_[SdramCommand.WRITE] & mine) | (busy & writing & cut & ~column)
            written.count(m, beat)
            with m.If(activate):
                m.d.sync += [opened[number].eq(1), self._rows[number].eq(pins.address)]
            with m.If(close):
                m.d.sync += opened[number].eq(0)
            others = is_[SdramCommand.ACTIVATE] & ~mine
            broken += [
                (Rule.OPEN, activate & opened[number]),
                (Rule.CLOSED, used & ~opened[number]),
                (Rule.RCD, used & activated.less(t.rcd)),
                (Rule.RP, (activate | resting) & closed.less(t.rp)),
                (Rule.RC, activate & activated.less(t.rc)),
                (Rule.RRD, others & activated.less(t.rrd)),
                (Rule.RAS, close & opened[number] & activated.less(t.ras)),
                (Rule.BURST, close & busy & cut),
                (Rule.WR, close & opened[number] & written.less(t.wr)),
            ]
        return broken

    def _data(self, m, is_, column, length, latency):
        """Data of the bursts, and who drives the pins."""
        pins, cells = self.pins, self.cells
        columns = self._chip.column_bits
        here = Signal(columns)
        lines = Signal(len(cells.address) - columns)
        at, line = Signal.like(here), Signal.like(lines)
        left = Signal(range(9))
        writing = Signal()
        beat = Signal()
        writes = Signal()
        with m.If(column):
            m.d.comb += [
                here.eq(pins.address),
                lines.eq(Cat(pins.bank, Array(self._rows)[pins.bank])),
                beat.eq(1),
                writes.eq(is_[SdramCommand.WRITE]),
            ]
            m.d.sync += [left.eq(length - 1), line.eq(lines), writing.eq(writes)]
        with m.Else():
            m.d.comb += [here.eq(at), lines.eq(line), beat.eq(left != 0), writes.eq(writing)]
            m.d.sync += left.eq(left - (left != 0))
        wrap = Signal.like(here)
        m.d.comb += wrap.eq(length - 1)
        m.d.sync += at.eq((here & ~wrap) | ((here + 1) & wrap))
        m.d.sync += [
            cells.address.eq(Cat(here, lines)),
            cells.write.eq(beat & writes),
            cells.data_o.eq(pins.data_o),
        ]
        noise = Signal(DATA_BITS)
        m.d.sync += noise.eq(noise + NOISE)
        # A read's command comes to its cell a cycle later, and to the pins after the latency.
        asked = Signal()
        m.d.sync += asked.eq(beat & ~writes)
        stages = [(asked, cells.data_i)]
        for number in range(2):
            valid = Signal(name=f"valid_{number}")
            value = Signal(DATA_BITS, name=f"value_{number}")
            m.d.sync += [valid.eq(stages[-1][0]), value.eq(stages[-1][1])]
            stages.append((valid, value))
        drives = Signal()
        drove = Signal()
        sent = Signal(DATA_BITS)
        late = latency == 3
        m.d.comb += [
            drives.eq(Mux(late, stages[2][0], stages[1][0])),
            sent.eq(Mux(drives, Mux(late, stages[2][1], stages[1][1]), noise)),
        ]
        m.d.sync += drove.eq(drives)
        for number in range(self._delay):
            later = Signal(DATA_BITS, name=f"later_{number}")
            m.d.sync += later.eq(sent)
            sent = later
        m.d.comb += pins.data_i.eq(sent)
        write = Signal()
        m.d.comb += write.eq(beat & writes)
        return [
            (Rule.CONTENTION, pins.data_oe & (drives | drove)),
            (Rule.UNDRIVEN, (write & ~pins.data_oe) | (beat & pins.mask.any())),
            (Rule.STRAY, pins.data_oe & ~write),
        ]


class StoredSdram(wiring.Component):
    """Model with its data, for Amaranth's simulator.

    Parameters
    ----------
    chip, clock_hz, delay, postponed
        As those of :class:`SdramModel`; a chip of the usual size takes a minute to simulate.

    Members
    -------
    pins : ``In(SdramPins)``
        From the controller.
    violation : ``Out(Rule)``
        The first rule broken.

    Attributes
    ----------
    cells : :class:`amaranth.lib.memory.MemoryData`
        Half words, which a testbench may read and place.
    """

    def __init__(self, chip: SdramChip, clock_hz: int, **options: int) -> None:
        self._model = SdramModel(chip, clock_hz, **options)
        self.cells = memory.MemoryData(shape=DATA_BITS, depth=2 << chip.word_bits, init=[])
        super().__init__({"pins": In(SdramPins(chip.address_pins)), "violation": Out(Rule)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.model = model = self._model
        m.submodules.cells = cells = memory.Memory(self.cells)
        read, write = cells.read_port(domain="comb"), cells.write_port()
        connect(m, flipped(self.pins), model.pins)
        m.d.comb += [
            self.violation.eq(model.violation),
            read.addr.eq(model.cells.address),
            model.cells.data_i.eq(read.data),
            write.addr.eq(model.cells.address),
            write.en.eq(model.cells.write),
            write.data.eq(model.cells.data_o),
        ]
        return m
