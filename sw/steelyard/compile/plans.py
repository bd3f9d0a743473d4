"""Plans of all layers of a network for one configuration, the fastest that its memories hold."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..contract import AcceleratorConfig, registry
from ..contract.limits import BLOCKS
from ..contract.sections import MEMORIES
from ..engines import Engine
from ..errors import UserError
from ..network import Network
from ..network.grouped import ungroup
from .areas import Block
from .external import move_all, needs_of
from .fusion import fusions
from .layer_plans import Planner
from .memory import assign, lifetimes
from .outside import divide, least_room
from .places import Places, separate
from .planned import Planned, Short
from .staging import stage

__all__ = ["layer_faults", "planned"]

SLICES = (2, 3, 4, 6, 8)
"""Slices of weights that lie in their memory at a time, of which the fastest number is taken: one
is in use, the others come. Small ones come further ahead, and are loaded for more often."""
CUTS = ((2, 0), (1, 0), (3, 0), (4, 0), (2, 1), (2, 2))
"""Ways to cut layers, of which each takes the fastest: slices of weights, and how much larger than
need be are blocks of convolutions in groups; 0 for as much as leaves few descriptors."""
STRIPS = (
    (1, 1, CUTS[:1]),
    (1, 5, CUTS),
    (2, 5, CUTS),
    (2, 5, CUTS[:1]),
    (2, 5, CUTS[1:2]),
    (1, 5, CUTS[3:4]),
)
"""Ways of dividing activations between both memories, of which the fastest is taken: smallest tasks
that there is room for at least, layers that tasks go through at most, and ways to cut these."""


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
    if found.fits or not config.memory.external_words:
        return found
    if not kept and uses["activation words"].used <= uses["activation words"].available:
        ways = [_moved(network, config, batch, options, slices) for slices in SLICES]
        found = min(ways, key=lambda way: (not way.fits, way.cycles))
    return _in_strips(network, config, batch, options, found, kept)


def _in_strips(
    network: Network,
    config: AcceleratorConfig,
    batch: int,
    options: dict[str, Any],
    other: Planned,
    kept: bool,
) -> Planned:
    """Fastest plan with activations in external memory, or another that is faster or alone fits."""
    found: list[Planned] = []
    plans: dict[tuple[int, int], Planned] = {}
    cut: dict[tuple[int, int], dict[Any, Block | None]] = {}
    least: dict[tuple[int, int], dict[Any, int]] = {}
    # Without slices several of the ways are one.
    ways = dict.fromkeys(
        (spare, longest, tuple(dict.fromkeys((0 if kept else n, growth) for n, growth in cuts)))
        for spare, longest, cuts in STRIPS
    )
    for spare, longest, owns in ways:
        for own in owns:
            if own not in plans:
                plans[own] = _planned(network, config, batch, options, *own)
                short = _short(plans[own], batch, kept) if len(plans) == 1 else ()
                if short:
                    return other if other.fits else replace(other, short=short)
        way = _staged(
            [plans[own] for own in owns], batch, spare, longest, kept,
            [cut.setdefault(own, {}) for own in owns], least.setdefault(owns[0], {}),
        )  # fmt: skip
        if way is not None:
            found.append(way)
    if other.moved is not None:
        found.insert(0, other)
    return min(found, key=lambda way: (not way.fits, way.cycles), default=other)


def _short(plan: Planned, batch: int, kept: bool) -> tuple[Short, ...]:
    """Memories that cannot even hold what a layer needs at a time."""
    memory = plan.config.memory
    words, layer = least_room(plan.network, plan.plans, plan.config, batch)
    needs = [("activation_words", words, layer)]
    if not kept:
        steps = [
            (step.descriptor.weight_count, number)
            for number, each in enumerate(plan.plans)
            for step in each.steps
        ]
        parameters = [(len(each.parameters), number) for number, each in enumerate(plan.plans)]
        needs += [("weight_words", *max(steps)), ("parameter_words", *max(parameters))]
    return tuple(
        Short(name, used, getattr(memory, name), plan.plans[number].layer.name)
        for name, used, number in needs
        if used > getattr(memory, name)
    )


def _staged(
    ways: Sequence[Planned],
    batch: int,
    spare: int,
    longest: int,
    kept: bool,
    cut: Sequence[dict[Any, Block | None]],
    known: dict[Any, int],
) -> Planned | None:
    """Plan with activations in external memory, None if something finds no room.

    Parameters
    ----------
    ways : plans of each way to cut weights in slices
    """
    plan = ways[0]
    config = plan.config
    divided = divide(
        plan.network, [way.plans for way in ways], plan.buffers, plan.places, config, batch,
        spare=spare, longest=longest,
        weights=MEMORIES["weight_words"] if kept else config.memory.weight_words,
        cut=cut, known=known,
    )  # fmt: skip
    if divided is None:
        return None
    chosen = list(plan.plans)
    for block, way in zip(divided.blocks, divided.ways, strict=True):
        for number in block.layers:
            chosen[number] = ways[way].plans[number]
    plan = replace(plan, plans=tuple(chosen), division=divided, weights_moved=not kept)
    planes = plan.planes(batch)
    size = config.memory.max_layers
    parts = sum(len(task.parts) for block in divided.blocks for task in block.tasks)
    turns = size & (size - 1) == 0 and size >= 4 * BLOCKS
    for in_turn in (True,) if turns and parts > size else (False, True):
        staged = stage(
            plan.plans, divided, planes, lambda name: divided.root(name, plan.places),
            plan.places.start, config, moved=not kept, in_turn=in_turn,
        )  # fmt: skip
        if staged is None:
            return None
        count = sum(len(layer.descriptors) for layer in staged.layers)
        if count <= size or not turns:
            break
    return replace(plan, staged=staged)


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
    growth: int = 0,
) -> Planned:
    """Plans of a network, with weights cut so that several slices lie in their memory, or whole.

    Parameters
    ----------
    growth : how much larger blocks of convolutions in groups are than need be, 0 for as much as
        leaves no more descriptors than there are
    """
    planner, places, settings, mapping = _planner(network, config, batch, options, slices)
    if growth:
        plans = [planner.layer(layer, growth) for layer in planner.network.layers]
    else:
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
