"""Link: exchanges of words over a line that may lose, damage, repeat and invent bytes.

Every frame is numbered and acknowledged, and sent again until it is. The board executes each number
once, so sending again is always safe (docs/link.md).
"""

import secrets
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from ..contract.frames import (
    HEAD_FIELDS,
    LINK_VERSION,
    OPENED_FIELDS,
    WINDOW,
    Reply,
    Request,
)
from ..contract.words import unpack
from .errors import DamagedLink, DeviceTimeout, LinkError, SessionLost, WrongDevice
from .frames import Frame, FrameReader, encode

__all__ = ["BytePort", "Link", "LinkStatistics", "Posted", "random_session"]

SEQUENCES = 1 << HEAD_FIELDS["sequence"]
ANSWERS_MASK = (1 << HEAD_FIELDS["answers"]) - 1
LONGEST_RETRY_SECONDS = 60.0
"""Pauses double up to this: during a long inference a board that is well does not answer, and one
that is suddenly slower than the line (a simulated one) must not be drowned in repetitions."""


class BytePort(Protocol):
    """Line of bytes in both directions."""

    def write(self, data: bytes) -> None:
        """Send bytes; raises LinkError, and DeviceTimeout if the line takes none for a while."""

    def read(self, timeout: float) -> bytes:
        """Bytes that have come, at least one unless `timeout` seconds pass; raises LinkError."""

    def close(self) -> None:
        """Give the line back."""


@dataclass(kw_only=True)
class LinkStatistics:
    """What a link has moved since it was opened.

    Members
    -------
    bytes_sent, bytes_received : bytes on the line, all overhead among them
    frames_sent, frames_received : frames, repeated ones among them
    repeated : frames sent again
    damaged : pieces between delimiters that came and were no frame
    ignored : intact frames that came and answered nothing that was asked
    lost : answers that the board keeps no more, for it had executed the next frame
    cpu_seconds : processor time that the driver spent in the link
    """

    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    repeated: int = 0
    damaged: int = 0
    ignored: int = 0
    lost: int = 0
    cpu_seconds: float = 0.0


@dataclass
class Posted:
    """Frame that was sent, with what became of it.

    Members
    -------
    at : when it was sent first, time of the clock
    repeated : whether it was sent again
    answer : words of its answer, uint32, when it has come
    gone : whether the answer can come no more: the board keeps the last one only, and has executed
        a later frame since
    """

    frame: Frame
    data: bytes
    at: float
    repeated: bool = False
    answer: NDArray[np.uint32] | None = None
    gone: bool = False


def random_session() -> int:
    """Number of a session that was never used, as far as chance can tell."""
    return 1 + secrets.randbelow((1 << 32) - 1)


