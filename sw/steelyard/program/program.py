"""Program file: everything that an accelerator needs to run one network, and the network itself."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..contract import AcceleratorConfig, registry
from ..contract.configuration import shown
from ..contract.registers import Space
from ..engines import Engine
from ..errors import FileRefused, UserError
from ..network import Network, from_arrays, to_arrays
from .archive import damaged, read_sealed, write_sealed
from .checks import check
from .host import HostPart
from .known import KnownAnswer
from .uses import Use, uses_of

__all__ = [
    "FORMAT_VERSION",
    "Explanation",
    "LayerEntry",
    "Plane",
    "Program",
    "Use",
    "pack_activations",
    "unpack_activations",
]

FORMAT = "steelyard-program"
FORMAT_VERSION = 6
"""Version 5 had no layers computed along with another, version 4 two parameter items for an
addition and one order for the network's input and outputs together, version 3 no known answer and
no part for the host, version 2 another configuration and fields of layers by name, version 1 no
views of the network's input and output: all are refused."""
NETWORK = "network/"
HOST = "host"
MOST = 1 << 48
"""More than any number of words, weights or cycles in a program."""


@dataclass(frozen=True)
class Plane:
    """Place of a tensor in activation memory: channel `c` begins at word ``base + c * pitch``.

    One that lies in external memory lies there as it would on the chip; `base` then is the address
    of its first 32-bit word, `pitch` still in activation words.
    """

    base: int
    pitch: int
    shape: tuple[int, int, int]
    external: bool = False

    @property
    def words(self) -> int:
        """Activation words of all channels."""
        return self.shape[0] * self.pitch

    @property
    def space(self) -> Space:
        """Memory that it lies in."""
        return Space.EXTERNAL if self.external else Space.ACTIVATIONS


@dataclass(frozen=True, kw_only=True)
class LayerEntry:
    """Row of the layer table."""

    name: str
    kind: str
    k: int | None
    """Weights kept in every group; None for layers without weights and engines without groups."""
    first: int
    """First descriptor."""
    count: int
    """Number of descriptors."""
    output: Plane
    """Where the layer's output lies until a later layer reuses its words."""
    stored: bool
    """Whether it lies there once the layer has run. Not where a table or a residual addition
    follows at once: there lies the output of that layer, which has no descriptors of its own."""
    nnz: int
    """Weights that are not zero."""
    kept: int
    """Weights stored for the layer's output channels, zeros among them that fill a group or, on the
    tile, a block of cells."""
    weight_items: int
    """Items in the weight memory: a value and an index for each column, or, on the tile, rows of
    operation units and the cells on them in turn."""
    activation_words: int
    """Activation words alive while the layer runs."""
    ideal_cycles: int
    """Multiplications by nonzero weights over multipliers, rounded up; on the tile, the steps of
    all items of cells, none skipped. 0 for layers without weights."""
    predicted_cycles: int
    """Cycles of the cycle model: on the array exactly those that the layer takes, for a layer with
    weights on the tile a bound, since steps without input bits are skipped. With moves from
    external memory among its descriptors, also an estimate of what these take and are waited
    for."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a layer costs, for tables and reports; fields without a text are those of LayerEntry."""

    name: str
    kind: str
    k: int | None
    nnz: int
    kept: int
    weight_bytes: int
    """Of the packed weight items, rounded up once for the layer."""
    activation_words: int
    ideal_cycles: int
    predicted_cycles: int
    occupancy: float
    """Ideal over predicted cycles, 0 to 1; 0 for layers without weights."""
    weight_utilization: float
    """Share of the weight memory; above 1 where not all of the weights lie there at a time."""
    activation_utilization: float
    """Share of the activation memory."""


