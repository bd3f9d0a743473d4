"""What is moved from external memory is there when a layer reads it, however fast moves are."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from steelyard.compile import (
    Descriptor,
    Operation,
    compile,
    compile_with_memories,
    cycles,
    plans,
)
from steelyard.compile.external import Need, Pace, Stretches, move_all
from steelyard.compile.plans import planned
from steelyard.contract import configure
from steelyard.contract.descriptor import ANY_UNDER_WAY
from steelyard.contract.registers import Space
from steelyard.errors import DoesNotFit, FileRefused, UserError
from steelyard.network import NetworkBuilder
from steelyard.network.random import random_network
from steelyard.program import Program

CHIP = configure(
    "array", lanes=4, columns=4, requantizers=2, weight_words=65536, parameter_words=65536,
    activation_words=65536, max_layers=1024,
)  # fmt: skip
SMALL = CHIP.with_(weight_words=256, parameter_words=160, external_words=1 << 16)
ITEM_WORDS = {Space.PARAMETERS: 3, Space.WEIGHTS: SMALL.engine.weight_item_words}


def network(seed):
    return random_network(seed, layers=9, max_channels=24, max_pixels=64)


def wide():
    """Three layers of 64 channels, 72 or 64 weight items for each four of them."""
    net = NetworkBuilder("wide", (8, 6, 6))
    rng = np.random.default_rng(3)
    tensor = "input"
    for name, shape in (("a", (64, 8, 3, 3)), ("b", (64, 64, 1, 1)), ("c", (64, 64, 1, 1))):
        weight = rng.integers(1, 10, shape).astype(np.int8)
        tensor = net.conv(weight, tensor, name=name, multiplier=1 << 22, shift=30)
    return net.network()


class Memories:
    """What lies in the memories while a program runs, word by word, None where nothing does.

    Moves end as late as descriptors let them, or at once.
    """

    def __init__(self, program, *, late):
        self.external = program.external
        self.late = late
        self.words = {
            Space.WEIGHTS: [None] * SMALL.memory.weight_words,
            Space.PARAMETERS: [None] * SMALL.memory.parameter_words,
        }
        self.under_way = deque()
        self.most = 0

    def take(self, d):
        """Run a descriptor with a move."""
        assert d.op == Operation.LOAD
        if d.length:
            # A full queue holds up the layers behind it, but goes wrong nowhere.
            if len(self.under_way) == ANY_UNDER_WAY:
                self.end()
            self.under_way.append(d)
            self.most = max(self.most, len(self.under_way))
        while self.under_way and (not self.late or len(self.under_way) > d.under_way):
            self.end()

    def end(self):
        """Let the first move end: its items appear, and until then nobody may rely on them."""
        d = self.under_way.popleft()
        words = ITEM_WORDS[d.space]
        moved = self.external[d.external : d.external + d.length].reshape(-1, words)
        for n, item in enumerate(moved.tolist()):
            self.words[d.space][d.item + n] = item

    def spoil(self):
        """What moves under way write is neither old nor new."""
        for d in self.under_way:
            for n in range(d.length // ITEM_WORDS[d.space]):
                self.words[d.space][d.item + n] = None

    def items(self, space, first, count):
        return self.words[space][first : first + count]


@pytest.fixture
def weights_alone(monkeypatch):
    """Plans in which all activations stay on the chip, though others may be faster."""
    monkeypatch.setattr(plans, "STRIPS", ())


def assert_runs(program, *, late):
    """Every descriptor finds its weights and parameters; most moves that were under way."""
    made = planned(program.network, SMALL, 1, {})
    memories = Memories(program, late=late)
    every = iter([Descriptor.from_words(words) for words in program.descriptors])
    computed = 0
    for entry, plan in zip(program.layers, made.plans, strict=True):
        packed = [words for part in plan.parts for words in made.engine.pack(*part, SMALL)]
        done = 0
        for d in (next(every) for _ in range(entry.count)):
            if d.op == Operation.LOAD:
                memories.take(d)
                continue
            memories.spoil()
            if packed:
                found = memories.items(Space.WEIGHTS, d.weight_base, d.weight_count)
                assert found == packed[done].tolist(), (entry.name, done)
            first = d.param_base - plan.steps[done].item
            found = memories.items(Space.PARAMETERS, first, len(plan.parameters))
            assert found == plan.parameters.tolist(), entry.name
            if d.table:
                assert d.table_base == first + plan.table
            done += 1
            computed += 1
        assert done == len(plan.steps)
    assert computed == sum(len(plan.steps) for plan in made.plans) > 0
    return memories.most


MOVED = (0, 1, 2, 3, 4, 6, 8, 11)
"""Seeds of networks that do not fit."""


@pytest.mark.parametrize("seed", MOVED)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.usefixtures("weights_alone")
def test_layers_find_their_weights_and_parameters(seed, late):
    program = compile(network(seed), SMALL)
    assert program.external.size and not len(program.weights) and not len(program.parameters)
    most = assert_runs(program, late=late)
    assert 1 <= most <= ANY_UNDER_WAY
    assert late or most == 1


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.usefixtures("weights_alone")
def test_slices_of_layers_find_their_weights(late):
    assert_runs(compile(wide(), SMALL), late=late)


@pytest.mark.usefixtures("weights_alone")
def test_layers_are_cut_so_that_two_slices_lie_in_the_memory():
    program = compile(wide(), SMALL)
    a, b, c = program.layers
    assert [entry.weight_items for entry in program.layers] == [1152, 1024, 1024]
    every = [Descriptor.from_words(words) for words in program.descriptors]
    assert {d.weight_count for d in every if d.op == Operation.CONV} == {72, 128}
    slices = [
        sum(d.op == Operation.CONV for d in every[entry.first : entry.first + entry.count])
        for entry in (a, b, c)
    ]
    assert slices == [16, 8, 8]


@pytest.mark.usefixtures("weights_alone")
def test_the_next_slice_comes_while_one_is_computed():
    every = [Descriptor.from_words(words) for words in compile(wide(), SMALL).descriptors]
    issued = done = ahead = 0
    for d in every:
        if d.op == Operation.LOAD:
            issued += bool(d.length)
            done = max(done, issued - d.under_way)
        else:
            ahead += issued > done
    # All but the last, and one before slices of another size, for which no stretch is long enough.
    assert ahead == sum(d.op == Operation.CONV for d in every) - 2 == 30


def test_each_word_is_moved_once():
    program = compile(network(11), SMALL)
    moves = [Descriptor.from_words(words) for words in program.descriptors]
    places = [(d.external, d.external + d.length) for d in moves if d.length]
    assert places == sorted(places)
    assert [0, *(end for _, end in places)][:-1] == [begin for begin, _ in places]
    assert places[-1][1] == program.external.size


def test_what_fits_the_chip_stays_what_it_was():
    fitting = SMALL.with_(weight_words=4096)
    with_memory = compile(network(7), fitting)
    without = compile(network(7), fitting.with_(external_words=0))
    for name in ("descriptors", "weights", "parameters", "external"):
        assert np.array_equal(getattr(with_memory, name), getattr(without, name)), name
    assert not with_memory.external.size
    assert with_memory.layers == without.layers


def test_a_program_with_external_memory_is_saved_and_loaded(tmp_path):
    program = compile(network(4), SMALL)
    path = tmp_path / "net.syp"
    program.save(path)
    loaded = Program.load(path)
    assert np.array_equal(loaded.external, program.external)
    assert np.array_equal(loaded.descriptors, program.descriptors)
    assert loaded.uses == program.uses
    names = [use.memory for use in loaded.uses]
    assert names[-1] == "external words" and loaded.uses[-1].used == program.external.size
    assert loaded.uses[1].used <= SMALL.memory.weight_words


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weight_words": 64}, "72 weight words where the configuration has 64"),
        ({"parameter_words": 32}, "64 parameter words where the configuration has 32"),
        ({"max_layers": 28}, "layer descriptors where the configuration has 28"),
    ],
)
def test_what_no_move_can_help_is_refused_with_amounts(change, sentence):
    with pytest.raises(DoesNotFit, match=sentence):
        compile(wide(), SMALL.with_(**change))


@pytest.mark.usefixtures("weights_alone")
def test_too_many_external_words_are_refused():
    made = planned(wide(), SMALL, 1, {})
    with pytest.raises(DoesNotFit) as refused:
        replace(made, moved=replace(made.moved, words=1 << 17)).check_capacity()
    assert refused.value.needs == {"external_words": 1 << 17}
    assert "131072 external words where the configuration has 65536" in str(refused.value)
    with pytest.raises(
        DoesNotFit, match="needs 16777217 external words .* too many.; use a smaller"
    ):
        replace(made, moved=replace(made.moved, words=(1 << 24) + 1)).check_capacity()


def test_configurations_without_external_memory_keep_their_hash():
    assert "external_words" not in CHIP.values()["memory"]
    assert CHIP.with_(external_words=1 << 16).hash() != CHIP.hash()
    assert type(CHIP).from_dict(SMALL.values()) == SMALL


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"external_words": 1000}, "must be one of 0, 65536, 131072"),
        ({"external_words": 1 << 16, "read_registers": False}, "needs 'read_registers'"),
        ({"external_words": 1 << 16, "weight_queue": False}, "needs 'weight_queue'"),
        ({"external_words": 1 << 16, "weight_words": 1 << 17}, "'weight_words' is at most 65536"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(change, sentence):
    with pytest.raises(UserError, match=sentence):
        CHIP.with_(**change)


def test_moves_wrap_around_their_memory():
    """Three needs of 100 items in a memory of 256: the third waits for the first step to end."""
    needs = [Need(space=Space.WEIGHTS, items=100, item_words=2, first=n, last=n) for n in range(3)]
    moved = move_all(needs, [1000, 1000, 1000], SMALL)
    assert moved.items == [0, 100, 0]
    assert [[(d.item, d.under_way) for d in each] for each in moved.before] == [
        [(0, ANY_UNDER_WAY), (100, 1)], [(0, 1)], [(0, 0)],
    ]  # fmt: skip
    assert [d.length for each in moved.before for d in each] == [200, 200, 200, 0]
    assert moved.external == [0, 200, 400] and moved.words == 600


def test_a_need_takes_the_first_stretch_or_its_own_place():
    memory = Stretches(256)
    need = Need(space=Space.WEIGHTS, items=64, item_words=2, first=0, last=0)
    assert [memory.place(replace(need, last=n)) for n in range(4)] == [0, 64, 128, 192]
    assert memory.place(need) is None
    memory.free(1)
    small = replace(need, items=16, last=9)
    assert [memory.place(small), memory.place(small)] == [0, 16]
    memory.free(3)
    # There is room from 32 on, but what fills the memory with others has its place.
    assert memory.place(replace(small, place=16)) is None
    assert memory.place(replace(small, place=96, items=32)) == 96
    assert memory.place(replace(small, items=64)) == 32
    assert memory.reached == 256


def test_rows_close_to_each_other_lie_in_an_open_row_of_the_chip():
    pace = Pace.of(SMALL.with_(external_slots=2))
    rows, length = 64, 32
    apart = [pace.move(rows, length, pitch) for pitch in (40, 127, 196, 800)]
    assert len(set(apart)) == 1
    for pitch in (1024, 1000, 1100, 3072):
        assert pace.move(rows, length, pitch) > apart[0]


def test_a_need_longer_than_a_move_is_cut_into_whole_items():
    config = SMALL.with_(weight_words=65536)
    needs = [Need(space=Space.WEIGHTS, items=40000, item_words=2, first=0, last=0)]
    (moves,) = move_all(needs, [10], config).before
    assert [(d.external, d.item, d.length, d.under_way) for d in moves] == [
        (0, 0, 65534, ANY_UNDER_WAY), (65534, 32767, 14466, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 4, 7])
def test_what_is_planned_takes_what_the_program_takes(seed):
    assert planned(network(seed), SMALL, 1, {}).uses == compile(network(seed), SMALL).uses


def test_memories_that_grow_need_nothing_moved():
    grown = compile_with_memories(wide(), SMALL)
    assert not grown.external.size
    assert grown.config.memory.weight_words == 4096
    assert grown.config.memory.external_words == SMALL.memory.external_words


def test_the_cycle_model_says_nothing_of_a_move():
    with pytest.raises(ValueError, match="How long a move takes depends on those before it"):
        cycles.predict(Descriptor(op=Operation.LOAD, length=2), SMALL)


def test_the_crossbar_tile_takes_nothing_from_external_memory():
    with pytest.raises(UserError, match="external_words is 65536; set it to 0, or use the array"):
        configure("crossbar", external_words=1 << 16)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"external": 1 << 20}, r"a move reads up to word 104\d+ of the 6976 in external memory"),
        ({"item": 250}, "a move reaches beyond the 256 items of the weights"),
        (
            {"space": Space.COUNTERS},
            "a move writes into the space 5, not descriptors, parameters, ",
        ),
    ],
)
def test_moves_that_leave_their_memories_are_refused(change, sentence, tmp_path):
    program = compile(wide(), SMALL)
    descriptors = program.descriptors.copy()
    every = list(map(Descriptor.from_words, descriptors))
    number = next(n for n, d in enumerate(every) if d.length and d.space == Space.WEIGHTS)
    descriptors[number] = replace(every[number], **change).words("changed")
    path = tmp_path / "changed.syp"
    replace(program, descriptors=descriptors).save(path)
    with pytest.raises(FileRefused, match=sentence):
        Program.load(path)
