# amaranth: UnusedElaboratable=no
"""The output stage of several cycles a beat against plain integers: partial sums, bias, writes."""

import random
from fractions import Fraction

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard_hw.output.serial import SerialOutputStage


class Layer:
    """Random chunked convolutions, as beats and the writes that they must cause."""

    def __init__(self, config, seed):
        print(f"seed {seed}")
        self.config = config
        self.rng = rng = random.Random(seed)
        self.z_y = rng.randint(-128, 127)
        self.lo = rng.randint(-128, self.z_y)
        self.hi = rng.randint(self.z_y, 127)
        self.parameters = [
            (rng.randint(-(1 << 20), 1 << 20), rng.randint(1 << 23, (1 << 24) - 1), shift)
            for shift in (rng.randint(30, 42) for _ in range(config.memory.parameter_words))
        ]
        self.beats = []
        self.writes = []

    def convolution(self, chunks):
        config, rng = self.config, self.rng
        row = rng.randrange(config.memory.activation_words)
        stored = {}
        for chunk in range(chunks):
            for address in range(config.engine.partial_sum_channels * config.drain_beats):
                channel, beat = divmod(address, config.drain_beats)
                bias, multiplier, shift = self.parameters[3 + channel]
                sums = [rng.randint(-(1 << 22), 1 << 22) for _ in range(config.output.requantizers)]
                stored[address] = [
                    each + (stored[address][lane] if chunk else bias)
                    for lane, each in enumerate(sums)
                ]
                fields = {
                    "data": sums, "beat": beat, "psum": address, "param": 3 + channel, "row": row,
                    "accumulate": int(chunk > 0), "store": int(chunk < chunks - 1),
                }  # fmt: skip
                self.beats.append(fields)
                if chunk == chunks - 1:
                    codes = [
                        self.z_y + round(Fraction(total * multiplier, 1 << shift))
                        for total in stored[address]
                    ]
                    clamped = [min(max(code, self.lo), self.hi) for code in codes]
                    self.writes.append((row, beat, clamped))

    def check(self, gaps):
        config = self.config
        dut = SerialOutputStage(config)
        written = []

        async def parameters(ctx):
            while True:
                _, _, address = await ctx.tick().sample(dut.parameters.addr)
                bias, multiplier, shift = self.parameters[address]
                ctx.set(dut.parameters.data, shift << 56 | multiplier << 32 | bias & 0xFFFFFFFF)

        async def testbench(ctx):
            ctx.set(dut.z_y, self.z_y)
            ctx.set(dut.lo, self.lo)
            ctx.set(dut.hi, self.hi)
            for fields in self.beats:
                while self.rng.random() < gaps:
                    # What lies there without `i_valid` must not matter.
                    ctx.set(dut.i_valid, 0)
                    ctx.set(dut.i, fields | {"store": 1, "data": [1] * config.output.requantizers})
                    assert not ctx.get(dut.write.en)
                    await ctx.tick()
                ctx.set(dut.i, fields)
                ctx.set(dut.i_valid, 1)
                cycles, ready = 0, False
                while not ready:
                    _, _, ready, valid, row, beat, data = await ctx.tick().sample(
                        dut.i_ready, dut.write.en, dut.write.row, dut.write.beat, dut.write.data
                    )
                    cycles += 1
                    if valid:
                        written.append((row, beat, list(data)))
                assert cycles == config.output.requantizer_cycles
            ctx.set(dut.i_valid, 0)

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_process(parameters)
        simulator.add_testbench(testbench)
        simulator.run()
        assert written == self.writes


@pytest.mark.parametrize("cycles", [16, 32])
@pytest.mark.parametrize("lanes, requantizers", [(4, 4), (4, 1), (8, 2)])
@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_chunks_accumulate_from_the_bias_on_and_the_last_one_is_written(
    cycles, lanes, requantizers, gaps
):
    config = configure(
        "array",
        lanes=lanes,
        requantizers=requantizers,
        requantizer_cycles=cycles,
        additions=False,
        columns=2,
        partial_sum_channels=3,
        parameter_words=16,
        activation_words=64,
    )
    layer = Layer(config, seed=cycles + lanes)
    for chunks in (1, 3, 1, 2):
        layer.convolution(chunks)
    layer.check(gaps)
