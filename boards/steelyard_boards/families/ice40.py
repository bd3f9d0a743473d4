"""Lattice iCE40: its devices, and a clock from its PLL, or the oscillator itself."""

from dataclasses import dataclass

from amaranth.hdl import ClockDomain, Const, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from steelyard.errors import UserError
from steelyard_hw.cells.synthesis import ULTRAPLUS, ULTRAPLUS_INFERENCE
from steelyard_hw.cells.target import Target

from .family import Clock, Device, Family

__all__ = ["HX", "HX8K", "UP", "UP5K", "Dividers", "Ice40Clock", "Ice40PadClock", "choose_dividers"]

MHZ = 1_000_000
VCO_HZ = (533 * MHZ, 1066 * MHZ)
"""Range of the oscillator in the PLL (Lattice FPGA-DS-02029 and -02008, sysCLOCK PLL timing)."""
PHASE_DETECTOR_HZ = (10 * MHZ, 133 * MHZ)
"""Range of the frequency that the PLL compares (same tables)."""
OUTPUT_HZ = (16 * MHZ, 275 * MHZ)
"""Range of the output (same tables)."""
FILTER_STEPS_HZ = (17 * MHZ, 26 * MHZ, 44 * MHZ, 66 * MHZ, 101 * MHZ)
"""Compared frequencies above which FILTER_RANGE is 2, 3, ... (as IceStorm's icepll has it)."""
SETTLE_CYCLES = 1 << 10
"""Reset after the clock is good: block RAMs read as zeros for the first microseconds."""


@dataclass(frozen=True)
class Dividers:
    """Dividers of an SB_PLL40 whose feedback comes from its oscillator.

    Attributes
    ----------
    reference : divides the input, 1 to 16
    feedback : divides the PLL's oscillator, 1 to 128
    output : logarithm to base 2 of what divides the PLL's oscillator for the clock, 1 to 6
    """

    reference: int
    feedback: int
    output: int

    def vco_hz(self, input_hz: int) -> float:
        """Frequency of the PLL's oscillator."""
        return input_hz * self.feedback / self.reference

    def clock_hz(self, input_hz: int) -> float:
        """Frequency that comes out."""
        return self.vco_hz(input_hz) / (1 << self.output)

    def filter_range(self, input_hz: int) -> int:
        """Setting of the loop filter."""
        compared = input_hz / self.reference
        return 1 + sum(compared >= step for step in FILTER_STEPS_HZ)


def choose_dividers(input_hz: int, clock_hz: int) -> Dividers:
    """Dividers that make `clock_hz` exactly, with the smallest reference divider.

    Raises
    ------
    UserError
        If no dividers make it.
    """
    for reference in range(1, 17):
        if not PHASE_DETECTOR_HZ[0] <= input_hz / reference <= PHASE_DETECTOR_HZ[1]:
            continue
        for output in range(1, 7):
            vco = clock_hz << output
            feedback, rest = divmod(vco * reference, input_hz)
            in_range = VCO_HZ[0] <= vco <= VCO_HZ[1] and OUTPUT_HZ[0] <= clock_hz <= OUTPUT_HZ[1]
            if not rest and feedback <= 128 and in_range:
                return Dividers(reference, feedback, output)
    raise UserError(
        f"The PLL cannot make {clock_hz / MHZ:g} MHz of {input_hz / MHZ:g} MHz; choose the "
        f"oscillator's own {input_hz / MHZ:g} MHz, or from 16 MHz on a multiple of the oscillator "
        "divided by a power of two."
    )


class Ice40Clock(Clock):
    """Clock from the oscillator by an SB_PLL40_CORE, or without one where both are the same.

    There is no gate for a clock: a reset, on a global net, waits for the PLL and the block RAMs.
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
        locked = Signal()
        if self._input_hz == self._clock_hz:
            m.submodules.pin = buffer = io.Buffer("i", pin)
            m.d.comb += [started.clk.eq(buffer.i), locked.eq(1)]
        else:
            m.submodules.pll = self._pll(m, pin, started.clk, locked)
        m.d.comb += self.clock.eq(started.clk)
        good = Signal()
        m.submodules.locked = FFSynchronizer(locked, good, o_domain="started")
        left = Signal(range(SETTLE_CYCLES), init=SETTLE_CYCLES - 1)
        with m.If(~good):
            m.d.started += left.eq(SETTLE_CYCLES - 1)
        with m.Elif(left != 0):
            m.d.started += left.eq(left - 1)
        reset = Signal(init=1)
        m.d.started += reset.eq(~good | (left != 0))
        m.d.comb += self.reset.eq(reset)
        return m

    def _pll(self, m, pin, clock, locked) -> Instance:
        m.submodules.pin = buffer = io.Buffer("i", pin)
        return self._instance("SB_PLL40_CORE", clock, locked, i_REFERENCECLK=buffer.i)

    def _instance(self, cell: str, clock, locked, **source) -> Instance:
        dividers = choose_dividers(self._input_hz, self._clock_hz)
        return Instance(
            cell,
            a_FREQUENCY_PIN_PLLOUTGLOBAL=f"{self._clock_hz / MHZ:.6g}",
            p_FEEDBACK_PATH="SIMPLE",
            p_PLLOUT_SELECT="GENCLK",
            p_DIVR=Const(dividers.reference - 1, 4),
            p_DIVF=Const(dividers.feedback - 1, 7),
            p_DIVQ=Const(dividers.output, 3),
            p_FILTER_RANGE=Const(dividers.filter_range(self._input_hz), 3),
            i_RESETB=1,
            i_BYPASS=0,
            o_PLLOUTGLOBAL=clock,
            o_LOCK=locked,
            **source,
        )


class Ice40PadClock(Ice40Clock):
    """:class:`Ice40Clock` for an oscillator on the PLL's own pad, which can feed nothing else."""

    def _pll(self, m, pin, clock, locked) -> Instance:
        return self._instance("SB_PLL40_PAD", clock, locked, i_PACKAGEPIN=pin.io)


SHAPES = ((256, 16), (512, 8), (1024, 4), (2048, 2))
UP = Family(
    name="iCE40 UltraPlus",
    toolchain="nextpnr-ice40",
    target=Target.ICE40,
    lut="ICESTORM_LC",
    block_ram="ICESTORM_RAM",
    multiplier="ICESTORM_DSP",
    block_ram_shapes=SHAPES,
    block_ram_bytes=512,
    clock=Ice40PadClock,
    synthesis=ULTRAPLUS,
    inference=ULTRAPLUS_INFERENCE,
    routable=0.93,
    paired_stages=2,
    large_ram=(16384, 16),
    growth=0.75,
)
HX = Family(
    name="iCE40 HX",
    toolchain="nextpnr-ice40",
    target=Target.PORTABLE,
    lut="ICESTORM_LC",
    block_ram="ICESTORM_RAM",
    multiplier="none",
    block_ram_shapes=SHAPES,
    block_ram_bytes=512,
    clock=Ice40Clock,
    growth=0.7,
    multiplier_luts=160,
)
UP5K = Device("iCE40UP5K", UP, 5_280, 5_280, 30, 8, 4)
HX8K = Device("iCE40HX8K", HX, 7_680, 7_680, 32, 0)
