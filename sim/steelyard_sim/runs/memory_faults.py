"""Faults of an external memory, and what they must not do.

Every run with a fault ends in the right result, perhaps after the words that were lost have been
written anew, or in a typed error; and without the fault the program works again.
``python -m steelyard_sim.runs.memory_faults --count 1000`` makes that many runs of each fault.

The driver above is the real one, below are the compiled gateware, its controller and the model of
the chip, whose cells are altered from outside (see :mod:`steelyard_sim.memory.sdram`).
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import click
import numpy as np
from numpy.typing import NDArray

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.contract.registers import (
    READ_LATENCIES,
    Command,
    Register,
    Space,
    command_word,
)
from steelyard.network.random import random_input, random_network

from ..memory.accelerator import build_external, chip_of
from ..simulation import Simulation, SimulationTransport
from .command import Command as RunCommand
from .faults import FaultError

__all__ = ["CONFIG", "FAULTS", "MemoryBench"]

CONFIG = configure(
    "array",
    lanes=4,
    columns=4,
    requantizers=2,
    activation_words=2048,
    weight_words=64,
    parameter_words=64,
    max_layers=64,
    external_words=1 << 16,
)
IMAGES = 4
IDLE = np.array([command_word(Command.READ), 0, 1], np.uint32)
"""A question that is answered when all words before it have been taken."""
USED = 1024
"""Cells in which faults are: all of the program's words, and some more."""
CHIP_ROW = 1 << chip_of(CONFIG).column_bits

Cells = NDArray[np.uint16]
Alter = Callable[[Cells], None]


class FaultyMemory(SimulationTransport):
    """Transport to an accelerator with external memory whose cells have a lasting fault."""

    simulation: Simulation
    fault: Alter | None = None

    def write(self, words: NDArray[np.uint32], timeout: float) -> None:
        """As the transport's, with the fault in the cells before and after."""
        self._force()
        super().write(words, timeout)
        if self.fault is not None and words[0] == command_word(Command.WRITE, Space.EXTERNAL):
            super().write(IDLE, timeout)
            super().read(1, timeout)
        self._force()

    def read(self, count: int, timeout: float) -> NDArray[np.uint32]:
        """As the transport's, with the fault in the cells before."""
        self._force()
        return super().read(count, timeout)

    def _force(self) -> None:
        if self.fault is not None:
            self.fault(self.simulation.cells[:USED])


