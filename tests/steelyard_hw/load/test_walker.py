# amaranth: UnusedElaboratable=no
"""Tile walker against the geometry of docs/architecture.md, section 4."""

from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.compile import Operation
from steelyard.compile.layers import walk
from steelyard.contract import PRESETS, configure
from steelyard.network import NetworkBuilder, output_size
from steelyard_hw.load.walker import TileWalker
from steelyard_sim.cases.array import layer_bits

LANES = 8
CONFIG = configure("array", lanes=LANES, requantizers=8, activation_words=256)
SMALL = CONFIG.with_(max_side=15, padded_kernel=3)
NARROW = CONFIG.with_(wide_reads=False, shared_taps=False)
EXTERNAL = CONFIG.with_(external_words=1 << 16)
COMPACT = SMALL.with_(**PRESETS["compact"])


def random_window(rng, largest):
    """Map, kernel, stride, padding (top, left, bottom, right) and batch."""
    while True:
        size = rng.randint(1, 13), rng.randint(1, 13)
        kernel = rng.randint(1, largest), rng.randint(1, largest)
        stride = rng.choice([(1, 1), (2, 2), (3, 3), (1, 2), (2, 1), (3, 1)])
        batch = rng.choice([1, 1, 2, 3, 11])
        padding = (0, 0, 0, 0)
        if rng.random() < 0.7:
            padding = tuple(rng.randrange(side) for side in (*kernel, *kernel))
        fits = all(size[n] + padding[n] + padding[n + 2] >= kernel[n] for n in (0, 1))
        if fits:
            return size, kernel, stride, padding, batch


def model(size, kernel, stride, padding, batch, step, longest, skipped):
    """Segments [(origin, lane)] and places (y0, x0) of the valid lanes, for every tile."""
    height, width = output_size(size, kernel, stride, padding)
    places = [
        (y * stride[0] - padding[0], x * stride[1] - padding[1], image)
        for y in range(height)
        for x in range(width)
        for image in range(batch)
    ]
    places = places[skipped:]
    for first in range(0, len(places), LANES):
        tile = places[first : first + LANES]
        origins = [(y * size[1] + x) * batch + image for y, x, image in tile]
        segments, length = [], 0
        for lane, origin in enumerate(origins):
            follows = lane and origin == origins[lane - 1] + step
            if not follows or length == longest:
                segments.append((origin, lane))
                length = 0
            length += 1
        yield segments, [place[:2] for place in tile]


def descriptor(size, kernel, stride, padding, batch):
    builder = NetworkBuilder("n", (1, *size))
    builder.max_pool(kernel, stride=stride, padding=padding)
    network = builder.network()
    return walk(network, network.layers[0], Operation.MAX_POOL, batch, LANES)


@pytest.mark.parametrize(
    "config",
    [CONFIG, SMALL, NARROW, COMPACT, EXTERNAL],
    ids=["large", "small", "narrow", "compact", "external"],
)
@pytest.mark.parametrize("seed", range(4))
def test_segments_and_masks_of_random_geometries(seed, config):
    print(f"seed {seed}")
    rng = Random(seed)
    dut = TileWalker(config)
    taps = config.load.padded_kernel

    async def testbench(ctx):
        for _ in range(12):
            window = random_window(rng, taps)
            print(window)
            await check_layer(ctx, window)

    async def check_layer(ctx, window):
        d = descriptor(*window)
        skipped = 0
        if config.memory.external_words and d.batch == 1:
            skipped = rng.randrange(d.out_w)
            lanes = (d.out_tiles - 1) * LANES + d.last_lanes - skipped
            d = d.but(
                skipped_columns=skipped, skipped_x=skipped * d.stride_w,
                origin=d.origin + skipped * d.stride_w,
                out_tiles=-(-lanes // LANES), last_lanes=(lanes - 1) % LANES + 1,
            )  # fmt: skip
        ctx.set(dut.layer.as_value(), layer_bits(config, d))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        step = 2 if d.step2 else 1
        tiles = list(model(*window, step, longest=config.banks // step, skipped=skipped))
        assert len(tiles) == d.out_tiles
        for tile in tiles:
            waited = 0
            while not ctx.get(dut.ready):
                await ctx.tick()
                waited += 1
                assert waited <= LANES, "a tile takes a cycle a lane"
            for _ in range(rng.choice([0, 0, 3])):
                await ctx.tick()
            if not config.load.ahead:
                await check_tile(ctx, window, *tile)
            ctx.set(dut.take, 1)
            await ctx.tick()
            ctx.set(dut.take, 0)
            if config.load.ahead:
                await check_tile(ctx, window, *tile)
        await ctx.tick().repeat(LANES + 2)
        assert not ctx.get(dut.ready), "more tiles than the layer has"

    async def check_tile(ctx, window, segments, places):
        (height, width), *_ = window
        for _ in range(rng.choice([1, 1, 2 * LANES])):
            number = rng.randrange(len(segments))
            ctx.set(dut.segment, number)
            await ctx.tick()
            assert ctx.get(dut.segments_last) == len(segments) - 1
            assert (ctx.get(dut.origin), ctx.get(dut.lane)) == segments[number]
        masks_x, masks_y = ctx.get(dut.valid_x), ctx.get(dut.valid_y)
        for lane, (y, x) in enumerate(places):
            bits = [lane * taps + tap for tap in range(taps)]
            inside_x = [int(0 <= x + tap < width) for tap in range(taps)]
            inside_y = [int(0 <= y + tap < height) for tap in range(taps)]
            assert [masks_x >> bit & 1 for bit in bits] == inside_x, f"lane {lane}"
            assert [masks_y >> bit & 1 for bit in bits] == inside_y, f"lane {lane}"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()
