# amaranth: UnusedElaboratable=no
"""The whole accelerator against the golden model, through host streams that stall."""

import re
from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.compile import Descriptor
from steelyard.config import ArrayConfig
from steelyard_hw.accelerator import MAGIC, VERSION, Accelerator
from steelyard_hw.testing import monitor, receive, send
from steelyard_sim.program_case import Script, random_program

CONFIG = ArrayConfig(
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

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(sender, background=True)
    sim.add_testbench(receiver)
    sim.add_process(monitor(dut.i, "i"))
    sim.add_process(monitor(dut.o, "o"))
    sim.run()
    return received


def first_program(wanted, kinds=1):
    """First random program of at least `kinds` layers whose first descriptor is `wanted`."""
    for seed in range(500):
        program, x = random_program(seed, CONFIG, cycles=900, words=350)
        fits = wanted(Descriptor.from_words(program.descriptors[0]))
        if fits and len(program.layers) >= kinds:
            print(f"seed {seed}")
            return program, x, seed
    raise AssertionError("no such program")


PROGRAMS = {
    "partial sums": (lambda d: d.chunks > 2 and d.passes > 1 and d.padded, 1, 0.3, False),
    "batch": (lambda d: d.batch > 2 and d.stride == 2 and d.out_tiles > 2, 1, 0.0, False),
    "several layers": (lambda d: d.chunks and d.out_tiles > 1, 4, 0.2, False),
    "one layer at a time": (lambda d: d.out_tiles > 1, 3, 0.2, True),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_random_programs_agree_with_the_golden_model(name):
    wanted, kinds, stall, layerwise = PROGRAMS[name]
    program, x, seed = first_program(wanted, kinds)
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
    sentence = "Configuration must be an ArrayConfig, not 16"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        Accelerator(16)
