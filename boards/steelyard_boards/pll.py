"""Clock of the design from the board's oscillator: an ECP5 PLL with the dividers that hit it."""

import math
from dataclasses import dataclass

from amaranth.hdl import ClockDomain, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from steelyard.errors import UserError

__all__ = ["Dividers", "EcpPll", "choose_dividers"]

MHZ = 1_000_000
VCO_HZ = (400 * MHZ, 800 * MHZ)
"""Range of the oscillator in the PLL (Lattice FPGA-DS-02012, sysCLOCK PLL timing)."""
PHASE_DETECTOR_HZ = (10 * MHZ, 400 * MHZ)
"""Range of the frequency that the PLL compares (same table)."""
LARGEST_DIVIDER = 128


@dataclass(frozen=True)
class Dividers:
    """Dividers of an EHXPLLL with feedback from its first output.

    Attributes
    ----------
    reference, feedback, output
        Divide the input, the feedback and the PLL's oscillator.
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

    The PLL's oscillator is as near to the middle of its range as the output divider allows.

    Raises
    ------
    UserError
        If no dividers make it.
    """
    common = math.gcd(input_hz, clock_hz)
    least_reference, least_feedback = input_hz // common, clock_hz // common
    middle = sum(VCO_HZ) / 2
    for factor in range(1, LARGEST_DIVIDER // max(least_reference, least_feedback) + 1):
        reference, feedback = least_reference * factor, least_feedback * factor
        if not PHASE_DETECTOR_HZ[0] <= input_hz / reference <= PHASE_DETECTOR_HZ[1]:
            continue
        outputs = [
            output
            for output in range(1, LARGEST_DIVIDER + 1)
            if VCO_HZ[0] <= clock_hz * output <= VCO_HZ[1]
        ]
        if outputs:
            output = min(outputs, key=lambda output: abs(clock_hz * output - middle))
            return Dividers(reference, feedback, output)
    raise UserError(
        f"The PLL cannot make {clock_hz / MHZ:g} MHz of {input_hz / MHZ:g} MHz; choose a clock "
        "from 4 to 400 MHz whose ratio to the oscillator is one of small whole numbers."
    )


class EcpPll(wiring.Component):
    """PLL of an ECP5 whose clock stands still until it has locked.

    A domain on it needs no reset: registers start as the bitstream sets them, and the link resets
    the accelerator. A reset from here would be a net to every register, and the slowest.

    Parameters
    ----------
    input_hz, clock_hz : :class:`int`
        Frequencies of the oscillator and of the clock.

    Members
    -------
    i : ``In(1)``
        The oscillator.
    clock : ``Out(1)``
        The clock.

    Raises
    ------
    UserError
        If the PLL cannot make the clock.
    """

    def __init__(self, input_hz: int, clock_hz: int):
        self._input_hz = input_hz
        self._clock_hz = clock_hz
        self._dividers = choose_dividers(input_hz, clock_hz)
        super().__init__({"i": In(1), "clock": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.domains.pll = pll = ClockDomain("pll", reset_less=True, local=True)
        locked, enable = Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self._input_hz / MHZ:.6g}",
            a_FREQUENCY_PIN_CLKOP=f"{self._clock_hz / MHZ:.6g}",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_CLKOP_ENABLE="ENABLED",
            p_CLKI_DIV=self._dividers.reference,
            p_CLKFB_DIV=self._dividers.feedback,
            p_CLKOP_DIV=self._dividers.output,
            # The output's edge belongs in the middle of what the divider counts.
            p_CLKOP_CPHASE=self._dividers.output - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=self.i,
            i_CLKFB=pll.clk,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=0,
            i_PHASESTEP=0,
            i_PHASELOADREG=0,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            o_CLKOP=pll.clk,
            o_LOCK=locked,
        )
        m.submodules.locked = FFSynchronizer(locked, enable, o_domain="pll")
        m.submodules.gate = Instance("DCCA", i_CLKI=pll.clk, i_CE=enable, o_CLKO=self.clock)
        return m
