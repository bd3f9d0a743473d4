# amaranth: UnusedElaboratable=no
"""The accelerator with the crossbar tile against the golden crossbar."""

from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.engines.crossbar import CrossbarConfig, DeviceEffects
from steelyard.network import golden
from steelyard_hw.accelerator import Accelerator
from steelyard_hw.lib.testing import receive, send
from steelyard_sim.cases.tile import CrossbarTileScript, random_crossbar_tile_program

CONFIG = configure(
    "crossbar",
    lanes=4,
    group=4,
    requantizers=2,
    window_groups=64,
    activation_words=256,
    weight_words=512,
    parameter_words=48,
    partial_sum_channels=16,
    max_layers=8,
    crossbar=CrossbarConfig(rows=16, columns=16, adc_bits=4, cell_bits=4),
)
STOPS = CONFIG.with_(crossbar=CONFIG.engine.crossbar.with_(adc_resolve="reach"))
IDEAL = STOPS.with_(crossbar=STOPS.engine.crossbar.with_(adc_bits=8))
PATIENCE = 40_000
"""Cycles that no program of these tests needs."""


def exchange(config, words, answers, seed, stall):
    """Send words to a fresh accelerator and return its answers."""
    dut = Accelerator(config)
    received = []

    async def sender(ctx):
        await send(ctx, dut.i, words, rng=Random(seed), stall=stall)

    async def receiver(ctx):
        received.extend(await receive(ctx, dut.o, answers, rng=Random(seed + 1), stall=stall))

    async def watchdog(ctx):
        for _ in range(PATIENCE):
            await ctx.tick()
        raise AssertionError(f"{len(received)} answers after {PATIENCE} cycles: it hangs")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(watchdog, background=True)
    sim.add_testbench(sender, background=True)
    sim.add_testbench(receiver)
    sim.run()
    return received


@pytest.mark.parametrize(("seed", "config"), [(0, CONFIG), (1, CONFIG), (5, IDEAL)])
def test_random_programs_agree_with_the_golden_crossbar(seed, config):
    program, x = random_crossbar_tile_program(seed, config, cycles=2500, words=1500)
    script = CrossbarTileScript(program, x, Random(seed), layerwise=bool(seed % 2))
    print(script)
    mismatch = script.check(exchange(config, script.words, script.answers, seed, 0.1))
    assert mismatch is None, str(mismatch)
    if config.engine.crossbar.adc_is_ideal:
        expected = golden.run(program.network, x)
        assert (script.result.output == expected).all()


def test_cells_with_device_effects_agree_with_the_golden_crossbar():
    program, x = random_crossbar_tile_program(2, STOPS, cycles=1500, words=1200)
    effects = DeviceEffects(
        seed=3, stuck_at_zero=30_000, stuck_at_one=30_000, deviating=300_000, deviation=2
    )
    worn = compile(
        program.network,
        STOPS,
        batch=program.batch,
        mapping=program.settings.mapping,
        effects=effects,
    )
    script = CrossbarTileScript(worn, x, Random(2))
    assert (script.result.output != program.golden(x)[program.network.output]).any()
    mismatch = script.check(exchange(STOPS, script.words, script.answers, 2, 0.0))
    assert mismatch is None, str(mismatch)
