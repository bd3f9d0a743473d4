"""Cycle model against the counters of the compiled gateware: equal to the cycle, layer by layer."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import Descriptor, compile, cycles
from steelyard.contract import AcceleratorConfig, configure
from steelyard.contract.descriptor import Operation
from steelyard.contract.registers import COUNTERS, Space
from steelyard.driver.port import HostPort
from steelyard.network.random import KINDS, random_network
from steelyard_sim import open_transport

SMALL = configure(
    "array", lanes=4, columns=4, requantizers=2, weight_words=16384, external_words=1 << 16
)
"""Fast drains: columns share a least interval between passes. Layers may begin within a row."""
SLOW = configure(
    "array",
    lanes=8,
    columns=3,
    group=8,
    requantizers=1,
    window_groups=4,
    weight_words=16384,
    partial_sum_channels=48,
)
"""Eight beats a column and a ring of few groups: drains and loads hold up the array."""
SERIAL = configure(
    "array",
    "compact",
    lanes=4,
    columns=4,
    requantizers=1,
    accumulator_bits=20,
    window_groups=16,
    weight_words=16384,
    activation_words=1024,
    partial_sum_channels=64,
    max_side=63,
    padded_kernel=3,
    vector_bits=16,
    link_words=256,
)
"""Of a small device: every beat takes 16 cycles."""


def drawn(rng: np.random.Generator, config: AcceleratorConfig) -> Descriptor:
    """Random layer whose time does not depend on what the memories hold: all addresses are zero."""
    # Compact configurations cannot add.
    op = Operation(rng.choice(4, p=[0.55, 0.15, 0.15, 0.15]) % (3 + config.vector.additions))
    # Apart, so that the other draws do not depend on what a configuration has.
    (own,) = rng.spawn(1)
    if op == Operation.ADD and config.vector.products and own.random() < 0.5:
        op = Operation.MUL
    stride, batch = int(rng.choice([1, 1, 2, 3])), int(rng.choice([1, 1, 2, 3, 7]))
    down = int(own.choice([1, 2])) if own.random() < 0.2 else stride
    in_w = int(rng.integers(1, 24))
    out_w = int(rng.choice([in_w, -(-in_w // stride), max(in_w - 2, 1)]))
    kernel_h, kernel_w = (1, 1) if op.joins else (int(n) for n in rng.integers(1, 5, 2))
    channels = int(rng.integers(1, rng.choice([3, 10, 25])))
    base = Descriptor(
        op=op,
        table=int(config.output.tables and own.random() < 0.3),
        step2=int(batch == 1 and stride == 2),
        out_tiles=int(rng.choice([1, 2, 5, 30, 80])),
        last_lanes=int(rng.integers(1, config.engine.lanes + 1)),
        batch=batch,
        out_w=out_w,
        delta_pixel=stride * batch - (batch - 1),
        delta_row=(down * in_w - (out_w - 1) * stride) * batch - (batch - 1),
        in_w=in_w,
        in_h=5,
        stride_w=stride,
        stride_h=down,
        kernel_w=kernel_w,
        kernel_h=kernel_h,
        in_channels=channels,
    )
    if config.memory.external_words and batch == 1 and own.random() < 0.5:
        skipped = int(own.integers(out_w))
        base = base.but(skipped_columns=skipped, skipped_x=skipped * stride)
    if op != Operation.CONV:
        return base
    if config.engine.window_lanes > config.engine.lanes and own.random() < 0.2:
        channels = -(-channels // config.engine.group) * config.engine.group
        step = int(own.choice([1, 2]))
        out_w = in_w if step == 1 else int(own.integers(1, (in_w + 1) // 2 + 1))
        base = replace(
            base, shared=1, step2=step - 1, batch=1, out_w=out_w, delta_pixel=step,
            delta_row=step * in_w - (out_w - 1) * step, x_origin=-1, kernel_w=1,
            stride_w=step, stride_h=step, in_channels=channels,
            skipped_columns=0, skipped_x=0,
        )  # fmt: skip
        if config.memory.external_words and own.random() < 0.5:
            skipped = int(own.integers(out_w))
            base = base.but(skipped_columns=skipped, skipped_x=skipped * step)
        kernel_w = 1
    positions = kernel_h * kernel_w * channels
    groups = -(-positions // config.engine.group)
    last_positions = positions - (groups - 1) * config.engine.group
    k = int(rng.integers(1, config.engine.group + 1))
    ring = config.engine.window_groups // base.ring
    chunk_groups = int(rng.integers(1, min(groups, ring) + 1))
    if groups <= ring and rng.random() < 0.3:
        chunk_groups = groups
    chunks = -(-groups // chunk_groups)
    passes = int(rng.choice([1, 1, 2, 3, 6]))
    return replace(
        base,
        chunk_groups=chunk_groups,
        last_chunk_groups=groups - (chunks - 1) * chunk_groups,
        chunks=chunks,
        last_positions=last_positions,
        k=k,
        k_last=min(k, last_positions),
        passes=passes,
        last_columns=int(rng.integers(1, config.engine.columns + 1)),
        fused=int(config.fuses_additions and own.random() < 0.3),
        weight_count=passes * ((groups - 1) * k + min(k, last_positions)) * base.taps,
    )


@pytest.fixture(scope="module", params=[SMALL, SLOW, SERIAL], ids=["small", "slow", "serial"])
def config(request: pytest.FixtureRequest) -> AcceleratorConfig:
    return request.param


@pytest.fixture(scope="module")
def port(config: AcceleratorConfig) -> Iterator[HostPort]:
    transport = open_transport("", config)
    yield HostPort(transport, 600)
    transport.close()


def measured(port: HostPort, layers: list[Descriptor]) -> list[dict[str, int]]:
    """Counters of layers, run by one START."""
    words = np.array([d.words(f"layer {n}") for n, d in enumerate(layers)])
    port.write(Space.DESCRIPTORS, 0, words)
    port.run(0, len(layers))
    counters = port.read(Space.COUNTERS, 0, len(layers) * len(COUNTERS)).reshape(-1, len(COUNTERS))
    return [dict(zip(COUNTERS, row, strict=True)) for row in counters.tolist()]


@pytest.mark.parametrize("seed", range(6))
def test_random_descriptors_take_exactly_the_predicted_cycles(config, port, seed):
    rng = np.random.default_rng(seed)
    layers = [drawn(rng, config) for _ in range(24)]
    found = measured(port, layers)
    for layer, counters in zip(layers, found, strict=True):
        assert cycles.predict(layer, config) == counters["cycles"], layer
        assert cycles.predict_counters(layer, config) == counters, layer
    assert cycles.predict_total(layers, config) == port.total_cycles()


def test_random_descriptors_are_held_up_by_loads_and_by_drains(config, port):
    rng = np.random.default_rng(0)
    found = measured(port, [drawn(rng, config) for _ in range(48)])
    serial = config.output.requantizer_cycles > 1
    for cause in ("stall_drain",) if serial else ("stall_load", "stall_drain"):
        assert sum(c[cause] > c["cycles"] // 4 for c in found) >= 3


@pytest.mark.parametrize(("seed", "batch", "k"), [(2, 1, "auto"), (3, 2, "auto"), (5, 3, "dense")])
def test_compiled_networks_take_exactly_the_predicted_cycles(config, seed, batch, k):
    kinds = (
        KINDS if config.output.requantizer_cycles == 1 else tuple(k for k in KINDS if k != "add")
    )
    network = random_network(
        seed,
        kinds=kinds,
        layers=7,
        max_pixels=60,
        max_channels=12,
        max_kernel=config.load.padded_kernel,
        group=config.engine.group,
    )
    program = compile(network, config, batch=batch, k=k)
    with driver.open("sim", config=config) as device:
        device.load(program)
        device.infer(np.zeros((batch, *program.input.shape), np.int8))
        for entry, counters in zip(program.layers, device.counters(), strict=True):
            assert entry.predicted_cycles == counters.cycles, entry.name
            own = program.descriptors[entry.first : entry.first + entry.count]
            expected = Counter(dict.fromkeys(COUNTERS, 0))
            for words in own:
                expected.update(cycles.predict_counters(Descriptor.from_words(words), config))
            assert {name: getattr(counters, name) for name in COUNTERS} == expected, entry.name
        layers = [Descriptor.from_words(words) for words in program.descriptors]
        assert cycles.predict_total(layers, config) == device.cycles
        assert cycles.predict_program(program) == device.cycles


def test_skipped_periods_add_their_cycles():
    layer = drawn(np.random.default_rng(1), SMALL)
    layer = replace(layer, op=Operation.MAX_POOL, stride_w=2, in_w=23, out_w=11, batch=1, step2=1)
    # After 11 tiles of 4 lanes the walk over rows of 11 pixels repeats.
    few, more, most = (
        cycles.predict(replace(layer, out_tiles=5 + 11 * periods), SMALL)
        for periods in (3, 4, 100_003)
    )
    assert most - few == 100_000 * (more - few)


@pytest.mark.parametrize("cause", ["stall_load", "stall_drain"])
def test_skipped_periods_add_their_waits(cause):
    rng = np.random.default_rng(2)
    grown = 0
    for layer in [drawn(rng, SLOW) for _ in range(60)]:
        if layer.op == Operation.CONV:
            # After 11 tiles of 8 lanes the walk over rows of 11 pixels repeats.
            layer = replace(layer, shared=0, step2=0, out_w=11, batch=1, fused=0)
            few, more, most = (
                cycles.predict_counters(replace(layer, out_tiles=22 + 11 * periods), SLOW)
                for periods in (3, 4, 100_003)
            )
            for name in COUNTERS:
                assert most[name] - few[name] == 100_000 * (more[name] - few[name]), name
            grown += more[cause] > few[cause]
    assert grown > 3


@pytest.mark.parametrize(
    ("op", "kernel", "batch", "cause"),
    [
        (Operation.MAX_POOL, 2, 1, "segments"),
        (Operation.AVG_POOL, 3, 1, "segments"),
        (Operation.MAX_POOL, 1, 4, "drain"),
        (Operation.ADD, 1, 4, "drain"),
    ],
)
def test_what_the_vector_unit_does_not_wait_for_is_the_same_for_all_lengths(
    op, kernel, batch, cause
):
    # Three columns apart; or one plane after the other.
    apart = 3 * batch - (batch - 1) if cause == "segments" else 1
    layer = Descriptor(
        op=op, out_tiles=3, last_lanes=8, batch=batch, out_w=20, delta_pixel=apart,
        delta_row=apart, in_w=60, in_h=20, stride_w=3, stride_h=1, kernel_w=kernel,
        kernel_h=kernel, in_channels=9,
    )  # fmt: skip
    rests = set()
    for channels in (9, 17, 40):
        for tiles in (3, 5, 200):
            d = replace(layer, in_channels=channels, out_tiles=tiles)
            load, drain = cycles.vector_waits(d, SLOW)
            words = channels * tiles * kernel**2 * (1 + (op == Operation.ADD))
            assert (load > 0, drain > 0) == (cause == "segments", cause == "drain")
            rests.add(cycles.predict(d, SLOW) - words - load - drain)
    assert len(rests) == 1
