"""Frames of the link: words, CRC and COBS, to the byte as in docs/link.md."""

import zlib
from dataclasses import dataclass

import numpy as np
from cobs import cobs
from numpy.typing import NDArray

from ..contract.frames import CRC_BYTES, HEAD_FIELDS
from ..contract.words import pack, unpack

__all__ = ["Frame", "FrameReader", "decode", "encode"]

HEAD_BYTES = 8
DELIMITER = b"\0"

MAX_FRAME_BYTES = 4 * 4096 + HEAD_BYTES + CRC_BYTES
"""Longest frame of any board, before stuffing."""
MAX_LINE_BYTES = MAX_FRAME_BYTES + MAX_FRAME_BYTES // 254 + 1


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Frame of either direction.

    Members
    -------
    kind : :class:`Request`, :class:`Reply` or another number, 0 to 15
    answers : words asked for, or words that the frame brings, 0 to 4095
    sequence : number within the session, 0 to 65535
    session : number of the session, 0 to 2**32 - 1
    payload : little-endian words, a whole number of four bytes
    """

    kind: int
    answers: int
    sequence: int
    session: int
    payload: bytes = b""

    def words(self) -> NDArray[np.uint32]:
        """Payload, uint32 (n,)."""
        return np.frombuffer(self.payload, "<u4").astype(np.uint32)

    def pack(self) -> bytes:
        """Words of the frame with their CRC, before stuffing."""
        head = pack(HEAD_FIELDS, kind=self.kind, answers=self.answers, sequence=self.sequence)
        body = head.to_bytes(4, "little") + self.session.to_bytes(4, "little") + self.payload
        return body + zlib.crc32(body).to_bytes(4, "little")

    @classmethod
    def unpack(cls, data: bytes) -> "Frame | None":
        """Frame of unstuffed bytes; None if they are damaged."""
        if len(data) < HEAD_BYTES + CRC_BYTES or len(data) % 4:
            return None
        if zlib.crc32(data[:-CRC_BYTES]) != int.from_bytes(data[-CRC_BYTES:], "little"):
            return None
        return cls(
            **unpack(HEAD_FIELDS, int.from_bytes(data[:4], "little")),
            session=int.from_bytes(data[4:8], "little"),
            payload=data[HEAD_BYTES:-CRC_BYTES],
        )


def _unstuff(line: bytes) -> bytes | None:
    """Bytes of reversed COBS, which no library knows, None if it breaks off.

    Each run is followed by a byte with its length + 1, and that by the next run, with a 0 between
    them unless that byte is 255.
    """
    runs = []
    end = len(line)
    while end:
        code = line[end - 1]
        begin = end - code
        if begin < 0 or begin == end:
            return None
        runs.append(line[begin : end - 1])
        if begin and line[begin - 1] != 255:
            runs.append(DELIMITER)
        end = begin
    return b"".join(reversed(runs))


def encode(frame: Frame) -> bytes:
    """Bytes of a frame to the board, delimiters on both sides."""
    return DELIMITER + cobs.encode(frame.pack()) + DELIMITER


def decode(line: bytes) -> Frame | None:
    """Frame of what came from the board between two delimiters; None if it is damaged."""
    data = _unstuff(line)
    return None if data is None else Frame.unpack(data)


class FrameReader:
    """Frames out of the bytes that come from the board, in pieces of any size.

    Members
    -------
    damaged : pieces between delimiters that were no frame, so far
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._line = bytearray()
        self._skip = False

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that end in `data`."""
        frames = []
        *ends, rest = data.split(DELIMITER)
        for end in ends:
            self._take(end)
            if self._line and not self._skip:
                frame = decode(bytes(self._line))
                if frame is None:
                    self.damaged += 1
                else:
                    frames.append(frame)
            self._line.clear()
            self._skip = False
        self._take(rest)
        return frames

    def _take(self, data: bytes) -> None:
        if self._skip:
            return
        self._line += data
        if len(self._line) > MAX_LINE_BYTES:
            # Noise without a delimiter must not fill the memory.
            self._line.clear()
            self._skip = True
            self.damaged += 1
