"""Link and serial transport against a board that is modelled in memory."""

import time

import numpy as np
import pytest

from link_bytes import line
from modelled_board import ANSWER_WORDS, CLOCK_HZ, PAYLOAD_WORDS, Board, SlowBoard
from steelyard import driver
from steelyard.contract.frames import Reply, Request
from steelyard.driver import link as link_module
from steelyard.driver.frames import Frame
from steelyard.driver.link import Link
from steelyard.driver.serial import SerialTransport


def opened(board: Board, **options) -> SerialTransport:
    return SerialTransport(board, retry=0.002, timeout=1, clock=board.clock, **options)


def numbers(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.uint32)


def test_words_move_in_frames_that_the_board_can_hold():
    board = Board()
    transport = opened(board)
    assert transport.clock_hz == CLOCK_HZ
    transport.write(numbers(40), 1)
    transport.write(numbers(2, 40), 1)
    assert transport.read(42, 1).tolist() == list(range(1, 43))
    assert board.words == list(range(42))
    assert transport.statistics.repeated == 0
    transport.close()
    assert board.closed == 1


def test_a_small_command_and_its_answer_take_one_frame_each_way():
    board = Board()
    transport = opened(board)
    transport.write(numbers(3), 1)
    transport.write(numbers(3, 3), 1)
    assert transport.read(6, 1).tolist() == [1, 2, 3, 4, 5, 6]
    assert len(board.requests) == 2
    transport.wait_idle(1)
    assert board.requests[-1].kind == Request.EXCHANGE_IDLE


def test_what_the_caller_changes_later_was_sent_already():
    board = Board()
    transport = opened(board)
    words = numbers(3)
    transport.write(words, 1)
    words[:] = 99
    assert transport.read(3, 1).tolist() == [1, 2, 3]


@pytest.mark.parametrize("lost", range(1, 12))
@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_each_lost_frame_is_made_good(lost, direction):
    board = Board(lambda where, number: number == lost and direction in (where, "both"))
    transport = opened(board)
    for first in (0, 50, 100):
        transport.write(numbers(50, first), 1)
        assert transport.read(50, 1).tolist() == list(range(first + 1, first + 51))
    assert board.words == list(range(150))


@pytest.mark.parametrize("seed", range(5))
def test_half_of_all_frames_may_be_lost(seed, monkeypatch):
    monkeypatch.setattr(link_module, "LONGEST_RETRY_SECONDS", 0.01)
    rng = np.random.default_rng(seed)
    board = Board(lambda where, number: rng.random() < 0.5)
    transport = opened(board)
    transport.write(numbers(200), 10)
    assert transport.read(200, 10).tolist() == list(range(1, 201))
    assert board.words == list(range(200))
    assert transport.statistics.repeated > 0


@pytest.mark.parametrize("pace", [0.001, 0.02, 0.2])
def test_a_board_that_becomes_slow_is_not_drowned_in_repetitions(pace):
    board = SlowBoard()
    transport = SerialTransport(board, retry=0.05, timeout=1, clock=board.clock)
    board.pace = pace
    for first in range(0, 400, 10):
        transport.write(numbers(10, first), 600)
        assert transport.read(10, 600).tolist() == list(range(first + 1, first + 11))
    once = sum(
        len(line(frame)) for frame in {each.sequence: each for each in board.requests}.values()
    )
    assert board.now < 2 * pace * once


def test_no_more_frames_are_under_way_than_the_board_has_buffers():
    board = Board()
    link = Link(board, baud=1e6, retry=60)
    link.open(time.monotonic() + 60)
    board.silent = True
    for number in range(link_module.WINDOW):
        link.post(numbers(1, number), 0, time.monotonic() + 60)
    with pytest.raises(driver.DeviceTimeout):
        link.post(numbers(1), 0, time.monotonic() + 0.01)
    assert [frame.kind for frame in board.requests] == [Request.OPEN, *2 * [Request.EXCHANGE]]


def test_posted_words_travel_before_the_answer_is_fetched():
    board = Board()
    transport = opened(board)
    first = transport.post(numbers(3), 3, 1)
    second = transport.post(numbers(3, 3), 3, 1)
    assert len(board.requests) == 3
    assert transport.fetch(first, 1).tolist() == [1, 2, 3]
    assert transport.fetch(second, 1).tolist() == [4, 5, 6]


def test_a_posted_answer_may_take_many_frames():
    board = Board()
    transport = opened(board)
    posted = [transport.post(numbers(50, first), 50, 1) for first in (0, 50)]
    for first, each in zip((1, 51), posted, strict=True):
        assert transport.fetch(each, 1).tolist() == list(range(first, first + 50))


@pytest.mark.parametrize("lost", range(2, 9))
@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_a_posted_answer_that_is_lost_is_missing_and_never_another_one(lost, direction):
    board = Board(lambda where, number: number == lost and direction in (where, "both"))
    transport = opened(board)
    missing = 0
    waiting = []
    for first in range(0, 60, 10):
        waiting.append((first, transport.post(numbers(10, first), 10, 1)))
        if len(waiting) == 2:
            asked, posted = waiting.pop(0)
            words = transport.fetch(posted, 1)
            missing += words is None
            assert words is None or words.tolist() == list(range(asked + 1, asked + 11))
    assert transport.fetch(waiting[0][1], 1).tolist() == list(range(51, 61))
    # The board executes every frame once; it keeps no answer beyond the next frame.
    assert board.words == list(range(60))
    assert missing == (direction == "out" and lost < 7)


