"""Netlists of small designs against their RTL, in lockstep."""

import numpy as np
import pytest
from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.errors import UserError
from steelyard.network.random import random_network
from steelyard_hw.cells.multiplier import multiplier_signature
from steelyard_hw.cells.multiplier_ice40 import IcePairs
from steelyard_hw.verilog import convert_component
from steelyard_sim import Simulation, build_verilog
from steelyard_sim.build.netlist import ICE40, build_netlist, cell_counts, flip_bit, synthesize
from steelyard_sim.lockstep import Difference, Lockstep
from steelyard_sim.runs.netlist import cut

WORDS = np.random.default_rng(5).integers(0, 1 << 24, 600, np.uint32)
CLEARING = np.arange(256, dtype=np.uint32) | np.uint32(1 << 31)


class Sums(wiring.Component):
    """Sum of products for each of 256 places, with the ports of the accelerator.

    Word: place [7:0], factors [15:8] and [23:16]. Answers the old sum; bit 31 clears it, answer 0.
    With bit 30 the new sum is written while the old one is still read.
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(32))),
                "o": Out(stream.Signature(unsigned(32))),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sums = sums = memory.Memory(shape=unsigned(16), depth=256, init=[])
        read, write = sums.read_port(), sums.write_port()
        word, product = Signal(32), Signal(16)
        state = Signal(2)
        m.d.comb += [
            read.addr.eq(word),
            write.addr.eq(word),
            write.data.eq(Mux(word[31], 0, read.data + product)),
            self.i.ready.eq(state == 0),
            self.o.valid.eq(state == 3),
            self.o.payload.eq(Mux(word[31], 0, read.data)),
            self.busy.eq(state != 0),
        ]
        with m.Switch(state):
            with m.Case(0):
                m.d.sync += [word.eq(self.i.payload), state.eq(self.i.valid)]
            with m.Case(1):
                m.d.sync += [product.eq(word[8:16] * word[16:24]), state.eq(2)]
            with m.Case(2):
                m.d.comb += write.en.eq(word[30])
                m.d.sync += state.eq(3)
            with m.Case(3):
                m.d.comb += write.en.eq(self.o.ready & ~word[30])
                with m.If(self.o.ready):
                    m.d.sync += state.eq(0)
        return m


@pytest.fixture(scope="module")
def netlist() -> str:
    return synthesize(Sums(), ICE40)


def both(netlist: str, seed: int = 1) -> Lockstep:
    """RTL and a netlist of it."""
    rtl = build_verilog(convert_component(Sums(), "sums"), "sums")
    return Lockstep(Simulation(rtl), Simulation(build_netlist(netlist, ICE40, "sums"), seed=seed))


def answers(simulation: Lockstep, words: np.ndarray) -> list[int]:
    """Answer to every word."""
    result = []
    for n in range(len(words)):
        assert simulation.write(words[n : n + 1], limit=10) == 1
        result += simulation.read(1, limit=10).tolist()
    return result


def test_netlist_consists_of_the_cells_of_the_family(netlist):
    counts = cell_counts(netlist)
    assert counts["SB_MAC16"] == 1
    assert counts["SB_RAM40_4K"] == 1
    assert counts["SB_LUT4"] > 20
    assert counts["SB_CARRY"] > 10
    assert {name for name in counts if not name.startswith("SB_")} == set()


def test_synthesis_of_compact_configurations_leaves_instantiated_multipliers_as_they_are():
    netlist = synthesize(IcePairs(4, multiplier_signature(4)), ICE40, compact=True)
    assert cell_counts(netlist) == {"SB_MAC16": 2}
    for setting in (".MODE_8x8(1'h1)", ".A_REG(1'h1)", ".TOPOUTPUT_SELECT(2'h1)", ".CLK(clk)"):
        assert netlist.count(setting) == 2, setting


@pytest.mark.parametrize("seed", [1, 2])
def test_netlist_answers_as_the_rtl_in_the_same_cycles(netlist, seed):
    with both(netlist, seed) as simulation:
        answers(simulation, CLEARING)
        sums, expected = [0] * 256, []
        for word in WORDS.tolist():
            expected.append(sums[word & 255])
            sums[word & 255] += (word >> 8 & 255) * (word >> 16 & 255)
            sums[word & 255] &= 0xFFFF
        assert answers(simulation, WORDS) == expected
        assert simulation.words_out == len(CLEARING) + len(WORDS)
        assert simulation.wait_idle(10)


def test_memories_of_the_netlist_begin_with_anything(netlist):
    with both(netlist) as simulation:
        with pytest.raises(Difference, match=r"^Word \d+ from .* is 0x00000000 in the RTL"):
            answers(simulation, WORDS)


def test_one_inverted_bit_of_a_lookup_table_is_found(netlist):
    altered = flip_bit(netlist, 1)
    assert sum(a != b for a, b in zip(altered, netlist, strict=True)) == 1
    with both(altered) as simulation:
        with pytest.raises(Difference, match=r" in the RTL and .* in the netlist"):
            answers(simulation, CLEARING)
            answers(simulation, WORDS)


def test_a_word_that_is_used_although_written_meanwhile_is_found(netlist):
    with both(netlist) as simulation:
        answers(simulation, CLEARING)
        answers(simulation, WORDS)
        with pytest.raises(Difference, match=r" in the RTL and .* in the netlist"):
            answers(simulation, WORDS | np.uint32(1 << 30))


def test_first_layers_are_a_network():
    network = random_network(3, layers=5)
    first = cut(network, 2)
    assert [layer.name for layer in first.layers] == [layer.name for layer in network.layers[:2]]
    assert first.output == network.layers[1].output
    with pytest.raises(UserError, match=r"has \d+ layers, and 99 were asked for; choose"):
        cut(network, 99)
