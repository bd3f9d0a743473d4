"""What an inference moves over a serial line, and how fast a board is that does so."""

import time
from dataclasses import dataclass, replace

from .transport import MeteredTransport

__all__ = ["Meter", "Throughput", "Traffic", "predict"]

BITS_A_BYTE = 10
"""On the line: start bit, eight data bits, stop bit."""
FRAME_BYTES = 12 + 3
"""Head, CRC and delimiters of a frame."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What one call of ``infer`` moved.

    Members
    -------
    images, batches : that were run
    seconds : time that passed
    cpu_seconds : processor time of the driver: packing, link and unpacking
    bytes_sent, bytes_received : on the line, all overhead among them
    frames_sent, repeated : frames to the board, and those of them that were sent again
    board_cycles : clock cycles of a simulated board, with those of its serial line; else None
    """

    images: int
    batches: int
    seconds: float
    cpu_seconds: float
    bytes_sent: int
    bytes_received: int
    frames_sent: int
    repeated: int
    board_cycles: int | None


class Meter:
    """Measures what passes through a transport from its creation on."""

    def __init__(self, transport: MeteredTransport) -> None:
        self._transport = transport
        self._before = replace(transport.statistics)
        self._cycles = transport.board_cycles
        self._start = time.monotonic()
        self._cpu = time.thread_time()

    def traffic(self, images: int, batches: int) -> Traffic:
        """What has passed, for so many images in so many batches."""
        now, before, cycles = self._transport.statistics, self._before, self._transport.board_cycles
        return Traffic(
            images=images,
            batches=batches,
            seconds=time.monotonic() - self._start,
            cpu_seconds=time.thread_time() - self._cpu,
            bytes_sent=now.bytes_sent - before.bytes_sent,
            bytes_received=now.bytes_received - before.bytes_received,
            frames_sent=now.frames_sent - before.frames_sent,
            repeated=now.repeated - before.repeated,
            board_cycles=None if cycles is None or self._cycles is None else cycles - self._cycles,
        )


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Time that a board and its serial line need for a batch, without the host's own.

    Members
    -------
    batch : images of a batch
    baud, clock_hz : of the line, and of the board
    cycles : of the computation
    send_seconds, receive_seconds : on the line
    ahead_seconds : part of `send_seconds` that passes while the batch before is at work
    compute_seconds : cycles over clock
    """

    batch: int
    baud: float
    clock_hz: int
    cycles: int
    send_seconds: float
    receive_seconds: float
    ahead_seconds: float
    compute_seconds: float

    @property
    def transfer_seconds(self) -> float:
        """Time on the line, both ways."""
        return self.send_seconds + self.receive_seconds

    @property
    def sequential_seconds(self) -> float:
        """A batch that is alone."""
        return self.transfer_seconds + self.compute_seconds

    @property
    def pipelined_seconds(self) -> float:
        """A batch among many: one frame of the next travels while the board computes and answers.

        The board's link holds one frame beside the one at work, and takes it up after the answer.
        """
        at_work = self.compute_seconds + self.receive_seconds
        return self.send_seconds - self.ahead_seconds + max(self.ahead_seconds, at_work)

    @property
    def sequential_images_per_second(self) -> float:
        """Images a second, one batch after the other."""
        return self.batch / self.sequential_seconds

    @property
    def pipelined_images_per_second(self) -> float:
        """Images a second of many batches."""
        return self.batch / self.pipelined_seconds


def predict(moved: Traffic, transport: MeteredTransport, cycles: int, batch: int) -> Throughput:
    """Speed of a board from what an inference moved.

    Parameters
    ----------
    cycles : of one batch's computation
    batch : images of a batch
    """
    byte_seconds = BITS_A_BYTE / transport.baud
    sent = moved.bytes_sent / moved.batches
    ahead = min(sent, 4 * transport.payload_words + FRAME_BYTES)
    return Throughput(
        batch=batch,
        baud=transport.baud,
        clock_hz=transport.clock_hz,
        cycles=cycles,
        send_seconds=sent * byte_seconds,
        receive_seconds=moved.bytes_received / moved.batches * byte_seconds,
        ahead_seconds=ahead * byte_seconds,
        compute_seconds=cycles / transport.clock_hz,
    )
