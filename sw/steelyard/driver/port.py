"""Host port: the accelerator's commands over a transport (docs/architecture.md, section 7)."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..contract import AcceleratorConfig
from ..contract.limits import BLOCKS
from ..contract.registers import (
    COUNTERS,
    MAGIC,
    REGISTERS,
    VERSION,
    Command,
    Register,
    Space,
    Status,
    command_word,
)
from ..program import Plane, Program
from .errors import ConfigurationMismatch, DeviceTimeout, WrongDevice
from .transport import PacedTransport, PlacingTransport, Transport

__all__ = ["TIMEOUT_SECONDS", "HostPort", "descriptors_around", "inference_words", "memories"]

POLL_SECONDS = 0.001
TIMEOUT_SECONDS = 600.0
"""Time of a command that runs nothing."""
BURST_WORDS = 1 << 15
"""Words of external memory that one command moves."""
PINS_WORDS = 1 << 12
"""Words of a program's external memory that move through the pins of a simulated board, for which
a line would take minutes; those behind them are placed directly."""
RUN_MARGIN = 2
"""Times its predicted cycles that a run may take,"""
RUN_CYCLES = 100_000
"""and cycles beside them."""


def memories(program: Program) -> list[tuple[Space, NDArray[np.uint32]]]:
    """Memories that a program fills, with their words; of descriptors that come in turn the first
    ones."""
    filled = [
        (Space.DESCRIPTORS, program.descriptors[: program.config.memory.max_layers]),
        (Space.PARAMETERS, program.parameters),
        (Space.WEIGHTS, program.weights),
    ]
    return [*filled, (Space.EXTERNAL, program.external)] if program.external.size else filled


def descriptors_around(program: Program, first: int) -> NDArray[np.uint32]:
    """Descriptors from which a run goes on with one of those that come in turn, uint32 (n, 32).

    Those of one round, each at its place, from the begin of its block on; they load the others.
    Behind the last of all come the first ones again.
    """
    size, every = program.config.memory.max_layers, program.descriptors
    begin = first - first % (size // BLOCKS)
    numbers = np.arange(begin, begin + size)
    numbers = np.where(numbers < len(every), numbers, numbers % size)
    return np.roll(every[numbers], begin % size, axis=0)


def _write_words(space: Space, address: int, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    head = [command_word(Command.WRITE, space), address, words.size]
    return np.concatenate([np.array(head, np.uint32), words])


def inference_words(
    source: Plane,
    words: NDArray[np.uint32],
    layers: int,
    result: Plane,
    count: int,
    *,
    moved: bool = False,
) -> NDArray[np.uint32]:
    """Commands of a whole inference, uint32 (n,), whose answer is `count` words.

    Parameters
    ----------
    source : place of the input
    words : the input, uint32 (n,)
    layers : descriptors to run, from the first on
    result, count : place of the output, and its words
    moved : whether a word more is answered: the CRC of what was moved from external memory
    """
    commands = [
        *(command_word(Command.START), 0, layers),
        *(command_word(Command.READ, result.space), result.base, count),
    ]
    if moved:
        commands += [command_word(Command.READ, Space.REGISTERS), Register.MOVED_CRC, 1]
    head = _write_words(source.space, source.base, words)
    return np.concatenate([head, np.array(commands, np.uint32)])


class HostPort:
    """Commands of one accelerator.

    Parameters
    ----------
    transport : closed by its owner
    timeout : seconds that one command may take; None for `TIMEOUT_SECONDS`, and for a run of the
        accelerator as long as its predicted cycles need
    """

    def __init__(self, transport: Transport, timeout: float | None) -> None:
        self._transport = transport
        self._limit = math.inf if timeout is None else timeout
        self._timeout = TIMEOUT_SECONDS if timeout is None else timeout

    @property
    def timeout(self) -> float:
        """Seconds that a command may take now."""
        return self._timeout

    @contextmanager
    def running(self, cycles: int, words: int, what: str) -> Iterator[None]:
        """Context of a run: what never ends is given up soon after it should have ended.

        Parameters
        ----------
        cycles : predicted for the run
        words : that travel meanwhile, both ways
        what : what runs, in words

        Raises
        ------
        DeviceTimeout
            If the run does not end.
        """
        if not isinstance(self._transport, PacedTransport):
            yield
            return
        # Twice as long, for the crossbar tile's are an estimate.
        limit, usual = RUN_MARGIN * cycles + RUN_CYCLES, self._timeout
        try:
            with self._transport.expecting(limit, words) as seconds:
                self._timeout = min(seconds, self._limit)
                yield
        except DeviceTimeout as error:
            raise DeviceTimeout(
                f"{error} It was to run {what}, which takes {cycles:,} cycles; if loading the "
                "program again does not help, its file or the accelerator is faulty."
            ) from error
        finally:
            self._timeout = usual

    def write(self, space: Space, address: int, words: NDArray[np.uint32]) -> None:
        """Write words, uint32 of any shape, to the items from `address` on."""
        flat = np.ascontiguousarray(words, np.uint32).reshape(-1)
        most = BURST_WORDS if space == Space.EXTERNAL else flat.size
        for first in range(0, flat.size, max(most, 1)):
            part = _write_words(space, address + first, flat[first : first + most])
            self._transport.write(part, self._timeout)

    def fill(self, space: Space, words: NDArray[np.uint32]) -> None:
        """Write what a program has for a memory, uint32 of any shape, from its first item on.

        Of a simulated board's external memory `PINS_WORDS` go through the pins.
        """
        flat = np.ascontiguousarray(words, np.uint32).reshape(-1)
        placing = self._placing(space, flat.size)
        if placing is not None:
            flat, rest = flat[:PINS_WORDS], flat[PINS_WORDS:]
            # Nothing that was asked for before is still on its way.
            self.finish()
            placing.place(PINS_WORDS, rest)
        self.write(space, 0, flat)

    def filled(self, space: Space, count: int) -> NDArray[np.uint32]:
        """Read back what :meth:`fill` wrote, uint32 (count,), the same way."""
        placing = self._placing(space, count)
        if placing is None:
            return self.read(space, 0, count)
        rest = placing.placed(PINS_WORDS, count - PINS_WORDS)
        return np.concatenate([self.read(space, 0, PINS_WORDS), rest])

    def _placing(self, space: Space, count: int) -> PlacingTransport | None:
        """What places so many words past the pins, None if they go through these."""
        if space != Space.EXTERNAL or count <= PINS_WORDS:
            return None
        return self._transport if isinstance(self._transport, PlacingTransport) else None

    def read(self, space: Space, address: int, count: int) -> NDArray[np.uint32]:
        """Words of the items from `address` on, uint32 (count,)."""
        if not count:
            return np.empty(0, np.uint32)
        if space == Space.EXTERNAL and count > BURST_WORDS:
            bursts = range(0, count, BURST_WORDS)
            return np.concatenate(
                [self.read(space, address + n, min(BURST_WORDS, count - n)) for n in bursts]
            )
        command = np.array([command_word(Command.READ, space), address, count], np.uint32)
        self._transport.write(command, self._timeout)
        return self._transport.read(count, self._timeout)

    def counters(
        self, space: Space, first: int, count: int, size: int, names: Sequence[str]
    ) -> dict[str, int]:
        """Counters by name, those of some descriptors summed.

        Parameters
        ----------
        first, count : places of the descriptors, of `size` in all; behind the last comes the first
        """
        items, kind = len(COUNTERS), "<u8" if space == Space.UNITS else "<u4"
        words = np.dtype(kind).itemsize // 4
        parts = ((first, min(count, size - first)), (0, max(count - (size - first), 0)))
        read = np.concatenate(
            [self.read(space, place * items, words * n * items) for place, n in parts]
        )
        total = read.astype("<u4").view(kind).reshape(-1, items).astype(np.int64).sum(axis=0)
        return dict(zip(names, total.tolist(), strict=False))

    def finish(self) -> None:
        """Return when all that was written has been taken."""
        self.read(Space.REGISTERS, Register.STATUS, 1)

    def start(self, first: int, count: int) -> None:
        """Run descriptors; a READ of a memory is answered when all are done."""
        command = np.array([command_word(Command.START), first, count], np.uint32)
        self._transport.write(command, self._timeout)

    def run(self, first: int, count: int) -> None:
        """Run descriptors and return when all are done.

        Raises
        ------
        DeviceTimeout
            If they are not done in time.
        """
        end = time.monotonic() + self._timeout
        self.start(first, count)
        while True:
            self._transport.wait_idle(max(end - time.monotonic(), 0.0))
            status = int(self.read(Space.REGISTERS, Register.STATUS, 1)[0])
            if status & Status.DONE and not status & Status.BUSY:
                return
            if time.monotonic() > end:
                raise DeviceTimeout(
                    f"Descriptors {first} to {first + count - 1} were not done in "
                    f"{self._timeout:g} seconds (status {status:#x}); the accelerator may hang."
                )
            time.sleep(POLL_SECONDS)

    def total_cycles(self) -> int:
        """Cycles of the last run."""
        return int(self.read(Space.REGISTERS, Register.TOTAL, 1)[0])

    def moved_crc(self) -> int:
        """CRC of the words that the last run has moved from external memory."""
        return int(self.read(Space.REGISTERS, Register.MOVED_CRC, 1)[0])

    def check(self, expected: AcceleratorConfig, known: AcceleratorConfig | None = None) -> None:
        """Verify that the other end is an accelerator of a configuration.

        Parameters
        ----------
        expected : configuration that the program was compiled for
        known : configuration of the accelerator if the host knows it, to name what differs

        Raises
        ------
        WrongDevice
            If it is no accelerator, or of another version.
        ConfigurationMismatch
            If its configuration differs.
        """
        found = self.identify()
        if found != expected.hash():
            if known is not None and known.hash() == found:
                detail = "; ".join(expected.differences(known)) + " (program != device)"
            else:
                detail = f"hash {expected.hash().hex()[:16]} != {found.hex()[:16]}"
            raise ConfigurationMismatch(
                "The program was compiled for another configuration than the accelerator's: "
                f"{detail}; compile it for this device."
            )

    def identify(self) -> bytes:
        """SHA-256 of the accelerator's configuration.

        Raises
        ------
        WrongDevice
            If the other end is no accelerator, or of another version.
        """
        registers = self.read(Space.REGISTERS, 0, REGISTERS)
        magic, version = (int(registers[n]) for n in (Register.MAGIC, Register.VERSION))
        if magic != MAGIC:
            raise WrongDevice(
                f"The device answers {magic:#010x} where an accelerator answers "
                f"{MAGIC:#010x}; load its bitstream and check the name of the port."
            )
        if version != VERSION:
            raise WrongDevice(
                f"The accelerator has version {version} and this driver speaks version "
                f"{VERSION}; build the bitstream with the same release."
            )
        return registers[Register.HASH : Register.HASH + 8].astype("<u4").tobytes()
