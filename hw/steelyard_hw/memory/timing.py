"""Timing of a chip in cycles of a clock."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from .chips import Figure, SdramChip

__all__ = ["SdramTiming"]

MIN_REFRESH_CYCLES = 64
"""A clock with fewer between refreshes would leave little for anything else."""


@dataclass(frozen=True)
class SdramTiming:
    """Least distances in cycles, as :class:`SdramChip` names them.

    Members
    -------
    cas : CAS latency, the least that the clock allows
    refresh : cycles between refreshes at most
    """

    cas: int
    rcd: int
    rp: int
    ras: int
    rc: int
    rrd: int
    rfc: int
    wr: int
    mrd: int
    refresh: int
    power_up: int

    @classmethod
    def of(cls, chip: SdramChip, clock_hz: int) -> "SdramTiming":
        """Timing of a chip at a clock.

        Raises
        ------
        ValueError
            If the chip cannot work at that clock.
        """
        if not isinstance(clock_hz, int) or clock_hz <= 0:
            raise ValueError(f"A clock must be a positive integer in Hz, not {clock_hz!r}")

        def exact(figure: Figure) -> Fraction:
            value = Fraction(str(figure.value))
            return value if figure.unit == "tCK" else value * clock_hz / 10**9

        def least(figure: Figure) -> int:
            return ceil(exact(figure))

        latencies = [cas for cas, figure in ((2, chip.cl2), (3, chip.cl3)) if exact(figure) <= 1]
        if not latencies:
            highest = floor(10**3 / Fraction(str(chip.cl3.value)))
            raise ValueError(
                f"{chip.name} takes clocks of up to {highest} MHz, not {clock_hz / 1e6:g} MHz"
            )
        refresh = floor(exact(chip.refresh))
        if refresh < MIN_REFRESH_CYCLES:
            raise ValueError(
                f"{chip.name} wants a refresh every {chip.refresh.value:g} ns, which are "
                f"{refresh} cycles of {clock_hz / 1e6:g} MHz; it needs {MIN_REFRESH_CYCLES} or more"
            )
        return cls(
            cas=latencies[0],
            rcd=least(chip.rcd),
            rp=least(chip.rp),
            ras=least(chip.ras),
            rc=least(chip.rc),
            rrd=least(chip.rrd),
            rfc=least(chip.rfc),
            wr=least(chip.wr),
            mrd=least(chip.mrd),
            refresh=refresh,
            power_up=least(chip.power_up),
        )
