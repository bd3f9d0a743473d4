# amaranth: UnusedElaboratable=no
"""Crossbar tile against the golden crossbar, with weights, activations and drains that stall."""

from random import Random

import pytest
from amaranth import Module, ResetInserter, Signal
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.engines.crossbar import CrossbarConfig
from steelyard_hw.crossbar.counters import UnitCounters
from steelyard_hw.crossbar.tile import CrossbarTile
from steelyard_hw.lib.testing import monitor, send
from steelyard_sim.cases.array import WindowFeeder, layer_bits
from steelyard_sim.cases.tile import CrossbarTileChecker, random_crossbar_tile_case

RESET_CYCLES = 4
"""The shortest reset that there is: that of the link when a session opens."""
EVENTS = ("issue", "stall_load", "stall_weights", "stall_drain")


def run_case(case, rng, weight_stall=0.0, window_stall=0.0, drain_stall=0.0, resets=()):
    """Simulate a layer, with the checks of every beat; how often each event was counted.

    Before that the layer is begun and broken off by a reset after each of so many cycles.
    """
    config = case.config
    dut = CrossbarTile(config)
    counters = UnitCounters(config)
    both = Module()
    both.submodules += [dut, counters]
    both.d.comb += [counters.event.eq(dut.event), counters.start.eq(dut.start)]
    reset = Signal()
    events = dict.fromkeys(EVENTS, 0)
    counts = []
    sim = Simulator(ResetInserter(reset)(both))
    sim.add_clock(1e-6)

    async def weights(ctx):
        for cycles in resets:
            items = iter(case.items)
            ctx.set(dut.weights.valid, 1)
            ctx.set(dut.weights.payload, next(items))
            for _ in range(cycles + RESET_CYCLES):
                _, _, ready = await ctx.tick().sample(dut.weights.ready)
                if ready:
                    ctx.set(dut.weights.payload, next(items, 0))
            ctx.set(dut.weights.valid, 0)
        await ctx.tick().repeat(2)
        await send(ctx, dut.weights, case.items, rng=rng, stall=weight_stall)

    async def part(ctx, cycles):
        """The layer from its start, up to a number of cycles."""
        feeder = WindowFeeder(case, Random(rng.random()), window_stall)
        checker = CrossbarTileChecker(case)
        ctx.set(dut.layer.as_value(), layer_bits(config, case.layer))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        quiet = idle = freed = 0
        while quiet < 20 and cycles:
            cycles -= 1
            valid, address, word, loaded = feeder.step(freed)
            ctx.set(dut.window_valid, valid)
            ctx.set(dut.window_address, address)
            ctx.set(dut.word, word)
            ctx.set(dut.group_loaded, loaded)
            ready = rng.random() >= drain_stall
            ctx.set(dut.o_ready, ready)
            seen = ctx.tick().sample(
                dut.o_valid, dut.o.as_value(), dut.group_free, dut.done, dut.busy,
                *(getattr(dut, name) for name in EVENTS),
            )  # fmt: skip
            _, _, o_valid, o, freed, done, busy, *happened = await seen
            if o_valid and ready:
                checker.step(o)
            assert sum(happened) == (not done), "one event a cycle while the layer runs"
            for name, event in zip(EVENTS, happened, strict=True):
                events[name] += event
            quiet = quiet + 1 if done and not busy else 0
            idle = 0 if o_valid or happened[0] or valid else idle + 1
            assert idle < 500, "the tile hangs"
        return checker

    async def windows_and_sums(ctx):
        for cycles in resets:
            await part(ctx, cycles)
            ctx.set(reset, 1)
            await ctx.tick().repeat(RESET_CYCLES)
            ctx.set(reset, 0)
            events.update(dict.fromkeys(EVENTS, 0))
        checker = await part(ctx, -1)
        assert checker.complete
        for number in range(8):
            ctx.set(counters.store_address, number)
            ctx.set(counters.store, 1)
            await ctx.tick()
            ctx.set(counters.store, 0)
            ctx.set(counters.host.address, number)
            words = []
            for sub in range(2):
                ctx.set(counters.host.sub, sub)
                await ctx.tick().repeat(3)
                words.append(ctx.get(counters.host.result))
            counts.append(words[0] | words[1] << 32)

    sim.add_testbench(weights, background=True)
    sim.add_testbench(windows_and_sums)
    if not resets:
        sim.add_process(monitor(dut.weights, "weights"))
    sim.run()
    assert tuple(counts) == (*case.counts, *[0] * (8 - len(case.counts)))
    return events


@pytest.mark.parametrize("seed", range(10))
def test_sums_and_counts_of_random_layers_on_random_tiles(seed):
    case = random_crossbar_tile_case(seed, cycles=600, cells=120)
    print(case)
    rng = Random(seed)
    stalls = rng.choice([(0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0.3, 0.3, 0.5)])
    run_case(case, rng, *stalls)


