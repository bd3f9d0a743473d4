# amaranth: UnusedElaboratable=no
"""Two lanes on an SB_MAC16, in yosys' own model of the cell, for every weight and activation."""

import ctypes
import re

import pytest
from amaranth.hdl import Fragment

from steelyard.contract import configure
from steelyard_hw.cells.multiplier import LaneMultipliers, lane_multipliers, multiplier_signature
from steelyard_hw.cells.multiplier_ice40 import IcePairs
from steelyard_hw.cells.target import Target
from steelyard_hw.lib.tools import find_yosys
from steelyard_hw.verilog import convert_component
from steelyard_sim.build.toolchain import Toolchain, compile_library

HARNESS = """
#include "Vsteelyard.h"
#include <cstdint>
#include <deque>
static Vsteelyard dut;
// Every weight with every byte in both lanes; returns the number of wrong products.
extern "C" int64_t wrong(int stages) {
  std::deque<uint32_t> sent;
  int64_t count = 0, seen = 0;
  for (int n = 0; n < 65536 + stages; ++n) {
    const int weight = (n >> 8 & 255) - 128, low = n & 255, high = low * 37 + weight & 255;
    dut.weight = weight & 255;
    dut.activations = high << 8 | low;
    dut.clk = 0;
    dut.eval();
    if (n >= stages) {
      count += sent.front() != dut.products;
      sent.pop_front();
      ++seen;
    }
    sent.push_back((uint32_t)(uint16_t)(weight * low) | (uint32_t)(uint16_t)(weight * high) << 16);
    dut.clk = 1;
    dut.eval();
  }
  return seen == 65536 ? count : -1;
}
"""


def cell_model():
    """Verilog of the SB_MAC16 as yosys simulates it."""
    text = find_yosys("This test").models("ice40/cells_sim.v")
    (model,) = re.findall(r"^module SB_MAC16 \(.*?^endmodule$", text, re.MULTILINE | re.DOTALL)
    return model


def test_every_weight_times_every_activation_in_both_lanes(tmp_path):
    harness = tmp_path / "harness.cpp"
    harness.write_text(HARNESS, encoding="utf-8")
    verilog = convert_component(IcePairs(2, multiplier_signature(2)), "pairs")
    library = tmp_path / "build" / "pairs.so"
    library.parent.mkdir()
    compile_library(
        f"{verilog}\n{cell_model()}\n", "pairs", library, Toolchain.find(harness), trace=False
    )
    wrong = ctypes.CDLL(str(library)).wrong
    wrong.restype = ctypes.c_int64
    assert wrong(IcePairs.STAGES) == 0
    assert wrong(IcePairs.STAGES - 1) > 0, "the comparison finds nothing"


def test_an_odd_number_of_lanes_is_refused():
    with pytest.raises(ValueError, match="^Lanes must be even to share multipliers, not 3$"):
        IcePairs(3, multiplier_signature(3))


@pytest.mark.parametrize(
    ("stages", "carry", "version"),
    [(2, False, IcePairs), (3, False, LaneMultipliers), (2, True, LaneMultipliers)],
)
def test_columns_that_do_not_carry_get_the_ice40s_cells_where_the_latency_allows(
    stages, carry, version
):
    config = configure(
        "array", lanes=4, requantizers=1, multiplier_stages=stages, carry_registers=carry
    )
    multipliers = lane_multipliers(config, Target.ICE40)
    Fragment.get(multipliers, None)
    assert isinstance(multipliers, version)