def test_numbers_start_again_after_the_last():
    board = Board()
    transport = opened(board)
    link = transport._link
    link._next = board.last = 65530
    board.last -= 1
    for first in range(0, 40, 4):
        transport.write(numbers(4, first), 1)
        assert transport.read(4, 1).tolist() == list(range(first + 1, first + 5))
    assert board.last < 65530


def stale(transport: SerialTransport, **changes) -> bytes:
    """Answer of two wrong words to the next frame, changed."""
    link = transport._link
    values = {"kind": Reply.DONE, "answers": 0, "sequence": link._next, "session": link._session}
    words = np.array([666, 667], "<u4").tobytes()
    return line(Frame(**(values | {"payload": words} | changes)))


@pytest.mark.parametrize(
    "change",
    [
        lambda link: {"session": link._session ^ 1},
        lambda link: {"session": 0},
        lambda link: {"sequence": link._next - 1},
        lambda link: {"sequence": link._next + 1},
        lambda link: {"kind": Request.EXCHANGE},
        lambda link: {"kind": Reply.OPENED},
        lambda link: {"kind": 11},
        lambda link: {"payload": b""},
        lambda link: {"payload": bytes(12)},
        lambda link: {"kind": Reply.LOST, "session": link._session ^ 2, "payload": b""},
        lambda link: {"kind": Reply.REFUSED, "payload": b""},
        lambda link: {"kind": Reply.REFUSED, "sequence": link._next - 1, "payload": b""},
    ],
)
def test_answers_of_others_are_ignored(change):
    board = Board()
    transport = opened(board)
    transport.write(numbers(2), 1)
    transport.read(2, 1)
    transport.write(numbers(2, 10), 1)
    board.output += stale(transport, **change(transport._link))
    assert transport.read(2, 1).tolist() == [11, 12]
    assert transport.statistics.ignored >= 1
    assert board.words == [0, 1, 10, 11]


def test_a_silent_board_times_out_in_time_and_stays_refused():
    board = Board()
    transport = opened(board)
    board.silent = True
    transport.write(numbers(2), 1)
    start = board.now
    with pytest.raises(driver.DeviceTimeout, match="The board did not answer in time"):
        transport.read(2, 0.1)
    assert 0.1 <= board.now - start < 1
    board.silent = False
    with pytest.raises(driver.LinkError, match="session with the board is over; load the program"):
        transport.read(2, 1)


def test_an_answer_of_a_session_that_is_over_is_refused():
    board = Board()
    transport = opened(board)
    board.silent = True
    first = transport.post(numbers(2), 2, 1)
    with pytest.raises(driver.DeviceTimeout):
        transport.fetch(first, 0.05)
    with pytest.raises(driver.LinkError, match="session with the board is over; load the program"):
        transport.fetch(first, 1)


def test_a_board_that_is_silent_from_the_start_closes_the_port():
    board = Board(silent=True)
    with pytest.raises(driver.DeviceTimeout):
        SerialTransport(board, retry=0.002, timeout=0.05, clock=board.clock)
    assert board.closed == 1


def test_damaged_answers_alone_are_named():
    board = Board()
    transport = opened(board)
    board.silent = True

    def read(timeout):
        board.now += timeout
        return b"\0garbage"

    board.read = read
    with pytest.raises(driver.DamagedLink, match="no intact answer in time and [0-9]+ damaged"):
        transport.read(2, 0.05)


def test_a_board_that_was_reset_or_taken_over_is_not_trusted():
    board = Board()
    transport = opened(board)
    transport.write(numbers(2), 1)
    board.session = 0
    with pytest.raises(driver.SessionLost, match="was reset or another program opened it"):
        transport.read(2, 1)
    with pytest.raises(driver.LinkError):
        transport.write(numbers(40), 1)


def test_another_version_is_refused():
    board = Board(version=2)
    with pytest.raises(driver.WrongDevice, match="link has version 2 and this driver speaks ver"):
        opened(board)
    assert board.closed == 1


def test_sessions_differ():
    sessions = {opened(Board())._link._session for _ in range(50)}
    assert len(sessions) == 50
    assert 0 not in sessions


def test_an_interrupted_exchange_ends_the_session():
    board = Board()
    transport = opened(board)

    def interrupt(timeout):
        raise KeyboardInterrupt

    board.read = interrupt
    with pytest.raises(KeyboardInterrupt):
        transport.read(1, 1)
    with pytest.raises(driver.LinkError):
        transport.read(1, 1)


def test_statistics_count_bytes_and_processor_time():
    board = Board()
    transport = opened(board)
    transport.write(numbers(4), 1)
    transport.read(4, 1)
    statistics = transport.statistics
    assert statistics.frames_sent == statistics.frames_received == 2
    assert statistics.bytes_sent > 2 * 12 + 16
    assert statistics.bytes_received > 2 * 12 + 8 + 16
    assert 0 < statistics.cpu_seconds < 1


def test_link_asks_for_what_was_given():
    link = Link(Board(), baud=1e6, retry=0.01, nonce=lambda: 77)
    link.open(1)
    assert (link.payload_words, link.answer_words) == (PAYLOAD_WORDS, ANSWER_WORDS)
    assert link.exchange(numbers(3), 2, time.monotonic() + 1).tolist() == [1, 2]
