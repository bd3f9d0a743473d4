"""Boards that are modelled in memory, behind the port of a link, for tests of the driver."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from link_bytes import line
from steelyard.contract.frames import Reply, Request
from steelyard.driver.frames import Frame

PAYLOAD_WORDS, ANSWER_WORDS, CLOCK_HZ = 13, 21, 48_000_000


def unstuff(data: bytes) -> bytes:
    """COBS as the board's receiver reads it."""
    out, place = bytearray(), 0
    while place < len(data):
        code = data[place]
        out += data[place + 1 : place + code]
        place += code
        if code != 255 and place < len(data):
            out.append(0)
    return bytes(out)


@dataclass
class Board:
    """Port with a board behind it that answers each word with the next number.

    Members
    -------
    lose : whether a frame is lost; gets its direction and its number in that direction
    """

    lose: Callable[[str, int], bool] = lambda direction, number: False
    version: int = 1
    silent: bool = False
    session: int = 0
    last: int = 0
    words: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    stored: Frame | None = None
    numbers: dict[str, int] = field(default_factory=lambda: {"in": 0, "out": 0})
    output: bytearray = field(default_factory=bytearray)
    requests: list[Frame] = field(default_factory=list)
    closed: int = 0
    now: float = 0.0

    def clock(self) -> float:
        """Time that passes in `read` alone: a test waits for nothing, whatever else runs."""
        return self.now

    def _lost(self, direction: str) -> bool:
        self.numbers[direction] += 1
        return self.lose(direction, self.numbers[direction])

    def write(self, data: bytes) -> None:
        assert data[0] == data[-1] == 0
        frame = Frame.unpack(unstuff(data[1:-1]))
        assert frame is not None
        self.requests.append(frame)
        if not self._lost("in") and not self.silent:
            reply = self._execute(frame)
            if not self._lost("out"):
                self.output += line(reply)

    def _execute(self, frame: Frame) -> Frame:
        if frame.kind == Request.OPEN and frame.session != self.session:
            self.session, self.last = frame.session, frame.sequence
            self.answers.clear()
            info = self.version | PAYLOAD_WORDS << 8 | ANSWER_WORDS << 20
            return self._reply(Reply.OPENED, np.array([info, CLOCK_HZ], "<u4"))
        if frame.session != self.session:
            return Frame(kind=Reply.LOST, answers=0, sequence=self.last, session=frame.session)
        ahead = (frame.sequence - self.last) % 65536
        if ahead == 0:
            assert self.stored is not None
            return self.stored
        if ahead != 1:
            refused = frame.sequence & 0xFFF
            return Frame(
                kind=Reply.REFUSED, answers=refused, sequence=self.last, session=self.session
            )
        self.last = frame.sequence
        words = frame.words().tolist()
        assert len(words) <= PAYLOAD_WORDS
        self.words += words
        self.answers += [word + 1 for word in words]
        given, self.answers = self.answers[: frame.answers], self.answers[frame.answers :]
        return self._reply(Reply.DONE, np.array(given, "<u4"))

    def _reply(self, kind: Reply, words: np.ndarray) -> Frame:
        self.stored = Frame(
            kind=kind,
            answers=0,
            sequence=self.last,
            session=self.session,
            payload=words.tobytes(),
        )
        return self.stored

    def read(self, timeout: float) -> bytes:
        if not self.output:
            self.now += timeout
        data = bytes(self.output)
        self.output.clear()
        return data

    def close(self) -> None:
        self.closed += 1


@dataclass
class SlowBoard(Board):
    """Board that takes `pace` seconds a byte of frames, copies too, by a clock of its own."""

    pace: float = 0.0
    free: float = 0.0
    late: list[tuple[float, bytes]] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        super().write(data)
        self.free = max(self.free, self.now) + self.pace * len(data)
        self.late.append((self.free, bytes(self.output)))
        self.output.clear()

    def read(self, timeout: float) -> bytes:
        if self.late and self.late[0][0] <= self.now + timeout:
            self.now, data = self.late.pop(0)
            return data
        self.now += timeout
        return b""
