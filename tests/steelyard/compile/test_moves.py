"""What the contract says of moves, and programs whose moves leave their memories."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from moves import MovedMemories
from steelyard.compile import Descriptor, Operation, compile
from steelyard.contract import configure
from steelyard.contract.registers import Space
from steelyard.network.random import random_network
from steelyard.program.uses import check_moves

CONFIG = configure(
    "array", lanes=8, columns=4, requantizers=2, weight_words=256, parameter_words=160,
    activation_words=4096, max_layers=1024, external_words=1 << 16,
)  # fmt: skip


def strip(op, **fields):
    """Rows of three items, of four planes."""
    shape = {"batch": 4, "in_pitch": 5, "out_pitch": 20, "length": 6}
    return Descriptor(op=op, space=Space.ACTIVATIONS, **(shape | fields))


def test_a_strip_of_every_plane_is_one_move_in_both_directions():
    words = np.arange(1, 101, dtype=np.uint32)
    memories = MovedMemories(CONFIG, words)
    memories.take(strip(Operation.LOAD, external=2, item=7))
    items = memories.items[Space.ACTIVATIONS]
    for plane in range(4):
        found = items[7 + 5 * plane :][:3].reshape(-1)
        assert found.tolist() == list(range(3 + 20 * plane, 9 + 20 * plane))
    assert np.count_nonzero(items) == 24
    memories.take(strip(Operation.STORE, external=1000, item=7))
    for plane in range(4):
        found = memories.external[1000 + 20 * plane :][:6]
        assert found.tolist() == list(range(3 + 20 * plane, 9 + 20 * plane))
    assert np.count_nonzero(memories.external[1000:]) == 24


@pytest.mark.parametrize("late", [True, False, Random(3)])
def test_moves_take_effect_in_order_and_no_later_than_said(late):
    memories = MovedMemories(CONFIG, np.arange(1, 101, dtype=np.uint32), late=late)
    memories.take(strip(Operation.LOAD, item=0, under_way=15))
    memories.take(strip(Operation.STORE, external=500, item=0, under_way=15))
    memories.take(strip(Operation.LOAD, external=500, item=100, under_way=1))
    assert memories.external[500:506].tolist() == [1, 2, 3, 4, 5, 6]
    memories.take(Descriptor(op=Operation.LOAD))
    assert memories.items[Space.ACTIVATIONS][100:103].reshape(-1).tolist() == [1, 2, 3, 4, 5, 6]
    assert memories.most == (1 if late is False else memories.most)
    assert late is not True or memories.most == 3


def test_what_a_move_under_way_writes_is_of_no_use():
    memories = MovedMemories(CONFIG, np.arange(1, 101, dtype=np.uint32), late=True)
    memories.take(strip(Operation.LOAD, item=0, under_way=15))
    memories.take(strip(Operation.STORE, external=500, item=100, under_way=15))
    memories.spoil()
    assert memories.items[Space.ACTIVATIONS][0, 0] and memories.external[500]
    memories.finish()
    assert memories.items[Space.ACTIVATIONS][0, 0] == 1 and not memories.external[500]


def program(*moves):
    """A program with some moves in place of its own."""
    made = compile(random_network(4, layers=9, max_channels=24, max_pixels=64), CONFIG)
    assert made.external.size
    words = np.array([each.words("move", CONFIG) for each in moves])
    return replace(made, descriptors=words)


LOADED = {"op": Operation.LOAD, "space": Space.WEIGHTS, "length": 2}


@pytest.mark.parametrize(
    "move",
    [
        # Up to the last word and the last item.
        strip(Operation.STORE, external=65536 - 66, item=4096 - 18),
        strip(Operation.LOAD, external=65536 - 66, item=4096 - 18),
        Descriptor(op=Operation.LOAD, space=Space.DESCRIPTORS, item=1023 * 32, length=32),
        Descriptor(**LOADED),
    ],
)
def test_moves_within_their_memories_are_taken(move):
    check_moves(program(move))


@pytest.mark.parametrize(
    ("move", "sentence"),
    [
        (
            strip(Operation.STORE, external=65536 - 65),
            "a move goes up to word 65537 of the 65536 of the external memory",
        ),
        (
            strip(Operation.LOAD, item=4096 - 17),
            "a move reaches beyond the 4096 items of the activations",
        ),
        (
            Descriptor(op=Operation.LOAD, space=Space.DESCRIPTORS, item=1023 * 32 + 1, length=32),
            "a move reaches beyond the 32768 items of the descriptors",
        ),
        (
            Descriptor(**LOADED | {"op": Operation.STORE}),
            "a move stores the space 3, not activations",
        ),
        (Descriptor(**LOADED, batch=2), "a move into the space 3 has 2 rows, not one"),
        (
            Descriptor(**LOADED | {"space": Space.COUNTERS}),
            "a move writes into the space 5, not descriptors, parameters, weights or activations",
        ),
    ],
)
def test_moves_that_leave_their_memories_are_refused(move, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        check_moves(program(move))
