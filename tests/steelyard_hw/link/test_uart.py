# amaranth: UnusedElaboratable=no
"""UART of the link: bytes through the wire, at rates that differ, with noise before them."""

from functools import partial
from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from steelyard.errors import UserError
from steelyard_hw.lib.testing import monitor, send
from steelyard_hw.link.uart import UartReceiver, UartTransmitter, divider_for


async def collect(ctx, receiver, into: list[int]) -> None:
    while True:
        _, _, valid, payload = await ctx.tick().sample(receiver.valid, receiver.payload)
        if valid:
            into.append(payload)


@pytest.mark.parametrize("divider", [4, 5, 8, 27])
def test_bytes_pass_from_transmitter_to_receiver(divider):
    rng = Random(divider)
    data = [0, 255, 0x55, *rng.randbytes(12)]
    m = Module()
    m.submodules.transmitter = transmitter = UartTransmitter(divider)
    m.submodules.receiver = receiver = UartReceiver(divider)
    m.d.comb += receiver.rx.eq(transmitter.tx)
    received: list[int] = []

    async def feed(ctx):
        await send(ctx, transmitter.i, data, rng=rng)
        await ctx.tick().until(~transmitter.busy)
        await ctx.tick().repeat(divider)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(feed)
    sim.add_testbench(partial(collect, receiver=receiver, into=received), background=True)
    sim.add_process(monitor(transmitter.i, "i"))
    sim.run()
    assert received == data


async def drive(ctx, receiver, bits, cycles: float) -> None:
    """Bits of `cycles` clock cycles each, which need not be whole."""
    done = 0
    for number, bit in enumerate(bits, 1):
        ctx.set(receiver.rx, bit)
        while done < round(number * cycles):
            await ctx.tick()
            done += 1


def bits_of(byte: int) -> list[int]:
    return [0, *(byte >> n & 1 for n in range(8)), 1]


@pytest.mark.parametrize("error", [-0.03, 0.03])
def test_a_rate_that_is_three_percent_off_is_received(error):
    receiver = UartReceiver(16)
    data = list(Random(1).randbytes(20))
    received: list[int] = []

    async def testbench(ctx):
        line = [1] + [bit for byte in data for bit in bits_of(byte)] + [1] * 2
        await drive(ctx, receiver, line, 16 * (1 + error))

    sim = Simulator(receiver)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.add_testbench(partial(collect, receiver=receiver, into=received), background=True)
    sim.run()
    assert received == data


def test_glitches_and_breaks_give_no_bytes_and_the_next_byte_is_received():
    receiver = UartReceiver(8)
    received: list[int] = []

    async def testbench(ctx):
        await drive(ctx, receiver, [1, 0, 1, 0, 1, 1], 2)
        await drive(ctx, receiver, [0] * 35 + [1] * 12, 8)
        assert received == []
        await drive(ctx, receiver, [*bits_of(0xA7), 1], 8)

    sim = Simulator(receiver)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.add_testbench(partial(collect, receiver=receiver, into=received), background=True)
    sim.run()
    assert received == [0xA7]


def test_dividers_are_chosen_and_refused():
    assert divider_for(48e6, 3e6) == 16
    assert divider_for(80e6, 3e6) == 27
    with pytest.raises(
        UserError, match=r"clock of 25 MHz cannot make 3e.06 baud within 2.5%; use 3125000 baud"
    ):
        divider_for(25e6, 3e6)
    with pytest.raises(UserError, match="use 2500000 baud or another clock"):
        divider_for(10e6, 3e6)
    for component in (UartReceiver, UartTransmitter):
        with pytest.raises(ValueError, match=r"^Divider must be an integer of at least 4, not 3$"):
            component(3)
