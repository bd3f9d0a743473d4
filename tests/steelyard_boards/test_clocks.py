"""Dividers of the families' PLLs: exact and within the makers' limits, or refused."""

from fractions import Fraction

import pytest

from steelyard.errors import UserError
from steelyard_boards import BOARDS
from steelyard_boards.families import gowin, ice40, xilinx7
from steelyard_boards.families.ecp5 import (
    OUTPUT_HZ,
    PHASE_DETECTOR_HZ,
    VCO_HZ,
    Dividers,
    choose_dividers,
)

MHZ = 1_000_000


def within_limits(oscillator: int, dividers: Dividers) -> bool:
    """Whether the PLL works with these."""
    values = (dividers.reference, dividers.feedback, dividers.loop, dividers.output)
    return (
        all(1 <= divider <= 128 for divider in values)
        and VCO_HZ[0] <= dividers.vco_hz(oscillator) <= VCO_HZ[1]
        and PHASE_DETECTOR_HZ[0] <= oscillator / dividers.reference <= PHASE_DETECTOR_HZ[1]
        and OUTPUT_HZ[0] <= dividers.loop_hz(oscillator) <= OUTPUT_HZ[1]
    )


@pytest.mark.parametrize("oscillator", (25, 50, 100))
def test_every_whole_megahertz_is_made_within_the_limits_or_refused(oscillator):
    # The PLL's oscillator runs at a multiple of what it compares, and the clock divides it.
    reachable = {
        Fraction(oscillator * multiple, reference * output)
        for reference in range(1, oscillator // 10 + 1)
        for multiple in range(reference * 400 // oscillator, reference * 800 // oscillator + 1)
        if 400 <= oscillator * multiple / reference <= 800
        for output in range(1, 129)
    }
    for clock in range(4, 401):
        try:
            dividers = choose_dividers(oscillator * MHZ, clock * MHZ)
        except UserError as error:
            assert f"cannot make {clock} MHz of {oscillator} MHz" in str(error)
            assert clock not in reachable
            continue
        assert dividers.clock_hz(oscillator * MHZ) == clock * MHZ
        assert within_limits(oscillator * MHZ, dividers)


def test_a_second_output_makes_what_cannot_feed_back():
    # 80 MHz of 25 MHz: fed back itself, it would have to be compared at 5 MHz.
    dividers = choose_dividers(25 * MHZ, 80 * MHZ)
    assert within_limits(25 * MHZ, dividers)
    assert dividers.output != dividers.loop
    assert dividers.vco_hz(25 * MHZ) / dividers.output == 80 * MHZ
    own = choose_dividers(25 * MHZ, 62_500_000)
    assert own.output == own.loop


def test_a_memory_of_two_slots_has_twice_the_clock_of_the_same_oscillator():
    for clock in (60 * MHZ, 62_500_000, 65_625_000, 71_250_000):
        dividers = choose_dividers(25 * MHZ, clock, 2)
        assert within_limits(25 * MHZ, dividers) and dividers.output % 2 == 0
        assert dividers.clock_hz(25 * MHZ) == clock
    with pytest.raises(UserError, match="cannot make 66 MHz and 2 times as much of 25 MHz"):
        choose_dividers(25 * MHZ, 66 * MHZ, 2)


def every_megahertz(choose, oscillator: int):
    """Clocks of whole megahertz up to 200 that can be made, with their dividers."""
    made = {}
    for clock in range(1, 201):
        try:
            made[clock * MHZ] = choose(oscillator, clock * MHZ)
        except UserError as error:
            sentence = f"The PLL cannot make {clock} MHz of {oscillator // MHZ} MHz"
            assert str(error).startswith(sentence)
    return made


@pytest.mark.parametrize("oscillator", (12 * MHZ, 48 * MHZ))
def test_the_ice40_pll_stays_within_its_limits(oscillator):
    made = every_megahertz(ice40.choose_dividers, oscillator)
    assert {18 * MHZ, 24 * MHZ, 30 * MHZ, 36 * MHZ, 48 * MHZ} <= set(made)
    for clock, dividers in made.items():
        assert dividers.clock_hz(oscillator) == clock >= 16 * MHZ
        assert 533 * MHZ <= dividers.vco_hz(oscillator) <= 1066 * MHZ
        assert 10 * MHZ <= oscillator / dividers.reference <= 133 * MHZ
        assert 1 <= dividers.reference <= 16
        assert 1 <= dividers.feedback <= 128
        assert 1 <= dividers.output <= 6
        # icepll's table: 1 up to 17 MHz, 3 up to 44, 4 up to 66.
        compared = oscillator // dividers.reference // MHZ
        assert dividers.filter_range(oscillator) == {12: 1, 16: 1, 24: 2, 48: 4}[compared]


def test_the_gowin_pll_stays_within_its_limits():
    oscillator = 27 * MHZ
    made = every_megahertz(gowin.choose_dividers, oscillator)
    assert {27 * MHZ, 36 * MHZ, 54 * MHZ} <= set(made)
    for clock, dividers in made.items():
        assert dividers.clock_hz(oscillator) == clock
        assert 500 * MHZ <= dividers.vco_hz(oscillator) <= 1200 * MHZ
        assert oscillator / dividers.reference >= 3 * MHZ
        assert 1 <= dividers.reference <= 64
        assert 1 <= dividers.feedback <= 64
        assert dividers.output in gowin.OUTPUT_DIVIDERS


@pytest.mark.parametrize("oscillator", (100 * MHZ, 125 * MHZ))
def test_the_xilinx_pll_stays_within_its_limits(oscillator):
    made = every_megahertz(xilinx7.choose_dividers, oscillator)
    assert {50 * MHZ, 80 * MHZ, 100 * MHZ, 125 * MHZ} <= set(made)
    for clock, dividers in made.items():
        assert dividers.clock_hz(oscillator) == clock
        assert 800 * MHZ <= dividers.vco_hz(oscillator) <= 1600 * MHZ
        assert oscillator / dividers.reference >= 19 * MHZ
        assert 2 <= dividers.feedback <= 64
        assert 1 <= dividers.output <= 128


def test_a_clock_that_is_the_oscillator_needs_no_pll():
    ice40.Ice40Clock.check(12 * MHZ, 12 * MHZ)
    gowin.GowinClock.check(27 * MHZ, 27 * MHZ)
    with pytest.raises(UserError, match="cannot make 12 MHz of 48 MHz"):
        ice40.Ice40Clock.check(48 * MHZ, 12 * MHZ)


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_every_board_can_make_its_clock(each):
    each.device.family.clock.check(each.oscillator_hz, each.clock_hz)
