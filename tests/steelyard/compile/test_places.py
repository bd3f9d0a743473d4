"""Where tensors lie that are parts of others, and what a grouped convolution becomes."""

import numpy as np
import pytest

from steelyard.compile import compile
from steelyard.compile.places import separate
from steelyard.contract import configure
from steelyard.network import Concat, Conv, MaxPool, NetworkBuilder, Slice

CONFIG = configure("array", lanes=4, columns=4, requantizers=4, max_layers=64)


def builder():
    made = NetworkBuilder("net", (4, 4, 4))
    for name in "abc":
        made.max_pool(1, "input", name=name)
    return made


def copies(network):
    return [each.name for each in separate(network)[0].layers if "copy" in each.name]


def test_parts_of_a_concatenation_are_made_in_place():
    made = builder()
    made.append(Concat, "a", "b", "c", name="all")
    program = compile(made.network(), CONFIG)
    places = {entry.name: entry.output.base for entry in program.layers}
    pitch = program.layers[0].output.pitch
    assert [places[name] - places["all"] for name in "abc"] == [0, 4 * pitch, 8 * pitch]
    assert program.layers[-1].count == program.layers[-1].predicted_cycles == 0


def test_nested_concatenations_share_a_buffer():
    made = builder()
    made.append(Concat, "a", "b", name="ab")
    made.append(Concat, "ab", "c", name="abc")
    made.append(Concat, "a", "b", "c", name="again")
    assert copies(made.network("again")) == []


@pytest.mark.parametrize(
    ("joins", "copied"),
    [
        ([("a", "a")], ["j0/copy 1"]),
        ([("a", "b"), ("b", "a")], ["j1/copy 1"]),
        ([("a", "b"), ("a", "c")], ["j1/copy 0"]),
        ([("input", "a"), ("b", "input")], []),
    ],
)
def test_a_tensor_wanted_in_two_places_is_copied(joins, copied):
    made = builder()
    for number, parts in enumerate(joins):
        made.append(Concat, *parts, name=f"j{number}")
    made.append(Concat, *(f"j{number}" for number in range(len(joins))), name="all")
    assert copies(made.network())[: len(copied)] == copied


def test_a_slice_brings_no_neighbours_into_a_concatenation():
    made = builder()
    made.append(Slice, "a", first=0, count=2, name="half")
    made.append(Concat, "half", "b", name="all")
    assert copies(made.network()) == ["all/copy 0"]


def test_a_depthwise_layer_is_cut_and_keeps_one_weight_of_a_group():
    made = NetworkBuilder("depthwise", (48, 6, 6))
    made.conv(np.ones((48, 1, 3, 3), np.int8), groups=48, padding=1, scale=9.0)
    program = compile(made.network(), CONFIG)
    (entry,) = program.layers
    assert (entry.count, entry.k, entry.nnz) == (3, 1, 432)


def test_blocks_grow_where_descriptors_are_few():
    made = NetworkBuilder("depthwise", (160, 2, 2))
    made.conv(np.ones((160, 1, 1, 1), np.int8), groups=160)
    few = compile(made.network(), CONFIG.with_(max_layers=4, weight_words=16384))
    many = compile(made.network(), CONFIG.with_(max_layers=16, weight_words=16384))
    assert (few.layers[0].count, many.layers[0].count) == (3, 10)


def test_engines_that_plan_whole_layers_get_one_for_each_block():
    made = NetworkBuilder("depthwise", (100, 6, 6))
    made.conv(np.ones((100, 1, 3, 3), np.int8), groups=100, padding=1, scale=9.0)
    program = compile(made.network(), configure("crossbar"))
    kinds = [type(layer) for layer in program.network.layers]
    assert kinds[-1] is Concat
    assert kinds[:-1] == [Slice, Conv] * (len(kinds) // 2)
    assert len(kinds) > 3
    assert MaxPool not in kinds
