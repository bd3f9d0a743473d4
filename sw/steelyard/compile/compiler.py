"""From an integer network to descriptors, parameters, packed weights and a memory plan."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import DESCRIPTOR_WORDS, AcceleratorConfig, Descriptor
from ..network import Network
from ..program import LayerEntry, Plane, Program
from ..progress import Progress
from .planned import Planned
from .plans import planned

__all__ = ["compile"]


def _bases(made: Planned) -> tuple[list[int], list[int]]:
    """First weight item of each step, and first parameter item of each layer."""
    if made.moved is None:
        counts = [step.descriptor.weight_count for plan in made.plans for step in plan.steps]
        lengths = [len(plan.parameters) for plan in made.plans]
        return [0, *accumulate(counts)][:-1], [0, *accumulate(lengths)][:-1]
    places = iter(made.moved.items)
    weights, parameters = [], []
    for plan in made.plans:
        parameters.append(next(places) if len(plan.parameters) and plan.steps else 0)
        weights += [next(places) if each.descriptor.weight_count else 0 for each in plan.steps]
    return weights, parameters


def _link(made: Planned, planes: dict[str, Plane]) -> list[tuple[Descriptor, ...]]:
    """Descriptors of each layer with all addresses filled in."""
    linked = []
    weights, parameters = _bases(made)
    weight_bases = iter(weights)
    for plan, param_base in zip(made.plans, parameters, strict=True):
        sources = [planes[name] for name in plan.layer.inputs]
        output = planes[plan.layer.output]
        done = []
        for step in plan.steps:
            weight_base = next(weight_bases)
            bases = [each.base + step.reads * each.pitch for each in sources]
            added = planes[plan.addend].base - output.base if plan.addend is not None else 0
            done.append(
                replace(
                    step.descriptor,
                    in_base=bases[0],
                    in2_base=bases[1] if len(bases) > 1 else 0,
                    out_base=output.base + step.writes * output.pitch,
                    weight_base=weight_base if step.descriptor.weight_count else 0,
                    param_base=param_base + step.item,
                    table_base=param_base + plan.table if step.descriptor.table else 0,
                    addend_offset=added,
                )
            )
        linked.append(tuple(done))
    return linked


def _with_moves(
    made: Planned, linked: list[tuple[Descriptor, ...]]
) -> list[tuple[Descriptor, ...]]:
    """Descriptors of each layer with the moves among them."""
    return [
        tuple(
            each for moves, step in zip(own.before, layer, strict=True) for each in (*moves, step)
        )
        for own, layer in zip(made.moves, linked, strict=True)
    ]


def _entries(
    made: Planned,
    linked: list[tuple[Descriptor, ...]],
    planes: dict[str, Plane],
) -> list[LayerEntry]:
    """Layer table of the program."""
    entries = []
    first = 0
    layers = zip(made.plans, _costs(made), linked, strict=True)
    # What goes on from task to task lies in no memory that the host could read.
    within = set() if made.division is None else made.division.within
    for index, (plan, (cycles, words), descriptors) in enumerate(layers):
        entries.append(
            LayerEntry(
                name=plan.layer.name,
                kind=plan.layer.kind,
                k=plan.k,
                first=first,
                count=len(descriptors),
                output=planes[plan.layer.output],
                stored=plan.stored and index not in within,
                nnz=plan.total("nnz"),
                kept=plan.total("kept"),
                weight_items=plan.weight_items,
                activation_words=words,
                ideal_cycles=plan.total("ideal_cycles"),
                predicted_cycles=cycles,
            )
        )
        first += len(descriptors)
    return entries


def _costs(made: Planned) -> list[tuple[int, int]]:
    """Predicted cycles and activation words of each layer."""
    if made.staged is not None:
        return [
            (layer.computing + layer.waiting, layer.activation_words)
            for layer in made.staged.layers
        ]
    return [
        (
            plan.predicted_cycles + moves.cycles,
            sum(b.words for b in made.buffers if b.first <= index <= b.last),
        )
        for index, (plan, moves) in enumerate(zip(made.plans, made.moves, strict=True))
    ]


def _contents(
    made: Planned, packed: Sequence[Sequence[NDArray[np.uint32]]]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Weight items, parameter items and words of external memory, of each layer's weights."""
    config = made.config
    parameters = [plan.parameters for plan in made.plans]
    none = np.zeros((0, config.engine.weight_item_words), np.uint32)
    if made.moved is None and not made.weights_moved:
        items = np.concatenate([none, *(words for layer in packed for words in layer)])
        return items, np.concatenate(parameters), np.zeros(0, np.uint32)
    image = [np.zeros(0, np.uint32)]
    for plan, layer in zip(made.plans, packed, strict=True):
        # As the moves name them: the parameters of a layer, then its weights step by step.
        image += [plan.parameters.reshape(-1)] if plan.steps else []
        image += [words.reshape(-1) for words in layer]
    return none, parameters[0][:0], np.concatenate(image)


def _in_turn(
    made: Planned, external: NDArray[np.uint32], descriptors: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """External memory's words with the descriptors behind them, where these come in turn."""
    if made.staged is None or not made.staged.descriptor_words:
        return external
    behind = np.zeros(made.staged.descriptor_words, np.uint32)
    behind[: descriptors.size] = descriptors.reshape(-1)
    return np.concatenate([external, behind])


def compile(
    network: Network,
    config: AcceleratorConfig,
    *,
    batch: int = 1,
    progress: Progress | None = None,
    **options: Any,
) -> Program:
    """Program of a network for one configuration.

    Parameters
    ----------
    network : integer network
    config : the accelerator's configuration
    batch : images computed together, 1 to 65535
    progress : called with layers done, layers in all and the layer's name
    options : of the engine. The array has `k`, weights kept in each group: ``"auto"`` (unless
        given) takes each layer's smallest, ``"dense"`` the whole group, an integer holds for all
        layers, a mapping for the layers it names (others: auto). The crossbar has `mapping`, how
        its crossbars hold the weights (``"pattern"`` unless given), and `effects`,
        :class:`~steelyard.engines.crossbar.DeviceEffects` of its cells.

    Raises
    ------
    UserError
        If a layer cannot be computed, or `k` is smaller than its weights need; names the layer.
        If the engine has no such option.
    DoesNotFit
        If memories or accumulators are too small; says by how much, before any weight is packed.
    """
    made = planned(network, config, batch, options)
    made.check_capacity()
    engine, network, plans = made.engine, made.network, made.plans
    planes = made.planes(batch)
    if made.staged is None:
        linked = _with_moves(made, _link(made, planes))
    else:
        linked = [tuple(layer.descriptors) for layer in made.staged.layers]
    entries = _entries(made, linked, planes)

    descriptors = [
        each.words(plan.layer.name, config)
        for plan, layer in zip(plans, linked, strict=True)
        for each in layer
    ]
    packed = list[list[NDArray[np.uint32]]]()
    for done, plan in enumerate(plans):
        if progress is not None:
            progress(done, len(plans), plan.layer.name)
        packed.append([words for part in plan.parts for words in engine.pack(*part, config)])
    if progress is not None:
        progress(len(plans), len(plans), plans[-1].layer.name)
    items, parameters, external = _contents(made, packed)
    words = np.array(descriptors, np.uint32).reshape(-1, DESCRIPTOR_WORDS)

    return Program(
        config=config,
        network=network,
        batch=batch,
        input=planes[network.input],
        layers=tuple(entries),
        settings=made.settings,
        mapped=made.mapping,
        descriptors=words,
        parameters=parameters,
        weights=items,
        external=_in_turn(made, external, words),
    )
