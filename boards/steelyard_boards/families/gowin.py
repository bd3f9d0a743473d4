"""Gowin LittleBee and Arora: their devices, and a clock from the rPLL."""

from dataclasses import dataclass, replace

from amaranth.hdl import ClockDomain, Const, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from steelyard.errors import UserError
from steelyard_hw.cells.target import Target

from .family import Clock, Device, Family

__all__ = ["GW1NR_9C", "GW2A_18C", "Dividers", "GowinClock", "choose_dividers"]

MHZ = 1_000_000
VCO_HZ = (500 * MHZ, 1200 * MHZ)
"""Range of the oscillator in the PLL that is within those of both devices (Gowin DS117, DS102)."""
LEAST_COMPARED_HZ = 3 * MHZ
"""Least frequency that the PLL compares (same sources)."""
LEAST_OUTPUT_HZ = 3_125_000
OUTPUT_DIVIDERS = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)


@dataclass(frozen=True)
class Dividers:
    """Dividers of an rPLL whose feedback is its output.

    Attributes
    ----------
    reference, feedback : divide the input and the clock, 1 to 64
    output : divides the PLL's oscillator
    """

    reference: int
    feedback: int
    output: int

    def clock_hz(self, input_hz: int) -> float:
        """Frequency that comes out."""
        return input_hz * self.feedback / self.reference

    def vco_hz(self, input_hz: int) -> float:
        """Frequency of the PLL's oscillator."""
        return self.clock_hz(input_hz) * self.output


def choose_dividers(input_hz: int, clock_hz: int) -> Dividers:
    """Dividers that make `clock_hz` exactly, with the smallest reference divider.

    Raises
    ------
    UserError
        If no dividers make it.
    """
    for reference in range(1, 65):
        feedback, rest = divmod(clock_hz * reference, input_hz)
        if rest or feedback > 64 or input_hz / reference < LEAST_COMPARED_HZ:
            continue
        for output in OUTPUT_DIVIDERS:
            if VCO_HZ[0] <= clock_hz * output <= VCO_HZ[1] and clock_hz >= LEAST_OUTPUT_HZ:
                return Dividers(reference, feedback, output)
    raise UserError(
        f"The PLL cannot make {clock_hz / MHZ:g} MHz of {input_hz / MHZ:g} MHz; choose a clock "
        "of at least 4 MHz whose ratio to the oscillator is one of whole numbers up to 64, the "
        "lower at most 9."
    )


class GowinClock(Clock):
    """Clock from the oscillator by an rPLL, or without one where both are the same.

    A reset waits for the PLL.
    """

    reset_less = False

    def __init__(self, input_hz: int, clock_hz: int):
        self.check(input_hz, clock_hz)
        super().__init__(input_hz, clock_hz)

    @classmethod
    def check(cls, input_hz: int, clock_hz: int) -> None:
        if input_hz != clock_hz:
            choose_dividers(input_hz, clock_hz)

    def elaborate(self, platform):
        m = Module()
        m.domains.started = started = ClockDomain("started", reset_less=True, local=True)
        pin = platform.request(platform.default_clk, 0, dir="-")
        m.submodules.pin = buffer = io.Buffer("i", pin)
        locked, good, reset = Signal(), Signal(), Signal(init=1)
        if self._input_hz == self._clock_hz:
            m.d.comb += [started.clk.eq(buffer.i), locked.eq(1)]
        else:
            m.submodules.pll = self._pll(platform, buffer.i, started.clk, locked)
        m.submodules.locked = FFSynchronizer(locked, good, o_domain="started")
        m.d.started += reset.eq(~good)
        m.d.comb += [self.clock.eq(started.clk), self.reset.eq(reset)]
        return m

    def _pll(self, platform, oscillator, clock, locked) -> Instance:
        dividers = choose_dividers(self._input_hz, self._clock_hz)
        return Instance(
            "rPLL",
            p_FCLKIN=f"{self._input_hz / MHZ:g}",
            p_DEVICE=platform.family,
            p_IDIV_SEL=dividers.reference - 1,
            p_FBDIV_SEL=dividers.feedback - 1,
            p_ODIV_SEL=dividers.output,
            p_DYN_IDIV_SEL="false",
            p_DYN_FBDIV_SEL="false",
            p_DYN_ODIV_SEL="false",
            p_DYN_DA_EN="false",
            p_DYN_SDIV_SEL=2,
            p_PSDA_SEL="0000",
            p_DUTYDA_SEL="1000",
            p_CLKFB_SEL="internal",
            p_CLKOUT_BYPASS="false",
            p_CLKOUTP_BYPASS="false",
            p_CLKOUTD_BYPASS="false",
            p_CLKOUTD_SRC="CLKOUT",
            p_CLKOUTD3_SRC="CLKOUT",
            i_CLKIN=oscillator,
            i_CLKFB=0,
            i_RESET=0,
            i_RESET_P=0,
            i_FBDSEL=Const(0, 6),
            i_IDSEL=Const(0, 6),
            i_ODSEL=Const(0, 6),
            i_PSDA=Const(0, 4),
            i_DUTYDA=Const(0, 4),
            i_FDLY=Const(0, 4),
            o_CLKOUT=clock,
            o_LOCK=locked,
        )


LITTLE_BEE = Family(
    name="Gowin LittleBee",
    toolchain="nextpnr-himbaechel-gowin",
    target=Target.PORTABLE,
    lut="LUT4 and ALU",
    block_ram="BSRAM",
    multiplier="MULT18X18",
    block_ram_shapes=((512, 32), (1024, 16), (2048, 8), (4096, 4), (8192, 2), (16384, 1)),
    block_ram_bytes=2048,
    clock=GowinClock,
    synthesis="-family gw1n",
    # Halves of a MULT18X18, each a MULT9X9, multiply weights.
    lanes_per_multiplier=2,
    growth=0.84,
    # Its placement and routing take five minutes, and the clock is far.
    seeds=1,
)
ARORA = replace(LITTLE_BEE, name="Gowin Arora", synthesis="-family gw2a", growth=1.3)
GW1NR_9C = Device("GW1NR-9C", LITTLE_BEE, 8_640, 6_480, 26, 20)
GW2A_18C = Device("GW2A-18C", ARORA, 20_736, 15_552, 46, 48)
