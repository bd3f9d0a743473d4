"""What a network would take of configurations: memories, cycles, and what bounds each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steelyard.compile.cycles import busy
from steelyard.compile.emission import StagedLayer
from steelyard.compile.external import LayerMoves, Pace
from steelyard.compile.layer_plans import LayerPlan
from steelyard.compile.planned import Planned
from steelyard.compile.plans import layer_faults, planned
from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import between, opening
from steelyard.contract.sections import MEMORIES
from steelyard.driver.boards import BoardFacts
from steelyard.errors import DoesNotFit, UserError
from steelyard.network import Network
from steelyard.program import Use


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What a layer would take.

    Members
    -------
    name, kind : of the layer
    k : weights kept in every group, None for layers without weights and engines without groups
    nnz : weights that are not zero
    weight_words : of the weight memory
    moved_words : 32-bit words that come from external memory, 0 where all lies on the chip
    stored_words : those that go there
    waiting_cycles : of `cycles`, those of moves and of waiting for them
    cycles : of the layer with its start; on an engine that is not exact a bound, and where words
        are moved with an estimate of waiting for them
    bound : unit that takes longest: ``engine``, ``loading``, ``draining``, ``vector unit`` or
        ``external memory``
    """

    name: str
    kind: str
    k: int | None
    nnz: int
    weight_words: int
    moved_words: int
    stored_words: int
    waiting_cycles: int
    cycles: int
    bound: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a network would take of a configuration.

    Members
    -------
    config : configuration
    batch : images computed together
    uses : what is taken of each memory, more than there is where the network does not fit
    layers : what each layer takes
    exact : whether cycles are those of the hardware; else a bound or, where words are moved from
        external memory, an estimate
    """

    config: AcceleratorConfig
    batch: int
    uses: tuple[Use, ...]
    layers: tuple[LayerCost, ...]
    exact: bool

    @property
    def cycles(self) -> int:
        """Of a batch, without transfers."""
        return opening(self.config) + sum(layer.cycles for layer in self.layers)

    @property
    def moved_words(self) -> int:
        """32-bit words that come from external memory, of a batch."""
        return sum(layer.moved_words for layer in self.layers)

    @property
    def stored_words(self) -> int:
        """32-bit words that go into external memory, of a batch."""
        return sum(layer.stored_words for layer in self.layers)

    @property
    def roofline_cycles(self) -> int:
        """Of a batch, if the busier of engine and external memory never waited."""
        computing = sum(layer.cycles - layer.waiting_cycles for layer in self.layers)
        moved = self.moved_words + self.stored_words
        return max(computing, Pace.of(self.config).word * moved)

    @property
    def fits(self) -> bool:
        """Whether all memories are large enough."""
        return all(use.used <= use.available for use in self.uses)

    def frames_per_second(self, clock_hz: float) -> float:
        """Images a second at a clock, without transfers."""
        return clock_hz / self.cycles * self.batch


@dataclass(frozen=True, kw_only=True)
class BoardFit:
    """Whether a board's configuration runs a network.

    Members
    -------
    name : of the board
    clock_hz : its clock
    config : its configuration, that with external memory where it takes that
    estimate : what the network takes; None where a layer cannot run at all
    problem : the first reason why it does not run; None if it does
    """

    name: str
    clock_hz: int
    config: AcceleratorConfig
    estimate: Estimate | None
    problem: str | None


def assess(
    network: Network, config: AcceleratorConfig, *, batch: int = 1, **options: Any
) -> tuple[Estimate | None, list[str]]:
    """What a network would take of a configuration, and why it does not run there.

    Parameters
    ----------
    network, config, batch, options : as :func:`steelyard.compile.compile` takes them

    Returns
    -------
    The estimate, also where memories are too small, but None if a layer cannot run at all; and a
    sentence on each such layer, or one on the memories.

    Raises
    ------
    UserError
        If the batch or an option is wrong.
    """
    try:
        plan = planned(network, config, batch, options)
    except UserError:
        # Only where a layer cannot run are all of them asked.
        faults = layer_faults(network, config, batch, options)
        if not faults:
            raise
        return None, faults
    try:
        plan.check_capacity()
    except DoesNotFit as error:
        return _estimate(plan, batch), [str(error)]
    return _estimate(plan, batch), []


def fits(network: Network, boards: Iterable[BoardFacts], *, batch: int = 1) -> list[BoardFit]:
    """What a network would take of each board's own configuration.

    Where that does not run it, but the board's configuration with external memory does, of that.

    Parameters
    ----------
    network : integer network
    boards : to be asked
    batch : images computed together
    """
    plans: dict[AcceleratorConfig, Planned | str] = {}

    def fit(board: BoardFacts, config: AcceleratorConfig) -> BoardFit:
        # How large the other memories are changes no plan, unless words are moved into them.
        most = {name: size for name, size in MEMORIES.items() if name != "max_layers"}
        key = config if config.memory.external_words else config.with_(**most)
        if key not in plans:
            try:
                plans[key] = planned(network, key, batch, {})
            except UserError as error:
                plans[key] = str(error)
        plan = plans[key]
        cost = problem = None
        if isinstance(plan, str):
            problem = plan
        else:
            own = replace(plan, config=config)
            cost = _estimate(own, batch)
            try:
                own.check_capacity()
            except DoesNotFit as error:
                problem = error.problem
        return BoardFit(
            name=board.name,
            clock_hz=board.clock_of(config),
            config=config,
            estimate=cost,
            problem=problem,
        )

    found = []
    for board in boards:
        best = fit(board, board.default)
        if best.problem is not None and board.external is not None:
            external = fit(board, board.external)
            best = external if external.problem is None else best
        found.append(best)
    return found


def smallest(candidates: Sequence[BoardFit]) -> BoardFit | None:
    """Of the boards that run the network the one with the least multipliers, then memories."""
    running = [each for each in candidates if each.problem is None]
    return min(running, key=_size, default=None)


def _size(fit: BoardFit) -> tuple[int, int]:
    engine, memory = fit.config.engine, fit.config.memory
    words = memory.activation_words * engine.lanes + memory.weight_words * engine.width
    return engine.macs_per_cycle, words


def _estimate(plan: Planned, batch: int) -> Estimate:
    return Estimate(
        config=plan.config,
        batch=batch,
        uses=plan.uses,
        layers=tuple(_costs(plan)),
        exact=plan.engine.exact and not plan.moves_words,
    )


def _costs(plan: Planned) -> Iterator[LayerCost]:
    if plan.staged is None:
        for each, moves in zip(plan.plans, plan.moves, strict=True):
            yield _cost(each, moves, plan)
        return
    for each, layer in zip(plan.plans, plan.staged.layers, strict=True):
        yield _staged_cost(each, layer, plan.config)


def _staged_cost(plan: LayerPlan, layer: StagedLayer, config: AcceleratorConfig) -> LayerCost:
    """What a layer takes whose tensors or weights are moved in parts."""
    units: Counter[str] = Counter()
    for step in layer.steps:
        units.update(busy(step, config))
    if layer.loaded or layer.stored:
        units["external memory"] = Pace.of(config).word * (layer.loaded + layer.stored)
    moves = len(layer.descriptors) - len(layer.steps)
    waiting = layer.waiting + moves * between(config)
    return LayerCost(
        name=plan.layer.name,
        kind=plan.layer.kind,
        k=plan.k,
        nnz=plan.total("nnz"),
        weight_words=plan.weight_items,
        moved_words=layer.loaded,
        stored_words=layer.stored,
        waiting_cycles=waiting,
        cycles=layer.computing + len(layer.steps) * between(config) + waiting,
        bound=_longest(units),
    )


def _longest(units: Counter[str]) -> str:
    """Unit that takes longest."""
    return max(units, key=lambda unit: units[unit]) if units else "engine"


def _cost(plan: LayerPlan, moves: LayerMoves, made: Planned) -> LayerCost:
    config = made.config
    units: Counter[str] = Counter()
    for step in plan.steps:
        units.update(busy(step.descriptor, config))
    moved = 0
    if made.moved is not None and plan.steps:
        moved = plan.weight_items * config.engine.weight_item_words
        moved += len(plan.parameters) * len(config.parameter_bits)
        units["external memory"] = Pace.of(config).word * moved
    waiting = moves.cycles + moves.count * between(config)
    return LayerCost(
        name=plan.layer.name,
        kind=plan.layer.kind,
        k=plan.k,
        nnz=plan.total("nnz"),
        weight_words=plan.weight_items,
        moved_words=moved,
        stored_words=0,
        waiting_cycles=waiting,
        cycles=plan.predicted_cycles + len(plan.steps) * between(config) + waiting,
        bound=_longest(units),
    )
