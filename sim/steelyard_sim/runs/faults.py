"""Faults on the line between the driver and a simulated board, and what they must not do.

Every run ends in the right result or in a typed error within its timeout, and the link works again
afterwards. ``python -m steelyard_sim.runs.faults --count 1000`` makes that many runs of each
fault.

All but the operating system's port is the real thing: the driver above, the compiled gateware with
its serial pins below (see :mod:`steelyard_sim.faulty_port`).
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import click
import numpy as np

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.driver.link import LinkStatistics
from steelyard.driver.serial import SerialTransport
from steelyard.network import Network, golden
from steelyard.network.random import random_input, random_network
from steelyard.program import Program

from ..build.library import build_board
from ..faulty_port import SLICE_CYCLES, Alter, FaultyLine, FaultyPort
from ..virtual import CLOCK_HZ, DIVIDER, BoardSimulation
from .command import Command

__all__ = ["CONFIG", "FAULTS", "FaultBench", "FaultError"]

CONFIG = configure(
    "array",
    lanes=4,
    columns=2,
    group=4,
    requantizers=1,
    activation_words=2048,
    weight_words=512,
    parameter_words=64,
    partial_sum_channels=16,
    max_layers=8,
)
WORDS = 64
"""Words of each of the link's memories, fewer than a board's: frames are short, and soon moved."""
BATCHES = 6
MOST_BATCHES = 3
"""Of a run: each is sent while the one before it is at work."""
HERTZ = 1_000_000
"""Cycles of a simulated second: an inference takes some hundredths of one."""
RETRY_SECONDS = 0.02
TIMEOUT_SECONDS = 0.6
SLACK_SECONDS = 0.02
"""What a timeout may be late: the simulation looks at the clock now and then."""
ATTEMPTS = 5
GOLDEN_RATIO = (5**0.5 - 1) / 2
FINE_CYCLES = 8
"""Cycles between two looks at the line while the board's work is timed."""


class FaultError(AssertionError):
    """Run that broke the promise."""


def _few(rng: Random, change: Alter) -> Alter:
    """Change one to three bytes, some way apart."""
    places = {0, *(rng.randrange(60) for _ in range(rng.randrange(3)))}
    count = -1

    def alter(byte: int) -> bytes:
        nonlocal count
        count += 1
        return change(byte) if count in places else bytes([byte])

    return alter