def pack_activations(x: NDArray[np.int8], lanes: int) -> NDArray[np.uint32]:
    """Activation memory's host words of a batch, uint32 (channels * pitch * lanes / 4,).

    Parameters
    ----------
    x : int8 (batch, channels, height, width)
    """
    batch, channels, height, width = x.shape
    pixels = height * width * batch
    pitch = -(-pixels // lanes)
    planes = np.zeros((channels, pitch * lanes), np.int8)
    planes[:, :pixels] = x.transpose(1, 2, 3, 0).reshape(channels, pixels)
    return planes.reshape(-1).view("<u4").astype(np.uint32, copy=False)


def unpack_activations(
    words: NDArray[np.uint32], shape: tuple[int, int, int], batch: int, lanes: int
) -> NDArray[np.int8]:
    """Batch of host words as :func:`pack_activations` makes them, int8 ``(batch, *shape)``."""
    channels, height, width = shape
    pixels = height * width * batch
    planes = np.ascontiguousarray(words, "<u4").view(np.int8).reshape(channels, -1)
    images = planes[:, :pixels].reshape(channels, height, width, batch)
    return images.transpose(3, 0, 1, 2).copy()


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Compiled network.

    Members
    -------
    config : configuration it was compiled for
    network : the integer network, for the golden model
    batch : images computed together
    input : where the network's input goes
    layers : layer table
    descriptors : uint32 (n, 32)
    parameters : uint32 (n, words of an item)
    weights : uint32 (n, words of a weight item)
    external : words of external memory, uint32 (n,): parameters and weights, if they do not lie on
        the chip when a run begins, and then all descriptors, if these come in turn
    settings : what the engine keeps of the compilation, None for nothing
    host : what the host computes behind the network, None for nothing
    mapped : what :attr:`mapping` gives, of whom has it already; a file does not hold it
    known : an input and its answer that the file has; :attr:`answer` gives it in any case
    """

    config: AcceleratorConfig
    network: Network
    batch: int
    input: Plane
    layers: tuple[LayerEntry, ...]
    descriptors: NDArray[np.uint32]
    parameters: NDArray[np.uint32]
    weights: NDArray[np.uint32]
    external: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    settings: Any = None
    host: HostPart | None = None
    mapped: Any = field(default=None, repr=False)
    known: KnownAnswer | None = field(default=None, repr=False)

    @property
    def engine(self) -> Engine:
        """What computes the layers with weights."""
        found: Engine = registry.engine(self.config.engine.kind)
        return found

    @cached_property
    def mapping(self) -> Any:
        """How the engine holds the weights, where that is more than their items; else None."""
        return self.engine.mapping(self) if self.mapped is None else self.mapped

    @cached_property
    def answer(self) -> KnownAnswer:
        """Known answer: the file's, or else computed by the golden model."""
        return KnownAnswer.of(self) if self.known is None else self.known

    def golden(self, x: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Every tensor that the accelerator must compute, int8 (images, channels, height, width).

        Parameters
        ----------
        x : int8 (images, channels, height, width)
        """
        return self.engine.golden(self, x)

    @property
    def outputs(self) -> dict[str, Plane]:
        """Where the network's outputs lie after the last layer, by name."""
        planes = {self.network.input: self.input}
        for layer, entry in zip(self.network.layers, self.layers, strict=True):
            planes[layer.output] = entry.output
        return {name: planes[name] for name in self.network.outputs}

    @property
    def output(self) -> Plane:
        """Where the network's output, or the first of several, lies after the last layer."""
        return self.outputs[self.network.output]

    @property
    def in_turn(self) -> bool:
        """Whether there are more descriptors than their memory holds, so that they are moved.

        Descriptor `n` then goes to place ``n % max_layers``. The first ones are there when a run
        begins, and again when it ends.
        """
        return len(self.descriptors) > self.config.memory.max_layers

    @property
    def uses_external(self) -> bool:
        """Whether it needs external memory."""
        planes = (self.input, *(entry.output for entry in self.layers))
        return bool(self.external.size) or any(plane.external for plane in planes)

    @property
    def uses(self) -> tuple[Use, ...]:
        """What the program takes of each memory."""
        return uses_of(self)

    def pack_activations(self, x: NDArray[np.int8]) -> NDArray[np.uint32]:
        """Host words of a batch, uint32 (n,), for any tensor of the network.

        Raises
        ------
        UserError
            If `x` is not int8 (batch, channels, height, width) with the program's batch.
        """
        if x.dtype != np.int8 or x.ndim != 4 or len(x) != self.batch:
            raise UserError(
                f"Activations must be int8 of shape ({self.batch}, channels, height, width), "
                f"not {x.dtype} of {x.shape}; fill a short batch by repeating its last image."
            )
        return pack_activations(x, self.config.engine.lanes)

    def unpack_activations(
        self, words: NDArray[np.uint32], shape: tuple[int, int, int]
    ) -> NDArray[np.int8]:
        """Tensor of host words, int8 ``(batch, *shape)``."""
        return unpack_activations(words, shape, self.batch, self.config.engine.lanes)

    def explain(self) -> list[Explanation]:
        """What each layer costs."""
        bits = self.config.engine.weight_item_bits
        return [
            Explanation(
                name=entry.name,
                kind=entry.kind,
                k=entry.k,
                nnz=entry.nnz,
                kept=entry.kept,
                weight_bytes=-(-entry.weight_items * bits // 8),
                activation_words=entry.activation_words,
                ideal_cycles=entry.ideal_cycles,
                predicted_cycles=entry.predicted_cycles,
                occupancy=entry.ideal_cycles / max(entry.predicted_cycles, 1),
                weight_utilization=entry.weight_items / self.config.memory.weight_words,
                activation_utilization=entry.activation_words / self.config.memory.activation_words,
            )
            for entry in self.layers
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program file, atomically and byte for byte the same for equal programs.

        Raises
        ------
        UserError
            If the file cannot be written.
        """
        network, own = to_arrays(self.network)
        arrays: dict[str, NDArray] = {
            "descriptors": self.descriptors,
            "parameters": self.parameters,
            "weights": self.weights,
        }
        if self.external.size:
            arrays["external"] = self.external
        if self.host is not None:
            arrays[HOST] = np.frombuffer(self.host.model, np.uint8)
        manifest = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "config": self.config.values(),
            "config_sha256": self.config.hash().hex(),
            "settings": self.engine.settings_to_dict(self.settings),
            "host": None if self.host is None else self.host.to_dict(),
            "batch": self.batch,
            "input": _plane_values(self.input),
            "layers": [
                asdict(entry) | {"output": _plane_values(entry.output)} for entry in self.layers
            ],
            "network": network,
            "known": self.answer.layers,
        }
        arrays |= self.answer.arrays() | {NETWORK + key: own[key] for key in own}
        write_sealed(path, manifest, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Program of a file.

        Raises
        ------
        FileRefused
            If the file is missing, truncated, altered, of another version, or no program.
        """
        if not isinstance(path, str | os.PathLike):
            raise FileRefused(
                f"A program is read from a file, not from {type(path).__name__}; "
                "give the path of a .syp file."
            )
        manifest, arrays = read_sealed(path, FORMAT, FORMAT_VERSION)
        with damaged(path):
            own = {
                key.removeprefix(NETWORK): array
                for key, array in arrays.items()
                if key.startswith(NETWORK)
            }
            config: AcceleratorConfig = AcceleratorConfig.from_dict(manifest["config"])
            engine: Engine = registry.engine(config.engine.kind)
            network = from_arrays(manifest["network"], own)
            program = cls(
                config=config,
                network=network,
                batch=_integer("batch", manifest["batch"], 1),
                input=_plane(manifest["input"]),
                layers=tuple(_entry(entry) for entry in manifest["layers"]),
                descriptors=arrays["descriptors"],
                parameters=arrays["parameters"],
                weights=arrays["weights"],
                external=arrays.get("external", np.zeros(0, np.uint32)),
                settings=engine.settings_from_dict(manifest["settings"]),
                host=_host(manifest["host"], arrays, network),
                known=KnownAnswer.read(network, manifest["known"], arrays),
            )
            if manifest["config_sha256"] != program.config.hash().hex():
                raise ValueError("its configuration does not match its hash")
            check(program)
        return program


def _host(
    values: Mapping[str, Any] | None, arrays: Mapping[str, NDArray], network: Network
) -> HostPart | None:
    if (values is None) != (HOST not in arrays):
        raise ValueError("its manifest and its arrays disagree on a part for the host")
    if values is None:
        return None
    part = HostPart.from_dict(values, arrays[HOST])
    if not set(part.values) <= set(network.outputs):
        raise ValueError("its part for the host reads what is no output of its network")
    return part


def _integer(what: str, value: object, low: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= MOST:
        raise ValueError(
            f"{what} must be an integer of at least {low} and at most {MOST}, not {shown(value)}"
        )
    return value


def _plane_values(plane: Plane) -> dict[str, Any]:
    """A plane as JSON holds it; that it lies on the chip goes without saying."""
    values = asdict(plane)
    if not plane.external:
        del values["external"]
    return values


def _plane(value: Mapping[str, Any]) -> Plane:
    channels, height, width = (_integer("a side", side, 1) for side in value["shape"])
    base, pitch = _integer("base", value["base"]), _integer("pitch", value["pitch"], 1)
    external = value.get("external", False)
    if not isinstance(external, bool):
        raise ValueError(f"external must be true or false, not {shown(external)}")
    return Plane(base, pitch, (channels, height, width), external)


def _entry(value: Mapping[str, Any]) -> LayerEntry:
    texts: dict[str, Any] = {key: str(value[key]) for key in ("name", "kind")}
    numbers: dict[str, Any] = {
        each.name: _integer(each.name, value[each.name])
        for each in fields(LayerEntry)
        if each.type is int
    }
    k = None if value["k"] is None else _integer("k", value["k"], 1)
    stored = value["stored"]
    if not isinstance(stored, bool):
        raise ValueError(f"stored must be true or false, not {shown(stored)}")
    return LayerEntry(k=k, output=_plane(value["output"]), stored=stored, **texts, **numbers)
