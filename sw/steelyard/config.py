"""Configuration of the sparse array: one frozen dataclass that every room reads."""

import hashlib
import json
import os
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from .errors import UserError
from .files import replacing

__all__ = ["SERIAL_SHIFTS", "ArrayConfig"]

SERIAL_SHIFTS = (15, 42)
"""Least and greatest shift of a 24-bit multiplier that a requantizer of several cycles takes."""


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """Shape and memories of one accelerator.

    Raises
    ------
    UserError
        If a field is out of range; the sentence names the field, the value and what is allowed.
    """

    lanes: int = 16
    """Output pixels that share a decoded weight (multipliers a column): 4, 8, 16 or 32."""
    columns: int = 16
    """Output channels in flight (columns of the array): 1 to 64."""
    group: int = 16
    """Weights in a group along the flattened (ky, kx, ic) axis: 4, 8, 16 or 32."""
    requantizers: int = 8
    """Lanes drained and requantized a cycle: a power of two that divides `lanes`."""
    requantizer_cycles: int = 1
    """Cycles of a requantizer for one sum: 1, or 16 or 32 without multipliers. More than 1 takes
    no scales below 2**-19 and no residual additions."""
    multiplier_stages: int = 2
    """Registers from a multiplier's operands to its product, cycles: 2 to 6. The ECP5 boards'
    multipliers that serve two lanes each take 4."""
    accumulator_bits: int = 24
    """Width of the signed accumulator of one multiplier, bits: 16 to 32."""
    window_groups: int = 32
    """Weight groups of activations that a window memory holds: a power of two, 2 to 256."""
    activation_words: int = 4096
    """Activation memory, words of `lanes` bytes: a multiple of 16, up to 2**24."""
    weight_words: int = 4096
    """Weight memory, words of `columns` (value, index) pairs: a multiple of 16, up to 2**24."""
    parameter_words: int = 1024
    """Parameter memory, output channels of the whole network: a multiple of 16, up to 2**20."""
    partial_sum_channels: int = 512
    """Output channels whose partial sums fit the shared memory: `columns` to 4096."""
    max_layers: int = 64
    """Layer descriptors that fit: 1 to 1024."""
    max_side: int = 65535
    """Largest height, width and kernel side of a map, and largest batch: 2**n - 1, 15 to 65535."""
    padded_kernel: int = 7
    """Largest side of a kernel with padding: 3, 5 or 7."""
    vector_bits: int = 24
    """Width of the vector unit's sums, bits: 8 (no average pooling) to 24."""
    link_words: int = 512
    """Words of each of the two memories of a board's serial link: a power of two, 32 to 4096."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise UserError(
                    f"Configuration field {field.name!r} must be an integer, not {value!r}; "
                    "write it without quotes or a decimal point."
                )
        self._one_of("lanes", (4, 8, 16, 32))
        self._between("columns", 1, 64)
        self._one_of("group", (4, 8, 16, 32))
        self._one_of("requantizers", tuple(1 << n for n in range(self.lanes.bit_length())))
        self._one_of("requantizer_cycles", (1, 16, 32))
        self._between("multiplier_stages", 2, 6)
        self._between("accumulator_bits", 16, 32)
        self._one_of("window_groups", tuple(1 << n for n in range(1, 9)))
        for name, limit in (
            ("activation_words", 1 << 24),
            ("weight_words", 1 << 24),
            ("parameter_words", 1 << 20),
        ):
            self._between(name, 16, limit)
            if getattr(self, name) % 16:
                raise UserError(
                    f"Configuration field {name!r} must be a multiple of 16, "
                    f"not {getattr(self, name)}; round it up."
                )
        self._between("partial_sum_channels", self.columns, 4096)
        self._between("max_layers", 1, 1024)
        self._one_of("max_side", tuple((1 << n) - 1 for n in range(4, 17)))
        self._one_of("padded_kernel", (3, 5, 7))
        self._between("vector_bits", 8, 24)
        self._one_of("link_words", tuple(32 << n for n in range(8)))

    def _one_of(self, name: str, allowed: tuple[int, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            choices = ", ".join(map(str, allowed))
            raise UserError(
                f"Configuration field {name!r} must be one of {choices}, not {value}; "
                "choose the nearest."
            )

    def _between(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise UserError(
                f"Configuration field {name!r} must lie between {low} and {high}, not {value}; "
                "choose a value in that range."
            )

    @property
    def macs_per_cycle(self) -> int:
        """Multiplications of the array in one cycle: ``lanes * columns``."""
        return self.lanes * self.columns

    @property
    def index_bits(self) -> int:
        """Bits of a weight's index within its group."""
        return (self.group - 1).bit_length()

    @property
    def weight_bits(self) -> int:
        """Bits of one packed weight: int8 value and index."""
        return 8 + self.index_bits

    @property
    def weight_item_words(self) -> int:
        """32-bit words of one weight item (all columns of one cycle)."""
        return -(-self.columns * self.weight_bits // 32)

    @property
    def activation_item_words(self) -> int:
        """32-bit words of one activation item (all lanes)."""
        return self.lanes // 4

    @property
    def drain_beats(self) -> int:
        """Beats to drain one column: ``lanes / requantizers``."""
        return self.lanes // self.requantizers

    @property
    def drain_cycles(self) -> int:
        """Cycles to drain one column: its beats, each as long as a requantizer needs."""
        return self.drain_beats * self.requantizer_cycles

    @property
    def broadcast_stages(self) -> int:
        """Registers that spread control and window words over the columns, cycles."""
        return 1 if self.columns > 8 else 0

    def canonical(self) -> str:
        """Canonical JSON text of the fields, the input of the hash."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def hash(self) -> bytes:
        """SHA-256 of the canonical text, 32 bytes; also in the accelerator's registers."""
        return hashlib.sha256(self.canonical().encode()).digest()

    def differences(self, other: "ArrayConfig") -> list[str]:
        """Fields in which `other` differs, as ``name: mine != theirs``."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{n}: {mine[n]} != {theirs[n]}" for n in mine if mine[n] != theirs[n]]

    def with_(self, **changes: int) -> Self:
        """Copy with some fields changed, validated again."""
        return replace(self, **changes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Configuration of a plain dictionary; missing fields take their defaults.

        Raises
        ------
        UserError
            If a key is no field, or a value is out of range.
        """
        names = [field.name for field in fields(cls)]
        for key in values:
            if key not in names:
                raise UserError(
                    f"Configuration has no field {key!r}; allowed are {', '.join(names)}."
                )
        return cls(**values)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Configuration of a TOML file with one table ``[array]``.

        Raises
        ------
        UserError
            If the file is missing, is not TOML, or holds a bad field.
        """
        try:
            document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"Configuration file {str(path)!r} does not exist; give the path of a TOML file."
            ) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(
                f"Configuration file {str(path)!r} cannot be read as TOML ({error}); "
                "write fields as 'lanes = 16' under a line '[array]'."
            ) from None
        table = document.get("array")
        if not isinstance(table, dict) or len(document) != 1:
            raise UserError(
                f"Configuration file {str(path)!r} must hold one table '[array]', "
                f"not {sorted(document)}; put all fields under '[array]'."
            )
        return cls.from_dict(table)

    def to_toml(self, path: str | os.PathLike[str]) -> None:
        """Write all fields as TOML, atomically."""
        lines = ["[array]", *(f"{name} = {value}" for name, value in asdict(self).items())]
        with replacing(path, "Configuration file") as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
