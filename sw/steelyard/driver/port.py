"""Host port: the accelerator's commands over a transport (docs/architecture.md, section 7)."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ..contract import AcceleratorConfig
from ..contract.registers import (
    MAGIC,
    REGISTERS,
    VERSION,
    Command,
    Register,
    Space,
    Status,
    command_word,
)
from ..program import Program
from .errors import ConfigurationMismatch, DeviceTimeout, WrongDevice
from .transport import PacedTransport, Transport

__all__ = ["TIMEOUT_SECONDS", "HostPort", "inference_words", "memories"]

POLL_SECONDS = 0.001
TIMEOUT_SECONDS = 600.0
"""Time of a command that runs nothing."""
BURST_WORDS = 1 << 15
"""Words of external memory that one command moves."""
RUN_MARGIN = 2
"""Times its predicted cycles that a run may take,"""
RUN_CYCLES = 100_000
"""and cycles beside them."""


def memories(program: Program) -> list[tuple[Space, NDArray[np.uint32]]]:
    """Memories that a program fills, with their words."""
    filled = [
        (Space.DESCRIPTORS, program.descriptors),
        (Space.PARAMETERS, program.parameters),
        (Space.WEIGHTS, program.weights),
    ]
    return [*filled, (Space.EXTERNAL, program.external)] if program.external.size else filled


def _write_words(space: Space, address: int, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    head = [command_word(Command.WRITE, space), address, words.size]
    return np.concatenate([np.array(head, np.uint32), words])


def inference_words(
    source: int,
    words: NDArray[np.uint32],
    layers: int,
    result: int,
    count: int,
    *,
    moved: bool = False,
) -> NDArray[np.uint32]:
    """Commands of a whole inference, uint32 (n,), whose answer is `count` words.

    Parameters
    ----------
    source : activation item of the input
    words : the input, uint32 (n,)
    layers : descriptors to run, from the first on
    result, count : activation item of the output, and its words
    moved : whether a word more is answered: the CRC of what was moved from external memory
    """
    commands = [
        *(command_word(Command.START), 0, layers),
        *(command_word(Command.READ, Space.ACTIVATIONS), result, count),
    ]
    if moved:
        commands += [command_word(Command.READ, Space.REGISTERS), Register.MOVED_CRC, 1]
    head = _write_words(Space.ACTIVATIONS, source, words)
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
