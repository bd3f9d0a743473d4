"""Controller and model compiled: speed, golden data, and that the checks can fail."""

import numpy as np
import pytest
from click.testing import CliRunner

from steelyard_hw.memory.chips import AS4C32M16SB_7, ULX3S_SDRAM, W9825G6KH_6
from steelyard_sim.memory.simulation import Burst, MemorySimulation, Stalls
from steelyard_sim.memory.work import golden_reads, random_bursts
from steelyard_sim.runs import memory as command
from steelyard_sim.runs.memory import run_random

NOTHING = np.zeros(0, np.uint32)
CLOCKS = (80_000_000, 100_000_000)
HALF = 66_666_667
"""Clock of a controller whose chip has twice that."""


@pytest.fixture(
    scope="module",
    params=[(CLOCKS[0], 1), (CLOCKS[1], 1), (HALF, 2)],
    ids=["80 MHz", "100 MHz", "133 MHz"],
)
def memory(request):
    clock_hz, slots = request.param
    with MemorySimulation(W9825G6KH_6, clock_hz, slots=slots) as simulation:
        yield simulation


@pytest.mark.parametrize(
    ("chip", "clock_hz", "delay", "slots", "cycles"),
    [
        (W9825G6KH_6, CLOCKS[0], 0, 1, 400_000),
        (AS4C32M16SB_7, CLOCKS[1], 1, 1, 400_000),
        (W9825G6KH_6, HALF, 0, 2, 200_000),
        (ULX3S_SDRAM, 62_500_000, 6, 2, 200_000),
    ],
    ids=["W9825", "AS4C", "W9825-two slots", "ULX3S-two slots"],
)
def test_random_bursts_break_no_rule_and_every_word_is_the_golden_one(
    chip, clock_hz, delay, slots, cycles
):
    result = run_random(chip, clock_hz, cycles=cycles, seed=3, delay=delay, slots=slots)
    assert result.differing == 0
    assert result.cycles >= cycles
    assert min(result.reads, result.writes) > 20_000


def share(memory, bursts):
    """Share of the peak, one word in two cycles of the chip, that bursts reach."""
    count = sum(each.words for each in bursts if each.write)
    _, cycles = memory.run(bursts, np.arange(count, dtype=np.uint32))
    return 2 / memory.slots * sum(each.words for each in bursts) / cycles


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_long_bursts_reach_95_percent_of_the_peak(memory, write):
    assert share(memory, [Burst(1000, 60_000, write)]) >= 0.95


def test_256_words_in_turn_reach_92_percent(memory):
    rng = np.random.default_rng(1)
    places = rng.integers(0, (1 << 23) - 256, 200)
    assert share(memory, [Burst(int(p), 256, n % 2 == 0) for n, p in enumerate(places)]) >= 0.92


def test_64_word_reads_anywhere_reach_90_percent(memory):
    rng = np.random.default_rng(1)
    places = rng.integers(0, (1 << 23) - 64, 1000)
    assert share(memory, [Burst(int(place), 64, False) for place in places]) >= 0.90


def test_a_long_way_to_the_chip_costs_no_words():
    with MemorySimulation(ULX3S_SDRAM, 62_500_000, delay=6, slots=2) as memory:
        assert share(memory, [Burst(1000, 60_000, False)]) >= 0.95


def test_what_is_placed_is_read_and_what_is_written_is_in_the_cells(memory):
    words = np.random.default_rng(2).integers(0, 1 << 32, 1000, dtype=np.uint32)
    cells = memory.cells.view(np.uint32)
    cells[5000:6000] = words
    found, _ = memory.run([Burst(5000, 1000, False)], NOTHING)
    assert (found == words).all()
    memory.run([Burst((1 << 23) - 300, 1000, True)], words)
    memory.step(100)
    assert (cells[-300:] == words[:300]).all()
    assert (cells[:700] == words[300:]).all()


def test_a_run_takes_the_same_cycles_whenever_it_begins(memory):
    taken = set()
    bursts = [Burst(address, 90, False) for address in (0, 10_000, 77, 1 << 20, 5, 700, 10_000)]
    # At every distance from the refresh before.
    for idle in range(memory.timing.refresh // memory.slots):
        memory.step(32 + idle)
        memory.start()
        taken.add(memory.run(bursts, NOTHING)[1])
    assert len(taken) == 1
    # Without it the refreshes are somewhere else.
    for idle in (64, 200, 333, 500):
        memory.step(idle)
        taken.add(memory.run(bursts, NOTHING)[1])
    assert len(taken) > 1


def test_a_wrong_latency_is_seen_in_the_words(memory):
    right = memory.timing.cas
    words = np.random.default_rng(4).integers(0, 1 << 32, 64, dtype=np.uint32)
    memory.cells.view(np.uint32)[:64] = words
    same = []
    for latency in range(1, 7):
        memory.set_latency(latency)
        found, _ = memory.run([Burst(0, 64, False)], NOTHING)
        same.append(int((found == words).sum()))
        memory.step(20)
    memory.set_latency(right)
    assert same[right - 1] == 64
    assert max(same[: right - 1] + same[right:]) <= 1


def test_work_that_does_not_fit_is_refused(memory):
    with pytest.raises(ValueError, match=r"^The bursts write 3 words, not 0$"):
        memory.run([Burst(0, 3, True)], NOTHING)
    with pytest.raises(ValueError, match=r"^Stalls of 'read' must be from 0 to 255, not 256$"):
        Stalls(read=256)


def test_work_that_does_not_end_is_said():
    with MemorySimulation(W9825G6KH_6, CLOCKS[0]) as memory:
        sentence = r"^After 50 cycles, 0 commands and 0 words to write are not taken and \d+ words"
        with pytest.raises(AssertionError, match=sentence):
            memory.run([Burst(0, 100, False)], NOTHING, limit=50)


def test_random_bursts_come_back_to_what_was_written():
    rng = np.random.default_rng(5)
    bursts = random_bursts(rng, 23, 2000)
    assert {0, 1, 2} < {each.words for each in bursts}
    assert max(each.words for each in bursts) > 600
    written = np.zeros(1 << 23, np.uint32)
    count = sum(each.words for each in bursts if each.write)
    found = golden_reads(written, bursts, np.full(count, 1, np.uint32))
    assert 0.2 < found.mean() < 0.9


def test_the_command_says_what_it_compared(monkeypatch):
    arguments = ["--cycles", "40000", "--seed", "3"]
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 0, result.output
    assert "W9825G6KH-6 at 80 MHz, delay 0, seed 3" in result.output
    assert " 0 differ, no rule broken" in result.output

    def wrong(*given):
        return golden_reads(*given) ^ 1

    monkeypatch.setattr(command, "golden_reads", wrong)
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 1
    assert " 0 differ" not in result.output


def test_the_command_takes_a_chip_at_twice_the_clock():
    arguments = ["--cycles", "40000", "--slots", "2", "--mhz", "66.666667"]
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == 0, result.output
    assert "W9825G6KH-6 at 66.6667 MHz, the chip at 133.333 MHz, delay 0" in result.output
    assert " 0 differ, no rule broken" in result.output
    result = CliRunner().invoke(command.main, ["--slots", "2", "--mhz", "100"])
    assert result.exit_code == 2
    assert "W9825G6KH-6 takes clocks of up to 166 MHz, not 200 MHz" in result.output


def test_the_command_refuses_a_clock_that_the_chip_cannot_take():
    result = CliRunner().invoke(command.main, ["--mhz", "500"])
    assert result.exit_code == 2
    assert "W9825G6KH-6 takes clocks of up to 166 MHz, not 500 MHz" in result.output
