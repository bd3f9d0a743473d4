"""Lattice ECP5: its devices, and a clock from its PLL."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from steelyard.errors import UserError
from steelyard_hw.cells.multiplier_ecp5 import EcpPairs
from steelyard_hw.cells.target import Target

from . import ecp5_clock
from .ecp5_clock import array_fmax
from .ecp5_luts import COSTS, ERROR, SHAPES, array_luts
from .family import Clock, Device, Family

__all__ = ["ECP5", "LFE5_12F", "LFE5_25F", "LFE5_45F", "LFE5_85F", "Dividers", "EcpClock",
           "choose_dividers"]  # fmt: skip

MHZ = 1_000_000
VCO_HZ = (400 * MHZ, 800 * MHZ)
"""Range of the oscillator in the PLL (Lattice FPGA-DS-02012, sysCLOCK PLL timing)."""
PHASE_DETECTOR_HZ = (10 * MHZ, 400 * MHZ)
"""Range of the frequency that the PLL compares (same table)."""
OUTPUT_HZ = (3_125_000, 400 * MHZ)
"""Range of an output (same table)."""
LARGEST_DIVIDER = 128
AHEAD_NS = 1.25
"""By which the clock of a memory of two slots is ahead of the design's: its data, 6 ns after the
chip's clock and up to 5 for the pins of both ways, are then taken while they are good
(docs/notes/sdram.md)."""


@dataclass(frozen=True)
class Dividers:
    """Dividers of an EHXPLLL whose feedback comes from its first output.

    Attributes
    ----------
    reference, feedback, loop, output
        Divide the input, the feedback, and the PLL's oscillator: for its first output, which feeds
        back, and for the one that is the clock. The clock is the first output where both are equal.
    """

    reference: int
    feedback: int
    loop: int
    output: int

    def vco_hz(self, input_hz: int) -> float:
        """Frequency of the PLL's oscillator."""
        return input_hz * self.feedback * self.loop / self.reference

    def loop_hz(self, input_hz: int) -> float:
        """Frequency of the output that feeds back."""
        return input_hz * self.feedback / self.reference

    def clock_hz(self, input_hz: int) -> float:
        """Frequency that comes out."""
        return self.vco_hz(input_hz) / self.output


def choose_dividers(input_hz: int, clock_hz: int, slots: int = 1) -> Dividers:
    """Dividers that make `clock_hz` exactly, and `slots` times as much.

    The clock feeds back itself where it can; the PLL then compares as fast as possible, and its
    oscillator is as near to the middle of its range as the output divider allows.

    Raises
    ------
    UserError
        If no dividers make it.
    """
    middle = sum(VCO_HZ) / 2

    def rank(dividers: Dividers) -> tuple[bool, int, float, int]:
        distance = abs(dividers.vco_hz(input_hz) - middle)
        return dividers.loop != dividers.output, dividers.reference, distance, dividers.feedback

    try:
        found = _candidates(input_hz, clock_hz)
        return min((each for each in found if each.output % slots == 0), key=rank)
    except ValueError:
        twice = "" if slots == 1 else f" and {slots} times as much"
        raise UserError(
            f"The PLL cannot make {clock_hz / MHZ:g} MHz{twice} of {input_hz / MHZ:g} MHz; choose "
            "a clock from 4 to 400 MHz whose ratio to the oscillator is one of small whole numbers."
        ) from None


def _candidates(input_hz: int, clock_hz: int):
    """All dividers within the limits that make `clock_hz` exactly."""
    for output in range(1, LARGEST_DIVIDER + 1):
        vco = clock_hz * output
        if not VCO_HZ[0] <= vco <= VCO_HZ[1]:
            continue
        for reference in range(1, LARGEST_DIVIDER + 1):
            compared = input_hz / reference
            product, rest = divmod(vco * reference, input_hz)
            if rest or not PHASE_DETECTOR_HZ[0] <= compared <= PHASE_DETECTOR_HZ[1]:
                continue
            for loop in range(1, LARGEST_DIVIDER + 1):
                feedback, rest = divmod(product, loop)
                in_range = OUTPUT_HZ[0] <= vco / loop <= OUTPUT_HZ[1]
                if not rest and feedback <= LARGEST_DIVIDER and in_range:
                    yield Dividers(reference, feedback, loop, output)


