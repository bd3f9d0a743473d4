"""Which tables and residual additions are computed with the convolution before them."""

import numpy as np
import pytest

from steelyard.compile import Descriptor, compile
from steelyard.compile.fusion import fusions
from steelyard.contract import configure
from steelyard.network import Lookup, NetworkBuilder

CONFIG = configure("array", lanes=8, columns=4, requantizers=4, max_layers=64)


class Net(NetworkBuilder):
    """Networks of 8 channels of 6x6."""

    def __init__(self):
        super().__init__("net", (8, 6, 6))
        self._rng = np.random.default_rng(1)

    def layer(self, source, name, **more):
        weight = self._rng.integers(-9, 10, (8, 8, 3, 3)).astype(np.int8)
        return self.conv(weight, source, name=name, multiplier=1 << 22, shift=30, padding=1, **more)

    def table(self, source, name):
        table = self._rng.integers(-128, 128, 256).astype(np.int8)
        return self.append(Lookup, source, name=name, table=table)

    def sum(self, a, b, name, shift=22):
        return self.add(a, b, name=name, multipliers=(3 << 20, 5 << 19), shift=shift)


def fused(network, config=CONFIG, batch=1):
    """Names of what follows each convolution at once."""
    found = fusions(network, config, batch)
    return {name: [each.name for each in one.following] for name, one in found.items()}


def one_addition():
    net = Net()
    a = net.layer("input", "a")
    net.sum(net.layer(a, "b"), a, "sum")
    return net


def test_an_addition_takes_no_pass_of_its_own():
    network = one_addition().network()
    program = compile(network, CONFIG)
    assert [(e.name, e.count, e.stored) for e in program.layers] == [
        ("a", 1, True), ("b", 1, False), ("sum", 0, True)
    ]  # fmt: skip
    a, b, total = program.layers
    assert b.output == total.output
    d = Descriptor.from_words(program.descriptors[1])
    assert (d.fused, d.m_a, d.m_b, d.sum_shift) == (1, 3 << 20, 5 << 19, 22)
    assert d.out_base + d.addend_offset == a.output.base
    whole = compile(network, CONFIG.with_(fused_additions=False))
    assert [(e.count, e.stored) for e in whole.layers] == [(1, True)] * 3
    saved = sum(e.predicted_cycles for e in whole.layers) - sum(
        e.predicted_cycles for e in program.layers
    )
    # The addition's five tiles of eight channels, two beats each, and more.
    assert saved > 5 * 8 * 2


def test_multipliers_follow_their_operands():
    net = Net()
    a = net.layer("input", "a")
    net.sum(a, net.layer(a, "b"), "sum")
    d = Descriptor.from_words(compile(net.network(), CONFIG).descriptors[1])
    assert (d.fused, d.m_a, d.m_b) == (1, 5 << 19, 3 << 20)


def test_of_two_convolutions_the_later_one_adds():
    net = Net()
    a, b = net.layer("input", "a"), net.layer("input", "b")
    net.sum(a, b, "sum")
    assert fused(net.network()) == {"b": ["sum"]}


def test_the_input_can_be_added():
    net = Net()
    net.sum(net.layer("input", "a"), "input", "sum")
    assert fused(net.network()) == {"a": ["sum"]}


def test_a_table_follows_and_then_an_addition():
    net = Net()
    a = net.layer("input", "a")
    net.sum(net.table(net.layer(a, "b"), "table"), a, "sum")
    network = net.network()
    assert fused(network) == {"b": ["table", "sum"]}
    program = compile(network, CONFIG)
    assert [(e.name, e.count, e.stored) for e in program.layers[1:]] == [
        ("b", 1, False), ("table", 0, False), ("sum", 0, True)
    ]  # fmt: skip


def test_additions_in_a_row_each_have_a_convolution():
    net = Net()
    a = net.layer("input", "a")
    s = net.sum(net.layer(a, "b"), a, "s")
    net.sum(net.layer(s, "c"), s, "t")
    assert fused(net.network()) == {"b": ["s"], "c": ["t"]}


@pytest.mark.parametrize("shift", [16, 33])
def test_a_shift_out_of_range_takes_a_pass(shift):
    net = Net()
    a = net.layer("input", "a")
    net.sum(net.layer(a, "b"), a, "sum", shift)
    assert fused(net.network()) == {}


def test_what_is_read_again_is_stored():
    net = Net()
    a = net.layer("input", "a")
    b = net.layer(a, "b")
    net.concat(net.sum(b, a, "sum"), b, name="all")
    assert fused(net.network()) == {}
    again = Net()
    b = again.layer(again.layer("input", "a"), "b")
    again.sum(b, b, "sum")
    assert fused(again.network()) == {}


def test_an_output_is_stored():
    net = one_addition()
    assert fused(net.network("b", "sum")) == {}


def test_what_is_made_later_is_not_added():
    net = Net()
    a = net.layer("input", "a")
    net.sum(a, net.max_pool(1, "input", name="b"), "sum")
    assert fused(net.network()) == {}


@pytest.mark.parametrize(
    "change", [{"requantizers": 8}, {"fused_additions": False}], ids=["one beat", "left out"]
)
def test_configurations_without_the_adder_take_passes(change):
    assert fused(one_addition().network(), CONFIG.with_(**change)) == {}


def test_a_table_of_a_small_map_is_not_worth_its_copies():
    def grouped(side):
        net = NetworkBuilder("net", (256, side, side))
        weight = np.ones((256, 1, 3, 3), np.int8)
        conv = net.conv(weight, "input", name="a", multiplier=1 << 22, shift=30, padding=1,
                        groups=256)  # fmt: skip
        net.append(Lookup, conv, name="t", table=np.arange(-128, 128).astype(np.int8))
        return net.network()

    # 16 parts of 16 channels copy 64 cycles each; 256 words of two beats are half of that.
    assert fused(grouped(2)) == {}
    assert fused(grouped(4)) == {"a": ["t"]}