class Link:
    """Session with one board.

    After an error the session is over: all further calls raise :class:`LinkError`.

    Parameters
    ----------
    port : closed with the link
    baud : bits a second of the line, for the time that an answer may take
    retry : seconds beyond that after which a frame is sent again
    nonce : number of the session, 1 to 2**32 - 1. No seed: it must differ from every earlier one
    clock : time in seconds
    """

    def __init__(
        self,
        port: BytePort,
        *,
        baud: float,
        retry: float,
        nonce: Callable[[], int] = random_session,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.statistics = LinkStatistics()
        self.payload_words = 0
        self.answer_words = 0
        self.clock_hz = 0
        self._port = port
        self._byte_seconds = 10 / baud
        self._retry = self._patience = retry
        self._nonce = nonce
        self._clock = clock
        self._session = 0
        self._next = 0
        self._flight: deque[Posted] = deque()
        self._reader = FrameReader()

    def open(self, timeout: float) -> None:
        """Begin a session: the board resets its accelerator and forgets every other one.

        Raises
        ------
        DeviceTimeout, DamagedLink
            If no intact answer comes within `timeout` seconds.
        WrongDevice
            If the board speaks another version.
        """
        self._session = self._nonce()
        self._next = 0
        self._flight.clear()
        words = self._finish(self._send(Request.OPEN, b"", 2), self._clock() + timeout)
        opened = unpack(OPENED_FIELDS, int(words[0]))
        if opened["version"] != LINK_VERSION:
            raise WrongDevice(
                f"The board's link has version {opened['version']} and this driver speaks version "
                f"{LINK_VERSION}; build the bitstream with the same release."
            )
        self.payload_words = opened["payload_words"]
        self.answer_words = opened["answer_words"]
        self.clock_hz = int(words[1])

    def send(self, words: NDArray[np.uint32], end: float) -> None:
        """Give up to `payload_words` words to the accelerator, perhaps after the return.

        Parameters
        ----------
        end : time of the clock at which to give up

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        self.post(words, 0, end)

    def post(self, words: NDArray[np.uint32], answers: int, end: float) -> Posted:
        """Give up to `payload_words` words and ask for up to `answer_words`, without waiting.

        Frames posted later reach the board while this one is executed, and may cost its answer.

        Parameters
        ----------
        end : time of the clock at which to give up

        Returns
        -------
        what :meth:`fetch` takes

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        self._wait_window(end)
        return self._send(Request.EXCHANGE, words.astype("<u4").tobytes(), answers)

    def fetch(self, posted: Posted, end: float) -> NDArray[np.uint32] | None:
        """Answer to a frame of this session, uint32 (answers,); None if it is gone.

        Parameters
        ----------
        end : time of the clock at which to give up

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        self._wait(end, lambda: posted.gone or posted.answer is not None)
        return posted.answer

    def exchange(
        self, words: NDArray[np.uint32], answers: int, end: float, *, idle: bool = False
    ) -> NDArray[np.uint32]:
        """Give up to `payload_words` words and receive up to `answer_words`, uint32 (answers,).

        All that was sent before has then been taken too.

        Parameters
        ----------
        end : time of the clock at which to give up
        idle : whether the board answers only when the accelerator is idle

        Raises
        ------
        DeviceTimeout, DamagedLink, SessionLost, LinkError
        """
        self._wait_window(end)
        kind = Request.EXCHANGE_IDLE if idle else Request.EXCHANGE
        return self._finish(self._send(kind, words.astype("<u4").tobytes(), answers), end)

    def abandon(self) -> None:
        """End the session: what the board has executed of it is not known."""
        self._session = 0
        self._flight.clear()

    def close(self) -> None:
        """End the session and give the line back. May be called again."""
        self.abandon()
        self._port.close()

    def _check_session(self) -> None:
        if not self._session:
            raise LinkError("The session with the board is over; load the program again.")

    def _send(self, kind: Request, payload: bytes, answers: int) -> Posted:
        self._check_session()
        frame = Frame(
            kind=kind,
            answers=answers,
            sequence=self._next,
            session=self._session,
            payload=payload,
        )
        self._next = (self._next + 1) % SEQUENCES
        sent = Posted(frame, encode(frame), self._clock())
        self._flight.append(sent)
        self._transmit(sent)
        return sent

    def _transmit(self, sent: Posted) -> None:
        # A line that takes nothing is one that loses everything: the frame is sent again later.
        with suppress(DeviceTimeout):
            self._port.write(sent.data)
        self.statistics.frames_sent += 1
        self.statistics.bytes_sent += len(sent.data)

    def _line_seconds(self) -> float:
        """Time that everything under way spends on the line."""
        moved = sum(len(each.data) + 4 * each.frame.answers + 32 for each in self._flight)
        return moved * self._byte_seconds

    def _finish(self, sent: Posted, end: float) -> NDArray[np.uint32]:
        self._wait(end, lambda: not self._flight)
        return np.empty(0, np.uint32) if sent.answer is None else sent.answer

    def _wait_window(self, end: float) -> None:
        """Receive until another frame may be sent."""
        self._wait(end, lambda: len(self._flight) < WINDOW)

    def _wait(self, end: float, done: Callable[[], bool]) -> None:
        """Receive until `done` says so."""
        self._check_session()
        damaged = self._reader.damaged
        again = self._clock() + self._patience + self._line_seconds()
        while not done():
            now = self._clock()
            if now >= end:
                self._give_up(self._reader.damaged - damaged)
            if now >= again:
                self._patience = min(2 * self._patience, LONGEST_RETRY_SECONDS)
                self._repeat()
                again = self._clock() + self._patience + self._line_seconds()
            under_way = len(self._flight)
            frames = self._reader.feed(self._receive(min(end, again) - now))
            self.statistics.damaged = self._reader.damaged
            gap = False
            for frame in frames:
                gap |= self._answer(frame)
            if gap:
                self._repeat()
            if gap or len(self._flight) < under_way:
                again = self._clock() + self._patience + self._line_seconds()

    def _receive(self, timeout: float) -> bytes:
        data = self._port.read(max(timeout, 0.0))
        self.statistics.bytes_received += len(data)
        return data

    def _repeat(self) -> None:
        for sent in self._flight:
            sent.repeated = True
            self.statistics.repeated += 1
            self._transmit(sent)

    def _answer(self, frame: Frame) -> bool:
        """Take a frame from the board; whether what is under way must be sent again."""
        self.statistics.frames_received += 1
        place = self._place(frame.sequence)
        opening = bool(self._flight) and self._flight[0].frame.kind == Request.OPEN
        if frame.session != self._session:
            place = None
        elif frame.kind in (Reply.DONE, Reply.OPENED) and place is not None:
            if self._complete(frame, place):
                return False
        elif frame.kind == Reply.LOST and not opening:
            raise SessionLost(
                "The board was reset or another program opened it; load the program again."
            )
        elif frame.kind == Reply.REFUSED and not opening:
            if place is not None and not any(
                sent.frame.answers for sent, _ in zip(self._flight, range(place + 1), strict=False)
            ):
                self._drop(place + 1)
                return False
            if self._gap(frame):
                return True
        self.statistics.ignored += 1
        return False

    def _gap(self, refused: Frame) -> bool:
        """Whether the board refused the second frame under way because it misses the first."""
        if len(self._flight) < 2:
            return False
        first, second = (self._flight[n].frame.sequence for n in range(2))
        return (
            refused.sequence == (first - 1) % SEQUENCES and refused.answers == second & ANSWERS_MASK
        )

    def _place(self, sequence: int) -> int | None:
        """Place of a number among the frames under way."""
        for place, sent in enumerate(self._flight):
            if sent.frame.sequence == sequence:
                return place
        return None

    def _complete(self, frame: Frame, place: int) -> bool:
        """Acknowledge up to a frame that was answered; whether the answer is the one asked for."""
        sent = self._flight[place]
        expected = Reply.OPENED if sent.frame.kind == Request.OPEN else Reply.DONE
        words = frame.words()
        if frame.kind != expected or len(words) != sent.frame.answers:
            return False
        sent.answer = words
        for earlier, _ in zip(self._flight, range(place), strict=False):
            earlier.gone = earlier.frame.answers > 0
            self.statistics.lost += earlier.gone
        self._learn(sent)
        self._drop(place + 1)
        return True

    def _learn(self, sent: Posted) -> None:
        """Wait next time as long as the board needs.

        A board that is slower than the line would drown in repetitions, each of which makes it
        slower still.

        Only frames that were sent once count, for the answer to another may be to any of its copies
        (Karn and Partridge, 1987).
        """
        if not sent.repeated and sent.frame.kind != Request.EXCHANGE_IDLE:
            needed = self._clock() - sent.at
            self._patience = min(max(self._retry, 2 * needed), LONGEST_RETRY_SECONDS)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._flight.popleft()

    def _give_up(self, damaged: int) -> NoReturn:
        self.abandon()
        if damaged:
            raise DamagedLink(
                f"The board gave no intact answer in time and {damaged} damaged ones; "
                "check the cable and the baud rate."
            )
        raise DeviceTimeout(
            "The board did not answer in time; check its power, its bitstream and the baud rate."
        )
