"""Random programs for the whole accelerator, and the words that run and check them.

Everything follows from a seed and knows no simulator: the same programs run in Amaranth's and,
through :mod:`steelyard_sim.cocotb.ports`, in those that cocotb drives.
"""

from random import Random

import numpy as np
from numpy.typing import NDArray

from steelyard.compile import Descriptor, Operation, compile
from steelyard.contract import AcceleratorConfig
from steelyard.contract.registers import (
    COUNTERS,
    Command,
    Register,
    Space,
    Status,
    command_word,
)
from steelyard.driver import Mismatch
from steelyard.errors import UserError
from steelyard.network import Network, golden
from steelyard.network.random import random_conv, random_input, random_network
from steelyard.program import Program

__all__ = ["Script", "random_case_network", "random_program"]

INVALID_COMMANDS = (0, 0xFFFFFFFF, 0x04000000, 0x01000008, 0x02800001)
ATTEMPTS = 1000


def random_program(
    seed: int, config: AcceleratorConfig, *, cycles: int = 4000, words: int = 2500
) -> tuple[Program, NDArray[np.int8]]:
    """Random program with one batch of inputs, int8 (batch, channels, height, width).

    Mostly single convolutions with kernels of 1 to 7, the rest chains of all kinds of layers.

    Parameters
    ----------
    cycles : limit of the predicted cycles
    words : limit of the 32-bit words to upload

    Raises
    ------
    ValueError
        If no draw keeps to the limits.
    """
    rng = np.random.default_rng([seed, 2])
    refused: UserError | None = None
    for _ in range(ATTEMPTS):
        try:
            network, k = random_case_network(rng, config)
            batch = int(rng.choice([1, 1, 1, 2, 3, 5]))
            program = compile(network, config, batch=batch, k=k)
        except UserError as error:
            # The draw does not fit its map or the configuration: the next one may.
            refused = error
            continue
        x = random_input(network, batch, int(rng.integers(1 << 32)))
        upload = program.weights.size + program.parameters.size + x.size // 4
        if sum(entry.predicted_cycles for entry in program.layers) <= cycles and upload <= words:
            return program, x
    raise ValueError(f"No program of {cycles} cycles was found") from refused


def random_case_network(
    rng: np.random.Generator, config: AcceleratorConfig
) -> tuple[Network, int | str]:
    """Network, and the K to compile it for."""
    group = config.engine.group
    kept = None if rng.random() < 0.15 else int(rng.integers(1, group + 1))
    k: int | str = (
        "auto" if kept is None or rng.random() < 0.7 else int(rng.integers(kept, group + 1))
    )
    if rng.random() < 0.3:
        network = random_network(
            int(rng.integers(1 << 32)),
            layers=int(rng.integers(2, 5)),
            max_pixels=40,
            max_channels=2 * config.engine.width + 1,
            group=group,
            k=kept,
        )
        return network, k
    kernel = int(rng.integers(1, 8)), int(rng.integers(1, 8))
    top, left, bottom, right = (int(rng.integers(0, side)) for side in (*kernel, *kernel))
    unpadded = bool(rng.random() < 0.3)
    network = random_conv(
        rng,
        in_channels=int(rng.integers(1, 10)),
        out_channels=int(rng.integers(1, 3 * config.engine.width + 2)),
        size=(int(rng.integers(1, 11)), int(rng.integers(1, 11))),
        kernel=kernel,
        stride=(int(rng.integers(1, 3)), int(rng.integers(1, 3))),
        padding=(0, 0, 0, 0) if unpadded else (top, left, bottom, right),
        k=kept,
        group=group,
        fully_connected=bool(rng.random() < 0.15),
    )
    return network, k


