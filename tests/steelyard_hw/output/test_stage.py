# amaranth: UnusedElaboratable=no
"""The output stage against plain integers: partial sums, parameters, operands, timing."""

import random
from fractions import Fraction

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard_hw.output.stage import OutputStage

INT32 = (-(1 << 31), (1 << 31) - 1)
REREAD = 8
"""Cycles after which stored partial sums may be read."""
FLAGS = ("accumulate", "store")


def small(lanes, requantizers, **fields):
    return configure(
        "array",
        lanes=lanes,
        requantizers=requantizers,
        columns=2,
        partial_sum_channels=3,
        parameter_words=16,
        activation_words=64,
        **fields,
    )


def requantize(total, shift, z_y, lo, hi):
    return min(max(z_y + round(Fraction(total, 1 << shift)), lo), hi)


class Layer:
    """Random parameters and a random schedule, with the writes they must cause."""

    def __init__(self, config, seed):
        self.config = config
        self.rng = rng = random.Random(seed)
        self.z_y = rng.randint(-128, 127)
        self.lo = rng.randint(-128, self.z_y)
        self.hi = rng.randint(self.z_y, 127)
        self.params = [
            (rng.randint(-(1 << 20), 1 << 20), rng.randint(1, (1 << 24) - 1), rng.randint(30, 46))
            for _ in range(config.memory.parameter_words)
        ]
        self.params[0] = (0, 1 << 22, 22)
        self.negative = [rng.getrandbits(24) for _ in self.params]
        self.negative[0] = 1 << 22
        self.pairs = {}  # what the stage is told of layers of two operands
        self.schedule = []  # a beat or None each cycle
        self.expected = []  # (cycle of write.en, row, beat, data)

    def idle(self, cycles):
        self.schedule += [None] * cycles

    def scale(self, param, value):
        """Product of a sum with its bias, and the multiplier of its sign."""
        slopes = value < 0 and self.config.output.slopes
        return value * (self.negative[param] if slopes else self.params[param][1])

    def sums(self):
        bound = 1 << self.rng.choice((12, 20, 28))
        return [self.rng.randint(-bound, bound) for _ in range(self.config.output.requantizers)]

    def beat(self, beat, sums, **fields):
        noise = self.rng.choices(range(-128, 128), k=len(sums))
        item = {
            "data": sums,
            "operand": noise,
            "beat": beat,
            "psum": 0,
            "param": 0,
            "row": 0,
        } | fields
        self.schedule.append(dict.fromkeys(FLAGS, 0) | item)
        return len(self.schedule) - 1

    def writes(self, cycle, row, beat, totals, shift):
        results = [requantize(total, shift, self.z_y, self.lo, self.hi) for total in totals]
        self.expected.append((cycle + OutputStage.latency, row, beat, results))

    def convolution(self, chunks, gaps):
        """All channels of one tile, chunk by chunk."""
        config, rng = self.config, self.rng
        row = rng.randrange(config.memory.activation_words)
        stored = {}
        for chunk in range(chunks):
            start = len(self.schedule)
            for address in range(config.engine.partial_sum_channels * config.drain_beats):
                while rng.random() < gaps:
                    self.idle(1)
                channel, beat = divmod(address, config.drain_beats)
                sums = self.sums()
                param = 3 + channel
                cycle = self.beat(
                    beat,
                    sums,
                    psum=address,
                    param=param,
                    row=row + channel & 63,
                    accumulate=int(chunk > 0),
                    store=int(chunk < chunks - 1),
                )
                earlier = stored.get(address, [0] * len(sums)) if chunk else [0] * len(sums)
                totals = stored[address] = [a + b for a, b in zip(earlier, sums, strict=True)]
                if chunk == chunks - 1:
                    bias, _, shift = self.params[param]
                    scaled = [self.scale(param, total + bias) for total in totals]
                    self.writes(cycle, row + channel & 63, beat, scaled, shift)
            # The next chunk's beat of an address follows REREAD cycles after this one at the least.
            self.idle(max(0, REREAD - (len(self.schedule) - start)))

    def two_operands(self, words, gaps, combine, param, **layer):
        """Words of a layer of two operands; `combine` makes the scaled sum of both factors."""
        config, rng = self.config, self.rng
        zeros = rng.randint(-128, 127), rng.randint(-128, 127)
        self.pairs = {"pair": 1, "z_a": zeros[0], "z_b": zeros[1], "param": param} | layer
        codes = [-128, 127, *range(-128, 128)]
        shift = self.params[param][2]
        for _ in range(words):
            row = rng.randrange(config.memory.activation_words)
            for beat in range(config.drain_beats):
                while rng.random() < gaps:
                    self.idle(1)
                a, b = (rng.choices(codes, k=config.output.requantizers) for _ in range(2))
                # The layer has one parameter item, whatever a beat says.
                cycle = self.beat(beat, b, operand=a, param=rng.randrange(16), row=row)
                factors = zip((x - zeros[0] for x in a), (y - zeros[1] for y in b), strict=True)
                self.writes(cycle, row, beat, [combine(*each) for each in factors], shift)

    def residual(self, words, gaps, param=1):
        """Words of a residual add."""
        other, multiplier, _ = self.params[param]
        self.two_operands(words, gaps, lambda a, b: a * multiplier + b * (other % (1 << 24)), param)

    def product(self, words, gaps, param=2):
        """Words of a product."""
        bias = self.params[param][0]
        self.two_operands(
            words, gaps, lambda a, b: self.scale(param, a * b + bias), param, multiply=1
        )

    def run(self):
        """Drive the schedule; return what was written and when."""
        dut = OutputStage(self.config)
        written = []

        async def parameters(ctx):
            while True:
                _, _, address = await ctx.tick().sample(dut.parameters.addr)
                bias, multiplier, shift = self.params[address]
                item = shift << 56 | multiplier << 32 | bias & 0xFFFFFFFF
                if self.config.output.slopes:
                    item |= self.negative[address] << 64
                ctx.set(dut.parameters.data, item)

        async def testbench(ctx):
            ctx.set(dut.z_y, self.z_y)
            ctx.set(dut.lo, self.lo)
            ctx.set(dut.hi, self.hi)
            for name, value in self.pairs.items():
                ctx.set(getattr(dut, name), value)
            await ctx.tick().repeat(4)
            for cycle in range(len(self.schedule) + dut.latency + 2):
                item = self.schedule[cycle] if cycle < len(self.schedule) else None
                ctx.set(dut.i_valid, int(item is not None))
                if item is not None:
                    ctx.set(dut.i, item)
                else:
                    # What lies there without `i_valid` must not matter.
                    noise = {flag: self.rng.randrange(2) for flag in FLAGS}
                    ctx.set(dut.i, noise | {"data": self.sums(), "psum": self.rng.randrange(3)})
                if ctx.get(dut.write.en):
                    lanes = [
                        ctx.get(dut.write.data[n]) for n in range(self.config.output.requantizers)
                    ]
                    written.append((cycle, ctx.get(dut.write.row), ctx.get(dut.write.beat), lanes))
                await ctx.tick()

        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_process(parameters)
        simulator.add_testbench(testbench)
        simulator.run()
        return written

    def check(self):
        for position, (got, wanted) in enumerate(zip(self.run(), self.expected, strict=True)):
            assert got == wanted, position


