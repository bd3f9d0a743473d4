"""SDR SDRAM chips with 16 data pins, each figure with its source."""

from dataclasses import dataclass, fields, replace

__all__ = [
    "AS4C32M16SB_7",
    "CHIPS",
    "IS42S16160_6",
    "IS42S16160_7",
    "ULX3S_SDRAM",
    "W9825G6KH_6",
    "Figure",
    "SdramChip",
]


@dataclass(frozen=True)
class Figure:
    """One figure of a datasheet."""

    value: float
    unit: str
    """``ns``, or ``tCK`` for cycles of the clock."""
    source: str
    from_memory: bool = False
    """Whether it was written down without the source at hand; then it is the slowest of those that
    the grades of this chip have."""

    def __post_init__(self) -> None:
        if self.unit not in ("ns", "tCK"):
            raise ValueError(f"A figure's unit must be 'ns' or 'tCK', not {self.unit!r}")
        if self.value <= 0:
            raise ValueError(f"A figure must be greater than 0, not {self.value!r}")


@dataclass(frozen=True, kw_only=True)
class SdramChip:
    """An SDR SDRAM with four banks and 16 data pins.

    Raises
    ------
    ValueError
        If rows or columns have a number of address bits that no such chip has.
    """

    name: str
    row_bits: int
    """Address bits of a row, 11 to 13; chips for tests have fewer."""
    column_bits: int
    """Address bits of a 16-bit column, at most 10."""
    rcd: Figure
    """From opening a row to a column of it."""
    rp: Figure
    """From closing a row to opening one, in the same bank."""
    ras: Figure
    """From opening a row to closing it."""
    rc: Figure
    """From opening a row to opening another, in the same bank."""
    rrd: Figure
    """From opening a row to opening one in another bank."""
    rfc: Figure
    """From a refresh to anything else."""
    wr: Figure
    """From the last data written to closing the row."""
    mrd: Figure
    """From setting the mode to anything else."""
    cl2: Figure
    """Shortest clock period with a CAS latency of 2 cycles."""
    cl3: Figure
    """The same with 3 cycles."""
    refresh: Figure
    """Longest time between refreshes, on average."""
    power_up: Figure
    """Time from power and clock to the first command."""

    def __post_init__(self) -> None:
        if not 3 <= self.row_bits <= 13:
            raise ValueError(f"Rows must have 3 to 13 address bits, not {self.row_bits!r}")
        if not 2 <= self.column_bits <= 10:
            raise ValueError(f"Columns must have 2 to 10 address bits, not {self.column_bits!r}")

    @property
    def figures(self) -> dict[str, Figure]:
        """All figures by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Figure)}

    @property
    def address_pins(self) -> int:
        """Address pins: those of a row, and at least A0 to A10."""
        return max(self.row_bits, 11)

    @property
    def word_bits(self) -> int:
        """Address bits of a 32-bit word."""
        return self.row_bits + 2 + self.column_bits - 1


def _rows(
    source: str, *, from_memory: bool = False, **values: float | tuple[float, str]
) -> dict[str, Figure]:
    """Figures of one source, in ns unless they say otherwise."""
    return {
        name: Figure(*(value if isinstance(value, tuple) else (value, "ns")), source, from_memory)
        for name, value in values.items()
    }


_ALLIANCE = "Alliance Memory, AS4C32M16SB datasheet, table 16, grade -7"
_WINBOND = "Winbond, W9825G6JH datasheet revision A04, section 9.5, grade -6I/-6L"
_POWER = "JEDEC's 200 us of initialization, as the datasheets of all three makers ask or allow"
_REFRESH = "8,192 rows in 64 ms, in the features of the datasheet"
_ISSI = "ISSI, IS42S16160B/D/G datasheets, AC characteristics"
_ISSI_CLOCK = "ISSI, IS42S16160D datasheet of June 2009, key timing parameters"
_COMMON = {
    **_rows(_REFRESH, refresh=64e6 / 8192),
    **_rows(_POWER, power_up=200e3),
}

AS4C32M16SB_7 = SdramChip(
    name="AS4C32M16SB-7",
    row_bits=13,
    column_bits=10,
    **_rows(_ALLIANCE, rcd=21, rp=21, ras=42, rc=63, rrd=14, rfc=63, wr=14, mrd=14, cl2=10, cl3=7),
    **_COMMON,
)
"""64 MB, on ULX3S boards in some lots."""
W9825G6KH_6 = SdramChip(
    name="W9825G6KH-6",
    row_bits=13,
    column_bits=9,
    **_rows(_WINBOND, rcd=18, rp=18, ras=42, rc=60, rrd=(2, "tCK"), wr=(2, "tCK")),
    **_rows(f"{_WINBOND}: tRC is that of refreshes too", rfc=60),
    **_rows(f"{_WINBOND}, tRSC", mrd=(2, "tCK")),
    **_rows(_WINBOND, cl2=10, cl3=6),
    **_COMMON,
)
"""32 MB, on the Icepi Zero. Its own datasheet was not at hand: these are the figures of the die
before it, of the slowest grade that is called -6."""
IS42S16160_6 = SdramChip(
    name="IS42S16160-6",
    row_bits=13,
    column_bits=9,
    **_rows(_ISSI, from_memory=True, rcd=18, rp=18, ras=42, rc=60, rrd=12, rfc=60),
    **_rows(f"{_ISSI}, tDPL", from_memory=True, wr=(2, "tCK")),
    **_rows(_ISSI, from_memory=True, mrd=(2, "tCK")),
    **_rows(_ISSI_CLOCK, cl2=10, cl3=6),
    **_COMMON,
)
"""32 MB, grade -6."""
IS42S16160_7 = SdramChip(
    name="IS42S16160-7",
    row_bits=13,
    column_bits=9,
    **_rows(_ISSI, from_memory=True, rcd=20, rp=20, ras=45, rc=67.5, rrd=15, rfc=70),
    **_rows(f"{_ISSI}, tDPL", from_memory=True, wr=(2, "tCK")),
    **_rows(_ISSI, from_memory=True, mrd=(2, "tCK")),
    **_rows(_ISSI_CLOCK, cl2=10, cl3=7),
    **_COMMON,
)
"""32 MB, grade -7; on ULX3S boards in most lots, and as the die B on the iCESugar-Pro."""
ULX3S_SDRAM = replace(
    IS42S16160_7,
    name="IS42S16160-7 or AS4C32M16SB-7",
    rcd=AS4C32M16SB_7.rcd,
    rp=AS4C32M16SB_7.rp,
)
"""The chips of ULX3S boards: what either can do, without the columns that one of them lacks."""
CHIPS = {chip.name: chip for chip in (AS4C32M16SB_7, IS42S16160_6, IS42S16160_7, W9825G6KH_6)}
"""Chips by name."""
