# amaranth: UnusedElaboratable=no
"""The model of an SDR SDRAM names every rule that is broken, and no other."""

from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from steelyard_hw.memory.chips import AS4C32M16SB_7, Figure
from steelyard_hw.memory.pins import SdramCommand
from steelyard_sim.memory.sdram import Rule, SdramModel, StoredSdram

CLOCK_HZ = 100_000_000
POWER = 12
REFRESH = 150
CHIP = replace(
    AS4C32M16SB_7,
    row_bits=4,
    column_bits=5,
    # What the other figures would hide: a row's cycle longer than its parts, and slow neighbours.
    rc=Figure(90, "ns", "this test"),
    rrd=Figure(4, "tCK", "this test"),
    mrd=Figure(3, "tCK", "this test"),
    refresh=Figure(REFRESH, "tCK", "this test"),
    power_up=Figure(POWER, "tCK", "this test"),
)
# In cycles of 10 ns.
RCD, RP, RAS, RC, RRD, RFC, WR, MRD = 3, 3, 5, 9, 4, 7, 2, 3
MODE = 0x21
"""Bursts of two, in order, CAS latency 2."""


def command(kind, bank=0, address=0, **pins):
    return {"command": kind, "bank": bank, "address": address, "select": 1, **pins}


def wait(cycles):
    return [{}] * cycles


def activate(bank=0, row=0):
    return command(SdramCommand.ACTIVATE, bank, row)


def read(bank=0, column=0):
    return command(SdramCommand.READ, bank, column)


def precharge(bank=0, everything=False):
    return command(SdramCommand.PRECHARGE, bank, everything << 10)


REF = command(SdramCommand.REFRESH)


def write(bank=0, column=0, words=(0x1234, 0x5678), oe=(1, 1)):
    """Two cycles."""
    first = command(SdramCommand.WRITE, bank, column, data_o=words[0], data_oe=oe[0])
    return [first, {"data_o": words[1], "data_oe": oe[1]}]


def mode(value=MODE):
    return command(SdramCommand.MODE, 0, value)


def initialized(*, power=POWER, refreshes=8, mode_value=MODE):
    return [
        *wait(power),
        precharge(everything=True),
        *wait(RP - 1),
        *[cycle for _ in range(refreshes) for cycle in (REF, *wait(RFC - 1))],
        mode(mode_value),
        *wait(MRD - 1),
    ]


START = initialized()
OPEN = [*START, activate(), *wait(RCD - 1)]


def run(script, chip=CHIP, tail=12, **options):
    """Rule that a script of pins breaks, and the data that came in each cycle."""
    dut = StoredSdram(chip, CLOCK_HZ, **options)
    data, found = [], []

    async def drive(ctx):
        ctx.set(dut.pins.clock_enable, 1)
        for cycle in [*script, *wait(tail)]:
            for name in ("select", "command", "bank", "address", "mask", "data_o", "data_oe"):
                ctx.set(getattr(dut.pins, name), cycle.get(name, 0))
            ctx.set(dut.pins.clock_enable, cycle.get("clock_enable", 1))
            data.append(ctx.get(dut.pins.data_i))
            await ctx.tick()
        found.append(Rule(ctx.get(dut.violation)))

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.run()
    return found[0], data


def between(first, least, second, before=()):
    """Scripts that are a cycle too fast, and just right."""
    return [
        [*before, *first, *wait(distance - len(first)), *second] for distance in (least - 1, least)
    ]


CLOSE = precharge()
SPACED = {
    Rule.RCD: between([activate()], RCD, [read()], START),
    Rule.RP: between([CLOSE], RP, [activate()], [*START, activate(), *wait(RC)]),
    Rule.RAS: between([activate()], RAS, [CLOSE], START),
    # tRC of this chip is longer than tRAS and tRP together.
    Rule.RC: between([activate(), *wait(RAS - 1), CLOSE], RC, [activate(row=1)], START),
    Rule.RRD: between([activate()], RRD, [activate(1)], START),
    Rule.RFC: between([REF], RFC, [activate()], START),
    # From the last data, which are a cycle behind the command.
    Rule.WR: between(write(), 1 + WR, [CLOSE], [*OPEN, *wait(RAS)]),
    Rule.MRD: between([mode()], MRD, [activate()], START),
    # From the first cycle with a command to the last half word.
    Rule.BURST: between([read()], 2, [read(column=2)], OPEN),
    # Chip: cycles 2 and 3 from the command; then nobody drives for a cycle.
    Rule.CONTENTION: between([read()], 5, write(), OPEN),
}


@pytest.mark.parametrize("rule", SPACED, ids=lambda rule: rule.name)
def test_a_cycle_too_fast_is_named_and_just_in_time_is_not(rule):
    fast, right = SPACED[rule]
    assert run(fast)[0] is rule
    assert run(right)[0] is Rule.NONE