SHAPES = [(4, 4), (4, 2), (8, 2), (4, 1)]


@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_without_slopes_all_sums_have_one_multiplier(gaps):
    layer = Layer(small(4, 2, slopes=False), seed=3)
    for chunks in (1, 2):
        layer.convolution(chunks, gaps)
    layer.check()


@pytest.mark.parametrize("lanes, requantizers", SHAPES)
@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_chunks_accumulate_and_the_last_one_is_written(lanes, requantizers, gaps):
    layer = Layer(small(lanes, requantizers), seed=lanes + requantizers)
    for chunks in (1, 2, 3, 1, 2):
        layer.convolution(chunks, gaps)
    layer.check()


@pytest.mark.parametrize("lanes, requantizers", SHAPES)
@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_residual_add_scales_each_operand_and_adds_before_the_shift(lanes, requantizers, gaps):
    for slopes, second in ((True, (1 << 24) - 1), (False, 1 << 17), (True, (1 << 17) - 1)):
        layer = Layer(small(lanes, requantizers, slopes=slopes), seed=lanes * requantizers)
        layer.params[1] = (second, (1 << 23) + 5, 25)
        layer.negative[1] = layer.params[1][1]
        layer.residual(20, gaps)
        layer.check()


@pytest.mark.parametrize("lanes, requantizers", SHAPES)
@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_products_are_of_operands_less_their_zero_points(lanes, requantizers, gaps):
    layer = Layer(small(lanes, requantizers), seed=lanes * requantizers)
    layer.params[2] = (-4321, (1 << 23) + 5, 31)
    layer.negative[2] = (1 << 22) + 3
    layer.product(40, gaps)
    assert len({tuple(written[3]) for written in layer.expected}) > 10
    layer.check()