class EcpClock(Clock):
    """Clock from an EHXPLLL that stands still until the PLL has locked.

    A reset from the PLL would be a net to every register, and the slowest.
    """

    def __init__(self, input_hz: int, clock_hz: int, slots: int = 1):
        self._dividers = choose_dividers(input_hz, clock_hz, slots)
        super().__init__(input_hz, clock_hz, slots)

    @classmethod
    def check(cls, input_hz: int, clock_hz: int) -> None:
        choose_dividers(input_hz, clock_hz)

    @classmethod
    def check_memory(cls, input_hz: int, clock_hz: int, slots: int) -> None:
        choose_dividers(input_hz, clock_hz, slots)

    def elaborate(self, platform):
        m = Module()
        pin = platform.request(platform.default_clk, 0, dir="-")
        m.submodules.pin = buffer = io.Buffer("i", pin)
        m.domains.pll = pll = ClockDomain("pll", reset_less=True, local=True)
        dividers = self._dividers
        feedback, locked, enable = Signal(), Signal(), Signal()
        second = {}
        if dividers.loop == dividers.output:
            m.d.comb += pll.clk.eq(feedback)
        else:
            second = {
                "a_FREQUENCY_PIN_CLKOS": _megahertz(self._clock_hz),
                "p_CLKOS_ENABLE": "ENABLED",
                "p_CLKOS_DIV": dividers.output,
                "p_CLKOS_CPHASE": dividers.output - 1,
                "p_CLKOS_FPHASE": 0,
                "i_ENCLKOS": 0,
                "o_CLKOS": pll.clk,
            }
        if self._slots > 1:
            divider = dividers.output // self._slots
            # In eighths of the PLL's oscillator, as phases are.
            ahead = round(AHEAD_NS * 1e-9 * dividers.vco_hz(self._input_hz) * 8)
            coarse, fine = divmod((divider - 1) * 8 - ahead, 8)
            second |= {
                "a_FREQUENCY_PIN_CLKOS2": _megahertz(self._slots * self._clock_hz),
                "p_CLKOS2_ENABLE": "ENABLED",
                "p_CLKOS2_DIV": divider,
                "p_CLKOS2_CPHASE": coarse % divider,
                "p_CLKOS2_FPHASE": fine,
                "i_ENCLKOS2": 0,
                "o_CLKOS2": self.memory,
            }
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=_megahertz(self._input_hz),
            a_FREQUENCY_PIN_CLKOP=_megahertz(dividers.loop_hz(self._input_hz)),
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKI_DIV=dividers.reference,
            p_CLKFB_DIV=dividers.feedback,
            p_CLKOP_DIV=dividers.loop,
            # The output's edge belongs in the middle of what the divider counts.
            p_CLKOP_CPHASE=dividers.loop - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=buffer.i,
            i_CLKFB=feedback,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=0,
            i_PHASESTEP=0,
            i_PHASELOADREG=0,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=feedback,
            o_LOCK=locked,
            **second,
        )
        m.submodules.locked = FFSynchronizer(locked, enable, o_domain="pll")
        m.submodules.gate = Instance("DCCA", i_CLKI=pll.clk, i_CE=enable, o_CLKO=self.clock)
        return m


def _megahertz(hertz: float) -> str:
    return f"{hertz / MHZ:.6g}"


ECP5 = Family(
    name="ECP5",
    toolchain="nextpnr-ecp5",
    target=Target.ECP5,
    lut="TRELLIS_COMB",
    block_ram="DP16KD",
    multiplier="MULT18X18D",
    block_ram_shapes=SHAPES,
    block_ram_bytes=2048,
    ram_costs=COSTS,
    array_luts=array_luts,
    luts_error=ERROR,
    array_fmax=array_fmax,
    fmax_error=ecp5_clock.ERROR,
    clock=EcpClock,
    paired_stages=EcpPairs.STAGES,
    pair_luts=31,
)
# What nextpnr-ecp5 offers. The 12F is a 25F's die that the vendor's tools use half of.
LFE5_12F = Device("LFE5U-12F", ECP5, 24_288, 24_288, 56, 28, speed_grade=6)
LFE5_25F = Device("LFE5U-25F", ECP5, 24_288, 24_288, 56, 28, speed_grade=6)
LFE5_45F = Device("LFE5U-45F", ECP5, 43_848, 43_848, 108, 72, speed_grade=6)
LFE5_85F = Device("LFE5U-85F", ECP5, 83_640, 83_640, 208, 156, speed_grade=6)
