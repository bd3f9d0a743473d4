"""Networks whose activations find no room on the chip, run on memories whose moves end any time."""

import itertools
from functools import cache, partial

import numpy as np
import pytest

from steelyard.check import assess
from steelyard.compile import Descriptor, Operation, compile, outside, plans
from steelyard.compile.agenda import Agenda, _places
from steelyard.compile.areas import inner, room_of, side_by_side
from steelyard.compile.plans import planned
from steelyard.compile.tasks import Cutter
from steelyard.contract import configure
from steelyard.contract.registers import Space
from steelyard.errors import DoesNotFit
from steelyard.network import NetworkBuilder, golden
from steelyard.network.random import random_input, random_network, random_weight
from steelyard.program import Program
from strip_machine import StripMachine

CHIP = configure(
    "array", lanes=4, columns=4, requantizers=2, weight_words=1 << 16, parameter_words=1 << 16,
    activation_words=1 << 16, max_layers=1024, shared_taps=False,
)  # fmt: skip
SMALL = CHIP.with_(weight_words=512, parameter_words=160, external_words=1 << 16)

QUICK = SMALL.with_(
    lanes=8, columns=8, requantizers=8, weight_words=128, activation_words=224, max_layers=128
)
"""Computes faster than words are moved."""


def residual():
    """A stem, a pooling, and two blocks whose results are added to what they got."""
    rng = np.random.default_rng(5)
    net = NetworkBuilder("residual", (3, 24, 24))

    def conv(source, channels, name, stride=1, kernel=3):
        shape = (channels, net.tensors[source].shape[0], kernel, kernel)
        weight = random_weight(rng, shape, group=16, k=4)
        pad = (kernel // 2,) * 4
        return net.conv(
            weight, source, name=name, stride=stride, padding=pad, multiplier=1 << 22, shift=32
        )

    x = net.max_pool(3, conv("input", 8, "stem"), stride=2, padding=1)
    for number in range(2):
        y = conv(conv(x, 8, f"a{number}"), 8, f"b{number}")
        x = net.add(y, x, multipliers=(1 << 20, 1 << 20), shift=21)
    conv(x, 12, "last", stride=2)
    return net.network()


@cache
def small_residual(max_layers=1024):
    memories = {"activation_words": 320, "weight_words": 128, "max_layers": max_layers}
    return compile(residual(), SMALL.with_(**memories))


def assert_runs(program, seed=0):
    """All layers are the golden model's, however fast moves are; words that were moved."""
    x = random_input(program.network, program.batch, seed)
    expected = golden.run(program.network, x, trace=True)
    moved = set()
    for late in (False, True):
        machine = StripMachine(program, late=late, seed=seed)
        # A run leaves everything as the next one needs it.
        for layerwise in (True, False) if late else (False,):
            before = machine.moved
            for name, values in machine.run(x, layerwise=layerwise).items():
                assert np.array_equal(values, expected[name]), (name, late, layerwise)
            moved.add(machine.moved - before)
    (words,) = moved
    return words


def descriptors(program):
    return [Descriptor.from_words(words) for words in program.descriptors]


@pytest.mark.parametrize(("share", "max_layers", "batch"), [(0.75, 1024, 2), (0.4, 32, 1)])
@pytest.mark.parametrize("seed", [6, 7, 10, 14, 20])
def test_networks_that_find_no_room_are_exact(seed, share, max_layers, batch):
    network = random_network(seed, layers=7, max_channels=12, max_pixels=200)
    need = planned(network, CHIP, batch, {}).uses[0].used
    words = max(int(need * share) // 16 * 16, 16)
    config = SMALL.with_(activation_words=words, max_layers=max_layers, weight_words=1024)
    try:
        program = compile(network, config, batch=batch)
    except DoesNotFit as error:
        # Then it fits memories that are as large as it says.
        assert error.needs.keys() <= {"activation_words", "weight_words", "parameter_words"}
        program = compile(network, config.with_(**error.needs), batch=batch)
    print(f"{len(program.descriptors)} descriptors, {assert_runs(program, seed)} words")


@pytest.mark.parametrize("max_layers", [1024, 64, 32])
def test_a_residual_network_is_exact(max_layers):
    program = small_residual(max_layers)
    assert program.in_turn == (len(program.descriptors) > max_layers)
    assert program.in_turn or max_layers > 32
    cost, problems = assess(program.network, program.config)
    assert not problems and cost.uses == program.uses
    assert assert_runs(program) == cost.moved_words + cost.stored_words
    every = descriptors(program)
    assert cost.stored_words == sum(d.rows * d.length for d in every if d.op == Operation.STORE)
    for use in program.uses:
        assert use.used <= use.available


def test_tensors_lie_outside_where_the_chip_has_no_room():
    program = small_residual()
    assert program.input.external and program.input.space == Space.EXTERNAL
    assert all(plane.external for plane in program.outputs.values())
    words = program.pack_activations(random_input(program.network, 1, 0)).size
    assert words == program.input.words * program.config.activation_item_words
    planes = [program.input, *(entry.output for entry in program.layers if entry.stored)]
    assert min(plane.base for plane in planes if plane.external) >= program.external.size > 0


def test_strips_go_through_several_layers_that_fit_together():
    program = compile(residual(), QUICK)
    stem, pool = program.layers[:2]
    assert not stem.stored and stem.count == 0 and pool.stored and pool.output.external
    operations = [d.op for d in descriptors(program)[: pool.count] if not d.moves]
    assert operations[:4] == [Operation.CONV, Operation.MAX_POOL] * 2
    assert_runs(program)


def test_sums_take_the_place_of_what_is_added():
    program = small_residual()
    fused = [d for d in descriptors(program) if d.fused]
    assert fused and {d.addend_offset for d in fused} == {0}


def test_the_first_descriptors_come_back():
    program = small_residual(32)
    machine = StripMachine(program)
    first = machine.descriptors.copy()
    machine.run(random_input(program.network, 1, 0))
    assert np.array_equal(machine.descriptors, first)


def test_a_program_with_activations_outside_is_saved_and_loaded(tmp_path):
    program = small_residual(32)
    program.save(tmp_path / "net.syp")
    loaded = Program.load(tmp_path / "net.syp")
    assert loaded.layers == program.layers and loaded.input == program.input
    assert loaded.uses == program.uses and loaded.in_turn
    assert np.array_equal(loaded.external, program.external)


def test_what_fits_keeps_its_planes_as_they_were(tmp_path):
    program = compile(residual(), CHIP.with_(external_words=1 << 16))
    program.save(tmp_path / "net.syp")
    assert b'"external"' not in (tmp_path / "net.syp").read_bytes()
    assert not program.uses_external


def test_layers_of_which_no_strip_fits_are_refused_with_amounts():
    sentence = (
        r"needs \d+ activation words where the configuration has 64 \(\d+ too many\) for parts of "
        r"layer 'last'; raise activation_words to \d+ in the configuration"
    )
    with pytest.raises(DoesNotFit, match=sentence) as refused:
        compile(residual(), SMALL.with_(activation_words=64))
    found = compile(residual(), SMALL.with_(activation_words=64).with_(**refused.value.needs))
    assert_runs(found)


def test_descriptors_in_turn_need_a_memory_that_goes_around():
    with pytest.raises(DoesNotFit, match="layer descriptors where the configuration has 48"):
        small_residual(48)


def narrow():
    """Rows of odd lengths, zeros beside a pooling, every second pixel, and an average of maps."""
    rng = np.random.default_rng(6)
    net = NetworkBuilder("narrow", (3, 13, 13))

    def conv(source, channels, kernel, stride=1):
        shape = (channels, net.tensors[source].shape[0], kernel, kernel)
        weight = random_weight(rng, shape, group=16, k=4)
        pad = (kernel // 2,) * 4
        return net.conv(weight, source, stride=stride, padding=pad, multiplier=1 << 22, shift=32)

    x = net.pad((0, 0, 1, 1), conv("input", 16, 3))
    x = conv(net.max_pool(2, x, stride=1), 32, 1, stride=2)
    net.avg_pool(7, conv(conv(x, 32, 3), 96, 1))
    return net.network()


def test_strips_begin_within_rows_and_maps_go_channel_by_channel():
    config = SMALL.with_(activation_words=288, weight_words=1024)
    program = compile(narrow(), config)
    every = [d for d in descriptors(program) if not d.moves]
    assert any(d.skipped_columns for d in every)
    averages = [d.in_channels for d in every if d.lane_sum]
    assert len(averages) > 1 and sum(averages) == 96
    assert_runs(program)


@pytest.mark.parametrize("seed", range(6))
def test_some_strips_tell_what_the_smallest_tasks_take(seed):
    network = narrow() if seed == 0 else random_network(seed, layers=6, max_pixels=400)
    config = SMALL.with_(activation_words=1 << 14, weight_words=256, parameter_words=1 << 12)
    plan = planned(network, config, 1, {})
    cutter = Cutter(
        network=plan.network, plans=plan.plans, config=config, batch=1, outside=lambda name: True
    )
    cut = 0
    for number, each in enumerate(plan.plans):
        if not each.steps:
            continue
        whole, height = cutter._whole(number), cutter.heights(number)[-1]
        every = [whole.words]
        for groups in (ways := cutter._together(number))[:1] + ways[-1:]:
            tasks = [t for group in groups for t in cutter._rows((number,), height, group)]
            every.append(sum(side_by_side(tasks)))
        assert cutter.least(number) == min(every), each.layer.name
        cut += min(every) < whole.words
    assert cut


def unlike_layers():
    """A depthwise layer, a 1x1 one, large maps and many weights: nothing is best for all."""
    rng = np.random.default_rng(3)
    net = NetworkBuilder("unlike", (16, 24, 24))
    x = "input"
    for channels, kernel, stride, groups in (
        (32, 3, 2, 1), (32, 3, 1, 32), (32, 1, 1, 1), (64, 3, 2, 1),
        (64, 3, 1, 1), (64, 3, 2, 1), (64, 3, 1, 1), (64, 3, 2, 1),
    ):  # fmt: skip
        shape = channels, net.tensors[x].shape[0] // groups, kernel, kernel
        weight = rng.integers(-90, 90, shape).astype(np.int8)
        if groups == 1:
            weight = random_weight(rng, shape, group=16, k=4)
        x = net.conv(
            weight, x, stride=stride, padding=(kernel // 2,) * 4, groups=groups,
            multiplier=1 << 22, shift=32,
        )  # fmt: skip
    return net.network()


def test_each_layer_is_cut_as_is_best_for_it(monkeypatch):
    config = SMALL.with_(
        lanes=8, columns=4, requantizers=4,
        activation_words=512, weight_words=256, parameter_words=512, max_layers=64,
    )  # fmt: skip
    network = unlike_layers()
    program = compile(network, config)
    best = planned(network, config, 1, {})
    ways = {plans.CUTS[way] for way in best.division.ways}
    assert {slices for slices, _ in ways} > {1} and any(growth for _, growth in ways)
    alone = []
    for own in plans.CUTS:
        monkeypatch.setattr(plans, "STRIPS", ((1, 5, (own,)), (2, 5, (own,))))
        alone.append(planned(network, config, 1, {}).cycles)
    print(f"{best.cycles} cycles in place of {alone}")
    assert best.cycles < min(alone)
    assert_runs(program)


def test_what_tasks_hand_on_has_one_place_and_what_is_moved_two():
    # Rows of 24 pixels and six words a channel between two convolutions.
    network = unlike_layers()
    config = CHIP.with_(lanes=8, columns=4, requantizers=4, external_words=1 << 16)
    plan = planned(network, config, 1, {})
    cutter = Cutter(
        network=plan.network, plans=plan.plans, config=config, batch=1, outside=lambda name: True,
        together=2, weights=1 << 16,
    )  # fmt: skip
    tasks = list(cutter._rows((0, 1), 24, None))
    sizes = side_by_side(tasks)
    assert inner(tasks) == [False, True, False]
    assert room_of(tasks, 2) == 2 * sizes[0] + sizes[1] + 2 * sizes[2]
    room = 100, 100 + room_of(tasks, 2) + 7
    for down in (False, True):
        places = _places(tasks, room, down)
        assert [words for _, words in places] == sizes
        assert [len(bases) for bases, _ in places] == [2, 1, 2]
        spans = sorted((base, base + words) for bases, words in places for base in bases)
        assert room[0] <= spans[0][0] and spans[-1][1] <= room[1]
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    # With less room there is one of each, and with more as many as there are.
    counts = [len(_places(tasks, (0, room_of(tasks, n)), False)[0][0]) for n in (1, 5)]
    assert counts == [1, 5]


def test_a_place_is_kept_for_what_tasks_hand_on_from_the_first_to_the_last():
    rng = np.random.default_rng(7)
    net, x = NetworkBuilder("chain", (3, 32, 32)), "input"
    for _ in range(3):
        weight = random_weight(rng, (16, net.tensors[x].shape[0], 3, 3), group=16, k=4)
        x = net.conv(weight, x, padding=(1,) * 4, multiplier=1 << 22, shift=32)
    network = net.network()
    config = QUICK.with_(activation_words=1024, weight_words=512, parameter_words=256)
    plan = planned(network, config, 1, {})
    blocks = [block for block in plan.division.blocks if len(block.layers) > 1]
    assert blocks
    root = partial(plan.division.root, places=plan.places)
    agenda = Agenda(plan.plans, plan.division, root, plan.places.start, config, moved=True)
    seen = 0
    for block in blocks:
        number = plan.division.blocks.index(block)
        before = sum(len(each.tasks) for each in plan.division.blocks[:number])
        tasks = agenda.of_task[before : before + len(block.tasks)]
        handed = [[item for item in own.values() if not item.area.moved] for own in tasks]
        for items in zip(*handed, strict=True):
            first = items[0]
            assert len(first.bases) == 1 and first.within is None
            assert all(item.within is first for item in items[1:])
            assert first.last == items[-1].last
            assert {item.words for item in items} == {max(item.area.size for item in items)}
            # The first strip has no rows above it.
            seen += first.area.size < first.words
    assert seen
    assert_runs(compile(network, config))


def test_weights_that_fill_their_memory_stay_for_all_strips(monkeypatch):
    monkeypatch.setattr(plans, "STRIPS", ((2, 1, ((2, 0),)),))
    rng = np.random.default_rng(11)
    net, x = NetworkBuilder("filling", (32, 24, 24)), "input"
    for channels in (48, 32, 48):
        shape = channels, net.tensors[x].shape[0], 1, 1
        weight = random_weight(rng, shape, group=16, k=8)
        x = net.conv(weight, x, multiplier=1 << 22, shift=32)
    network = net.network()
    config = SMALL.with_(
        lanes=8, columns=4, requantizers=4, activation_words=1024, weight_words=192,
        parameter_words=128, external_slots=2,
    )  # fmt: skip
    plan = planned(network, config, 1, {})
    filling = [
        block
        for block in plan.division.blocks
        if block.kept and len(block.tasks) > 1
        and sum(p.step.descriptor.weight_count for p in block.tasks[0].parts) == 192
    ]  # fmt: skip
    assert any(len(block.tasks[0].parts) > 1 for block in filling)
    root = partial(plan.division.root, places=plan.places)
    agenda = Agenda(plan.plans, plan.division, root, plan.places.start, config, moved=True)
    needs = [entry.need for entry in agenda.queues[Space.WEIGHTS]]
    placed = [(need.place, need.items) for need in needs if need.place is not None]
    assert placed == [(0, 96), (96, 96)] * (len(placed) // 2) != []
    program = compile(network, config)
    loaded = [d.length for d in descriptors(program) if d.moves and d.space == Space.WEIGHTS]
    # Each weight is loaded once, whatever strips there are.
    assert (
        sum(loaded) == sum(e.weight_items for e in program.layers) * config.engine.weight_item_words
    )
    assert_runs(program)


@pytest.mark.parametrize(("make", "words"), [(unlike_layers, 512), (residual, 384), (narrow, 640)])
def test_blocks_take_about_as_long_as_they_are_estimated(make, words):
    config = SMALL.with_(
        lanes=8, columns=4, requantizers=4, activation_words=words, weight_words=256,
        parameter_words=512, max_layers=128,
    )  # fmt: skip
    plan = planned(make(), config, 1, {})
    estimated = sum(block.cost for block in plan.division.blocks)
    print(f"{estimated} cycles by blocks, {plan.cycles} of the program")
    assert 0.85 * plan.cycles < estimated < 1.15 * plan.cycles


def test_tensors_leave_the_chip_where_their_room_is_worth_more(monkeypatch):
    config = SMALL.with_(
        lanes=8, columns=4, requantizers=4, activation_words=512, weight_words=128,
        parameter_words=512, max_layers=128,
    )  # fmt: skip
    best = planned(residual(), config, 1, {})

    def all_that_fit(buffers, chip, groups, blocks_of):
        names = {each.name for each in chip}
        inside = [each for each in buffers if each.name in names]
        return inside, blocks_of(inside)

    monkeypatch.setattr(outside, "_fastest", all_that_fit)
    other = planned(residual(), config, 1, {})
    assert len(best.division.buffers) < len(other.division.buffers)
    assert best.cycles < 0.95 * other.cycles
    assert_runs(compile(residual(), config))


def test_activations_go_outside_where_that_is_faster():
    """More room for what is kept of the weights' strips than with all activations on the chip."""
    network = narrow()
    config = SMALL.with_(
        lanes=8, columns=4, requantizers=4, activation_words=1024, parameter_words=512
    )
    cycles = {each: planned(network, config.with_(activation_words=each), 1, {}).cycles
              for each in (640, 1024)}  # fmt: skip
    assert cycles[1024] < cycles[640]


def test_weights_that_fit_stay_on_the_chip():
    program = compile(residual(), SMALL.with_(activation_words=256, weight_words=4096))
    assert len(program.weights) and not program.external.size and program.uses_external
    assert {d.space for d in descriptors(program) if d.moves and d.length} == {Space.ACTIVATIONS}
    assert_runs(program)
