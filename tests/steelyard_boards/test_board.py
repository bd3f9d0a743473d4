"""The table of boards: complete, consistent with the platforms, and turned into netlists."""

from dataclasses import replace
from fractions import Fraction

import pytest

from steelyard.errors import UserError
from steelyard_boards import BOARDS, board
from steelyard_boards.demo import demo_cycles
from steelyard_boards.families.ecp5 import (
    OUTPUT_HZ,
    PHASE_DETECTOR_HZ,
    VCO_HZ,
    Dividers,
    choose_dividers,
)
from steelyard_boards.flow import prepare
from steelyard_hw.link_uart import divider_for

MHZ = 1_000_000


def test_the_table_holds_the_boards_with_a_serial_port():
    assert list(BOARDS) == [
        "ulx3s_12f",
        "ulx3s_25f",
        "ulx3s_45f",
        "ulx3s_85f",
        "icesugar_pro",
        "icepi_zero",
        "ecpix5",
        "versa_ecp5",
    ]


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_a_row_says_what_the_platform_says(each):
    platform = each.platform()
    # The vendor's sub-families differ in their transceivers.
    family, size = platform.device.split("-")
    assert family.startswith("LFE5U")
    assert each.device.name == f"LFE5U-{size}"
    assert platform.default_clk_frequency == each.oscillator_hz
    assert ("uart", 0) in platform.resources


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_the_default_fits_runs_the_demo_and_uses_its_multipliers(each):
    each.check(each.default)
    needs = each.device.family.demand(each.default)
    assert demo_cycles(each.default) is not None
    # Room for the router: wires get scarce long before LUTs do.
    assert needs.luts <= 0.6 * each.device.luts
    assert 2 * needs.multipliers >= 0.95 * each.device.multipliers
    row = each.row()
    assert row["macs_per_cycle"] == each.default.macs_per_cycle
    assert row["weight_bytes"] + row["activation_bytes"] < row["block_ram_bytes"]


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_the_pll_makes_the_clock_and_the_clock_the_serial_rate(each):
    dividers = choose_dividers(each.oscillator_hz, each.clock_hz)
    assert dividers.clock_hz(each.oscillator_hz) == each.clock_hz
    assert VCO_HZ[0] <= dividers.vco_hz(each.oscillator_hz) <= VCO_HZ[1]
    rate = each.clock_hz / divider_for(each.clock_hz, each.baud)
    assert rate == pytest.approx(each.baud, rel=0.01)


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


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_the_design_becomes_a_netlist_with_pll_and_pins(each):
    files = prepare(each, each.default.with_(lanes=4, columns=2, requantizers=1))
    netlist, constraints = files["top.il"], files["top.lpf"]
    assert "cell \\EHXPLLL \\pll" in netlist
    assert "cell \\DCCA \\gate" in netlist
    for pin in ("uart_0__rx__io", "uart_0__tx__io"):
        assert f'LOCATE COMP "{pin}" SITE' in constraints
    assert "COLLISION_X_MASK" in files["top.ys"]


def test_an_unknown_board_is_refused_with_the_names_of_all():
    with pytest.raises(UserError) as caught:
        board("ulx3s")
    assert str(caught.value) == (f"There is no board 'ulx3s'; choose one of {', '.join(BOARDS)}.")


def test_a_clock_that_the_serial_line_cannot_use_is_refused():
    fast = replace(board("ulx3s_25f"), baud=25 * MHZ)
    with pytest.raises(UserError, match=r"62.5 MHz cannot make 2.5e\+07 baud"):
        fast.check(fast.default)
