"""Activations that are moved among layers: compiled gateware against the contract."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from moves import MovedMemories
from steelyard.compile import compile
from steelyard.contract import Descriptor, configure
from steelyard.contract.descriptor import ANY_UNDER_WAY, Operation
from steelyard.contract.registers import COUNTERS, Space
from steelyard.driver.port import HostPort
from steelyard.network.random import random_input, random_network
from steelyard.program import pack_activations
from steelyard_sim.simulation import open_transport

CONFIG = configure(
    "array", lanes=4, columns=4, requantizers=2, weight_words=1024, parameter_words=640,
    activation_words=16384, max_layers=1024, external_words=1 << 20,
)  # fmt: skip
"""That of test_external.py, so that one simulation is built."""
BEHIND = 1 << 15
"""External words from here on are no program's."""


class Moves:
    """Random moves among a program's layers: of words that no layer uses, and of layers' own.

    Parameters
    ----------
    first : first activation word that no layer uses
    """

    def __init__(self, rng, first):
        self.rng, self.first = rng, first

    def free(self):
        """A move between external memory and words that no layer uses, beside the next layers."""
        rng = self.rng
        rows, length = rng.randint(0, 5), rng.randint(1, 40)
        pitch = rng.randint(0, 60)
        reach = max(rows - 1, 0) * pitch + length
        return Descriptor(
            op=rng.choice([Operation.LOAD, Operation.STORE]),
            space=Space.ACTIVATIONS,
            external=BEHIND + rng.randrange(2000),
            item=rng.randrange(self.first, self.first + 500 - reach),
            length=length,
            batch=rows,
            in_pitch=pitch,
            out_pitch=rng.randint(0, 90),
            under_way=rng.choice([0, 1, 2, ANY_UNDER_WAY, ANY_UNDER_WAY, ANY_UNDER_WAY]),
        )

    def away_and_back(self, plane):
        """Store a layer's output, load something else in its place, and load it again."""
        rng = self.rng
        channels = plane.shape[0]
        strip = Descriptor(
            op=Operation.STORE,
            space=Space.ACTIVATIONS,
            external=BEHIND + 4000 + rng.randrange(100),
            item=plane.base,
            length=plane.pitch,
            batch=channels,
            in_pitch=plane.pitch,
            out_pitch=plane.pitch + rng.randint(0, 5),
            under_way=rng.choice([0, ANY_UNDER_WAY]),
        )
        spoil = replace(strip, op=Operation.LOAD, external=BEHIND + 7000)
        return [strip, spoil, replace(strip, op=Operation.LOAD, under_way=0)]


def descriptors_of(program, rng):
    """Descriptors of a program with others among them: (descriptor, entries that it ends)."""
    every = [Descriptor.from_words(words) for words in program.descriptors]
    peak = max(plane.base + plane.words for plane in (
        program.input, *(entry.output for entry in program.layers)))  # fmt: skip
    moves = Moves(rng, peak)
    made = []
    for entry in program.layers:
        for n in range(entry.first, entry.first + entry.count):
            made += [(moves.free(), []) for _ in range(rng.randint(0, 3))]
            ends = n == entry.first + entry.count - 1
            # Some layers are computed along with the one before.
            made.append((every[n], [each for each in program.layers if ends and _end(each) == n]))
        stored = made[-1][1]
        if entry.count and stored and rng.random() < 0.7:
            made += [(each, []) for each in moves.away_and_back(stored[-1].output)]
    return made


def _end(entry):
    """Number of the descriptor with which a layer's output is there, -1 for never."""
    return entry.first + entry.count - 1 if entry.stored else -1


def expected(program, made, x, external, activations):
    """Memories after a run, and a mask of the bits that are known."""
    golden = program.golden(x)
    known = MovedMemories(CONFIG, np.full(CONFIG.memory.external_words, 0xFFFFFFFF, np.uint32))
    memories = MovedMemories(CONFIG, external)
    memories.items[Space.ACTIVATIONS][:, 0] = activations
    known.items[Space.ACTIVATIONS][:] = 0xFFFFFFFF
    outputs = {entry.name: layer.output for entry, layer in zip(
        program.layers, program.network.layers, strict=True)}  # fmt: skip
    for descriptor, ended in made:
        if descriptor.moves:
            for each in (memories, known):
                each.take(descriptor)
        for entry in ended:
            plane = entry.output
            tensor = golden[outputs[entry.name]]
            for each, values in ((memories, tensor), (known, np.full_like(tensor, -1))):
                place = slice(plane.base, plane.base + plane.words)
                each.items[Space.ACTIVATIONS][place, 0] = pack_activations(values, 4)
    return memories, known


@pytest.fixture(scope="module")
def port():
    transport = open_transport("", CONFIG)
    yield HostPort(transport, 60)
    transport.close()


