"""Spaces: numbered configurations, each one of the board's with what the network needs."""

from dataclasses import replace

import numpy as np
import pytest

from steelyard.contract import configure
from steelyard.errors import UserError
from steelyard.network import NetworkBuilder
from steelyard_boards import board
from steelyard_cli.bench import networks as bench
from steelyard_explore import space_of

BOARD = board("ulx3s_85f")


@pytest.fixture(scope="module")
def resnet8():
    return bench.resnet8(4)


def test_every_number_is_another_configuration(resnet8):
    space = space_of(board("ulx3s_25f"), resnet8)
    assert len(space) > 10_000
    chosen = [tuple(space.fields(number).items()) for number in range(len(space))]
    assert len(set(chosen)) == len(space)
    assert {name for fields in chosen for name, _ in fields} == set(space.names)


@pytest.mark.parametrize("number", [-1, None])
def test_a_number_outside_is_refused(resnet8, number):
    space = space_of(BOARD, resnet8)
    outside = len(space) if number is None else number
    with pytest.raises(ValueError, match=f"has {len(space)} configurations, none of number"):
        space.fields(outside)


def test_fields_that_are_not_chosen_are_the_boards(resnet8):
    space = space_of(BOARD, resnet8)
    config = space.config(len(space) // 2)
    for name, value in BOARD.default.plain().items():
        if name in ("max_side", "ahead", "weight_queue", "accumulator_bits", "link_words"):
            assert config.plain()[name] == value


def test_operators_are_those_that_the_network_needs(resnet8):
    plain = space_of(BOARD, resnet8).config(0).plain()
    assert plain["additions"] and plain["lane_sums"] and plain["vector_bits"] == 24
    assert not (plain["tables"] or plain["slopes"] or plain["products"])
    plain = space_of(BOARD, bench.reference(4)).config(0).plain()
    assert not (plain["additions"] or plain["fused_additions"] or plain["lane_sums"])
    assert plain["vector_bits"] == 0


def test_a_compact_board_gets_what_the_network_needs(resnet8):
    own = board("icebreaker").default
    assert own.output.requantizer_cycles == 16 and not own.vector.bits
    config = space_of(board("icebreaker"), resnet8).config(0)
    assert config.output.requantizer_cycles == 1
    assert config.vector.additions and config.vector.bits == 24 and config.vector.tag_registers
    plain = space_of(board("icebreaker"), bench.reference(4)).config(0)
    assert plain.output.requantizer_cycles == 16 and not plain.vector.bits


def test_columns_are_those_that_save_a_pass():
    space = space_of(BOARD, bench.reference(4))
    (choice,) = (each for each in space.choices if each.name == "columns")
    columns = [dict(value)["columns"] for value in choice.values]
    # Of 32 channels, and the board's own.
    assert columns == [1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 32]


def test_a_layer_that_no_configuration_runs_is_named():
    net = NetworkBuilder("deep", (20_000, 2, 2))
    weight = np.full((1, 20_000, 2, 2), 127, np.int8)
    net.conv(weight, "input", name="large", multiplier=1 << 20, shift=40)
    with pytest.raises(UserError, match=r"^Layer 'large' can reach sums from"):
        space_of(BOARD, net.network())


def test_a_board_with_another_engine_is_refused(resnet8):
    other = replace(BOARD, name="tiles", default=configure("crossbar"))
    with pytest.raises(UserError, match=r"^Board 'tiles' has the engine 'crossbar', and only"):
        space_of(other, resnet8)
