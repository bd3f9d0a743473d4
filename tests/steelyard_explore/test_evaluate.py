"""What is evaluated is what compiles: cycles, memories, and what a board holds."""

import random
from dataclasses import replace

import pytest

from steelyard.compile import compile as compile_program
from steelyard.compile.cycles import predict_program
from steelyard.errors import DoesNotFit, UserError
from steelyard.network.random import random_network
from steelyard_boards import board
from steelyard_boards.demo import demo_network
from steelyard_cli.bench import networks as bench
from steelyard_explore import Point, Refusal, evaluate, space_of
from steelyard_explore.evaluate import holds, least_weight_words

SAMPLE = 8
NETWORKS = {
    "resnet8": lambda: bench.resnet8(4),
    "demo": demo_network,
    "random 3": lambda: random_network(3, layers=6, max_channels=24, max_pixels=120),
    "random 8": lambda: random_network(8, layers=6, max_channels=40, max_pixels=150),
    "random 11": lambda: random_network(11, layers=7, max_channels=24, max_pixels=100),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("where", "batch"), [("ulx3s_85f", 1), ("ulx3s_45f", 2)])
def test_a_point_is_what_the_compiler_makes_of_its_configuration(name, where, batch):
    network, target = NETWORKS[name](), board(where)
    space = space_of(target, network, batch)
    draw = random.Random(f"{name} {where}")
    found = 0
    for number in draw.sample(range(len(space)), len(space)):
        config = space.config(number)
        if holds(target, config) is not None:
            continue
        for point in evaluate(network, target, config, batch, number):
            if isinstance(point, Refusal):
                continue
            found += 1
            program = compile_program(network, point.config, batch=batch)
            assert predict_program(program) == point.cycles, (number, point.config)
            assert point.batch == batch and point.number == number
            assert point.demand == target.device.family.demand(point.config)
            target.check(point.config, program)
            engine = point.config.engine
            least = least_weight_words(network, engine.group, engine.columns)
            grouped = any(getattr(each, "groups", 1) > 1 for each in network.layers)
            assert least < program.uses[1].used if grouped else least == program.uses[1].used
            # No memory is larger than it must be.
            for use, step in zip(program.uses, (16, 16, 16, 1), strict=True):
                assert 0 <= use.available - max(use.used, 1) < step
        if found >= SAMPLE:
            break
    assert found >= SAMPLE


def test_a_board_refuses_what_is_refused_here():
    network, reasons = bench.reference(4), set()
    large = board("ulx3s_85f")
    narrow = replace(large, device=replace(large.device, luts=9000))
    for target in (board("ulx3s_25f"), board("ice40_hx8k_b_evn"), narrow):
        space = space_of(target, network)
        for number in random.Random(1).sample(range(len(space)), 150):
            config = space.config(number)
            refused = holds(target, config)
            if refused is None:
                target.check(config)
                continue
            reasons.add(refused.reason)
            with pytest.raises(DoesNotFit, match=refused.sentence.split()[2]):
                target.check(config)
    assert {"multipliers", "block RAMs", "LUTs"} <= reasons


def test_partial_sums_take_what_the_plan_needs_and_no_more():
    network, target = bench.vgg16(32, 1), board("ulx3s_85f")
    space = space_of(target, network)
    sizes = set()
    for number in range(0, len(space), len(space) // 60):
        config = space.config(number)
        if holds(target, config) is None:
            results = evaluate(network, target, config, 1, number)
            sizes |= {each.config.engine.partial_sum_channels for each in results
                      if isinstance(each, Point)}  # fmt: skip
            assert len(results) <= 2
    assert all(size <= 512 for size in sizes)


def test_a_layer_that_cannot_run_is_a_refusal_with_its_sentence():
    network = bench.resnet8(None)
    target = board("ulx3s_85f")
    space = space_of(target, network)
    results = [
        each
        for number in range(0, len(space), 97)
        if holds(target, space.config(number)) is None
        for each in evaluate(network, target, space.config(number), 1, number)
    ]
    refused = [each for each in results if isinstance(each, Refusal)]
    assert refused and all(each.sentence.endswith((".", "RAMs")) for each in refused)
    assert {each.reason for each in refused} <= {
        "additions", "layers", "memories", "block RAMs", "LUTs", "multipliers"
    }  # fmt: skip


def test_fused_additions_without_effect_are_not_counted_twice():
    network, target = bench.resnet8(4), board("ulx3s_85f")
    space = space_of(target, network)
    for number in range(len(space)):
        fields = space.fields(number)
        if fields["lanes"] == fields["requantizers"] == 4 and fields["fused_additions"]:
            refused = holds(target, space.config(number))
            assert refused is not None and refused.reason == "additions"
            return
    raise AssertionError("no such configuration")


def test_additions_are_left_out_where_all_are_fused():
    network, target = bench.resnet8(4), board("ulx3s_85f")
    space = space_of(target, network)
    seen = set()
    for number in range(0, len(space), 31):
        if holds(target, space.config(number)) is None:
            for each in evaluate(network, target, space.config(number)):
                if isinstance(each, Point):
                    fused = each.config.output.fused_additions
                    seen.add((fused, each.config.vector.additions))
    assert seen == {(False, True), (True, False)}


def test_a_configuration_that_is_none_says_so():
    with pytest.raises(UserError):
        space_of(board("ulx3s_85f"), bench.resnet8(4)).config(0).with_(lanes=5)
