"""Constants of area, energy and time, one row each, in named sets.

A set prices every mapping alike, so ratios within a set mean something; figures of two sets are
never compared. Where a source has a power, the energy's row says how it follows.
"""

from dataclasses import dataclass

from ..errors import UserError

__all__ = ["CONSTANTS", "Constant", "ConstantSet", "constant_set"]

_ISAAC = "ISAAC (Shafiee et al., ISCA 2016, doi 10.1109/ISCA.2016.12)"
_LIBRARY = f"{_ISAAC}, as encoded by hwcomponents-library"
_SCALED = f"{_LIBRARY}: 8-bit ADC scaled after Saberi et al. 2011"
_MNSIM = "MNSIM 2.0 (github.com/thu-nics/MNSIM-2.0, commit ca39ccb of 2024-11-27"
_OLDER = "MNSIM 2.0 (github.com/thu-nics/MNSIM-2.0, commit 18da299 of 2019-11-27"
_YU = "Yu et al., arXiv 2010.06156"


@dataclass(frozen=True)
class Constant:
    """One figure."""

    value: float
    unit: str
    node: int
    """Technology node, nm; 0 where the source names none."""
    source: str
    from_memory: bool = False
    """Whether the figure was written down without the source at hand."""


@dataclass(frozen=True)
class ConstantSet:
    """Figures that belong together."""

    name: str
    adc_energy: dict[int, Constant]
    """Energy of a conversion, by bits."""
    adc_area: dict[int, Constant]
    """Area of a converter, by bits."""
    adc_time: Constant
    """Time of a conversion of all its bits."""
    adc_overhead: Constant
    """Bits of a conversion whose time and energy go to all else but its bits: sampling, reset."""
    dac_energy: Constant
    """Energy to drive a wordline with one bit; each further bit doubles it."""
    dac_area: Constant
    """Area of a wordline's one-bit driver; each further bit doubles it."""
    cell_energy: Constant
    """Energy to read a cell in a step."""
    cell_area: Constant
    read_time: Constant
    """Time from wordlines to settled bitlines."""
    bitline_energy: Constant
    """Energy of a bitline's sample-and-hold for a conversion."""
    bitline_area: Constant
    """Area of a bitline's sample-and-hold."""
    row_area: Constant
    """Area of a wordline's decoder and switch."""
    shift_add_energy: Constant
    """Energy to shift and add one code or half of a 32-bit accumulator."""
    shift_add_area: Constant
    buffer_energy: Constant
    """Energy to read or write a bit of a buffer."""
    buffer_area: Constant
    """Area of a bit of a buffer."""
    bus_energy: Constant
    """Energy to bring a bit from the buffer to the crossbars."""

    def adc(self, bits: int) -> tuple[Constant, Constant]:
        """Energy and area of the smallest converter of the set with at least `bits`.

        Raises
        ------
        UserError
            If the set has none.
        """
        fitting = [own for own in sorted(self.adc_energy) if own >= bits]
        if not fitting:
            raise UserError(
                f"Constant set {self.name!r} has no ADC of {bits} bits, only up to "
                f"{max(self.adc_energy)}; lower 'adc_bits' or take another set."
            )
        return self.adc_energy[fitting[0]], self.adc_area[fitting[0]]

    def rows(self) -> list[tuple[str, Constant]]:
        """Every row with its name, for tables."""
        rows: list[tuple[str, Constant]] = []
        for name, value in vars(self).items():
            if isinstance(value, Constant):
                rows.append((name, value))
            elif isinstance(value, dict):
                rows += [(f"{name} of {bits} bits", value[bits]) for bits in sorted(value)]
        return rows


# ISAAC has no word on it; that of MNSIM leaves a converter that stops early more than what the
# smaller converters of ISAAC's set take.
_OVERHEAD = Constant(
    2, "bits", 0, f"{_MNSIM}), ADC.py: a conversion takes (bits + 2) / rate at constant power"
)


def _isaac32() -> ConstantSet:
    def row(value: float, unit: str, source: str = _LIBRARY) -> Constant:
        return Constant(value, unit, 32, source)

    energies = {4: 0.79, 5: 0.99, 6: 1.20, 7: 1.42, 8: 1.667, 9: 1.969, 10: 2.379}
    areas = {4: 361.0, 5: 476.9, 6: 626.9, 7: 845.2, 8: 1200.0, 9: 1827.9, 10: 3002.0}
    return ConstantSet(
        name="isaac32",
        adc_energy={
            bits: row(value, "pJ", _LIBRARY if bits == 8 else _SCALED)
            for bits, value in energies.items()
        },
        adc_area={
            bits: row(value, "um2", _LIBRARY if bits == 8 else _SCALED)
            for bits, value in areas.items()
        },
        adc_time=row(1 / 1.2, "ns", f"{_ISAAC}: 1.2 GS/s"),
        adc_overhead=_OVERHEAD,
        dac_energy=row(0.41667, "pJ"),
        dac_area=row(0.166, "um2"),
        cell_energy=row(
            0.3e-3 * 100e-9 / 128**2 * 1e12,
            "pJ",
            f"{_ISAAC}: 0.3 mW for 100 ns in a crossbar of 128x128 2-bit cells",
        ),
        cell_area=row(25 / 128**2, "um2", f"{_ISAAC}: 25 um2 a crossbar of 128x128 2-bit cells"),
        read_time=row(100.0, "ns", f"{_ISAAC}: cycle of a crossbar read"),
        bitline_energy=row(
            9.7e-9 * 100e-9 * 1e12, "pJ", f"{_ISAAC}: sample-and-hold of 9.7 nW for 100 ns"
        ),
        bitline_area=row(0.039, "um2", f"{_ISAAC}: sample-and-hold"),
        row_area=row(0.0, "um2", f"{_ISAAC}: none beside the DAC"),
        shift_add_energy=row(0.021, "pJ", f"{_LIBRARY}: 16 bits"),
        shift_add_area=row(60.0, "um2"),
        buffer_energy=row(20.45 / 256, "pJ/bit", f"{_LIBRARY}: eDRAM, 20.45 pJ for 256 bits"),
        buffer_area=row(83000 / 2**19, "um2/bit", f"{_LIBRARY}: eDRAM, 83,000 um2 for 64 KB"),
        bus_energy=row(0.054, "pJ/bit", f"{_LIBRARY}: eDRAM bus"),
    )


