"""The table of boards: complete, consistent with the platforms, and turned into netlists."""

from dataclasses import replace

import pytest

from steelyard.errors import UserError
from steelyard_boards import BOARDS, board
from steelyard_boards.demo import demo_cycles
from steelyard_boards.flow import prepare
from steelyard_hw.link.uart import divider_for

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
        "icebreaker",
        "ice40_hx8k_b_evn",
        "tang_nano_9k",
        "tang_primer_20k",
        "arty_a7",
        "pynq_z2",
    ]


SMALL_BOARDS = ("icebreaker", "ice40_hx8k_b_evn", "tang_nano_9k")
"""Boards whose arrays do not run the demo network."""


def device_name(platform) -> str:
    """Name of a platform's device, as its maker's data sheet has it, without transceivers."""
    if hasattr(platform, "part"):
        return platform.family
    name = platform.device
    if name.startswith("LFE5U"):
        return f"LFE5U-{name.split('-')[1]}"
    return name.upper().removesuffix("I") if name.startswith("xc") else name


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_a_row_says_what_the_platform_says(each):
    platform = each.platform()
    assert each.device.name == device_name(platform)
    assert platform.default_clk_frequency == each.oscillator_hz
    assert ("uart", 0) in platform.resources


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_the_default_fits_and_runs_the_demo_where_that_fits(each):
    each.check(each.default)
    needs = each.device.family.demand(each.default)
    if each.name not in SMALL_BOARDS:
        assert demo_cycles(each.default) is not None
        # Room for the router: wires get scarce long before LUTs do.
        assert needs.luts <= 0.6 * each.device.luts
    row = each.row()
    assert row["macs_per_cycle"] == each.default.engine.macs_per_cycle
    assert row["weight_bytes"] + row["activation_bytes"] < row["block_ram_bytes"]


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_a_boards_text_has_no_addresses(each):
    """Jobs of an exploration are named by it, in every process alike."""
    assert " at 0x" not in repr(each)


@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_the_clock_makes_the_serial_rate(each):
    for config in (each.default, each.external):
        if config is not None:
            clock = each.clock_of(config)
            rate = clock / divider_for(clock, each.baud)
            assert rate == pytest.approx(each.baud, rel=0.0125)


def test_configurations_with_external_memory_may_have_a_clock_of_their_own():
    each = board("ulx3s_85f")
    assert each.clock_of(each.default) == each.clock_hz == each.clocked(each.default).clock_hz
    other = each.clock_of(each.external)
    assert other < each.clock_hz and each.clocked(each.external).clock_hz == other
    # The memory, at twice the clock, would not keep up with the other one.
    each.check(each.external)
    with pytest.raises(UserError, match="SDRAM of board 'ulx3s_85f' cannot work at 2 x"):
        replace(each, external_clock_hz=None).check(each.external)
    for name in ("ulx3s_12f", "icepi_zero"):
        own = board(name)
        assert own.clock_of(own.external) == own.clock_of(own.default) == own.clock_hz


CLOCKS = {
    "ECP5": ("EHXPLLL", "DCCA"),
    "iCE40 UltraPlus": ("SB_PLL40_PAD",),
    "iCE40 HX": ("SB_PLL40_CORE", "SB_GB_IO"),
    "Gowin LittleBee": ("IBUF",),
    "Gowin Arora": ("IBUF",),
    "Xilinx 7 series": ("PLLE2_BASE", "BUFGCE"),
}
"""Cells between the oscillator and the design, by family."""


def test_the_whole_design_becomes_a_netlist():
    each = board("ulx3s_12f")
    files = prepare(each, each.default.with_(lanes=4, columns=2, requantizers=1))
    assert "accelerator.array.column_1" in files["top.il"]


@pytest.mark.usefixtures("small_design")
@pytest.mark.parametrize("each", BOARDS.values(), ids=BOARDS)
def test_the_design_becomes_files_with_clock_and_pins(each):
    files = prepare(each, each.default)
    (design,) = (text for name, text in files.items() if name in ("top.il", "top.v"))
    for cell in CLOCKS[each.device.family.name]:
        assert f"\\{cell} " in design or f" {cell} " in design
    (pins,) = (text for name, text in files.items() if name.endswith(("lpf", "cst", "xdc", "pcf")))
    for pin in ("uart_0__rx__io", "uart_0__tx__io"):
        assert pin in pins
    assert any("COLLISION_X_MASK" in text for text in files.values())


EXTERNAL = {name: each for name, each in BOARDS.items() if each.external}


def test_boards_with_an_sdram_have_a_configuration_with_it():
    assert set(EXTERNAL) == {
        *("ulx3s_12f", "ulx3s_25f", "ulx3s_45f", "ulx3s_85f", "icesugar_pro", "icepi_zero")
    }
    for each in EXTERNAL.values():
        each.check(each.external)
        assert each.external.memory.external_words == each.memory.words == 1 << 23


@pytest.mark.usefixtures("small_design")
@pytest.mark.parametrize("each", EXTERNAL.values(), ids=EXTERNAL)
def test_an_sdram_has_all_its_pins_with_registers_in_their_cells(each):
    files = prepare(each, each.external)
    pins = [line for line in files["top.lpf"].splitlines() if "LOCATE" in line and "sdram" in line]
    # Data, address, bank, byte masks, row, column and write, select, enable, clock.
    assert len(pins) == 16 + 13 + 2 + 2 + 3 + 2 + 1
    design = files["top.il"]
    if each.external.memory.external_slots == 2:
        # Two values a cycle but for masks and enable; whether a pin drives has a register.
        both = 16 + 13 + 2 + 3 + 1 + 1
        assert design.count("cell \\ODDRX1F") == both
        assert design.count("cell \\IDDRX1F") == 16
        assert design.count("cell \\OFS1P3DX") == 2 * (2 + 1) + both
        assert "CLKOS2" in design
        return
    # What each pin drives and whether it does, the latter of the clock too, which has both edges.
    assert design.count("cell \\OFS1P3DX") == 2 * (16 + 13 + 2 + 2 + 3 + 2) + 1
    assert design.count("cell \\IFS1P3DX") == 16
    assert design.count("cell \\ODDRX1F") == 1


def test_an_unknown_board_is_refused_with_the_names_of_all():
    with pytest.raises(UserError) as caught:
        board("ulx3s")
    assert str(caught.value) == (f"There is no board 'ulx3s'; choose one of {', '.join(BOARDS)}.")


def test_a_clock_that_the_serial_line_cannot_use_is_refused():
    fast = replace(board("ulx3s_25f"), baud=25 * MHZ)
    with pytest.raises(UserError, match=r"62.5 MHz cannot make 2.5e\+07 baud"):
        fast.check(fast.default)
