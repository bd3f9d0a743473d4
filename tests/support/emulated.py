"""Transport with an accelerator behind it that is emulated in memory."""

from dataclasses import dataclass, field

import numpy as np

from steelyard import driver
from steelyard.contract import AcceleratorConfig, configure
from steelyard.contract.registers import VERSION, Space
from steelyard.network import golden
from steelyard.program import Program, pack_activations, unpack_activations

CONFIG = configure("array", lanes=4, columns=4, requantizers=4, weight_words=16384)
MAGIC = 0x594C5453


@dataclass
class Emulator:
    """Transport with an accelerator behind it that computes layers with the golden model."""

    program: Program
    config: AcceleratorConfig = CONFIG
    magic: int = MAGIC
    version: int = VERSION
    hangs: bool = False
    corrupt: dict[tuple[str, bool], tuple[int, int, int, int]] = field(default_factory=dict)
    """Element (image, channel, row, column) made wrong in a layer, when it is run alone or not."""
    closed: int = 0
    starts: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        items = {
            Space.DESCRIPTORS: (self.config.memory.max_layers * 32, 1),
            Space.PARAMETERS: (
                self.config.memory.parameter_words,
                len(self.config.parameter_bits),
            ),
            Space.WEIGHTS: (self.config.memory.weight_words, self.config.engine.weight_item_words),
            Space.ACTIVATIONS: (
                self.config.memory.activation_words,
                self.config.activation_item_words,
            ),
            Space.COUNTERS: (self.config.memory.max_layers * 8, 1),
        }
        self.memory = {space: np.zeros(shape, np.uint32) for space, shape in items.items()}
        digest = np.frombuffer(self.config.hash(), "<u4")
        registers = np.array([self.magic, self.version, *digest, 0, 0], np.uint32)
        self.memory[Space.REGISTERS] = registers.reshape(-1, 1)
        self.answers: list[int] = []

    def write(self, words: np.ndarray, timeout: float) -> None:
        operation, space = int(words[0]) >> 24, Space(int(words[0]) & 0xFF)
        first, count = int(words[1]), int(words[2])
        if operation == 3:
            self._start(first, count)
            return
        memory = self.memory[space]
        assert count % memory.shape[1] == 0
        part = memory[first : first + count // memory.shape[1]].reshape(-1)
        if operation == 1:
            assert len(words) == 3 + count
            part[:] = words[3:]
        else:
            assert operation == 2 and len(words) == 3
            self.answers += part.tolist()

    def read(self, count: int, timeout: float) -> np.ndarray:
        if self.hangs:
            raise driver.DeviceTimeout("no answer")
        words, self.answers = self.answers[:count], self.answers[count:]
        return np.array(words, np.uint32)

    def wait_idle(self, timeout: float) -> None:
        assert timeout >= 0

    def close(self) -> None:
        self.closed += 1

    def _start(self, first: int, count: int) -> None:
        self.starts.append((first, count))
        layers = [
            (layer, entry)
            for layer, entry in zip(self.program.network.layers, self.program.layers, strict=True)
            if first <= entry.first < first + count
        ]
        for layer, entry in layers:
            output = golden.layer(
                self.program.network, layer, *(self._tensor(name) for name in layer.inputs)
            )
            place = self.corrupt.get((layer.name, len(layers) == 1))
            if place is not None:
                output[place] ^= 1
            words = pack_activations(output, self.config.engine.lanes)
            plane = entry.output
            item = self.config.activation_item_words
            self.memory[Space.ACTIVATIONS][plane.base : plane.base + plane.words] = words.reshape(
                -1, item
            )
            counters = np.arange(1, 9).reshape(8, 1) * 100 + entry.first
            for each in range(entry.first, entry.first + entry.count):
                self.memory[Space.COUNTERS][each * 8 : each * 8 + 8] = counters
        self.memory[Space.REGISTERS][10] = 2
        self.memory[Space.REGISTERS][11] = 1234

    def _tensor(self, name: str) -> np.ndarray:
        program = self.program
        planes = {program.network.input: program.input} | {
            layer.output: entry.output
            for layer, entry in zip(program.network.layers, program.layers, strict=True)
        }
        plane = planes[name]
        words = self.memory[Space.ACTIVATIONS][plane.base : plane.base + plane.words]
        return unpack_activations(
            words.reshape(-1), plane.shape, program.batch, program.config.engine.lanes
        )


def opened(emulator: Emulator, **options: object) -> driver.ArrayDevice:
    return driver.ArrayDevice("emulated", lambda *_: emulator, config=CONFIG, **options)
