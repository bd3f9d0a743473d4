"""Search of an external memory's read latency, on a memory that answers rightly with some."""

import numpy as np
import pytest

from steelyard.contract.registers import Register, Space
from steelyard.driver.errors import MemoryFault
from steelyard.driver.external import ReadLatency, find_read_latency

WORDS = 1 << 16


class Port:
    """Host port of an accelerator whose memory is read rightly with some latencies only."""

    def __init__(self, good):
        self.good = good
        self.latency = 0
        self.tried = []
        self.words = np.zeros(WORDS, np.uint32)

    def write(self, space, address, words):
        if space == Space.EXTERNAL:
            self.words[address : address + len(words)] = words
        else:
            assert (space, address) == (Space.REGISTERS, Register.READ_LATENCY)
            (self.latency,) = (int(word) for word in words)
            self.tried.append(self.latency)

    def read(self, space, address, count):
        assert space == Space.EXTERNAL
        right = self.words[address : address + count]
        return right if self.latency in self.good else np.roll(right, 1) ^ np.uint32(0x10000)


@pytest.mark.parametrize(
    ("good", "found"),
    [
        ((0, 5, 6), ReadLatency(0, (0,))),
        ((4,), ReadLatency(4, (4,))),
        ((3, 4), ReadLatency(4, (3, 4))),
        ((5, 6, 7), ReadLatency(6, (5, 6, 7))),
    ],
)
def test_the_boards_own_is_kept_if_it_is_good_else_the_middle_is_taken(good, found):
    port = Port(good)
    assert find_read_latency(port, WORDS) == found
    assert port.latency == found.chosen
    if 0 in good:
        assert port.tried == [0]


def test_all_are_tried_for_a_test_of_the_board():
    port = Port((0, 5, 6))
    found = find_read_latency(port, WORDS, all_of_them=True)
    assert found == ReadLatency(0, (0, 5, 6))
    assert port.latency == 0
    assert port.tried == [0, *range(2, 16), 0]
    assert str(found) == "read latency the board's own (good: 5, 6)"
    assert str(find_read_latency(Port((6,)), WORDS)) == "read latency 6 cycles (good: 6)"


def test_a_memory_that_is_never_right_is_an_error():
    with pytest.raises(MemoryFault, match="every read latency from 2 to 15 cycles"):
        find_read_latency(Port(()), WORDS)
