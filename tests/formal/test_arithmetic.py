# amaranth: UnusedElaboratable=no
"""Arithmetic of the gateware for all operands."""

import ctypes

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import wiring

from formal.prover import Bench, mutated, prove, refute
from steelyard_hw.cells.multiplier import multiplier_signature
from steelyard_hw.cells.multiplier_ecp5 import EcpPairs
from steelyard_hw.cells.multiplier_xilinx import XilinxPairs
from steelyard_hw.lib.delay import delay
from steelyard_hw.verilog import convert_component
from steelyard_sim.build.toolchain import Toolchain, compile_library

LANES = 16
ECP5 = mutated("steelyard_hw.cells.multiplier_ecp5", "sign, borrow.replicate(10)", "sign, borrow")
XILINX = mutated("steelyard_hw.cells.multiplier_xilinx", " + result[15]", "")
SIGNATURE = multiplier_signature(LANES)
VERSIONS = {
    "ecp5": lambda: EcpPairs(LANES, SIGNATURE, model=True),
    "ecp5_broken": lambda: ECP5.EcpPairs(LANES, SIGNATURE, model=True),
    "xilinx": lambda: XilinxPairs(LANES, SIGNATURE),
    "xilinx_broken": lambda: XILINX.XilinxPairs(LANES, SIGNATURE),
}
STAGES = max(EcpPairs.STAGES, XilinxPairs.STAGES)


class AllPairs(wiring.Component):
    """Versions of the multipliers behind the same operands."""

    def __init__(self):
        operands = {"weight": wiring.In(8), "activations": wiring.In(8 * LANES)}
        super().__init__(operands | dict.fromkeys(VERSIONS, wiring.Out(16 * LANES)))

    def elaborate(self, platform):
        m = Module()
        for name, make in VERSIONS.items():
            m.submodules[name] = pairs = make()
            # The products of all come together.
            products = delay(m, pairs.products.as_value(), STAGES - pairs.STAGES, name)
            m.d.comb += [
                pairs.weight.eq(self.weight),
                pairs.activations.as_value().eq(self.activations),
                getattr(self, name).eq(products),
            ]
        return m


HARNESS = """
#include "Vsteelyard.h"
#include <cstdint>
constexpr int pairs = LANES / 2, stages = STAGES;
// Every weight with every two bytes; counts the wrong pairs of products of each version.
extern "C" void count_wrong(int64_t *wrong) {
  static Vsteelyard dut;
  static uint32_t sent[stages][pairs];
  const long cycles = (1L << 24) / pairs;
  for (long cycle = 0; cycle < cycles + stages; ++cycle) {
    auto &expected = sent[cycle % stages];
    for (int pair = 0; pair < pairs && cycle >= stages; ++pair) {
      int version = 0;
      for (auto products : {PRODUCTS}) wrong[version++] += products[pair] != expected[pair];
    }
    const long first = cycle * pairs & 0xFFFFFF;
    const int weight = int(first >> 16) - 128;
    for (int pair = 0; pair < pairs; ++pair) {
      const uint32_t both = first + pair & 0xFFFF;
      const int low = both & 255, high = both >> 8;
      auto &word = dut.activations[pair / 2];
      word = pair % 2 ? word & 0xFFFF | both << 16 : both;
      expected[pair] = uint32_t(weight * low) & 0xFFFF | uint32_t(weight * high) << 16;
    }
    dut.weight = weight & 255;
    for (int clk : {0, 1}) {
      dut.clk = clk;
      dut.eval();
    }
  }
}
"""


def test_pairs_keep_all_products_apart_and_broken_ones_are_noticed(tmp_path):
    products = ", ".join(f"dut.{name}.data()" for name in VERSIONS)
    text = HARNESS.replace("PRODUCTS", products).replace("LANES", str(LANES))
    (tmp_path / "harness.cpp").write_text(text.replace("STAGES", str(STAGES)), encoding="utf-8")
    library = tmp_path / "build" / "pairs.so"
    library.parent.mkdir()
    tools = Toolchain.find(tmp_path / "harness.cpp")
    compile_library(convert_component(AllPairs(), "pairs"), "pairs", library, tools, trace=False)
    wrong = (ctypes.c_int64 * len(VERSIONS))()
    ctypes.CDLL(str(library)).count_wrong(wrong)
    counts = dict(zip(VERSIONS, wrong, strict=True))
    assert counts["ecp5"] == counts["xilinx"] == 0
    assert counts["ecp5_broken"] and counts["xilinx_broken"]


def rounding(*pieces):
    """Last part of a requantizer, of any sum of products, shift, zero point and clamp."""
    module = mutated("steelyard_hw.output.requantizer")
    # Where fused additions round too.
    vars(module)["rounded_code"] = mutated("steelyard_hw.output.rounding", *pieces).rounded_code

    class Rounding(wiring.Component):
        def __init__(self):
            int8 = wiring.In(signed(8))
            super().__init__(
                {"total": wiring.In(signed(57)), "distance": wiring.In(6), "z_y": int8}
                | {"lo": int8, "hi": int8, "o_y": wiring.Out(signed(8))}
            )

        def elaborate(self, platform):
            m = Module()
            module.Requantizer._round(self, m, self.total, self.distance)
            return m

    bench = Bench()
    dut = Rounding()
    bench.add("dut", dut)
    inputs = ("total", "distance", "z_y", "lo", "hi")
    total, distance, z_y, lo, hi = (
        bench.constant(getattr(dut, name).shape(), f"any_{name}") for name in inputs
    )
    bench.m.d.comb += [
        getattr(dut, name).eq(value)
        for name, value in zip(inputs, (total, distance, z_y, lo, hi), strict=True)
    ]
    bench.assume(lo <= hi)
    # Half to even: up from above the half, and from the half itself if the integer below is odd.
    doubled = total >> distance
    rest = Mux(total == doubled << distance, 0, 1)
    exact = (doubled >> 1) + (doubled[0] & (rest | doubled[1])) + z_y
    expected = Mux(exact < lo, lo, Mux(exact > hi, hi, exact))
    done = bench.past(bench.begun, 6, "done")
    bench.check("half to even, then clamped", ~done | (dut.o_y == expected))
    bench.cover("a result", done & (dut.o_y == 5) & (distance == 30))
    return bench


def test_the_requantizer_rounds_every_sum_half_to_even_at_every_shift():
    prove(rounding(), depth=9)


def test_a_tie_that_forgets_what_was_shifted_out_is_noticed():
    refute(rounding("window[0] & (sticky | window[1])", "window[0] & window[1]"), depth=9)
