# amaranth: UnusedElaboratable=no
"""Sparse array against numpy, with weights, activations and groups that come late."""

from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.config import ArrayConfig
from steelyard_hw.array import SparseArray, array_latency
from steelyard_hw.scheduler import MINIMUM_DRAIN
from steelyard_hw.testing import monitor, send
from steelyard_sim.array_case import BeatChecker, WindowFeeder, layer_bits, random_array_case

SMALL = ArrayConfig(
    lanes=4,
    columns=3,
    group=4,
    requantizers=2,
    window_groups=4,
    activation_words=128,
    parameter_words=48,
    partial_sum_channels=9,
)
CONFIGS = {
    "small": SMALL,
    "one column": SMALL.with_(columns=1, requantizers=4, window_groups=2),
    "slow multipliers": SMALL.with_(multiplier_stages=5),
    "broadcast": SMALL.with_(columns=9, partial_sum_channels=18, activation_words=512),
    "long drain": SMALL.with_(lanes=8, group=8, requantizers=1, window_groups=8),
}
EVENTS = ("issue", "stall_load", "stall_weights", "stall_drain")


def run_case(config, case, rng, weight_stall, window_stall):
    """Simulate a layer, with the checks of every beat; how often each event was counted."""
    dut = SparseArray(config)
    events = dict.fromkeys(EVENTS, 0)
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    async def weights(ctx):
        await ctx.tick().repeat(2)
        await send(ctx, dut.weights, case.items, rng=rng, stall=weight_stall)

    async def windows_and_sums(ctx):
        feeder = WindowFeeder(case, Random(rng.random()), window_stall)
        checker = BeatChecker(case)
        ctx.set(dut.layer.as_value(), layer_bits(config, case.layer))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        quiet = idle = freed = 0
        while quiet < array_latency(config) + MINIMUM_DRAIN:
            valid, address, word, loaded = feeder.step(freed)
            ctx.set(dut.window_valid, valid)
            ctx.set(dut.window_address, address)
            ctx.set(dut.word, word)
            ctx.set(dut.group_loaded, loaded)
            seen = ctx.tick().sample(
                dut.o_valid, dut.o.as_value(), dut.group_free, dut.done, dut.busy,
                *(getattr(dut, name) for name in EVENTS),
            )  # fmt: skip
            _, _, o_valid, o, freed, done, busy, *happened = await seen
            checker.step(o_valid, o)
            assert sum(happened) == (not done), "one event a cycle while the layer runs"
            assert busy or not o_valid
            for name, event in zip(EVENTS, happened, strict=True):
                events[name] += event
            quiet = quiet + 1 if done and not busy else 0
            idle = 0 if o_valid or happened[0] or valid else idle + 1
            assert idle < 500, "the array hangs"
        assert checker.complete

    sim.add_testbench(weights, background=True)
    sim.add_testbench(windows_and_sums)
    sim.add_process(monitor(dut.weights, "weights"))
    sim.run()
    return events


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", CONFIGS)
def test_sums_flags_and_addresses_agree_with_numpy_whatever_the_stalls(name, seed):
    print(f"seed {seed}")
    rng = Random(seed)
    case = random_array_case(seed, CONFIGS[name], work=400)
    print(case)
    stalls = rng.choice([(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
    events = run_case(CONFIGS[name], case, rng, *stalls)
    assert events["issue"] == len(case.items)


def test_each_stall_is_counted_by_its_cause():
    config = CONFIGS["long drain"]
    case = next(
        case
        for case in (random_array_case(seed, config, work=300) for seed in range(100))
        if case.layer.passes > 2
        and case.layer.chunks == 1
        and len(case.items) > 60
        # A pass is over before the sums of the one before have left.
        and case.layer.weight_count < 20 * case.layer.passes
    )
    calm = run_case(config, case, Random(1), 0, 0)
    starved = run_case(config, case, Random(1), 0.7, 0)
    slow = run_case(config, case, Random(1), 0, 0.7)
    assert starved["stall_weights"] > len(case.items) > calm["stall_weights"]
    assert slow["stall_load"] > 2 * calm["stall_load"]
    assert calm["stall_drain"] > 0
