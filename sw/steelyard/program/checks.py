"""Whether the parts of a program's file belong together."""

from typing import TYPE_CHECKING

import numpy as np

from ..contract import AcceleratorConfig
from ..contract.limits import MOST_DESCRIPTORS
from .uses import check_moves

if TYPE_CHECKING:
    from .program import Program

__all__ = ["check"]


def _most_descriptors(config: AcceleratorConfig) -> int:
    """Descriptors of a program; their memory may hold some at a time, and others come in turn."""
    size = config.memory.max_layers
    return MOST_DESCRIPTORS if config.memory.external_words and not size & (size - 1) else size


def check(program: "Program") -> None:
    """Check that the parts of a program belong together.

    Raises
    ------
    ValueError
        If they do not; says which.
    """
    config, network = program.config, program.network
    for what, array, width, limit in (
        ("descriptors", program.descriptors, 32, _most_descriptors(config)),
        (
            "parameters",
            program.parameters,
            len(config.parameter_bits),
            config.memory.parameter_words,
        ),
        ("weights", program.weights, config.engine.weight_item_words, config.memory.weight_words),
    ):
        if array.dtype != np.uint32 or array.ndim != 2 or array.shape[1] != width:
            raise ValueError(
                f"array {what!r} must be uint32 (n, {width}), not {array.dtype} {array.shape}"
            )
        if len(array) > limit:
            raise ValueError(f"array {what!r} has {len(array)} items where {limit} fit")
    external, most = program.external, config.memory.external_words
    if external.dtype != np.uint32 or external.ndim != 1:
        raise ValueError(
            f"array 'external' must be uint32 (n,), not {external.dtype} {external.shape}"
        )
    if len(external) > most:
        raise ValueError(f"array 'external' has {len(external)} words where {most} fit")
    check_moves(program)
    table = [(entry.name, entry.kind) for entry in program.layers]
    if table != [(layer.name, layer.kind) for layer in network.layers]:
        raise ValueError("its layer table is not that of its network")
    planes = [(program.input, network.input, True)]
    first = 0
    for entry, layer in zip(program.layers, network.layers, strict=True):
        if entry.first != first or (entry.count > 0) != (entry.predicted_cycles > 0):
            raise ValueError(f"layer {entry.name!r} has no descriptors of its own")
        first += entry.count
        planes.append((entry.output, layer.output, entry.stored))
    if first != len(program.descriptors):
        raise ValueError(f"its layers use {first} of {len(program.descriptors)} descriptors")
    for plane, tensor, stored in planes:
        _, height, width = shape = network.tensor(tensor).shape
        pitch = -(-height * width * program.batch // config.engine.lanes)
        if (plane.shape, plane.pitch) != (shape, pitch):
            raise ValueError(f"the place of tensor {tensor!r} does not match its shape")
        words, size = plane.words, config.memory.activation_words
        if plane.external:
            words, size = words * config.activation_item_words, config.memory.external_words
        if stored and plane.base + words > size:
            where = "external" if plane.external else "activation"
            raise ValueError(f"tensor {tensor!r} lies outside the {where} memory")