class FaultBench:
    """Simulated board with faulty lines, and the driver with a small program on it.

    Parameters
    ----------
    seed : of the images, the faults and the sessions' numbers
    words : of each of the link's memories
    """

    def __init__(self, seed: int, words: int = WORDS) -> None:
        self._statistics: list[LinkStatistics] = []
        self._rng = Random(seed)
        config = CONFIG.with_(link_words=words)
        # Little to load, for most of the simulated time goes into bytes on the line.
        network = random_network(
            11,
            layers=2,
            max_channels=6,
            max_pixels=40,
            group=CONFIG.engine.group,
            kinds=("conv", "max_pool", "add"),
        )
        self._program = self._compiled(network, config)
        self._x = random_input(network, BATCHES * self._program.batch, seed)
        self._y = golden.run(network, self._x)
        library = build_board(config, divider=DIVIDER, clock_hz=CLOCK_HZ)
        self._port = FaultyPort(BoardSimulation(library, DIVIDER), HERTZ)
        self._lines = (self._port.to_board, self._port.to_host)
        sessions = Random(seed + 1)

        def transport(
            address: str, config: AcceleratorConfig | None, log: object = None
        ) -> SerialTransport:
            made = SerialTransport(
                self._port,
                baud=HERTZ / DIVIDER,
                retry=RETRY_SECONDS,
                timeout=TIMEOUT_SECONDS,
                nonce=lambda: sessions.randrange(1, 1 << 32),
                clock=self._port.clock,
            )
            self._statistics.append(made.statistics)
            return made

        self._device = driver.ArrayDevice(
            "serial", transport, config=config, timeout=TIMEOUT_SECONDS
        )
        # What another program has said and heard, to be heard again in other sessions.
        self._measure()
        self._foreign = {id(line): bytes(line.seen) for line in self._lines}
        # Bytes of each line and cycles, to place faults in.
        self._load_spans, self._infer_spans = self._measure()
        self._working = self._measure_working()
        self._resets = 0

    def run(self, fault: str) -> str:
        """Make a fault during an inference, or during the loading before it.

        Returns
        -------
        ``right``, or the name of the error

        Raises
        ------
        FaultError
            If the result is wrong, the error comes too late or is none of the driver's, or the
            link does not work afterwards.
        """
        load = self._rng.random() < 0.2
        batches = self._rng.randint(1, MOST_BATCHES)
        if fault == "working":
            load, batches = False, 1
        self._arm(fault, load, batches)
        start = self._port.clock()
        try:
            if load:
                self._device.close()
                self._device.load(self._program)
            self._infer(batches)
            outcome = "right"
        except (driver.DeviceTimeout, driver.LinkError) as error:
            outcome = type(error).__name__
        # Opening and five commands of loading; sending and answer of each batch, perhaps again.
        limit = (6 * load + 4 * batches) * TIMEOUT_SECONDS + SLACK_SECONDS
        if self._port.clock() - start > limit:
            raise FaultError(f"Fault {fault!r}: {outcome} came too late")
        self._port.clear()
        if outcome != "right":
            self._reload()
        try:
            self._infer(1)
        except driver.SessionLost:
            # What the fault had left on the line was a board's reset or a foreign session.
            self._reload()
            self._infer(1)
        return outcome

    @staticmethod
    def _compiled(network: Network, config: AcceleratorConfig) -> Program:
        """Program with the smallest batch that needs two frames, so that two are under way."""
        batch = 1
        while True:
            program = compile(network, config, batch=batch)
            # With three words of each of WRITE, START and READ; three of a frame's are its own.
            words = program.input.words * config.activation_item_words + 9
            if words > config.link.words // 2 - 3:
                return program
            batch += 1

    @property
    def lost(self) -> int:
        """Answers that the line has lost for good, so that their batches ran again."""
        return sum(statistics.lost for statistics in self._statistics)

    def _measure(self) -> tuple[list[int], list[int]]:
        """Bytes to the board and to the host and clock cycles, of a loading and of a batch."""

        def now() -> list[int]:
            return [*(line.passed for line in self._lines), self._port.cycles]

        before = now()
        self._device.close()
        self._reload()
        loaded = now()
        self._infer(1)
        return (
            [b - a for a, b in zip(before, loaded, strict=True)],
            [b - a for a, b in zip(loaded, now(), strict=True)],
        )

    def _measure_working(self) -> range:
        """Cycles of a batch, from its beginning on, from the frame's last byte to the answer's.

        The board moves the frame's words, computes and reads the answer's words meanwhile.
        """
        port = self._port
        begin, port.silence, port.slice_cycles = port.cycles, range(0), FINE_CYCLES
        self._infer(1)
        port.slice_cycles = SLICE_CYCLES
        return range(port.silence.start - begin, port.silence.stop - begin)

    def _infer(self, batches: int) -> None:
        first = self._rng.randint(0, BATCHES - batches)
        size = self._program.batch
        images = slice(first * size, (first + batches) * size)
        if not np.array_equal(self._device.infer(self._x[images]), self._y[images]):
            raise FaultError(f"Wrong result of {batches} batches from {first} on")

    def _reload(self) -> None:
        """Load the program over lines that may still hold what a fault left."""
        for _ in range(ATTEMPTS):
            try:
                self._device.close()
                return self._device.load(self._program)
            except (driver.DeviceTimeout, driver.LinkError):
                continue
        raise FaultError("The link did not work again")

    def _arm(self, fault: str, load: bool, batches: int) -> None:
        rng = Random(self._rng.getrandbits(64))
        place = rng.randrange(2)
        line = self._lines[place]
        spans = [
            loading * load + batch * batches
            for loading, batch in zip(self._load_spans, self._infer_spans, strict=True)
        ]
        line.skip = rng.randrange(spans[place])
        if fault == "flipped":
            line.alter = _few(rng, lambda byte: bytes([byte ^ 1 << rng.randrange(8)]))
        elif fault == "dropped":
            line.alter = _few(rng, lambda byte: b"")
        elif fault == "doubled":
            line.alter = _few(rng, lambda byte: bytes([byte, byte]))
        elif fault == "inserted":
            line.alter = _few(rng, lambda byte: bytes([rng.randrange(256), byte]))
        elif fault == "cut":
            line.alter = _cut(rng.choice((rng.randrange(1, 400), 1 << 30)))
        elif fault == "reset":
            self._port.reset_at = self._port.cycles + rng.randrange(spans[2])
        elif fault == "working":
            # Spread evenly: a few of them hit every part of the work, each convolution among it.
            self._resets += 1
            share = self._resets * GOLDEN_RATIO % 1
            place = self._working[int(share * len(self._working))]
            self._port.reset_at = self._port.cycles + place
        elif fault == "foreign":
            line.alter = _before(self._piece(rng, line))
        elif fault == "babble":
            line.noise = _babble(rng)
            line.alter = _among(rng, line.noise)

    def _piece(self, rng: Random, line: FaultyLine) -> bytes:
        """Some or all frames that passed in an earlier session."""
        frames = [frame for frame in self._foreign[id(line)].split(b"\0") if frame]
        first = rng.randrange(len(frames))
        count = rng.randrange(1, len(frames) + 1)
        return b"\0" + b"\0".join(frames[first : first + count]) + b"\0"


