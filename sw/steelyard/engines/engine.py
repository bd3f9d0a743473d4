"""What an engine is to core: how it plans, packs, predicts and checks layers with weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..contract import AcceleratorConfig, Descriptor
from ..network import Conv, Network
from .columns import Column, field

if TYPE_CHECKING:
    from ..program import Program

__all__ = ["Engine", "Limits", "Plan"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What an engine decides about a layer with weights before these are packed.

    Members
    -------
    descriptors : one or several, without addresses
    channels : first and last output channel (exclusive) of each descriptor
    bias : int32 (out_channels,), with the corrections that the engine's arithmetic needs
    nnz : weights that are not zero
    kept : weights stored
    ideal_cycles : cycles if the engine never waited
    predicted_cycles : cycles of the descriptors, exactly or at most
    k : weights kept in every group, None for engines without groups
    own : what the engine packs the layer by
    """

    descriptors: tuple[Descriptor, ...]
    channels: tuple[tuple[int, int], ...]
    bias: NDArray[np.int32]
    nnz: int
    kept: int
    ideal_cycles: int
    predicted_cycles: int
    k: int | None
    own: Any


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Words for what a board lacks: what takes much, and which fields lower it.

    Members
    -------
    multiplications : what the engine's multipliers are for
    multipliers, memories, logic : fields that lower the need for these
    """

    multiplications: str
    multipliers: str
    memories: str
    logic: str


class Engine(ABC):
    """One engine; the registry of :mod:`steelyard.contract.registry` has all.

    An engine without options, counters or settings of its own leaves the methods for them alone.
    """

    kind: ClassVar[str]
    """How configurations name it."""
    options: ClassVar[tuple[str, ...]] = ()
    """Options of :func:`steelyard.compile.compile` that it takes."""
    cuts_layers: ClassVar[bool] = False
    """Whether :meth:`plan` takes parts of a grouped convolution in turn; if not, the network has
    layers for them."""

    def counters(self, config: AcceleratorConfig) -> type | None:
        """Dataclass of the counters that only this engine has, 64 bits each in the order of its
        fields; None for none."""
        return None

    @abstractmethod
    def prepare(
        self, network: Network, config: AcceleratorConfig, options: Mapping[str, Any]
    ) -> tuple[Any, Any, Any]:
        """Settings, which the program keeps; its mapping; and what plans need of the whole network.

        Raises
        ------
        UserError
            If an option is wrong.
        """

    @abstractmethod
    def plan(
        self,
        network: Network,
        layer: Conv,
        base: Descriptor,
        config: AcceleratorConfig,
        prepared: Any,
    ) -> Plan:
        """Plan of a layer with weights, of one group of channels.

        Parameters
        ----------
        base : the layer's walk over its input
        prepared : the last that :meth:`prepare` gave

        Raises
        ------
        UserError
            If the engine cannot compute the layer; names it.
        """

    @abstractmethod
    def pack(
        self, layer: Conv, plan: Plan, config: AcceleratorConfig
    ) -> Iterator[NDArray[np.uint32]]:
        """Weight items of each descriptor, uint32 (items, words of an item)."""

    @abstractmethod
    def predict(self, descriptor: Descriptor, config: AcceleratorConfig) -> int:
        """Cycles of a layer with weights.

        Raises
        ------
        ValueError
            If its descriptor alone does not decide its time.
        """

    def busy(self, descriptor: Descriptor, config: AcceleratorConfig) -> dict[str, int]:
        """Cycles that each unit would take for a layer with weights if it never waited.

        Empty for an engine that does not tell them apart.
        """
        return {}

    def counts(self, descriptor: Descriptor, config: AcceleratorConfig) -> dict[str, int]:
        """What the counters of a layer with weights will say, by the names of `COUNTERS`.

        All but the words that are loaded and those through the vector unit, which are the same for
        every engine. Empty for an engine that cannot tell.
        """
        return {}

    @property
    def integer(self) -> bool:
        """Whether it always computes the integer network, as nothing analog does otherwise."""
        return False

    @property
    def exact(self) -> bool:
        """Whether predicted cycles are those of the hardware; if not they are a bound."""
        return True

    def mapping(self, program: "Program") -> Any:
        """How the engine holds a program's weights, where that is more than its items; or None."""
        return None

    @abstractmethod
    def golden(self, program: "Program", x: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Every tensor that the accelerator computes, int8 (images, channels, height, width)."""

    @abstractmethod
    def golden_layer(
        self, program: "Program", layer: Conv, x: NDArray[np.int8]
    ) -> NDArray[np.int8]:
        """Output of one layer with weights, int8 (images, channels, height, width)."""

    def settings_to_dict(self, settings: Any) -> dict[str, Any] | None:
        """Settings as JSON holds them."""
        return None

    def settings_from_dict(self, values: Any) -> Any:
        """Settings of what :meth:`settings_to_dict` gave.

        Raises
        ------
        ValueError
            If they are none of this engine.
        """
        if values is not None:
            raise ValueError(f"its engine {self.kind!r} has no settings, but the file has some")
        return None

    def plan_columns(self, program: "Program") -> tuple[Column, ...]:
        """What a table of planned layers says of this engine alone."""
        return (field("nnz", "nnz", weights=True, added=True),)

    def run_columns(self, program: "Program") -> tuple[Column, ...]:
        """What a table of layers that ran says of this engine alone."""
        return (field("ideal", "ideal_cycles", weights=True),)

    @abstractmethod
    def luts(self, config: AcceleratorConfig, pair_luts: int) -> int:
        """LUTs that synthesis gives the engine on an ECP5, a fit.

        Parameters
        ----------
        pair_luts : more for each lane whose multiplier serves two
        """

    @abstractmethod
    def products(self, config: AcceleratorConfig) -> int:
        """Multiplications of a cycle that a multiplier does, each in LUTs where there is none."""

    @abstractmethod
    def multipliers(self, config: AcceleratorConfig, lanes_per_multiplier: int) -> int:
        """Multipliers of the engine, of which one serves that many lanes where they can share."""

    @abstractmethod
    def memories(self, config: AcceleratorConfig) -> Iterator[tuple[int, int]]:
        """Words and bits of each of the engine's memories that becomes block RAM."""

    @abstractmethod
    def limits(self, config: AcceleratorConfig, multipliers: int) -> Limits:
        """Words about a device that is too small.

        Parameters
        ----------
        multipliers : of the engine alone
        """
