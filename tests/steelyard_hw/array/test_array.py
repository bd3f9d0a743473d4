# amaranth: UnusedElaboratable=no
"""Sparse array against numpy, with weights, activations and groups that come late."""

from random import Random

import pytest
from amaranth import ResetInserter, Signal
from amaranth.sim import Simulator

from steelyard.contract import PRESETS, configure
from steelyard.contract.latencies import MINIMUM_DRAIN, array_latency
from steelyard_hw.array.array import SparseArray
from steelyard_hw.lib.testing import monitor, send
from steelyard_sim.cases.array import (
    BeatChecker,
    BeatTaker,
    WindowFeeder,
    layer_bits,
    random_array_case,
)

SMALL = configure(
    "array",
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
    "compact": SMALL.with_(**PRESETS["compact"]),
    "a tap a word": SMALL.with_(shared_taps=False),
    "shared, no registers that carry": SMALL.with_(carry_registers=False),
}
RESET_CYCLES = 4
"""The shortest reset that there is: that of the link when a session opens."""
EVENTS = ("issue", "stall_load", "stall_weights", "stall_drain")


def run_case(config, case, rng, weight_stall, window_stall, drain_stall=0.0, resets=()):
    """Simulate a layer, with the checks of every beat; how often each event was counted.

    Before that the layer is begun and broken off by a reset after each of so many cycles.
    """
    dut = SparseArray(config)
    reset = Signal()
    events = dict.fromkeys(EVENTS, 0)
    sim = Simulator(ResetInserter(reset)(dut))
    sim.add_clock(1e-6)

    async def part(ctx, cycles):
        """The layer from its start, up to a number of cycles."""
        shares = config.engine.shared_taps
        outside = case.outside if shares else ()
        feeder = WindowFeeder(case, Random(rng.random()), window_stall, outside)
        taker = BeatTaker(config, Random(rng.random()), drain_stall)
        checker = BeatChecker(case)
        ctx.set(dut.layer.as_value(), layer_bits(config, case.layer))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        quiet = idle = freed = waited = silent = 0
        while quiet < array_latency(config) + MINIMUM_DRAIN and cycles:
            cycles -= 1
            valid, address, word, loaded = feeder.step(freed)
            ctx.set(dut.window_valid, valid)
            ctx.set(dut.window_address, address)
            ctx.set(dut.word, word)
            ctx.set(dut.group_loaded, loaded)
            if shares:
                for name, value in zip(("valid", "slot", "outside"), feeder.edges, strict=True):
                    ctx.set(getattr(dut.edges, name), value)
            ready = taker.ready(waited)
            ctx.set(dut.o_ready, ready)
            seen = ctx.tick().sample(
                dut.o_valid, dut.o.as_value(), dut.group_free, dut.done, dut.busy,
                *(getattr(dut, name) for name in EVENTS),
            )  # fmt: skip
            _, _, o_valid, o, freed, done, busy, *happened = await seen
            checker.step(o_valid and ready, o)
            waited = waited + 1 if o_valid and not ready else 0
            assert sum(happened) <= (not done)
            silent += (not done) - sum(happened)
            assert busy or not o_valid
            for name, event in zip(EVENTS, happened, strict=True):
                events[name] += event
            quiet = quiet + 1 if done and not busy else 0
            idle = 0 if o_valid or happened[0] or valid else idle + 1
            assert idle < 500, "the array hangs"
        return checker, silent

    async def windows_and_sums(ctx):
        for cycles in resets:
            await part(ctx, cycles)
            ctx.set(reset, 1)
            await ctx.tick().repeat(RESET_CYCLES)
            ctx.set(reset, 0)
            events.update(dict.fromkeys(EVENTS, 0))
        checker, silent = await part(ctx, -1)
        assert checker.complete
        # Compact columns take a cycle for each capture but the last; else one event a cycle.
        captures = case.layer.out_tiles * case.layer.chunks * case.layer.passes
        assert silent == (captures - 1) * (not config.engine.carry_registers)

    async def weights(ctx):
        for cycles in resets:
            # Another testbench's clock edge is this one's too: the reset comes one later.
            sender = iter(case.items)
            ctx.set(dut.weights.valid, 1)
            ctx.set(dut.weights.payload, next(sender))
            for _ in range(cycles + RESET_CYCLES):
                _, _, ready = await ctx.tick().sample(dut.weights.ready)
                if ready:
                    ctx.set(dut.weights.payload, next(sender))
            ctx.set(dut.weights.valid, 0)
        await ctx.tick().repeat(2)
        await send(ctx, dut.weights, case.items, rng=rng, stall=weight_stall)

    async def taken(ctx):
        # What was offered a cycle ago, whether it was taken or not.
        async for _, _, item in ctx.tick().sample(dut.weights.payload):
            ctx.set(dut.taken, item)

    sim.add_testbench(weights, background=True)
    if "taken" in dut.signature.members:
        sim.add_process(taken)
    sim.add_testbench(windows_and_sums)
    if not resets:
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
    stalls = rng.choice([(0, 0, 0), (0.5, 0, 0.7), (0, 0.5, 0.7), (0.3, 0.3, 0.3)])
    events = run_case(CONFIGS[name], case, rng, *stalls)
    assert events["issue"] == len(case.items)


@pytest.mark.parametrize("name", ["small", "one column", "broadcast", "long drain"])
@pytest.mark.parametrize("chunked", [False, True])
def test_two_groups_of_words_may_serve_three_taps(name, chunked):
    case = next(
        case
        for case in (random_array_case(seed, CONFIGS[name], work=400) for seed in range(1000))
        if case.layer.ring > 1 and (case.layer.chunks > 1) == chunked and case.layer.passes > 1
    )
    print(case)
    for stalls in ((0, 0), (0.3, 0.3)):
        events = run_case(CONFIGS[name], case, Random(1), *stalls)
        assert events["issue"] == len(case.items)


@pytest.mark.parametrize("chunked", [False, True])
def test_the_last_group_may_have_a_single_weight_where_the_others_have_more(chunked):
    case = next(
        case
        for case in (random_array_case(seed, SMALL, work=200) for seed in range(1000))
        if case.layer.k_last == 1 < case.layer.k
        and (case.layer.chunks > 1) == chunked
        and case.layer.last_chunk_groups > 1
        and case.layer.passes > 1
    )
    print(case)
    events = run_case(SMALL, case, Random(1), 0, 0)
    assert events["issue"] == len(case.items)


@pytest.mark.parametrize("name", ["small", "compact", "broadcast"])
def test_a_reset_in_mid_layer_leaves_nothing_behind(name):
    seed = 2
    print(f"seed {seed}")
    config, rng = CONFIGS[name], Random(seed)
    case = next(
        case
        for case in (random_array_case(seed, config, work=300) for seed in range(100))
        if case.layer.chunks > 1 and case.layer.passes > 1 and len(case.items) > 150
    )
    resets = sorted(rng.sample(range(20, 140), 4))
    run_case(config, case, rng, 0.0, 0.0, resets=resets)


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