def run(port, program, descriptors, x, external, activations):
    """Run descriptors; cycles of each layer, in order."""
    port.write(Space.EXTERNAL, 0, external)
    port.write(Space.ACTIVATIONS, 0, activations)
    port.write(Space.PARAMETERS, 0, program.parameters)
    port.write(Space.WEIGHTS, 0, program.weights)
    packed = np.array([each.words("layer", CONFIG) for each in descriptors])
    port.write(Space.DESCRIPTORS, 0, packed)
    port.write(Space.ACTIVATIONS, program.input.base, program.pack_activations(x))
    port.run(0, len(descriptors))
    counters = port.read(Space.COUNTERS, 0, len(descriptors) * len(COUNTERS))
    counters = counters.reshape(-1, len(COUNTERS))
    return [row.tolist() for row, each in zip(counters, descriptors, strict=True) if not each.moves]


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5])
def test_activations_are_moved_among_layers_that_take_their_cycles(port, seed):
    print(f"seed {seed}")
    rng = Random(seed)
    network = random_network(seed, layers=9, max_channels=24, max_pixels=100)
    program = compile(network, CONFIG)
    x = random_input(network, 1, seed)
    numbers = np.random.default_rng(seed)
    external = numbers.integers(0, 1 << 32, BEHIND + 10000, dtype=np.uint32)
    external[: program.external.size] = program.external
    activations = numbers.integers(0, 1 << 32, CONFIG.memory.activation_words, dtype=np.uint32)
    made = descriptors_of(program, rng)
    descriptors = [each for each, _ in made]
    moved = [each for each in descriptors if each.space == Space.ACTIVATIONS and each.moves]
    assert len(moved) > 8

    alone = [Descriptor.from_words(words) for words in program.descriptors]
    counters = run(port, program, alone, x, external, activations)
    # Nothing of it is left.
    assert run(port, program, descriptors, x, external, activations) == counters

    start = activations.copy()
    plane = program.input
    start[plane.base : plane.base + plane.words] = program.pack_activations(x)
    memories, known = expected(program, made, x, external, start)
    found = port.read(Space.ACTIVATIONS, 0, CONFIG.memory.activation_words)
    wrong = (found ^ memories.items[Space.ACTIVATIONS][:, 0]) & known.items[Space.ACTIVATIONS][:, 0]
    assert not wrong.any(), np.flatnonzero(wrong)[:10]
    found = port.read(Space.EXTERNAL, BEHIND, 10000)
    wrong = (found ^ memories.external[BEHIND:][:10000]) & known.external[BEHIND:][:10000]
    assert not wrong.any(), np.flatnonzero(wrong)[:10]


def test_a_run_of_more_descriptors_than_fit_goes_on_with_those_that_it_has_loaded(port):
    layers = CONFIG.memory.max_layers
    words = np.arange(1, 81, dtype=np.uint32).reshape(2, -1)
    port.write(Space.EXTERNAL, 0, words)
    load = Descriptor(op=Operation.LOAD, space=Space.WEIGHTS, item=10, length=words.shape[1])
    later = replace(load, item=50, external=words.shape[1])
    port.write(Space.EXTERNAL, 1000, later.words("later", CONFIG))
    # Over the first one, once that has run.
    over = Descriptor(op=Operation.LOAD, space=Space.DESCRIPTORS, external=1000, length=32)
    nothing = Descriptor(op=Operation.LOAD, under_way=ANY_UNDER_WAY)
    every = [load, over, *[nothing] * (layers - 2)]
    port.write(Space.DESCRIPTORS, 0, np.array([each.words("move", CONFIG) for each in every]))
    port.run(0, layers + 1)
    item = CONFIG.engine.weight_item_words
    for place, expected in zip((10, 50), words, strict=True):
        assert np.array_equal(port.read(Space.WEIGHTS, place, expected.size)[::item],
                              expected[::item])  # fmt: skip


MEASURED = {
    (1, 8, 8): (36, 27),
    (1, 256, 256): (532, 523),
    (1, 2000, 2000): (4092, 4078),
    (16, 16, 3136): (610, 596),
    (64, 64, 784): (8368, 8354),
    (64, 64, 3136): (8758, 8744),
}
"""Cycles of a load and of a store by their rows, words of each and external words from one to the
next: the table of docs/notes/external-memory.md."""


def test_moves_beside_an_idle_engine_take_the_cycles_of_the_note(port):
    def cycles(move):
        port.write(Space.DESCRIPTORS, 0, move.words("move", CONFIG))
        port.run(0, 1)
        return int(port.read(Space.COUNTERS, 0, 1)[0])

    # The chip is ready.
    cycles(Descriptor(op=Operation.LOAD, space=Space.ACTIVATIONS, length=1))
    found = {
        (rows, length, pitch): tuple(
            cycles(
                Descriptor(
                    op=op,
                    space=Space.ACTIVATIONS,
                    external=5000,
                    length=length,
                    batch=rows,
                    in_pitch=length,
                    out_pitch=pitch,
                )
            )
            for op in (Operation.LOAD, Operation.STORE)
        )
        for rows, length, pitch in MEASURED
    }
    assert found == MEASURED
