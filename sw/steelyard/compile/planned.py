"""A network's plans for one configuration, and what these take of its memories."""

from dataclasses import dataclass
from typing import Any

from ..contract import AcceleratorConfig
from ..contract.latencies import between
from ..contract.registers import Space
from ..contract.sections import EXTERNAL, MEMORIES
from ..engines import Engine
from ..errors import DoesNotFit
from ..network import Network
from ..program import Plane, Use
from .external import LayerMoves, Moved, by_layer
from .layer_plans import LayerPlan
from .memory import Buffer, plane_pitch
from .outside import Division
from .places import Places
from .staging import Staged, image_words

__all__ = ["Planned", "Short"]


def _enough(name: str, used: int) -> int:
    """Value of a memory's field that holds what is used."""
    if name == "max_layers":
        return used
    return 1 << (used - 1).bit_length() if name == "external_words" else -(-used // 16) * 16


@dataclass(frozen=True)
class Short:
    """Memory that does not hold what a layer needs at a time.

    Members
    -------
    field : of the configuration
    used, available : words that the layer needs, and that there are
    layer : its name
    """

    field: str
    used: int
    available: int
    layer: str

    def __str__(self) -> str:
        """The same as part of a sentence."""
        name = self.field.replace("_", " ")
        return (
            f"{self.used} {name} where the configuration has {self.available} "
            f"({self.used - self.available} too many) for parts of layer {self.layer!r}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """A network's plans for a configuration, whether or not its memories hold them.

    Members
    -------
    config : what it is planned for
    engine : of the configuration
    network : as it is compiled, with layers of the compiler's own
    places : tensors that lie in others
    settings, mapping : what the engine keeps of the compilation
    plans : of each layer
    buffers, bases : stretches of activation memory, and where they begin
    activation_words : that these take
    moved : what is moved from external memory while layers run; None if all lies on the chip, or
        activations are moved too
    staged : descriptors with moves of activations among them; None without such moves
    division : what lies where, with `staged`
    weights_moved : whether weights and parameters come from external memory, with `staged`
    short : memories that are too small even where activations are moved
    """

    config: AcceleratorConfig
    engine: Engine
    network: Network
    places: Places
    settings: Any
    mapping: Any
    plans: tuple[LayerPlan, ...]
    buffers: tuple[Buffer, ...]
    bases: dict[str, int]
    activation_words: int
    moved: Moved | None = None
    staged: Staged | None = None
    division: Division | None = None
    weights_moved: bool = False
    short: tuple["Short", ...] = ()

    @property
    def moves_words(self) -> bool:
        """Whether words are moved while layers run."""
        return self.moved is not None or self.staged is not None

    @property
    def image_words(self) -> int:
        """Words of weights and parameters in external memory, with `staged`."""
        if not self.weights_moved:
            return 0
        return image_words(self.plans, self.config)

    @property
    def external_words(self) -> int:
        """Words of external memory that are in use, with `staged`."""
        assert self.staged is not None and self.division is not None
        maps = self.division.maps[0] * self.config.activation_item_words
        return self.image_words + self.staged.descriptor_words + maps

    def planes(self, batch: int) -> dict[str, Plane]:
        """Place of every tensor, of the bases of the buffers that they lie in."""
        bases, outside, first = self.bases, dict[str, int](), 0
        if self.division is not None:
            bases, (_, outside) = self.division.bases, self.division.maps
        if self.staged is not None:
            first = self.image_words + self.staged.descriptor_words
        planes = {}
        for name, tensor in self.network.tensors.items():
            pitch = plane_pitch(tensor.shape, batch, self.config.engine.lanes)
            root, start = self.places.buffer(name), self.places.start(name) * pitch
            if self.division is not None:
                root = self.division.root(name, self.places)
            if root in outside:
                base = first + (outside[root] + start) * self.config.activation_item_words
                planes[name] = Plane(base, pitch, tensor.shape, external=True)
            else:
                planes[name] = Plane(bases[root] + start, pitch, tensor.shape)
        return planes

    @property
    def uses(self) -> tuple[Use, ...]:
        """What is taken of each memory, which may be more than there is."""
        memory, plans, moved = self.config.memory, self.plans, self.moved
        weights = sum(plan.weight_items for plan in plans)
        parameters = sum(len(plan.parameters) for plan in plans)
        descriptors = sum(len(plan.steps) for plan in plans)
        if moved is not None:
            weights, parameters = moved.reached[Space.WEIGHTS], moved.reached[Space.PARAMETERS]
            descriptors += sum(map(len, moved.before))
        uses = (
            Use("activation words", self.activation_words, memory.activation_words),
            Use("weight words", weights, memory.weight_words),
            Use("parameter words", parameters, memory.parameter_words),
            Use("layer descriptors", descriptors, memory.max_layers),
        )
        if self.staged is not None:
            return self._staged_uses()
        if moved is None:
            return uses
        return (*uses, Use("external words", moved.words, memory.external_words))

    def _staged_uses(self) -> tuple[Use, ...]:
        assert self.staged is not None
        memory, staged = self.config.memory, self.staged
        weights, parameters = staged.reached[Space.WEIGHTS], staged.reached[Space.PARAMETERS]
        if not self.weights_moved:
            weights = sum(plan.weight_items for plan in self.plans)
            parameters = sum(len(plan.parameters) for plan in self.plans)
        descriptors = sum(len(layer.descriptors) for layer in staged.layers)
        if staged.descriptor_words:
            descriptors = memory.max_layers
        activations = max(layer.activation_words for layer in staged.layers)
        return (
            Use("activation words", activations, memory.activation_words),
            Use("weight words", weights, memory.weight_words),
            Use("parameter words", parameters, memory.parameter_words),
            Use("layer descriptors", descriptors, memory.max_layers),
            Use("external words", self.external_words, memory.external_words),
        )

    @property
    def fits(self) -> bool:
        """Whether the memories hold all that must lie there."""
        return all(use.used <= use.available for use in self.uses)

    @property
    def cycles(self) -> int:
        """Of a batch, exactly, at most or about, beside those before the first layer."""
        if self.staged is not None:
            return sum(
                layer.computing + layer.waiting + len(layer.descriptors) * between(self.config)
                for layer in self.staged.layers
            )
        layers = zip(self.plans, self.moves, strict=True)
        return sum(
            plan.predicted_cycles
            + moves.cycles
            + (len(plan.steps) + moves.count) * between(self.config)
            for plan, moves in layers
        )

    @property
    def moves(self) -> list[LayerMoves]:
        """Moves of each layer, none where all lies on the chip."""
        return by_layer([len(plan.steps) for plan in self.plans], self.moved)

    def check_capacity(self) -> None:
        """Refuse a network that the configuration's memories do not hold.

        Raises
        ------
        DoesNotFit
            Says by how much each is too small, and which fields of the configuration would do.
        """
        short, grown = [], {}
        for each in self.short:
            short.append(str(each))
            grown[each.field] = _enough(each.field, each.used)
        uses = () if self.short else self.uses
        for name, use in zip((*MEMORIES, "external_words"), uses, strict=False):
            if use.used > use.available:
                short.append(
                    f"{use.used} {use.memory} where the configuration has {use.available} "
                    f"({use.used - use.available} too many)"
                )
                grown[name] = _enough(name, use.used)
        if not short:
            return
        most = {**MEMORIES, "external_words": EXTERNAL[-1]}
        if any(value > most[name] for name, value in grown.items()):
            grown, larger = {}, ""
        else:
            values = " and ".join(f"{name} to {value}" for name, value in grown.items())
            larger = f"raise {values} in the configuration, or "
        raise DoesNotFit(
            f"Network {self.network.name!r} does not fit: it needs {', and '.join(short)}",
            f"{larger}use a smaller batch or a sparser network.",
            grown,
        )
