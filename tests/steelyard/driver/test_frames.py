"""Frames of the link as bytes."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_bytes import frame_of_run, frame_with_a_run_at_its_end, line, stuff_reversed
from steelyard.contract.frames import Reply, Request
from steelyard.driver import frames
from steelyard.driver.frames import Frame, FrameReader, decode, encode


def random_frame(rng: Random) -> Frame:
    size = 4 * rng.choice((0, 1, 5, 62, 63, 64, 130))
    zeros = rng.choice((0.0, 0.01, 0.5, 1.0))
    payload = bytes(0 if rng.random() < zeros else rng.randrange(1, 256) for _ in range(size))
    return Frame(
        kind=rng.randrange(16),
        answers=rng.randrange(4096),
        sequence=rng.randrange(1 << 16),
        session=rng.getrandbits(32),
        payload=payload,
    )


def test_frames_are_the_bytes_of_the_documentation():
    """docs/link.md shows the same two frames."""
    payload = np.array([0x0100_0004, 0], "<u4").tobytes()
    frame = Frame(
        kind=Request.EXCHANGE, answers=3, sequence=0x0102, session=0xA0B0_C0D0, payload=payload
    )
    expected = "00 02320802 01d0c0b0a004 01020101010105 fe019688 00"
    assert encode(frame) == bytes.fromhex(expected)
    reply = decode(bytes.fromhex("0a020201d0c0b0a0050801 01 367f5f15 05"))
    assert reply is not None
    assert (reply.kind, reply.sequence, reply.session) == (Reply.DONE, 0x0102, 0xA0B0_C0D0)
    assert reply.words().tolist() == [5]


@pytest.mark.parametrize("seed", range(20))
def test_frames_from_the_board_are_read_in_pieces_of_any_size(seed):
    rng = Random(seed)
    sent = [random_frame(rng) for _ in range(6)]
    data = b"".join(line(frame) for frame in sent)
    reader, found = FrameReader(), []
    while data:
        cut = rng.randrange(1, 400)
        found += reader.feed(data[:cut])
        data = data[cut:]
    assert found == sent
    assert reader.damaged == 0


@pytest.mark.parametrize("seed", range(20))
def test_no_delimiter_stands_inside_a_frame_and_the_overhead_is_small(seed):
    frame = random_frame(Random(seed))
    data = encode(frame)
    assert data[0] == data[-1] == 0
    assert 0 not in data[1:-1]
    assert len(data) <= len(frame.pack()) * 255 / 254 + 4


@pytest.mark.parametrize("length", [252, 253, 254, 255, 507, 508, 509])
def test_long_runs_before_a_zero_are_stuffed_to_the_byte(length):
    frame = frame_of_run(length)
    data = encode(frame)
    # A code of 255 stands for 254 bytes and no zero; a run of just so many has a code of 1 after.
    full, rest = divmod(length, 254)
    run = frame.payload[:length]
    wanted = b"".join(b"\xff" + run[254 * n : 254 * n + 254] for n in range(full))
    wanted += bytes([rest + 1]) + run[254 * full :]
    # Behind the delimiter, a code and the seven bytes before the zero.
    assert data[9 : 9 + len(wanted)] == wanted
    assert decode(line(frame)[1:-1]) == frame


def test_a_run_at_the_end_of_a_frame_needs_no_further_code():
    frame = frame_with_a_run_at_its_end()
    data = encode(frame)
    assert len(frame.pack()) == 256 and 0 not in frame.pack()[2:]
    assert data == b"\0" + bytes([2, frame.pack()[0], 255]) + frame.pack()[2:] + b"\0"
    assert decode(line(frame)[1:-1]) == frame


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_none(data):
    found = decode(data)
    assert found is None or stuff_reversed(found.pack()) == data


@pytest.mark.parametrize("kind", ["flip", "drop", "double", "insert"])
def test_damage_is_found_and_costs_one_frame(kind):
    rng = Random(7)
    for _ in range(200):
        frame, good = random_frame(rng), random_frame(rng)
        data = bytearray(line(frame)[1:-1])
        place = rng.randrange(len(data))
        if kind == "flip":
            data[place] ^= 1 << rng.randrange(8)
        elif kind == "drop":
            del data[place]
        else:
            data.insert(place, data[place] if kind == "double" else rng.randrange(1, 256))
        reader = FrameReader()
        assert reader.feed(b"\0" + bytes(data) + line(good)) == [good]
        assert reader.damaged >= 1


def test_noise_without_delimiters_is_not_kept(monkeypatch):
    monkeypatch.setattr(frames, "MAX_LINE_BYTES", 100)
    reader = FrameReader()
    for _ in range(50):
        assert reader.feed(b"x" * 30) == []
        assert len(reader._line) <= 130
    good = Frame(kind=Reply.DONE, answers=0, sequence=1, session=2)
    assert reader.feed(line(good)) == [good]
    assert reader.damaged == 1
