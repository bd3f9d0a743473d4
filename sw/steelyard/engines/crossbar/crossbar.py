"""Configuration of the RRAM crossbar: one frozen dataclass that mapping, golden model, cost model
and tile read.

It describes the emulated analog hardware alone; what only the tile has (lanes, memories) has its
own configuration, so that a mapping never depends on the FPGA that runs it.
"""

import json
import os
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...contract.accelerator import AcceleratorConfig
from ...contract.configuration import Configuration, shown
from ...contract.toml import read_toml, write_toml
from ...errors import UserError

__all__ = [
    "ADC_RANGES",
    "ADC_RESOLVES",
    "ADC_ROUNDINGS",
    "CONSTANT_SETS",
    "OU_FORMATIONS",
    "SIGNED_SCHEMES",
    "CrossbarConfig",
]

ADC_RANGES = ("unit", "full")
ADC_ROUNDINGS = ("floor", "nearest")
ADC_RESOLVES = ("all", "reach")
OU_FORMATIONS = ("static", "dynamic")
SIGNED_SCHEMES = ("differential", "offset")
CONSTANT_SETS = ("isaac32", "mnsim", "yu2020")


@dataclass(frozen=True, kw_only=True)
class CrossbarConfig(Configuration):
    """Crossbar, operation unit, cells and converters.

    Raises
    ------
    UserError
        If a field is out of range or two do not fit; the sentence says what is allowed.
    """

    part: ClassVar[str] = "crossbar"
    # Costs are computed from results; they change none.
    unhashed: ClassVar[tuple[str, ...]] = ("constants",)

    rows: int = 512
    """Wordlines of a crossbar: 1 to 4096."""
    columns: int = 512
    """Bitlines of a crossbar: 1 to 4096."""
    ou_rows: int = 9
    """Wordlines that an operation unit activates in a step: 1 to `rows`."""
    ou_columns: int = 8
    """Bitlines that an operation unit converts in a step: a multiple of a weight's bitlines, up to
    `columns`."""
    ou_formation: str = "static"
    """Rows of an operation unit: "static", always the same `ou_rows` of a block's, or "dynamic", in
    each step so many of those that have an input bit."""
    cell_bits: int = 4
    """Bits in a cell: 1, 2, 4 or 8."""
    dac_bits: int = 1
    """Input bits applied to a wordline in a step: 1, 2, 4 or 8."""
    adc_bits: int = 8
    """Bits of a bitline's converter: 1 to 24."""
    adc_range: str = "unit"
    """Range of the converter: "unit", a code is one unit of the bitline sum and larger sums clip,
    or "full", codes are a power of two apart so that no possible sum clips."""
    adc_rounding: str = "floor"
    """Code of a sum between two codes: "floor", the lower, or "nearest", with halves upwards."""
    adc_resolve: str = "all"
    """Bits that a conversion resolves: "all", `adc_bits`, or "reach", those that the cells of its
    bitline can reach, and no conversion where they reach none (:meth:`reach`). Codes are the same.
    """
    signed: str = "differential"
    """Negative weights: "differential", in bitlines of their own, or "offset", all weights raised
    by 128."""
    constants: str = "isaac32"
    """Constant set of the cost model: "isaac32", "mnsim" or "yu2020"; no part of the hash."""

    def __post_init__(self) -> None:
        self._integers(
            "rows", "columns", "ou_rows", "ou_columns", "cell_bits", "dac_bits", "adc_bits"
        )
        self._name("ou_formation", OU_FORMATIONS)
        self._name("adc_range", ADC_RANGES)
        self._name("adc_rounding", ADC_ROUNDINGS)
        self._name("adc_resolve", ADC_RESOLVES)
        self._name("signed", SIGNED_SCHEMES)
        self._name("constants", CONSTANT_SETS)
        self._between("rows", 1, 4096)
        self._between("columns", 1, 4096)
        for name, word in (("cell_bits", "a weight"), ("dac_bits", "an activation")):
            if getattr(self, name) not in (1, 2, 4, 8):
                raise UserError(
                    f"Configuration field {name!r} must divide the 8 bits of {word}, "
                    f"not be {getattr(self, name)}; use 1, 2, 4 or 8."
                )
        self._between("adc_bits", 1, 24)
        for name, limit in (("ou_rows", "rows"), ("ou_columns", "columns")):
            if not 1 <= getattr(self, name) <= getattr(self, limit):
                raise UserError(
                    f"Configuration field {name!r} must lie between 1 and the crossbar's "
                    f"{getattr(self, limit)} {limit}, not {getattr(self, name)}; "
                    "an operation unit is a part of one crossbar."
                )
        if self.ou_columns % self.weight_bitlines:
            raise UserError(
                f"Configuration field 'ou_columns' must be a multiple of the {self.weight_bitlines}"
                f" bitlines of a weight ({self.signed}, {self.cell_bits}-bit cells), "
                f"not {self.ou_columns}; round it up."
            )

    def values(self, *, hashed: bool = False) -> dict[str, Any]:
        plain = super().values(hashed=hashed)
        # At their defaults these are what they were before anything else could be had.
        if self.adc_resolve == "all":
            del plain["adc_resolve"]
        if self.ou_formation == "static":
            del plain["ou_formation"]
        return plain

    def canonical(self) -> str:
        """Canonical JSON text of what changes results, without the constants of costs."""
        return json.dumps(self.values(hashed=True), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Crossbar of a TOML file: its table ``[crossbar]``, or that of a tile's configuration; a
        table ``[effects]`` beside it is not looked at.

        Raises
        ------
        UserError
            If the file is missing, is not TOML, or holds a bad field.
        """
        document = read_toml(path, "rows = 512", "[crossbar]")
        document.pop("effects", None)
        engine = document.get("engine")
        if isinstance(engine, dict) and engine.get("kind") == "crossbar":
            found: CrossbarConfig = AcceleratorConfig.from_dict(document).engine.crossbar
            return cls(**{each.name: getattr(found, each.name) for each in fields(cls)})
        table = document.get("crossbar")
        if not isinstance(table, dict) or len(document) != 1:
            raise UserError(
                f"Configuration file {str(path)!r} must hold one table '[crossbar]', or a tile's "
                f"configuration, not {sorted(document)}; put all fields under '[crossbar]'."
            )
        return cls.from_dict(table)

    def to_toml(self, path: str | os.PathLike[str]) -> None:
        """Write the fields as the table ``[crossbar]``, atomically."""
        write_toml(path, {"crossbar": self.values()})

    def _name(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise UserError(
                f"Configuration field {name!r} must be one of {', '.join(map(repr, allowed))}, "
                f"not {shown(value)}; choose one of them."
            )

    @property
    def slices(self) -> int:
        """Cells that hold an unsigned byte."""
        return 8 // self.cell_bits

    @property
    def steps(self) -> int:
        """Steps in which an input byte is applied."""
        return 8 // self.dac_bits

    @property
    def dynamic(self) -> bool:
        """Whether rows with an input bit form operation units anew in every step."""
        return self.ou_formation == "dynamic"

    @property
    def weight_bitlines(self) -> int:
        """Bitlines of one weight."""
        return self.slices * (2 if self.signed == "differential" else 1)

    @property
    def ou_weights(self) -> int:
        """Output channels of an operation unit."""
        return self.ou_columns // self.weight_bitlines

    @property
    def crossbar_weights(self) -> int:
        """Output channels that fit the bitlines of a crossbar."""
        return self.columns // self.weight_bitlines

    @property
    def block_rows(self) -> int:
        """Most wordlines of a block: whole operation units, so that no cut leaves a part of one."""
        return self.rows // self.ou_rows * self.ou_rows

    @property
    def block_weights(self) -> int:
        """Most output channels of a block: whole operation units as well."""
        return self.crossbar_weights // self.ou_weights * self.ou_weights

    @property
    def greatest_sum(self) -> int:
        """Greatest possible sum of a bitline in a step of an operation unit."""
        return self.ou_rows * ((1 << self.dac_bits) - 1) * ((1 << self.cell_bits) - 1)

    @property
    def adc_shift(self) -> int:
        """Bits of a bitline sum below one step of the converter."""
        shift = 0
        if self.adc_range == "full":
            greatest = np.asarray(self.greatest_sum, np.int64)
            while self._round(greatest, shift) >= 1 << self.adc_bits:
                shift += 1
        return shift

    def _round(self, sums: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
        """Codes of sums before they are clipped."""
        half = (1 << shift) >> 1 if self.adc_rounding == "nearest" else 0
        return (sums + half) >> shift

    def convert(self, sums: ArrayLike) -> NDArray[np.int64]:
        """What the converter makes of bitline sums, int64 of their shape."""
        shift = self.adc_shift
        codes = self._round(np.asarray(sums, np.int64), shift)
        return np.minimum(codes, (1 << self.adc_bits) - 1) << shift

    def reach(self, levels: ArrayLike) -> NDArray[np.uint8]:
        """Bits of the greatest code that a bitline can give, uint8, 0 to `adc_bits`.

        A converter by successive approximation may begin at the highest of them: the bits above
        are 0 whatever the inputs are. With 0 there is nothing to convert.

        Parameters
        ----------
        levels : sums of the levels of the bitline's cells in one operation unit
        """
        full = (1 << self.dac_bits) - 1
        # Conversion ascends, so a bitline gives its greatest code when all rows are full.
        codes = self.convert(np.asarray(levels, np.int64) * full) >> self.adc_shift
        return np.frexp(codes)[1].astype(np.uint8)

    @property
    def reach_levels(self) -> list[int]:
        """Least sum of the levels of a bitline's cells that reaches 1 bit, 2 bits and so on."""
        reached = self.reach(np.arange(self.ou_rows * ((1 << self.cell_bits) - 1) + 1))
        return [int(np.argmax(reached > bit)) for bit in range(int(reached[-1]))]

    @property
    def adc_is_ideal(self) -> bool:
        """Whether every possible bitline sum is converted unchanged."""
        return self.greatest_sum < 1 << self.adc_bits

    def warnings(self) -> list[str]:
        """Sentences about what is allowed but loses accuracy."""
        if self.adc_is_ideal:
            return []
        exact = self.greatest_sum.bit_length()
        if self.adc_shift:
            loss = f"tells bitline sums apart only in steps of {1 << self.adc_shift}"
        else:
            loss = f"clips bitline sums above {(1 << self.adc_bits) - 1}"
        return [
            f"The {self.adc_bits}-bit ADC {loss}, but an operation unit's sums reach "
            f"{self.greatest_sum}; use {exact} bits or fewer 'ou_rows' for exact results."
        ]
