"""Faults on the line between the driver and a virtual board, and what they must not do.

Every run ends in the right result or in a typed error within its timeout, and the link works again
afterwards. ``python -m steelyard_sim.fault_case --count 1000`` makes that many runs of each fault.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Self

import numpy as np

from steelyard import driver, golden
from steelyard.compile import compile
from steelyard.config import ArrayConfig
from steelyard.driver.serial import open_transport
from steelyard.program import Program
from steelyard.randomnet import random_input, random_network

from .virtual import VirtualBoard

__all__ = ["CONFIG", "FAULTS", "FaultBench", "FaultError", "FaultyLine"]

CONFIG = ArrayConfig(
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
BATCH = 8
"""Images of a batch: its words need two frames, so that two are under way."""
BATCHES = 4
TIMEOUT_SECONDS = 0.6
SLACK_SECONDS = 5.0
"""What a loaded machine may add to a timeout."""
ATTEMPTS = 20
REMEMBERED_BYTES = 4096


class FaultError(AssertionError):
    """Run that broke the promise."""


Alter = Callable[[int], bytes]


@dataclass
class FaultyLine:
    """One direction of the line.

    Members
    -------
    alter : bytes that arrive in place of a byte; None where the line is sound
    noise : bytes that arrive though none left
    skip : bytes that pass before either begins
    seen : the latest bytes that left
    passed : number of all bytes that left
    """

    alter: Alter | None = None
    noise: Callable[[], bytes] | None = None
    skip: int = 0
    seen: bytearray = field(default_factory=bytearray)
    passed: int = 0

    def carry(self, data: bytes) -> bytes:
        """Bytes that arrive for those that left."""
        self.seen += data
        self.passed += len(data)
        del self.seen[:-REMEMBERED_BYTES]
        alter, noise = self.alter, self.noise
        sound = min(self.skip, len(data))
        self.skip -= sound
        out = bytearray(data[:sound])
        for byte in data[sound:]:
            out += alter(byte) if alter is not None else bytes([byte])
        if noise is not None and not self.skip:
            out += noise()
        return bytes(out)

    def mend(self) -> None:
        """Make the line sound."""
        self.alter = self.noise = None
        self.skip = 0


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
    """Virtual board with faulty lines, and the driver with a small program on it.

    Parameters
    ----------
    seed : of the images and the faults
    timeout : seconds that the driver waits; longer than a loaded machine may make it wait for good
        answers
    """

    def __init__(self, seed: int, timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout
        self._rng = Random(seed)
        self._to_board, self._to_host = FaultyLine(), FaultyLine()
        network = random_network(1, layers=3, max_channels=6, max_pixels=40, group=CONFIG.group)
        self._program: Program = compile(network, CONFIG, batch=BATCH)
        self._x = random_input(network, BATCHES * BATCH, seed)
        self._y = golden.run(network, self._x)
        with ExitStack() as stack:
            self._board = stack.enter_context(
                VirtualBoard(CONFIG, to_board=self._to_board, to_host=self._to_host)
            )
            address = f"{self._board.path}?baud=60000&retry=0.02&open={timeout}"
            self._device = stack.enter_context(
                driver.ArrayDevice(
                    "serial", open_transport, address, config=CONFIG, timeout=timeout
                )
            )
            # What another program has said and heard, to be heard again in other sessions.
            self._measure()
            self._foreign = {id(line): bytes(line.seen) for line in self._lines}
            # Bytes of each line and cycles, to place faults in.
            self._load_spans, self._infer_spans = self._measure()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def _lines(self) -> tuple[FaultyLine, FaultyLine]:
        return self._to_board, self._to_host

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
        self._arm(fault, load)
        start = time.monotonic()
        try:
            if load:
                self._device.close()
                self._device.load(self._program)
            self._infer()
            outcome = "right"
        except (driver.DeviceTimeout, driver.LinkError) as error:
            outcome = type(error).__name__
        # Opening, four commands of loading and three of an inference, each with its own timeout.
        if time.monotonic() - start > (1 + 7 * load + 3) * self._timeout + SLACK_SECONDS:
            raise FaultError(f"Fault {fault!r}: {outcome} came too late")
        for line in self._lines:
            line.mend()
        self._board.cancel_reset()
        if outcome != "right":
            self._reload()
        try:
            self._infer()
        except driver.SessionLost:
            # What the fault had left on the line was a board's reset or a foreign session.
            self._reload()
            self._infer()
        return outcome

    def _measure(self) -> tuple[list[int], list[int]]:
        """Bytes to the board and to the host and clock cycles, of an inference with loading before
        and of one without."""

        def now() -> list[int]:
            return [*(line.passed for line in self._lines), self._board.cycles]

        before = now()
        self._device.close()
        self._reload()
        self._infer()
        loaded = now()
        self._infer()
        return (
            [b - a for a, b in zip(before, loaded, strict=True)],
            [b - a for a, b in zip(loaded, now(), strict=True)],
        )

    def _infer(self) -> None:
        batch = self._rng.randrange(BATCHES)
        images = slice(batch * BATCH, (batch + 1) * BATCH)
        if not np.array_equal(self._device.infer(self._x[images]), self._y[images]):
            raise FaultError(f"Wrong result of batch {batch}")

    def _reload(self) -> None:
        """Load the program over lines that may still hold what a fault left."""
        for _ in range(ATTEMPTS):
            try:
                self._device.close()
                return self._device.load(self._program)
            except (driver.DeviceTimeout, driver.LinkError):
                time.sleep(0.05)
        raise FaultError("The link did not work again")

    def _arm(self, fault: str, load: bool) -> None:
        rng = Random(self._rng.getrandbits(64))
        line = rng.choice(self._lines)
        spans = self._load_spans if load else self._infer_spans
        line.skip = rng.randrange(spans[int(line is self._to_host)])
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
            self._board.reset(rng.randrange(spans[2]))
        elif fault == "foreign":
            line.alter = _before(self._piece(rng, line))
        elif fault == "babble":
            line.alter = lambda byte: bytes([byte])
            line.noise = _babble(rng)

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
    """Noise for a while or until mended, now and then full of delimiters."""
    left = rng.choice((rng.randrange(1, 30), 1 << 30))
    zeros = rng.choice((0.0, 0.01, 0.3))

    def noise() -> bytes:
        nonlocal left
        left -= 1
        size = rng.randrange(200) if left >= 0 else 0
        return bytes(0 if rng.random() < zeros else rng.randrange(256) for _ in range(size))

    return noise


FAULTS = ("flipped", "dropped", "doubled", "inserted", "cut", "reset", "foreign", "babble")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit status 1 if a run broke the promise."""
    parser = argparse.ArgumentParser(description="Faults on the line to a virtual board.")
    parser.add_argument("--count", type=int, default=1000, help="runs of each fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", choices=FAULTS, action="append", help="these faults only")
    options = parser.parse_args(arguments)
    failed = 0
    for fault in options.fault or FAULTS:
        outcomes: Counter[str] = Counter()
        start = time.monotonic()
        with FaultBench(options.seed) as bench:
            for _ in range(options.count):
                try:
                    outcomes[bench.run(fault)] += 1
                except FaultError as error:
                    failed += 1
                    print(f"{fault}: {error}", file=sys.stderr)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        print(f"{fault:9} {counts} ({time.monotonic() - start:.0f} s)", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
