# amaranth: UnusedElaboratable=no
"""The prover itself: what it proves, what it refutes, and that it is never vacuous."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from formal.prover import Bench, Failed, decide, prove


class Counter(wiring.Component):
    """Counts enabled cycles up to a limit."""

    def __init__(self, limit):
        self._limit = limit
        super().__init__({"enable": In(1), "count": Out(4, init=1)})

    def elaborate(self, platform):
        m = Module()
        with m.If(self.enable & (self.count != self._limit)):
            m.d.sync += self.count.eq(self.count + 1)
        return m


def counter_bench(limit):
    bench = Bench()
    dut = Counter(limit)
    bench.add("dut", dut)
    bench.check("never ten", dut.count != 10)
    bench.check("never zero", dut.count != 0)
    bench.cover("nine", dut.count == 9)
    return bench, dut


def test_what_holds_is_proved_and_what_fails_late_is_named():
    prove(counter_bench(9)[0])
    outcome = decide(counter_bench(12)[0])
    assert (outcome.verdict, outcome.failed) == ("fails", ["never ten: fails"])


def test_an_assumption_that_excludes_everything_is_noticed():
    bench, dut = counter_bench(9)
    bench.assume(~dut.enable)
    with pytest.raises(Failed, match="nine"):
        prove(bench)


def test_a_broken_assumption_excuses_only_what_comes_after_it():
    bench, dut = counter_bench(12)
    bench.assume(dut.count != 7)
    assert decide(bench).verdict == "proved"
    bench, dut = counter_bench(12)
    late = bench.past(dut.count == 10, 2)
    bench.assume(~late)
    assert decide(bench).verdict == "fails"


def test_induction_proves_what_follows_from_itself_alone():
    for limit, steps, verdict in ((9, 1, "proved"), (12, 1, "undecided"), (12, 11, "fails")):
        bench = Bench()
        dut = Counter(limit)
        bench.add("dut", dut)
        bench.check("never ten", dut.count != 10)
        assert decide(bench, steps=steps, details=False).verdict == verdict
