"""What a build comes to: resources, clock and the demo network's speed."""

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Outcome", "Summary"]


@dataclass(frozen=True)
class Outcome:
    """What a flow made of a design.

    Attributes
    ----------
    lut, ff, dsp, bram : cells used
    fmax_seeds : highest clock of every seed, MHz, 0 for one whose router found no way; empty if
        nothing was routed
    bitstream : file of the best seed, None if there is none
    missing : why nothing was routed, one sentence, empty if something was
    """

    lut: int
    ff: int
    dsp: int
    bram: int
    fmax_seeds: list[float] = field(default_factory=list)
    bitstream: Path | None = None
    missing: str = ""


@dataclass(frozen=True)
class Summary:
    """What was built.

    Attributes
    ----------
    lut, ff, dsp, bram : cells used, of the kinds that the family names
    lut_per_mac : `lut` over `macs_per_cycle`, None with it; the link and the clock are in it
    fmax_seeds : highest clock of every seed, MHz, 0 for one whose router found no way; empty
        without place and route
    fmax_mhz : their median, None without
    clock_mhz : the clock that the design gets
    macs_per_cycle : multiplications of the array in one cycle, None for a crossbar tile
    demo_fps : images a second of the demo network without transfers, None if it cannot run; of a
        crossbar tile at least so many, for it skips steps without an input bit
    bitstream : file of the best seed, None if that misses the clock or nothing was routed
    """

    lut: int
    ff: int
    dsp: int
    bram: int
    lut_per_mac: float | None
    fmax_mhz: float | None
    fmax_seeds: list[float]
    clock_mhz: float
    macs_per_cycle: int | None
    demo_fps: float | None
    bitstream: str | None
