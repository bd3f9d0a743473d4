"""Chips' figures in cycles, worked out by hand."""

from dataclasses import replace

import pytest

from steelyard_hw.memory.chips import AS4C32M16SB_7, CHIPS, IS42S16160_7, W9825G6KH_6, Figure
from steelyard_hw.memory.rows import Steps
from steelyard_hw.memory.sdram import mode_register, refresh_period
from steelyard_hw.memory.timing import SdramTiming

# cas, rcd, rp, ras, rc, rrd, rfc, wr, mrd, refresh, power-up
HAND = {
    # 21, 21, 42, 63, 14, 63, 14 and 14 ns at 10 ns.
    ("AS4C32M16SB-7", 100): (2, 3, 3, 5, 7, 2, 7, 2, 2, 781, 20_000),
    # The same at 12.5 ns.
    ("AS4C32M16SB-7", 80): (2, 2, 2, 4, 6, 2, 6, 2, 2, 625, 16_000),
    # 18, 18, 42, 60, 2 cycles, 60, 2 cycles, 2 cycles.
    ("W9825G6KH-6", 100): (2, 2, 2, 5, 6, 2, 6, 2, 2, 781, 20_000),
    ("W9825G6KH-6", 80): (2, 2, 2, 4, 5, 2, 5, 2, 2, 625, 16_000),
    # 20, 20, 45, 67.5, 15, 70 ns.
    ("IS42S16160-7", 100): (2, 2, 2, 5, 7, 2, 7, 2, 2, 781, 20_000),
    ("IS42S16160-7", 62.5): (2, 2, 2, 3, 5, 1, 5, 2, 2, 488, 12_500),
    # Faster than 10 ns allow only three cycles of latency.
    ("IS42S16160-6", 133): (3, 3, 3, 6, 8, 2, 8, 2, 2, 1039, 26_600),
}


@pytest.mark.parametrize(("name", "mhz"), HAND)
def test_figures_are_rounded_up_to_cycles_and_the_refresh_down(name, mhz):
    timing = SdramTiming.of(CHIPS[name], round(mhz * 1e6))
    assert timing == SdramTiming(*HAND[name, mhz])


@pytest.mark.parametrize("mhz", [25, 50, 62.5, 80, 100, 125, 133])
@pytest.mark.parametrize("name", CHIPS)
def test_steps_are_as_long_as_the_cycles_between_their_commands(name, mhz):
    timing = SdramTiming.of(CHIPS[name], round(mhz * 1e6))
    steps = Steps.of(timing)
    # A column command has the first cycle of a step, a row command the second.
    assert 2 * steps.activate - 1 >= timing.rcd > 2 * (steps.activate - 1) - 1
    assert 2 * steps.active >= timing.ras
    assert 2 * steps.precharge >= timing.rp
    assert 2 * (steps.active + steps.precharge) >= timing.rc
    assert 2 * steps.other >= timing.rrd
    assert 2 * steps.refresh >= timing.rfc
    assert 2 * steps.mode >= timing.mrd
    # The last data are a cycle behind the command to write.
    assert 2 * steps.written >= timing.wr
    # The last data read are on the pins a cycle after the latency.
    assert 2 * steps.turn >= timing.cas + 3
    assert timing.refresh > refresh_period(timing) > 0.9 * timing.refresh


def test_a_row_stays_open_longer_where_its_cycle_wants_that():
    chip = replace(W9825G6KH_6, rc=Figure(11, "tCK", "this test"))
    steps = Steps.of(SdramTiming.of(chip, 100_000_000))
    assert (steps.active, steps.precharge) == (5, 1)


def test_the_mode_is_bursts_of_two_with_the_latency():
    assert mode_register(SdramTiming.of(W9825G6KH_6, 80_000_000)) == 0b010_0_001
    assert mode_register(SdramTiming.of(W9825G6KH_6, 133_000_000)) == 0b011_0_001


def test_sizes_of_the_chips():
    megabytes = {name: 4 << chip.word_bits >> 20 for name, chip in CHIPS.items()}
    assert megabytes == {
        "AS4C32M16SB-7": 64, "IS42S16160-6": 32, "IS42S16160-7": 32, "W9825G6KH-6": 32,
    }  # fmt: skip


def test_every_figure_says_where_it_is_from():
    for chip in CHIPS.values():
        assert len(chip.figures) == 12
        for figure in chip.figures.values():
            assert len(figure.source) > 20
    assert not any(figure.from_memory for figure in AS4C32M16SB_7.figures.values())
    assert IS42S16160_7.rcd.from_memory


def test_clocks_that_a_chip_cannot_take_are_refused():
    sentence = r"^IS42S16160-7 takes clocks of up to 142 MHz, not 150 MHz$"
    with pytest.raises(ValueError, match=sentence):
        SdramTiming.of(IS42S16160_7, 150_000_000)
    sentence = (
        r"^W9825G6KH-6 wants a refresh every 7812\.5 ns, which are 39 cycles of 5 MHz; it needs 64 "
        "or more$"
    )
    with pytest.raises(ValueError, match=sentence):
        SdramTiming.of(W9825G6KH_6, 5_000_000)
    for clock in (0, -1, 80e6):
        sentence = rf"^A clock must be a positive integer in Hz, not {clock!r}$"
        with pytest.raises(ValueError, match=sentence):
            SdramTiming.of(W9825G6KH_6, clock)


def test_chips_and_figures_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"^Rows must have 3 to 13 address bits, not 14$"):
        replace(W9825G6KH_6, row_bits=14)
    with pytest.raises(ValueError, match=r"^Columns must have 2 to 10 address bits, not 11$"):
        replace(W9825G6KH_6, column_bits=11)
    with pytest.raises(ValueError, match=r"^A figure's unit must be 'ns' or 'tCK', not 'us'$"):
        Figure(1, "us", "nowhere")
    with pytest.raises(ValueError, match=r"^A figure must be greater than 0, not 0$"):
        Figure(0, "ns", "nowhere")