def _mnsim() -> ConstantSet:
    def row(value: float, unit: str, node: int, source: str, version: str = _MNSIM) -> Constant:
        return Constant(value, unit, node, f"{version}), {source}")

    # Its own converters (choices 7, 6, 5 of ADC.py): power in mW, rate in GS/s, area.
    choices = {4: (0.7, 1.0, 500.0), 6: (1.26, 1.0, 1650.0), 8: (4.0, 1.1, 1650.0)}
    return ConstantSet(
        name="mnsim",
        adc_energy={
            bits: row(power * (bits + 2) / rate, "pJ", 0, "ADC.py: power * (bits + 2) / rate")
            for bits, (power, rate, _) in choices.items()
        },
        adc_area={
            bits: row(area, "um2", 0, "ADC.py: ADC_area_dict, choices 7, 6 and 5")
            for bits, (_, _, area) in choices.items()
        },
        adc_time=row(10 / 1.1, "ns", 0, "ADC.py: (bits + 2) / rate at 8 bits"),
        adc_overhead=_OVERHEAD,
        dac_energy=row(3.9e-3 * 3, "pJ", 32, "DAC.py: 3.9 uW for (bits + 2) / rate, 3 ns"),
        dac_area=row(0.166, "um2", 32, "DAC.py"),
        cell_energy=row(
            (0.5**2 / 2) / (1.5e5 * 3e4) ** 0.5 * 3.16e-9 * 1e12,
            "pJ",
            45,
            "SimConfig.ini: mean square of 0 and 0.5 V over the geometric mean of 150 and 30 kohm "
            "for 3.16 ns",
            _OLDER,
        ),
        cell_area=row(1.44, "um2", 45, "SimConfig.ini", _OLDER),
        read_time=row(3.16, "ns", 45, "SimConfig.ini", _OLDER),
        bitline_energy=row(0.0, "pJ", 0, "no sample-and-hold"),
        bitline_area=row(0.0, "um2", 0, "no sample-and-hold"),
        row_area=row(1150.0, "um2", 130, "Crossbar.py: 1150 um2 for the driver of every row"),
        shift_add_energy=row(
            (8.1e-7 * (45 / 65) ** 2 + 16 * 2.5e-9) * 10e-9 * 1e12,
            "pJ",
            45,
            "ShiftReg.py and Adder.py: powers of a shifter and a 16-bit adder for 10 ns",
        ),
        shift_add_area=row(
            1.42 * (45 / 65) ** 2 + 16 * 0.2835, "um2", 45, "ShiftReg.py and Adder.py, 16 bits"
        ),
        buffer_energy=row(
            0.06e-3 / (8 * 1372e6) / 8 * 1e12,
            "pJ/bit",
            0,
            "Buffer.py: 0.06 mW at 8 bytes and 1372 MHz",
            _OLDER,
        ),
        buffer_area=row(82032 / 2**17, "um2/bit", 0, "Buffer.py: 82,032 um2 for 16 KB", _OLDER),
        bus_energy=row(0.0, "pJ/bit", 0, "no energy of wires"),
    )


def _yu2020() -> ConstantSet:
    isaac = _isaac32()

    def row(value: float, unit: str, what: str) -> Constant:
        return Constant(value, unit, 32, f"{_YU}, {what}", from_memory=True)

    # The paper's energies of an operation. The precision at which they are spent is ours, whatever
    # the paper's is: 8-bit weights and activations, 4-bit differential cells, 1-bit drives.
    return ConstantSet(
        **{
            **vars(isaac),
            "name": "yu2020",
            "adc_energy": {
                **isaac.adc_energy,
                8: row(1.67, "pJ", "a conversion; that it has 8 bits is our choice"),
            },
            "dac_energy": row(0.0182, "pJ", "a drive; that it has 1 bit is our choice"),
            "cell_energy": row(
                4.8 / 72, "pJ",
                "4.8 pJ for an operation unit of 9x8 cells; that a cell has 4 bits is our choice",
            ),
        }
    )  # fmt: skip


CONSTANTS: dict[str, ConstantSet] = {made.name: made for made in (_isaac32(), _mnsim(), _yu2020())}
"""All sets by name.

`yu2020` has the paper's energies of a conversion, a drive and an operation unit, written down from
memory; all else in it is a row of `isaac32`. The precision is the configuration's (ours), not the
paper's."""


def constant_set(name: str) -> ConstantSet:
    """Set of a name.

    Raises
    ------
    UserError
        If there is none.
    """
    if name not in CONSTANTS:
        raise UserError(f"Constant set {name!r} is unknown; use one of {', '.join(CONSTANTS)}.")
    return CONSTANTS[name]
