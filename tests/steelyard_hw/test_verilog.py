"""Conversion of the gateware to SystemVerilog."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import configure
from steelyard_hw import verilog
from steelyard_hw.lib import tools

SMALL = configure(
    "array",
    lanes=4,
    columns=1,
    requantizers=1,
    window_groups=2,
    partial_sum_channels=4,
    max_layers=1,
)


class Table(wiring.Component):
    """Two memories, one of which starts with a value."""

    address: In(3)
    first: Out(8)
    second: Out(8)

    def elaborate(self, platform):
        m = Module()
        for name, init, target in (("blank", [], self.first), ("filled", [7], self.second)):
            m.submodules[name] = table = memory.Memory(shape=8, depth=8, init=init)
            port = table.read_port()
            m.d.comb += [port.addr.eq(self.address), target.eq(port.data)]
        return m


def test_the_same_configuration_gives_the_same_text_with_its_hash_and_ports():
    text = verilog.convert(SMALL)
    assert text == verilog.convert(SMALL)
    assert text.startswith(f"// Steelyard accelerator, configuration {SMALL.hash().hex()}\n")
    assert f"\nmodule {verilog.TOP}(" in text
    ports = ("input clk;", "input rst;", "input i__valid;", "output i__ready;")
    ports += ("input [31:0] i__payload;", "output o__valid;", "input o__ready;")
    ports += ("output [31:0] o__payload;", "output busy;")
    for port in ports:
        assert f"\n  {port}\n" in text
    # Icarus 11 wakes some processes too late and others for ever.
    assert "always @*" not in text and "always_comb" not in text
    assert __file__.partition("tests")[0] not in text


@pytest.mark.parametrize("package", tools.PACKAGES)
def test_memories_start_at_zero_by_a_loop_and_keep_other_values(monkeypatch, package):
    monkeypatch.setattr(tools, "PACKAGES", {package: tools.PACKAGES[package]})
    text = verilog.convert_component(Table(), "table")
    assert text.count("for (index = 0; index <= 7; index = index + 1) blank[index] = 0;") == 1
    assert "filled[0] = 8'h07;" in text
    assert "filled[index]" not in text
