# amaranth: UnusedElaboratable=no
"""The whole accelerator against the golden model, through host streams that stall."""

import re
from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.compile import Descriptor, Operation
from steelyard.contract import configure
from steelyard_hw.accelerator import MAGIC, VERSION, Accelerator
from steelyard_hw.lib.testing import monitor, receive, send
from steelyard_sim.cases.program import Script, random_program

CONFIG = configure(
    "array",
    lanes=4,
    columns=2,
    group=4,
    requantizers=2,
    window_groups=4,
    activation_words=256,
    weight_words=256,
    parameter_words=48,
    partial_sum_channels=8,
    max_layers=8,
)

PATIENCE = 20_000
"""Cycles that no program of these tests needs."""


def exchange(words, answers, seed, stall):
    """Send words to a fresh accelerator and return its answers."""
    dut = Accelerator(CONFIG)
    received = []

    async def sender(ctx):
        await send(ctx, dut.i, words, rng=Random(seed), stall=stall)

    async def receiver(ctx):
        received.extend(await receive(ctx, dut.o, answers, rng=Random(seed + 1), stall=stall))
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.o.valid), "more answers than asked for"

    async def watchdog(ctx):
        for _ in range(PATIENCE):
            await ctx.tick()
        raise AssertionError(f"{len(received)} answers after {PATIENCE} cycles: it hangs")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(watchdog, background=True)
    sim.add_testbench(sender, background=True)
    sim.add_testbench(receiver)
    sim.add_process(monitor(dut.i, "i"))
    sim.add_process(monitor(dut.o, "o"))
    sim.run()
    return received


def partial_sums(layers):
    """Several chunks and passes, and taps outside the map."""
    return any(d.chunks > 2 and d.passes > 1 and d.padded for d in layers)


def batch(layers):
    """Images side by side in a strided layer of several tiles."""
    return any(d.batch > 2 and d.stride_w == 2 and d.out_tiles > 2 for d in layers)


def vector_unit(layers):
    """Pooling and an add, each of several channels and tiles, and a clamp."""
    spread = {d.op for d in layers if d.in_channels > 1 and d.out_tiles > 1}
    pools = {Operation.MAX_POOL, Operation.AVG_POOL}
    return Operation.ADD in spread and spread & pools and any(d.lo > -128 for d in layers)


def convolutions(layers):
    """Several convolutions, one of them strided."""
    strides = [d.stride_w for d in layers if d.op == Operation.CONV and d.out_tiles > 1]
    return len(strides) > 1 and max(strides) > 1


def first_program(wanted):
    """First random program whose descriptors are as wanted."""
    for seed in range(1000):
        program, x = random_program(seed, CONFIG, cycles=1200, words=350)
        if wanted([Descriptor.from_words(words) for words in program.descriptors]):
            print(f"seed {seed}")
            return program, x, seed
    raise AssertionError("no such program")


PROGRAMS = [
    (partial_sums, 0.3, False),
    (batch, 0.0, False),
    (vector_unit, 0.2, False),
    (convolutions, 0.2, True),
]


@pytest.mark.parametrize(("wanted", "stall", "layerwise"), PROGRAMS)
def test_random_programs_agree_with_the_golden_model(wanted, stall, layerwise):
    program, x, seed = first_program(wanted)
    script = Script(program, x, Random(seed), layerwise=layerwise)
    print(script)
    mismatch = script.check(exchange(script.words, script.answers, seed, stall))
    assert mismatch is None, str(mismatch)


def test_registers_identify_configuration_and_say_when_it_is_idle():
    registers = exchange([0x02000000, 0, 12], 12, 0, 0.2)
    digest = b"".join(word.to_bytes(4, "little") for word in registers[2:10])
    assert registers[:2] == [MAGIC, VERSION]
    assert digest == CONFIG.hash()
    assert registers[10:] == [0, 0]


def test_accelerator_refuses_what_is_no_configuration():
    sentence = "Configuration must be an AcceleratorConfig, not 16"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        Accelerator(16)