class Script:
    """Words for the host port that upload a program, run it and read everything back.

    Send ``words``, receive ``answers`` words and :meth:`check` them.

    Parameters
    ----------
    x : one batch of inputs, int8 (batch, channels, height, width)
    rng : seeded source of the invalid commands strewn in
    layerwise : whether each layer is started and read back by itself
    """

    def __init__(
        self, program: Program, x: NDArray[np.int8], rng: Random, *, layerwise: bool = False
    ) -> None:
        self.program, self.x = program, x
        self.words: list[int] = []
        self.answers = 0
        self._rng = rng
        self._outputs: dict[int, slice] = {}

        self._write(Space.DESCRIPTORS, 0, program.descriptors)
        self._write(Space.PARAMETERS, 0, program.parameters)
        self._write(Space.WEIGHTS, 0, program.weights)
        self._write(Space.ACTIVATIONS, program.input.base, program.pack_activations(x))
        if not layerwise:
            self._start(0, len(program.descriptors))
        for index, entry in enumerate(program.layers):
            if layerwise:
                self._start(entry.first, entry.count)
            if (layerwise and entry.stored) or index == len(program.layers) - 1:
                plane = entry.output
                count = plane.words * program.config.activation_item_words
                self._outputs[index] = self._read(Space.ACTIVATIONS, plane.base, count)
        self._counters = self._read(Space.COUNTERS, 0, len(COUNTERS) * len(program.descriptors))
        self._status = self._read(Space.REGISTERS, Register.STATUS, 1)

    def _invalid(self) -> None:
        if self._rng.random() < 0.3:
            self.words.append(self._rng.choice(INVALID_COMMANDS))

    def _write(self, space: Space, address: int, data: NDArray[np.uint32]) -> None:
        self._invalid()
        head = [command_word(Command.WRITE, space), address, data.size]
        self.words += head + data.reshape(-1).tolist()

    def _read(self, space: Space, address: int, count: int) -> slice:
        self._invalid()
        self.words += [command_word(Command.READ, space), address, count]
        self.answers += count
        return slice(self.answers - count, self.answers)

    def _start(self, first: int, count: int) -> None:
        self._invalid()
        self.words += [command_word(Command.START), first, count]

    def __str__(self) -> str:
        d = Descriptor.from_words(self.program.descriptors[0])
        layers = ", ".join(layer.kind for layer in self.program.network.layers)
        return (
            f"{layers}; first layer {self.x.shape[1]} channels of {d.in_h}x{d.in_w}, kernel "
            f"{d.kernel_h}x{d.kernel_w}, stride {d.stride_h}x{d.stride_w}, K {d.k}, "
            f"{d.chunks} chunks, {d.passes} passes, batch {d.batch}"
        )

    def check(self, received: list[int]) -> Mismatch | None:
        """First element of a layer that was read back and differs from the golden model.

        Raises
        ------
        AssertionError
            If counters or status are not those of the program.
        """
        trace = self._golden()
        for index, place in self._outputs.items():
            layer = self.program.network.layers[index]
            expected = trace[layer.output]
            words = np.array(received[place], np.uint32)
            actual = self.program.unpack_activations(words, expected.shape[1:])
            different = expected != actual
            if different.any():
                image, channel, row, column = map(int, np.argwhere(different)[0])
                return Mismatch(
                    layer=layer.name,
                    image=image,
                    channel=channel,
                    row=row,
                    column=column,
                    expected=int(expected[image, channel, row, column]),
                    actual=int(actual[image, channel, row, column]),
                    differing=int(different.sum()),
                    compared=expected.size,
                )
        counters = np.array(received[self._counters]).reshape(-1, len(COUNTERS))
        self._check_counters(counters, received)
        if received[self._status] != [Status.DONE]:
            raise AssertionError(f"Status is {received[self._status]} instead of done and idle")
        return None

    def _golden(self) -> dict[str, NDArray[np.int8]]:
        """Every tensor as it must be."""
        return golden.run(self.program.network, self.x, trace=True, threads=1)

    def _check_counters(self, counters: NDArray[np.int64], received: list[int]) -> None:
        config = self.program.config
        for number, words in enumerate(self.program.descriptors):
            d = Descriptor.from_words(words)
            taps = d.kernel_h * d.kernel_w * d.in_channels
            channels = d.in_channels
            if d.op == Operation.CONV:
                channels = (d.passes - 1) * config.engine.width + d.last_columns
                taps *= d.ring
            elif Operation(d.op).joins:
                taps *= 2
            vector = 0 if d.op == Operation.CONV else taps
            cycles, issue, load, weights, drain, loaded, written, vectors = counters[
                number
            ].tolist()
            actual = [issue, loaded, written, vectors]
            expected = [d.weight_count, taps, channels, vector]
            if actual != [d.out_tiles * each for each in expected]:
                raise AssertionError(
                    f"Descriptor {number} counts {actual} (issue, loaded, written, vector) "
                    f"instead of {expected} for each of {d.out_tiles} tiles"
                )
            if cycles < issue + load + weights + drain:
                raise AssertionError(f"Descriptor {number} is busier than its {cycles} cycles")
