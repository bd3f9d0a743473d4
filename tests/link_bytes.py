"""Bytes that a board sends, for tests of the driver."""

from steelyard.driver.frames import Frame


def stuff_reversed(data: bytes) -> bytes:
    """What the board's sender makes of bytes, step by step as it does."""
    out, run = bytearray(), 0
    for byte in data:
        if byte:
            out.append(byte)
            run += 1
            if run == 254:
                out.append(255)
                run = 0
        else:
            out.append(run + 1)
            run = 0
    return bytes([*out, run + 1])


def line(frame: Frame) -> bytes:
    """Bytes from the board."""
    return b"\0" + stuff_reversed(frame.pack()) + b"\0"
