"""Configuration of an accelerator: an engine and the parts around it, which every room reads."""

import hashlib
import json
import os
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Generic, Self, TypeVar

from ..errors import UserError
from .configuration import Configuration, shown
from .engine import EngineConfig
from .limits import MULTIPLIER_BITS
from .registry import config_class
from .sections import LinkConfig, LoadConfig, MemoryConfig, OutputConfig, VectorConfig
from .toml import read_toml, write_toml

__all__ = ["PRESETS", "AcceleratorConfig", "configure"]

PRESETS: dict[str, dict[str, Any]] = {
    "compact": {
        "requantizer_cycles": 16,
        "carry_registers": False,
        "ahead": False,
        "wide_reads": False,
        "shared_taps": False,
        "read_registers": False,
        "weight_queue": False,
        "additions": False,
        "products": False,
        "lane_sums": False,
        "tag_registers": False,
        "tables": False,
        "slopes": False,
        "fused_additions": False,
        "link_registered": False,
    },
}
"""Fields by the name of what they are together. Of "compact" logic counts more than clock: few
registers that only carry, no queues, no residual additions, products, lane sums,
tables or slopes."""

EngineT = TypeVar("EngineT", bound=EngineConfig)


@dataclass(frozen=True, kw_only=True)
class AcceleratorConfig(Generic[EngineT]):
    """Shape and memories of one accelerator, composed of its engine and the parts around it.

    :func:`configure` makes one of plain names.

    Raises
    ------
    UserError
        If two parts do not fit together; the sentence names the field, the value and what is
        allowed.
    """

    engine: EngineT
    """What computes layers with weights."""
    load: LoadConfig = field(default_factory=LoadConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    vector: VectorConfig = field(default_factory=VectorConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    link: LinkConfig = field(default_factory=LinkConfig)

    def __post_init__(self) -> None:
        output, vector = self.output, self.vector
        output._one_of("requantizers", tuple(1 << n for n in range(self.engine.lanes.bit_length())))
        if vector.additions and output.requantizer_cycles > 1:
            raise UserError(
                f"Requantizers of {output.requantizer_cycles} cycles do no residual additions; set "
                "'requantizer_cycles' to 1 or 'additions' to false."
            )
        if vector.products and output.requantizer_cycles > 1:
            raise UserError(
                f"Requantizers of {output.requantizer_cycles} cycles multiply no activations; set "
                "'requantizer_cycles' to 1 or 'products' to false."
            )
        if output.slopes and output.requantizer_cycles > 1:
            raise UserError(
                f"Requantizers of {output.requantizer_cycles} cycles have one multiplier for all "
                "sums; set 'requantizer_cycles' to 1 or 'slopes' to false."
            )
        if vector.additions and not vector.tag_registers:
            raise UserError(
                "Residual additions need the vector unit's registers; set 'tag_registers' to true "
                "or 'additions' to false."
            )
        if vector.products and not vector.tag_registers:
            raise UserError(
                "Products of activations need the vector unit's registers; set 'tag_registers' to "
                "true or 'products' to false."
            )
        self.engine.check(self)

    @property
    def outline(self) -> str:
        """Shape in a few words, for messages and titles."""
        return self.engine.outline

    @property
    def banks(self) -> int:
        """Banks of bytes of the activation memory: `lanes`, or twice as many with `wide_reads`."""
        return self.engine.lanes << self.load.wide_reads

    @property
    def activation_item_words(self) -> int:
        """32-bit words of one activation word (all lanes)."""
        return self.engine.lanes // 4

    @property
    def parameter_bits(self) -> tuple[int, ...]:
        """Bits of each 32-bit word of a parameter item."""
        return (32, 32, MULTIPLIER_BITS) if self.output.slopes else (32, 32)

    @property
    def drain_beats(self) -> int:
        """Beats to drain the sums of all lanes: ``lanes / requantizers``."""
        return self.engine.lanes // self.output.requantizers

    @property
    def fuses_additions(self) -> bool:
        """Whether residual additions can be computed where their later operand leaves the engine.

        The activation memory is then read in the beats in which no results are written, so there
        must be two beats or more, and the engine must keep to their order.
        """
        output = self.output
        steady = self.engine.steady_drain and output.requantizer_cycles == 1
        return output.fused_additions and steady and self.drain_beats > 1

    @property
    def drain_cycles(self) -> int:
        """Cycles to drain the sums of all lanes: beats, each as long as a requantizer needs."""
        return self.drain_beats * self.output.requantizer_cycles

    def values(self, *, hashed: bool = False) -> dict[str, Any]:
        """Plain values by part, as JSON and TOML hold them; that of the engine has its kind.

        Parameters
        ----------
        hashed : only those of the hash
        """
        parts = {
            each.name: getattr(self, each.name).values(hashed=hashed)
            for each in fields(self)
            if not (hashed and each.name == "link")
        }
        return parts | {"engine": {"kind": self.engine.kind, **parts["engine"]}}

    def plain(self, *, hashed: bool = False) -> dict[str, Any]:
        """Values by the plain names of :func:`configure`; with a dot those of a table in a part.

        Parameters
        ----------
        hashed : only those of the hash
        """
        flat: dict[str, Any] = {}
        for part, values in self.values(hashed=hashed).items():
            kind = getattr(self, part)
            for name, value in values.items():
                if isinstance(value, dict):
                    flat |= {f"{name}.{inner}": own for inner, own in value.items()}
                elif name != "kind":
                    flat[kind.label(name)] = value
        return flat

    def canonical(self) -> str:
        """Canonical JSON text of what the hardware computes with, the input of the hash."""
        return json.dumps(self.values(hashed=True), sort_keys=True, separators=(",", ":"))

    def hash(self) -> bytes:
        """SHA-256 of the canonical text, 32 bytes; also in the accelerator's registers."""
        return hashlib.sha256(self.canonical().encode()).digest()

    def differences(self, other: "AcceleratorConfig") -> list[str]:
        """Fields of the hash in which `other` differs, ``name: mine != its``; first the engine."""
        mine, theirs = self.plain(hashed=True), other.plain(hashed=True)
        engines = (("engine", self.engine.title, other.engine.title),)
        names = [name for name in mine if name in theirs]
        if type(self.engine) is type(other.engine):
            # Values have no field that is at a default from before it came.
            names += sorted(mine.keys() ^ theirs.keys())
        common = ((name, self._value(name), other._value(name)) for name in names)
        return [f"{name}: {own} != {its}" for name, own, its in (*engines, *common) if own != its]

    def _value(self, name: str) -> Any:
        """Value of a name of :meth:`plain`."""
        outer, _, inner = name.partition(".")
        part, own = _place(type(self.engine), outer)
        value = getattr(getattr(self, part), own)
        return getattr(value, inner) if inner else value

    def with_(self, **changes: Any) -> Self:
        """Copy with some fields changed, named as :func:`configure` does, validated again."""
        parts: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            part, own = _place(type(self.engine), name)
            parts.setdefault(part, {})[own] = value
        changed = {part: replace(getattr(self, part), **own) for part, own in parts.items()}
        return replace(self, **changed)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Configuration of the plain values of its parts; what is missing takes its default.

        Raises
        ------
        UserError
            If a part or field is unknown, or a value is out of range.
        """
        names = [each.name for each in fields(cls)]
        for key, value in values.items():
            if key not in names:
                raise UserError(
                    f"Configuration has no table {key!r}; allowed are {', '.join(names)}."
                )
            if not isinstance(value, dict):
                raise UserError(
                    f"Configuration's {key!r} must be a table; write fields under '[{key}]'."
                )
        engine = dict(values.get("engine", {}))
        kind = engine.pop("kind", "array")
        parts: dict[str, Any] = {
            each.name: _PARTS[each.name].from_dict(values.get(each.name, {}))
            for each in fields(cls)
            if each.name in _PARTS
        }
        return cls(engine=config_class(kind).from_dict(engine), **parts)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Configuration of a TOML file with a table for each part, ``[engine]`` with its kind.

        Raises
        ------
        UserError
            If the file is missing, is not TOML, or holds a bad field.
        """
        document = read_toml(path, "lanes = 16", "[engine]")
        names = [each.name for each in fields(cls)]
        if "engine" not in document or not set(document) <= set(names):
            tables = ", ".join(f"'[{name}]'" for name in names)
            raise UserError(
                f"Configuration file {str(path)!r} must hold the table '[engine]', and may hold "
                f"others of {tables}, not {sorted(document)}; put each field under its table."
            )
        return cls.from_dict(document)

    def to_toml(self, path: str | os.PathLike[str]) -> None:
        """Write all fields as TOML, atomically."""
        write_toml(path, self.values())


_PARTS: dict[str, type[Configuration]] = {
    "load": LoadConfig,
    "memory": MemoryConfig,
    "vector": VectorConfig,
    "output": OutputConfig,
    "link": LinkConfig,
}


def configure(engine: str = "array", *presets: str, **values: Any) -> AcceleratorConfig[Any]:
    """Configuration of plain names, whichever part they belong to.

    Parameters
    ----------
    engine : kind of the engine, ``"array"`` or ``"crossbar"``
    presets : of :data:`PRESETS`; later ones, and then `values`, override their fields
    values : fields of any part; those whose name says too little alone have their part's before
        it, as ``link_words`` and ``vector_bits``

    Raises
    ------
    UserError
        If a name is no field, or a value is out of range.
    """
    kind = config_class(engine)
    chosen: dict[str, Any] = {}
    for preset in presets:
        if preset not in PRESETS:
            raise UserError(
                f"There is no preset {shown(preset)} of a configuration; use one of "
                f"{', '.join(PRESETS)}."
            )
        chosen |= PRESETS[preset]
    chosen |= values
    parts: dict[str, dict[str, Any]] = {"engine": {}, **{name: {} for name in _PARTS}}
    for name, value in chosen.items():
        part, own = _place(kind, name)
        parts[part][own] = value
    made: dict[str, Any] = {name: part(**parts[name]) for name, part in _PARTS.items()}
    return AcceleratorConfig(engine=kind(**parts["engine"]), **made)


def _place(engine: type[EngineConfig], label: str) -> tuple[str, str]:
    """Part and field of a plain name."""
    places = _places(engine)
    if label not in places:
        raise UserError(f"Configuration has no field {label!r}; allowed are {', '.join(places)}.")
    return places[label]


@lru_cache
def _places(engine: type[EngineConfig]) -> dict[str, tuple[str, str]]:
    """Part and field of every plain name."""
    return {
        kind.label(each.name): (part, each.name)
        for part, kind in {"engine": engine, **_PARTS}.items()
        for each in fields(kind)
    }
