"""Xilinx 7 series: devices, and a clock from a PLL."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, Const, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from steelyard.errors import UserError
from steelyard_hw.cells.multiplier_xilinx import XilinxPairs
from steelyard_hw.cells.target import Target

from .family import Clock, Device, Family

__all__ = ["XC7A35T", "XC7Z020", "XILINX7", "Dividers", "XilinxClock", "choose_dividers"]

MHZ = 1_000_000
VCO_HZ = (800 * MHZ, 1600 * MHZ)
"""Range of the oscillator in a PLLE2 of the slowest grade (Xilinx DS181 and DS187, PLL timing)."""
COMPARED_HZ = (19 * MHZ, 450 * MHZ)
"""Range of the frequency that it compares (same tables)."""


@dataclass(frozen=True)
class Dividers:
    """Dividers of a PLLE2_BASE.

    Attributes
    ----------
    reference : divides the input, 1 to 56
    feedback : divides the PLL's oscillator, 2 to 64
    output : divides the PLL's oscillator for the clock, 1 to 128
    """

    reference: int
    feedback: int
    output: int

    def vco_hz(self, input_hz: int) -> float:
        """Frequency of the PLL's oscillator."""
        return input_hz * self.feedback / self.reference

    def clock_hz(self, input_hz: int) -> float:
        """Frequency that comes out."""
        return self.vco_hz(input_hz) / self.output


def choose_dividers(input_hz: int, clock_hz: int) -> Dividers:
    """Dividers that make `clock_hz` exactly, with the smallest reference divider.

    Raises
    ------
    UserError
        If no dividers make it.
    """
    for reference in range(1, 57):
        if not COMPARED_HZ[0] <= input_hz / reference <= COMPARED_HZ[1]:
            continue
        for output in range(1, 129):
            vco = clock_hz * output
            feedback, rest = divmod(vco * reference, input_hz)
            if not rest and 2 <= feedback <= 64 and VCO_HZ[0] <= vco <= VCO_HZ[1]:
                return Dividers(reference, feedback, output)
    raise UserError(
        f"The PLL cannot make {clock_hz / MHZ:g} MHz of {input_hz / MHZ:g} MHz; choose a clock "
        "from 7 to 800 MHz whose ratio to the oscillator is one of small whole numbers."
    )


class XilinxClock(Clock):
    """Clock from a PLLE2_BASE that stands still until the PLL has locked."""

    def __init__(self, input_hz: int, clock_hz: int):
        self._dividers = choose_dividers(input_hz, clock_hz)
        super().__init__(input_hz, clock_hz)

    @classmethod
    def check(cls, input_hz: int, clock_hz: int) -> None:
        choose_dividers(input_hz, clock_hz)

    def elaborate(self, platform):
        m = Module()
        pin = platform.request(platform.default_clk, 0, dir="-")
        m.submodules.pin = buffer = io.Buffer("i", pin)
        m.domains.pll = pll = ClockDomain("pll", reset_less=True, local=True)
        dividers = self._dividers
        feedback, output, locked, enable = Signal(), Signal(), Signal(), Signal()
        m.submodules.pll = Instance(
            "PLLE2_BASE",
            p_CLKIN1_PERIOD=1e9 / self._input_hz,
            p_DIVCLK_DIVIDE=dividers.reference,
            p_CLKFBOUT_MULT=dividers.feedback,
            p_CLKOUT0_DIVIDE=dividers.output,
            i_CLKIN1=buffer.i,
            i_CLKFBIN=feedback,
            i_RST=Const(0),
            i_PWRDWN=Const(0),
            o_CLKFBOUT=feedback,
            o_CLKOUT0=output,
            o_LOCKED=locked,
        )
        m.submodules.running = Instance("BUFG", i_I=output, o_O=pll.clk)
        m.submodules.locked = FFSynchronizer(locked, enable, o_domain="pll")
        m.submodules.gate = Instance("BUFGCE", i_I=output, i_CE=enable, o_O=self.clock)
        return m


XILINX7 = Family(
    name="Xilinx 7 series",
    toolchain="vivado",
    target=Target.XILINX,
    lut="LUT",
    block_ram="RAMB18E1",
    multiplier="DSP48E1",
    block_ram_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
    block_ram_bytes=2048,
    clock=XilinxClock,
    synthesis="-family xc7",
    growth=0.72,
    paired_stages=XilinxPairs.STAGES,
)
# RAMB18E1 counted: two halves of each block RAM.
XC7A35T = Device("XC7A35T", XILINX7, 20_800, 41_600, 100, 90)
XC7Z020 = Device("XC7Z020", XILINX7, 53_200, 106_400, 280, 220)
