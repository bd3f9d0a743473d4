"""Plans of all layers of a network for one configuration, and what these take of its memories."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import AcceleratorConfig, registry
from ..contract.descriptor import Operation
from ..contract.latencies import between
from ..contract.limits import TABLE_ITEMS
from ..contract.registers import Space
from ..contract.sections import EXTERNAL, MEMORIES
from ..engines import Engine, Plan
from ..errors import DoesNotFit, UserError
from ..network import Conv, Layer, Network
from ..network.grouped import blocks, ungroup
from ..program import Use
from .cycles import predict
from .external import LayerMoves, Moved, by_layer, move_all, needs_of
from .fusion import Fusion, fusions
from .layers import LOWERINGS, check_features, serial_scale, walk
from .memory import Buffer, assign, lifetimes
from .places import Places, separate
from .step import Step

__all__ = ["LayerPlan", "Planned", "layer_faults", "planned"]

SLICES = (2, 3, 4, 6, 8)
"""Slices of weights that lie in their memory at a time, of which the fastest number is taken: one
is in use, the others come. Small ones come further ahead, and are loaded for more often."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """Everything about a layer that is known before its weights are packed.

    Members
    -------
    parts : convolutions of one group and what the engine decided about each; none for a layer
        without weights
    table : parameter item of the layer with which its table begins, if it has one
    addend : tensor that is added to its results, if one is
    stored : whether its output gets into memory, and not only that of what follows at once
    """

    layer: Layer
    steps: tuple[Step, ...]
    parameters: NDArray[np.uint32]
    predicted_cycles: int
    parts: tuple[tuple[Conv, Plan], ...] = ()
    table: int = 0
    addend: str | None = None
    stored: bool = True

    @property
    def weight_items(self) -> int:
        return sum(step.descriptor.weight_count for step in self.steps)

    @property
    def k(self) -> int | None:
        return max((plan.k for _, plan in self.parts if plan.k is not None), default=None)

    def total(self, name: str) -> int:
        """Sum of what the engine says of each part."""
        return sum(getattr(plan, name) for _, plan in self.parts)


def _parameter_words(
    layer: str,
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
    negative: NDArray[np.int32] | None,
    config: AcceleratorConfig,
) -> NDArray[np.uint32]:
    if config.output.requantizer_cycles > 1:
        pairs = zip(multiplier.tolist(), shift.tolist(), strict=True)
        scales = [serial_scale(layer, *pair) for pair in pairs]
        multiplier, shift = np.array(scales, np.int32).reshape(-1, 2).T
    high = multiplier.astype(np.uint32) | shift.astype(np.uint32) << np.uint32(24)
    words = [bias.astype(np.int32).view(np.uint32), high]
    if config.output.slopes:
        words.append((multiplier if negative is None else negative).astype(np.uint32))
    return np.stack(words, axis=1)


def _with_table(parameters: NDArray[np.uint32], table: NDArray[np.int8]) -> NDArray[np.uint32]:
    """Parameter items, and behind them those of a table."""
    entries = np.zeros((TABLE_ITEMS, parameters.shape[1]), np.uint32)
    entries[:, :2] = table.reshape(TABLE_ITEMS, -1).view("<u4")
    return np.concatenate([parameters, entries])


@dataclass(frozen=True, kw_only=True, eq=False)
class Planner:
    """What all layers are planned with."""

    network: Network
    batch: int
    config: AcceleratorConfig
    engine: Engine
    prepared: Any
    fusions: dict[str, Fusion]

    def layer(self, layer: Layer, growth: int) -> LayerPlan:
        """Plan of one layer; `growth` is how much larger blocks of groups are than they need be."""
        if isinstance(layer, Conv):
            return self._convolution(layer, growth)
        for fusion in self.fusions.values():
            if layer.name in [each.name for each in fusion.following]:
                return self._computed(layer, fusion)
        lower = LOWERINGS.get(type(layer))
        if lower is None:
            known: list[type[Layer]] = [Conv, *LOWERINGS]
            *most, last = (kind.__name__ for kind in known)
            raise UserError(
                f"Layer {layer.name!r} is a {type(layer).__name__}, which the compiler does not "
                f"know; use {', '.join(most)} or {last}."
            )
        lowered = lower(self.network, layer, self.batch, self.config)
        steps, items, table, below = lowered
        for step in steps:
            step.descriptor.words(layer.name, self.config)
            check_features(layer, step.descriptor, self.config)
        bias, multiplier, shift = np.array(items, np.int32).reshape(-1, 3).T
        negative = None if below is None else np.full_like(multiplier, below)
        scaling = (multiplier, shift, negative)
        parameters = _parameter_words(layer.name, bias, *scaling, self.config)
        return LayerPlan(
            layer=layer,
            steps=tuple(steps),
            parameters=parameters if table is None else _with_table(parameters, table),
            table=len(parameters),
            predicted_cycles=sum(predict(step.descriptor, self.config) for step in steps),
        )

    def _convolution(self, layer: Conv, growth: int) -> LayerPlan:
        config = self.config
        base = walk(self.network, layer, Operation.CONV, self.batch, config.engine.lanes)
        fusion = self.fusions.get(layer.name, Fusion(conv=layer))
        base = base.but(**fusion.fields(self.network))
        base.words(layer.name, config)
        check_features(layer, base, config)
        parts, steps = [], []
        inputs, outputs = config.engine.group * growth, config.engine.width * growth
        for block in blocks(layer, inputs, outputs):
            own = base.but(in_channels=block.channels[0])
            plan = self.engine.plan(self.network, block.conv, own, config, self.prepared)
            parts.append((block.conv, plan))
            for descriptor, (first, _) in zip(plan.descriptors, plan.channels, strict=True):
                writes = block.writes + first
                steps.append(
                    Step(descriptor=descriptor, reads=block.reads, writes=writes, item=writes)
                )
        bias = np.concatenate([plan.bias for _, plan in parts])
        scaling = (layer.multiplier, layer.shift, layer.negative_multiplier)
        parameters = _parameter_words(layer.name, bias, *scaling, config)
        table = len(parameters)
        if fusion.lookup is not None:
            parameters = _with_table(parameters, fusion.lookup.table)
        return LayerPlan(
            layer=layer,
            steps=tuple(steps),
            parameters=parameters,
            predicted_cycles=sum(plan.predicted_cycles for _, plan in parts),
            parts=tuple(parts),
            table=table,
            addend=fusion.addend,
            stored=not fusion.following,
        )

    def _computed(self, layer: Layer, fusion: Fusion) -> LayerPlan:
        """Plan of a layer that is computed with a convolution."""
        return LayerPlan(
            layer=layer,
            steps=(),
            parameters=np.zeros((0, len(self.config.parameter_bits)), np.uint32),
            predicted_cycles=0,
            stored=layer.name == fusion.following[-1].name,
        )

    def all(self, most: int) -> list[LayerPlan]:
        """Plans of all layers, in larger blocks where there are more than `most` descriptors."""
        growth = 1
        while True:
            plans = [self.layer(layer, growth) for layer in self.network.layers]
            groups = [len(plan.parts) for plan in plans]
            descriptors = sum(len(plan.steps) for plan in plans)
            if descriptors <= most or max(groups) <= 1:
                return plans
            growth *= 2


def _enough(name: str, used: int) -> int:
    """Value of a memory's field that holds what is used."""
    if name == "max_layers":
        return used
    return 1 << (used - 1).bit_length() if name == "external_words" else -(-used // 16) * 16


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
    moved : what is moved from external memory while layers run; None if all lies on the chip
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
        if moved is None:
            return uses
        return (*uses, Use("external words", moved.words, memory.external_words))

    @property
    def fits(self) -> bool:
        """Whether the memories hold all that must lie there."""
        return all(use.used <= use.available for use in self.uses)

    @property
    def cycles(self) -> int:
        """Of a batch, exactly, at most or about, beside those before the first layer."""
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
        for name, use in zip((*MEMORIES, "external_words"), self.uses, strict=False):
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


def _planner(
    network: Network,
    config: AcceleratorConfig,
    batch: int,
    options: dict[str, Any],
    slices: int = 0,
) -> tuple[Planner, Places, Any, Any]:
    """Planner, tensors that lie in others, and the engine's settings and mapping."""
    if not isinstance(network, Network) or not isinstance(config, AcceleratorConfig):
        given = f"{type(network).__name__} and {type(config).__name__}"
        raise UserError(
            f"A network is compiled for an AcceleratorConfig, but {given} were given; "
            "load an ONNX file with steelyard.importer.load first."
        )
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 65535:
        raise UserError(f"The batch must be an integer from 1 to 65535, not {batch!r}; use 1.")
    if network.only_parts:
        raise UserError(
            f"Network {network.name!r} has no layer that takes any time, at least one is needed; "
            "add one, or leave less of the network to the host."
        )
    engine: Engine = registry.engine(config.engine.kind)
    for name in options:
        if name not in engine.options:
            own = ", ".join(engine.options) or "none"
            raise UserError(
                f"The {config.engine.title} has no option {name!r}; its options are {own}."
            )
    if not engine.cuts_layers:
        network = ungroup(network, config.engine.group, config.engine.width)
    found = fusions(network, config, batch)
    network, places = separate(network, found.values())
    settings, mapping, prepared = engine.prepare(network, config, options)
    # With memories that hold everything: how large they are changes no plan, and what is too much
    # for those of the configuration is said of the whole network. But weights that are moved while
    # layers run are cut to what their memory holds.
    room = config.with_(**MEMORIES, external_words=0)
    if slices:
        room = config.with_(
            activation_words=MEMORIES["activation_words"],
            max_layers=MEMORIES["max_layers"],
            weight_words=max(config.memory.weight_words // slices // 16 * 16, 16),
        )
    planner = Planner(
        network=network, batch=batch, config=room, engine=engine, prepared=prepared, fusions=found
    )
    return planner, places, settings, mapping


def planned(
    network: Network, config: AcceleratorConfig, batch: int, options: dict[str, Any]
) -> Planned:
    """Plans of a network for one configuration, with memories that hold everything.

    Parameters
    ----------
    network, config, batch, options : as :func:`steelyard.compile.compile` takes them

    Raises
    ------
    UserError, DoesNotFit
        As :func:`steelyard.compile.compile`, but for memories.
    """
    found = _planned(network, config, batch, options)
    uses = {use.memory: use for use in found.uses}
    kept = all(
        uses[each].used <= uses[each].available for each in ("weight words", "parameter words")
    )
    if kept or not config.memory.external_words:
        return found
    ways = [_moved(network, config, batch, options, slices) for slices in SLICES]
    return min(ways, key=lambda way: (not way.fits, way.cycles))


def _moved(
    network: Network, config: AcceleratorConfig, batch: int, options: dict[str, Any], slices: int
) -> Planned:
    """Plans of a network whose weights are moved, several slices of them in the weight memory."""
    found = _planned(network, config, batch, options, slices)
    return replace(found, moved=move_all(*needs_of(found.plans, config), config))


def _planned(
    network: Network,
    config: AcceleratorConfig,
    batch: int,
    options: dict[str, Any],
    slices: int = 0,
) -> Planned:
    """Plans of a network, with weights cut so that several slices lie in their memory, or whole."""
    planner, places, settings, mapping = _planner(network, config, batch, options, slices)
    plans = planner.all(config.memory.max_layers)
    buffers = lifetimes(planner.network, places, batch, config.engine.lanes)
    peak, bases = assign(buffers)
    return Planned(
        config=config,
        engine=planner.engine,
        network=planner.network,
        places=places,
        settings=settings,
        mapping=mapping,
        plans=tuple(plans),
        buffers=tuple(buffers),
        bases=bases,
        activation_words=peak,
    )


def layer_faults(
    network: Network, config: AcceleratorConfig, batch: int, options: dict[str, Any]
) -> list[str]:
    """Why layers cannot run on a configuration, a sentence for each that cannot.

    Parameters
    ----------
    network, config, batch, options : as :func:`steelyard.compile.compile` takes them

    Raises
    ------
    UserError
        If the batch or an option is wrong.
    """
    planner, *_ = _planner(network, config, batch, options)
    found = []
    for layer in planner.network.layers:
        try:
            planner.layer(layer, 1)
        except UserError as error:
            found.append(str(error))
    return found