class MemoryBench:
    """Accelerator with a small program whose weights are in a faulty memory.

    Parameters
    ----------
    seed : of the images and the faults
    """

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        network = random_network(11, layers=3, max_channels=16, max_pixels=30, kinds=("conv",))
        self._program = compile(network, CONFIG)
        self._words = self._program.external
        self._x = random_input(network, IMAGES, seed)
        self._y = self._program.golden(self._x)[network.output]
        assert self._words.size <= USED // 2
        self._line = FaultyMemory(Simulation(build_external(CONFIG), external=True))
        self._device = driver.ArrayDevice("sim", lambda *_: self._line, config=CONFIG)
        self._device.load(self._program)
        self._infer()

    def close(self) -> None:
        """End the simulation."""
        self._device.close()

    def run(self, fault: str) -> str:
        """Make a fault, infer an image, and take the fault away.

        Returns
        -------
        ``right``, ``written anew`` or the name of the error

        Raises
        ------
        FaultError
            If the result is wrong, or the program does not work without the fault.
        """
        lost = len(self._device.lost_words)
        cells = self._line.simulation.cells[:USED].copy()
        FAULTS[fault](self)
        try:
            self._infer()
            outcome = "right" if len(self._device.lost_words) == lost else "written anew"
        except (driver.MemoryFault, driver.DeviceTimeout) as error:
            outcome = type(error).__name__
        self._line.fault = None
        if outcome == "DeviceTimeout":
            self._device.close()
            self._line = FaultyMemory(Simulation(build_external(CONFIG), external=True))
            self._device.load(self._program)
        else:
            self._line.simulation.cells[:USED] = cells
            self._choose(0)
        self._infer()
        return outcome

    def _infer(self) -> None:
        image = self._rng.randrange(IMAGES)
        y = self._device.infer(self._x[image : image + 1])
        if not np.array_equal(y, self._y[image : image + 1]):
            raise FaultError(f"Wrong result of image {image}")

    def _choose(self, latency: int) -> None:
        head = [command_word(Command.WRITE), Register.READ_LATENCY, 1, latency]
        self._line.write(np.array(head, np.uint32), 60)

    def flipped(self) -> None:
        """One to three bits that change once."""
        cells = self._line.simulation.cells
        for _ in range(self._rng.randint(1, 3)):
            cells[self._rng.randrange(2 * self._words.size)] ^= 1 << self._rng.randrange(16)

    def stuck(self) -> None:
        """A bit that is always 0 or 1: of one cell, or of all, as with a data line."""
        bit, value = 1 << self._rng.randrange(16), self._rng.randrange(2)
        one = self._rng.randrange(2 * self._words.size)
        where = self._rng.choice((slice(one, one + 1), slice(None)))

        def force(cells: Cells) -> None:
            cells[where] = cells[where] | bit if value else cells[where] & ~np.uint16(bit)

        self._line.fault = force

    def latency(self) -> None:
        """The memory may be earlier or later than it was found to be."""
        self._choose(self._rng.choice(READ_LATENCIES))

    def address(self) -> None:
        """An address line that is always 0 or 1: two words share a place."""
        bit = 1 << self._rng.randrange((2 * self._words.size - 1).bit_length())
        value = self._rng.randrange(2)

        def force(cells: Cells) -> None:
            pairs = cells.reshape(-1, 2, bit)
            # Of both the later written one is what is left.
            pairs[:, 1 - value] = pairs[:, value]

        self._line.fault = force

    def faded(self) -> None:
        """Cells of a row that lost some of their charge, as without refreshes."""
        rows = -(-2 * self._words.size // CHIP_ROW)
        first = self._rng.randrange(rows) * CHIP_ROW
        share = self._rng.choice((0.001, 0.01, 0.5))
        draw = np.random.default_rng(self._rng.getrandbits(64))
        kept = draw.random((CHIP_ROW, 16)) >= share
        cells = self._line.simulation.cells[first : first + CHIP_ROW]
        cells &= (kept << np.arange(16)).sum(axis=1).astype(np.uint16)


FAULTS: dict[str, Callable[[MemoryBench], None]] = {
    each.__name__: each
    for each in (
        MemoryBench.flipped,
        MemoryBench.stuck,
        MemoryBench.latency,
        MemoryBench.address,
        MemoryBench.faded,
    )
}


@click.command(cls=RunCommand)
@click.option(
    "--count", type=click.IntRange(1), default=1000, show_default=True, help="Runs of each fault."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of images and faults."
)
@click.option("--fault", type=click.Choice([*FAULTS]), multiple=True, help="These faults only.")
def command(count: int, seed: int, fault: tuple[str, ...]) -> None:
    """Make faults in an external memory, and see that none leads to a wrong result.

    Exit status: 0 good, 1 a run broke the promise, 2 the input is bad.

    \b
    Example:
      python -m steelyard_sim.runs.memory_faults --count 10 --fault flipped
    """
    failed = 0
    for name in fault or FAULTS:
        outcomes: Counter[str] = Counter()
        start = time.monotonic()
        bench = MemoryBench(seed)
        for number in range(count):
            try:
                outcomes[bench.run(name)] += 1
            except FaultError as error:
                failed += 1
                click.echo(f"{name}, run {number}: {error}", err=True)
                bench.close()
                bench = MemoryBench(seed + number)
        bench.close()
        counts = ", ".join(f"{times} {outcome}" for outcome, times in outcomes.most_common())
        click.echo(f"{name:8} {counts} ({time.monotonic() - start:.0f} s)")
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    command()
