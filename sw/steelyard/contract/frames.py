"""Frames of a board's serial link, as docs/link.md explains them."""

from enum import IntEnum

__all__ = [
    "CRC_BYTES",
    "HEAD_FIELDS",
    "LINK_VERSION",
    "OPENED_FIELDS",
    "WINDOW",
    "Reply",
    "Request",
]

LINK_VERSION = 1
"""Version of the frames, which the answer to OPEN carries."""
WINDOW = 2
"""Frames that may be under way: the board has two buffers."""
HEAD_FIELDS = {"kind": 4, "answers": 12, "sequence": 16}
"""Fields of a frame's first word, the lowest first, with their bits. The second word is the
session; what follows is payload, then the CRC."""
CRC_BYTES = 4
"""CRC-32 of IEEE 802.3, the low byte first."""
OPENED_FIELDS = {"version": 8, "payload_words": 12, "answer_words": 12}
"""Fields of the first word of the answer to OPEN: the version of the frames, and the most words of
payload that a frame to the board may have and that it may want back. The second word is the clock
in hertz, 0 if not known."""


class Request(IntEnum):
    """Kinds of frames to the board."""

    OPEN = 1
    EXCHANGE = 2
    EXCHANGE_IDLE = 3


class Reply(IntEnum):
    """Kinds of frames from the board."""

    OPENED = 9
    DONE = 10
    REFUSED = 12
    LOST = 13