def test_additions_without_products_and_products_without_additions():
    layer = Layer(small(4, 2, products=False), seed=8)
    layer.params[1] = ((1 << 24) - 3, 1 << 23, 25)
    layer.negative[1] = 1 << 23
    layer.residual(20, 0.2)
    layer.check()
    layer = Layer(small(4, 2, additions=False), seed=9)
    layer.params[2] = (0, 1 << 23, 31)
    layer.product(20, 0.2)
    layer.check()


def test_sums_are_no_operands_whatever_their_bytes_and_biases_are():
    layer = Layer(small(4, 4), seed=10)
    layer.z_y, layer.lo, layer.hi = 0, -128, 127
    layer.params[3] = (0x7FFFFF, 1, 17)
    layer.negative[3] = 1
    sums = [0, 0x7F00, -0x8000, -0x7F0000]
    cycle = layer.beat(0, sums, param=3, row=7)
    layer.writes(cycle, 7, 0, [total + 0x7FFFFF for total in sums], 17)
    layer.check()


def test_stored_sums_are_read_exactly_8_cycles_later():
    layer = Layer(small(4, 4), seed=5)
    layer.z_y, layer.lo, layer.hi = 0, -128, 127
    for store in (1, 1, 0):
        accumulate = int(bool(layer.schedule))
        layer.beat(0, [1, -2, 3, 30], psum=2, param=0, row=9, accumulate=accumulate, store=store)
        layer.idle(REREAD - 1)
    layer.writes(2 * REREAD, 9, 0, [total << 22 for total in (3, -6, 9, 90)], 22)
    layer.check()


def test_sums_reach_the_ends_of_int32():
    layer = Layer(small(4, 4), seed=6)
    layer.z_y, layer.lo, layer.hi = 0, -128, 127
    layer.params[4] = (-5, (1 << 24) - 1, 49)
    layer.negative[4] = (1 << 24) - 1
    sums = [INT32[0] + 5, INT32[1], INT32[1] - 1, 0]
    cycle = layer.beat(0, sums, param=4, row=63)
    layer.writes(cycle, 63, 0, [(total - 5) * ((1 << 24) - 1) for total in sums], 49)
    layer.check()


def test_one_address_of_partial_sums_is_enough():
    config = small(4, 4).with_(columns=1, partial_sum_channels=1)
    layer = Layer(config, seed=7)
    layer.convolution(3, 0.0)
    layer.check()


def test_something_else_than_a_configuration_is_refused():
    with pytest.raises(TypeError, match=r"^Configuration must be an AcceleratorConfig, not 16$"):
        OutputStage(16)
