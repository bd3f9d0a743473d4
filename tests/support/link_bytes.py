"""Bytes that a board sends and frames that are hard to stuff, for tests of driver and link."""

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


def frame_of_run(length: int) -> Frame:
    """Frame with a run of so many bytes other than 0 between two zeros."""
    # The session's last byte is the zero before the run.
    payload = bytes(1 + n % 255 for n in range(length)) + b"\0"
    payload += bytes([5] * (-len(payload) % 4))
    return Frame(kind=2, answers=0x111, sequence=0x2222, session=0x00333333, payload=payload)


def frame_with_a_run_at_its_end() -> Frame:
    """Frame that ends with 254 bytes other than 0, all that one code stands for."""
    # The zero before the run is the second byte, the number of answers.
    payload = bytes([7] * (254 - 2 - 4 - 4))
    return Frame(kind=2, answers=1, sequence=0x2222, session=0x11333333, payload=payload)
