"""Counters that only the crossbar tile has."""

from dataclasses import dataclass

__all__ = ["StoppedCounters", "UnitCounters"]


@dataclass(frozen=True, kw_only=True)
class UnitCounters:
    """What the crossbar tile's operation units did, as section 4 of docs/crossbar.md counts it.

    Members
    -------
    ou_steps : executed steps of all operation units
    ou_skipped : steps left out, for all selected input bits were 0
    adc_conversions : bitlines in use that are converted, summed over executed steps
    dac_drives : wordlines in use, summed over executed steps
    cell_reads : cells in use, summed over executed steps
    """

    ou_steps: int
    ou_skipped: int
    adc_conversions: int
    dac_drives: int
    cell_reads: int


@dataclass(frozen=True, kw_only=True)
class StoppedCounters(UnitCounters):
    """Those of a tile whose converters stop at the bits that a bitline reaches.

    Members
    -------
    adc_left_out : bitlines in use that reach no bit, summed over executed steps
    adc_decisions : bits that the conversions resolve
    """

    adc_left_out: int
    adc_decisions: int