def _cut(length: int) -> Alter:
    """Lose the next `length` bytes."""

    def alter(byte: int) -> bytes:
        nonlocal length
        length -= 1
        return b"" if length >= 0 else bytes([byte])

    return alter


def _before(data: bytes) -> Alter:
    """Let `data` arrive before the next byte."""

    def alter(byte: int) -> bytes:
        nonlocal data
        out, data = data + bytes([byte]), b""
        return out

    return alter


def _babble(rng: Random) -> Callable[[], bytes]:
    """Noise for a while or until cleared, now and then full of delimiters."""
    left = rng.choice((rng.randrange(1, 30), 1 << 30))
    zeros = rng.choice((0.0, 0.01, 0.3))

    def noise() -> bytes:
        nonlocal left
        left -= 1
        size = rng.randrange(200) if left >= 0 else 0
        return bytes(0 if rng.random() < zeros else rng.randrange(256) for _ in range(size))

    return noise


def _among(rng: Random, noise: Callable[[], bytes]) -> Alter:
    """Noise also between the bytes of frames: nowhere, here and there, or in every frame."""
    share = rng.choice((0.0, 0.002, 0.1))
    return lambda byte: (noise() if rng.random() < share else b"") + bytes([byte])


FAULTS = (
    *("flipped", "dropped", "doubled", "inserted", "cut"),
    *("reset", "working", "foreign", "babble"),
)
"""``working`` is a reset while the board computes: a small part of an inference's time, which
``reset`` hardly ever hits."""


@click.command(cls=Command)
@click.option(
    "--count", type=click.IntRange(1), default=1000, show_default=True, help="Runs of each fault."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of images and faults."
)
@click.option(
    "--words", type=int, default=WORDS, show_default=True, help="Of each of the link's memories."
)
@click.option("--fault", type=click.Choice(FAULTS), multiple=True, help="These faults only.")
def command(count: int, seed: int, words: int, fault: tuple[str, ...]) -> None:
    """Make faults on the line to a simulated board, and see that none leads to a wrong result.

    Exit status: 0 good, 1 a run broke the promise, 2 the input is bad.

    \b
    Example:
      python -m steelyard_sim.runs.faults --count 10 --fault reset
    """
    failed = 0
    for name in fault or FAULTS:
        outcomes: Counter[str] = Counter()
        start = time.monotonic()
        bench = FaultBench(seed, words)
        for number in range(count):
            try:
                outcomes[bench.run(name)] += 1
            except FaultError as error:
                failed += 1
                click.echo(f"{name}, run {number}: {error}", err=True)
                bench = FaultBench(seed + number, words)
        counts = ", ".join(f"{times} {outcome}" for outcome, times in outcomes.most_common())
        click.echo(
            f"{name:9} {counts}; {bench.lost} answers lost and asked for anew "
            f"({time.monotonic() - start:.0f} s)"
        )
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    command()