BROKEN = {
    "before power": (Rule.POWER_UP, initialized(power=POWER - 1)),
    "too few refreshes": (Rule.POWER_UP, [*initialized(refreshes=7), activate()]),
    "not closed first": (Rule.POWER_UP, [*wait(POWER), REF]),
    "no mode": (Rule.POWER_UP, [*START[: -MRD], activate()]),
    "clock off": (Rule.POWER_UP, [*START, {**activate(), "clock_enable": 0}]),
    "interleaved": (Rule.MODE, initialized(mode_value=MODE | 8)),
    "full page": (Rule.MODE, initialized(mode_value=MODE | 7)),
    "single writes": (Rule.MODE, initialized(mode_value=MODE | 1 << 9)),
    "a latency of 1": (Rule.MODE, initialized(mode_value=0x11)),
    "open already": (Rule.OPEN, [*START, activate(), *wait(RC), activate(row=1)]),
    "refreshed open": (Rule.OPEN, [*OPEN, *wait(RC), REF]),
    "mode set open": (Rule.OPEN, [*OPEN, *wait(RC), mode()]),
    "read closed": (Rule.CLOSED, [*START, read()]),
    "read another bank": (Rule.CLOSED, [*OPEN, read(bank=1)]),
    "written closed": (Rule.CLOSED, [*START, *write()]),
    "beyond the columns": (Rule.LENGTH, [*OPEN, read(column=32)]),
    "beyond the rows": (Rule.LENGTH, [*START, activate(row=16)]),
    "auto precharge": (Rule.BURST, [*OPEN, read(column=1 << 10)]),
    "burst stop": (Rule.BURST, [*OPEN, read(), {}, command(SdramCommand.STOP)]),
    "closed while reading": (Rule.BURST, [*OPEN, *wait(RAS), read(), CLOSE]),
    "nothing written": (Rule.UNDRIVEN, [*OPEN, *write(oe=(0, 1))]),
    "half a word written": (Rule.UNDRIVEN, [*OPEN, *write(oe=(1, 0))]),
    "a byte masked": (Rule.UNDRIVEN, [*OPEN, {**write()[0], "mask": 1}, write()[1]]),
    "driven too long": (Rule.STRAY, [*OPEN, *write(), {"data_oe": 1}]),
    "driven at once": (Rule.CONTENTION, [*OPEN, read(), {}, {"data_oe": 1}]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_may_never_be_is_named(name):
    rule, script = BROKEN[name]
    assert run(script)[0] is rule


def test_a_latency_too_short_for_the_clock_is_named():
    slow = replace(CHIP, cl2=Figure(11, "ns", "this test"))
    assert run(initialized(mode_value=0x21), slow)[0] is Rule.CAS
    assert run(initialized(mode_value=0x31), slow)[0] is Rule.NONE


def test_a_refresh_that_is_late_is_named():
    # The last one of the initialization was so many cycles before.
    since = RFC + MRD
    for postponed in (0, 1):
        limit = REFRESH * (postponed + 1)
        for cycles, rule in ((limit, Rule.NONE), (limit + 1, Rule.REFRESH)):
            script = [*START, *wait(cycles - since), REF]
            assert run(script, tail=4, postponed=postponed)[0] is rule
            assert run([*script, *wait(cycles - 1), REF], tail=4, postponed=postponed)[0] is rule


def test_the_first_violation_stays():
    rule, _ = run([*START, read(), *wait(20), activate(row=16)])
    assert rule is Rule.CLOSED


@pytest.mark.parametrize("delay", [0, 2])
@pytest.mark.parametrize("cas", [2, 3])
def test_words_come_after_the_latency_for_one_cycle_each(cas, delay):
    script = [
        *initialized(mode_value=1 | cas << 4), activate(), *wait(RCD - 1),
        *write(column=6, words=(0xAAAA, 0xBBBB)), *write(column=8, words=(0xCCCC, 0xDDDD)),
        *wait(4), read(column=7), {}, read(column=8),
    ]  # fmt: skip
    rule, data = run(script, delay=delay)
    assert rule is Rule.NONE
    first = len(script) - 3 + cas + delay
    # A burst of two begins at its address and comes back within its pair.
    assert data[first : first + 4] == [0xBBBB, 0xAAAA, 0xCCCC, 0xDDDD]
    others = data[:first] + data[first + 4 :]
    assert not {0xAAAA, 0xBBBB, 0xCCCC, 0xDDDD} & set(others)
    assert len(set(others[delay:])) == len(others) - delay


@pytest.mark.parametrize(("code", "length"), [(0, 1), (1, 2), (2, 4), (3, 8)])
def test_bursts_have_the_length_of_the_mode(code, length):
    opened = [*initialized(mode_value=code | 0x20), activate(2, 3), *wait(RCD - 1)]
    words = [0x100 + n for n in range(length)]
    first = command(SdramCommand.WRITE, 2, 16, data_o=words[0], data_oe=1)
    others = [{"data_o": word, "data_oe": 1} for word in words[1:]]
    rule, data = run([*opened, first, *others, read(2, 16)])
    assert rule is Rule.NONE
    at = len(opened) + length + 2
    assert data[at : at + length] == words
    cut = [*opened, first, *others[:-1], read(2, 16)]
    assert length == 1 or run(cut)[0] is Rule.BURST


def test_options_that_no_chip_has_are_refused():
    with pytest.raises(ValueError, match=r"^Data may be late by 0 to 16 cycles, not 17$"):
        SdramModel(CHIP, CLOCK_HZ, delay=17)
    with pytest.raises(ValueError, match=r"^From 0 to 8 refreshes may be outstanding, not 9$"):
        SdramModel(CHIP, CLOCK_HZ, postponed=9)