@pytest.mark.parametrize("seed", range(8))
def test_units_form_of_rows_with_a_bit_on_random_tiles(seed):
    """Rows wait over two items and more, on each lane by itself; half of the converters stop."""
    case, number = None, 100 * seed
    while case is None:
        number += 1
        found = random_crossbar_tile_case(4 * number + 2 + seed % 2, cycles=300, cells=60)
        unit = found.config.engine.crossbar
        tall = max((len(block.rows) for block in found.mapping.blocks), default=0)
        # Where sums matter that are converted together: an ideal converter hides that.
        lossy = not unit.adc_is_ideal and unit.ou_rows > 1
        if tall > 2 * unit.ou_rows and unit.steps > 1 and found.counts[0] and lossy:
            case = found
    assert unit.dynamic and (unit.adc_resolve == "reach") == bool(seed % 2)
    print(case)
    rng = Random(seed)
    stalls = rng.choice([(0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0.3, 0.3, 0.5)])
    run_case(case, rng, *stalls, resets=[60] if seed == 2 else ())


DENSE = configure(
    "crossbar",
    lanes=4,
    group=8,
    requantizers=4,
    window_groups=16,
    activation_words=256,
    parameter_words=48,
    partial_sum_channels=24,
    crossbar=CrossbarConfig(cell_bits=2),
)


@pytest.mark.parametrize("adc_bits", [2, 3])
def test_a_converter_of_few_bits_saturates(adc_bits):
    unit = CrossbarConfig(
        rows=16, columns=16, ou_rows=6, ou_columns=16, cell_bits=2, adc_bits=adc_bits,
        adc_range="unit",
    )  # fmt: skip
    # A bitline's sum reaches 18, a code only 3 or 7.
    assert unit.adc_shift == 0 and unit.greatest_sum > 2 * (1 << adc_bits)
    config = DENSE.with_(crossbar=unit)
    case = next(
        case
        for case in (random_crossbar_tile_case(seed, config, cycles=500) for seed in range(1000))
        if case.mapping.mapping == "traditional"
        and case.counts[1] == 0
        and case.windows.shape[1] > 5
        and (case.sums[:, :, : case.layer.last_lanes] != 0).all()
    )
    print(case)
    run_case(case, Random(1))


def test_reaches_of_single_cells_are_counted_item_by_item():
    """Where they are known sooner than the steps, and an item takes a cycle."""
    unit = CrossbarConfig(
        rows=4, columns=4, ou_rows=1, ou_columns=1, cell_bits=8, dac_bits=8, adc_bits=16,
        signed="offset", adc_resolve="reach",
    )  # fmt: skip
    config = DENSE.with_(crossbar=unit)
    case = next(
        case
        for case in (random_crossbar_tile_case(seed, config, cycles=300) for seed in range(1000))
        if case.counts[5] and case.counts[0] > 100 and case.layer.passes > 8
    )
    print(case)
    run_case(case, Random(1))


def test_operation_units_follow_each_other_without_a_gap():
    case = next(
        case
        for case in (random_crossbar_tile_case(seed, DENSE, cycles=700) for seed in range(1000))
        if case.mapping.mapping == "traditional"
        and case.counts[1] == 0
        and case.windows.shape[1] > DENSE.engine.crossbar.ou_rows
        and case.layer.passes > 8
    )
    print(case)
    tiles = case.layer.out_tiles
    events = run_case(case, Random(1))
    assert events["issue"] == tiles * case.mapping.operation_units * DENSE.engine.crossbar.steps
    # Only the first window of the layer is waited for, and between tiles the sums' way out.
    assert events["stall_load"] + events["stall_weights"] < case.windows.shape[1] + 10
    drain = case.layer.passes * max(DENSE.drain_beats, 2)
    assert events["stall_drain"] < tiles * (drain + 32)


def dense_case(units):
    """Layer of at least so many operation units a tile, without skipped steps."""
    return next(
        case
        for case in (random_crossbar_tile_case(seed, DENSE, cycles=700) for seed in range(1000))
        if case.counts[1] == 0
        and case.mapping.operation_units >= units
        and case.layer.passes > 8
        and case.layer.out_tiles == 2
    )


def test_each_stall_is_counted_by_its_cause():
    case = dense_case(8)
    print(case)
    calm = run_case(case, Random(1))
    starved = run_case(case, Random(1), weight_stall=0.95)
    slow = run_case(case, Random(1), window_stall=0.9)
    blocked = run_case(case, Random(1), drain_stall=0.9)
    print(calm, starved, slow, blocked, sep="\n")
    # The work is the same whatever it waits for, and what it waits for is what grows.
    for events, cause in (
        (starved, "stall_weights"),
        (slow, "stall_load"),
        (blocked, "stall_drain"),
    ):
        assert events["issue"] == calm["issue"]
        others = set(EVENTS) - {cause, "issue"}
        assert events[cause] > calm[cause] + 5 * sum(
            abs(events[other] - calm[other]) for other in others
        ), cause


def test_a_reset_in_mid_layer_leaves_no_sums_behind():
    """The layer begins at once after the reset, while the memory of the sums holds rubbish."""
    case = dense_case(8)
    cycles = case.mapping.operation_units * DENSE.engine.crossbar.steps
    rng = Random(3)
    # In the midst of the work, and while the first tile's sums leave.
    resets = [*sorted(rng.sample(range(40, cycles), 3)), cycles + 30]
    run_case(case, rng, resets=resets)
