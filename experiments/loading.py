"""Compares ways to load activations faster: cycles of known networks, and logic on an ECP5.

    python experiments/loading.py                    # cycles of every network under each candidate
    python experiments/loading.py --layers resnet8   # layer by layer
    python experiments/loading.py --whole resnet8    # all its cycles, as compiled RTL counts them
    python experiments/loading.py --logic            # cells of the parts that candidates change

Cycles are a bound: of each tile the greatest of loading, multiplying and draining, without what
begins and ends a layer. The first columns are exact, of the cycle model: without shared taps and
wide reads, and as the gateware is built. K is 4 of 16, except that the first layer and depthwise
ones keep all weights.
"""

import argparse
import collections
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from loading_logic import PARTS, cells

from steelyard import driver
from steelyard.compile import compile
from steelyard.compile.cycles import predict_program
from steelyard.compile.plans import planned
from steelyard.contract import configure
from steelyard.contract.descriptor import Operation
from steelyard.engines.timing import segments
from steelyard.network import NetworkBuilder
from steelyard.network.random import random_input
from steelyard_cli.bench import networks as bench

SHAPE = {"engine": "array", "lanes": 16, "columns": 16, "requantizers": 8}
MEMORIES = {"activation_words": 1 << 18, "weight_words": 1 << 20, "parameter_words": 16384}


class Random(NetworkBuilder):
    """Network under construction with random weights."""

    def __init__(self, name, shape):
        super().__init__(name, shape, zero_point=-128)
        self._rng = np.random.default_rng(0)

    def layer(self, source, channels, kernel, stride=1, k=4, depthwise=False):
        inputs = self.tensors[source].shape[0]
        shape = (channels, 1 if depthwise else inputs, kernel, kernel)
        # A depthwise group along (ky, kx, ic) holds one weight whatever is kept.
        weight = bench.balanced_weight(self._rng, shape, None if depthwise else k)
        return self.conv(weight, source, multiplier=1 << 20, shift=31, stride=stride,
                         padding=kernel // 2, groups=inputs if depthwise else 1)  # fmt: skip


def demo():
    """The shape of the demo network, 1x28x28."""
    net = Random("demo", (1, 28, 28))
    last = net.max_pool(2, net.layer("input", 16, 3), stride=2)
    last = net.layer(last, 32, 3)
    y = net.layer(net.layer(last, 32, 3), 32, 3)
    last = net.add(y, last, multipliers=(3 << 20,) * 2, shift=22)
    last = net.layer(last, 64, 3, 2)
    y = net.layer(net.layer(last, 64, 3), 64, 3)
    last = net.add(y, last, multipliers=(3 << 20,) * 2, shift=22)
    last = net.avg_pool(7, last, multiplier=1 << 20, shift=26)
    weight = bench.balanced_weight(np.random.default_rng(1), (10, 64, 1, 1), 4)
    net.fully_connected(weight, last, multiplier=1 << 20, shift=31)
    return net.network()


def mobilenet():
    """MobileNetV1 at 224x224 to its last convolution."""
    net = Random("mobilenet", (3, 224, 224))
    last = net.layer("input", 32, 3, 2, k=None)
    widths = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5,
              (1024, 2), (1024, 1)]  # fmt: skip
    for width, stride in widths:
        inputs = net.tensors[last].shape[0]
        last = net.layer(last, inputs, 3, stride, depthwise=True)
        last = net.layer(last, width, 1)
    return net.network()


NETWORKS = {
    "resnet8": lambda: (bench.resnet8(4), 1),
    "resnet8 batch 4": lambda: (bench.resnet8(4), 4),
    "demo": lambda: (demo(), 1),
    "vgg16@32": lambda: (bench.vgg16(32, 4), 1),
    "resnet18@224": lambda: (bench.resnet18(4), 1),
    "mobilenet@224": lambda: (mobilenet(), 1),
}


@dataclass(frozen=True)
class Way:
    """A candidate.

    Members
    -------
    wide : twice as many banks as lanes: lanes of stride 2 come from one read
    taps, taps2 : three taps of a row from one word, at stride 1; at stride 2 from two
    writes : words that a window memory takes a cycle
    rows : rows that the tile below uses too stay in the window
    split : tiles that share the columns
    """

    wide: bool = False
    taps: bool = False
    taps2: bool = False
    writes: int = 1
    rows: bool = False
    split: int = 1


WAYS = {
    "today": Way(),
    "W": Way(wide=True),
    "A": Way(wide=True, taps=True),
    "A2": Way(wide=True, taps=True, taps2=True),
    "B": Way(wide=True, writes=2),
    "C": Way(wide=True, rows=True),
    "A+C": Way(wide=True, taps=True, rows=True),
    "A2+C": Way(wide=True, taps=True, taps2=True, rows=True),
    "D 32x8": Way(wide=True, split=2),
    "D 64x4": Way(wide=True, split=4),
    "A+D": Way(wide=True, taps=True, split=2),
}


def reads(d, lanes, wide):
    """Aligned reads of a word, of all tiles together."""
    if not d.step2 or not wide:
        shape = SimpleNamespace(engine=SimpleNamespace(lanes=lanes), banks=lanes)
        return int(segments(d, shape).sum())
    # A run of lanes that lie two pixels apart comes from one read: runs end with a row.
    lane = np.arange(d.out_tiles * lanes)[: (d.out_tiles - 1) * lanes + d.last_lanes]
    return int(((lane % lanes == 0) | (lane % d.out_w == 0)).sum())


def loads(d, way, lanes):
    """Cycles in which words are loaded, of all tiles together."""
    groups = (d.chunks - 1) * d.chunk_groups + d.last_chunk_groups
    positions = (groups - 1) * 16 + d.last_positions
    words = reads(d, lanes, way.wide)
    row = d.out_w * d.batch
    three = d.kernel_w == 3 and d.in_channels % 16 == 0 and d.batch == 1 and d.padded
    if way.taps and three and d.stride_w == d.stride_h == 1:
        positions //= 3
    elif way.taps2 and three and d.stride_w == d.stride_h == 2:
        positions = positions * 2 // 3
    share = 1.0
    rows = max(1, lanes // row)
    if way.rows and d.kernel_h > 1 and (row % lanes == 0 or lanes % row == 0):
        new = min(d.kernel_h, rows * d.stride_h)
        held = positions // 16 * (1 + new / d.kernel_h)
        strips = max(1, row // lanes)
        if d.in_channels * d.kernel_w % 16 == 0 and held <= 32:
            later = d.out_tiles - strips
            share = (strips + later * new / d.kernel_h) / d.out_tiles
    return words * -(-positions // way.writes) * share


def bound(d, way, config):
    """Cycles of a descriptor under a candidate."""
    lanes, columns = config.engine.lanes * way.split, config.engine.columns // way.split
    if d.op != Operation.CONV:
        return None
    channels = (d.passes - 1) * config.engine.columns + d.last_columns
    groups = (d.chunks - 1) * d.chunk_groups + d.last_chunk_groups
    slots = (groups - 1) * d.k + d.k_last
    pixels = (d.out_tiles - 1) * config.engine.lanes + d.last_lanes
    tiles = -(-pixels // lanes)
    if way.split > 1:
        d = d.__class__(**{**d.__dict__, "out_tiles": tiles,
                           "last_lanes": pixels - (tiles - 1) * lanes})  # fmt: skip
    passes = -(-channels // columns)
    drain = d.chunks * channels * (lanes // config.output.requantizers)
    return max(loads(d, way, lanes), tiles * passes * slots, tiles * drain)


def network_cycles(network, batch, layers):
    built = configure(**SHAPE, **MEMORIES, max_layers=1024)
    config = built.with_(wide_reads=False, shared_taps=False)
    plans = planned(network, config, batch, {}).plans
    now = planned(network, built, batch, {}).plans
    totals, exact, others = collections.Counter(), collections.Counter(), 0
    for plan, own_now in zip(plans, now, strict=True):
        descriptors = [step.descriptor for step in plan.steps]
        if not descriptors or descriptors[0].op != Operation.CONV:
            others += plan.predicted_cycles
            continue
        taken = {"before": plan.predicted_cycles, "built": own_now.predicted_cycles}
        exact.update(taken)
        own = {name: sum(bound(d, way, config) for d in descriptors) for name, way in WAYS.items()}
        totals.update(own)
        if layers:
            print(f"{plan.layer.name:24}", end="")
            print("".join(f"{value:>12,.0f}" for value in (*taken.values(), *own.values())))
    return totals, exact, others


def whole(network, batch):
    """Print all cycles from the first to the last layer, and whether compiled RTL takes them."""
    built = configure(**SHAPE, activation_words=1 << 12, weight_words=1 << 13, max_layers=64)
    kinds = {
        "none of them": built.with_(wide_reads=False, shared_taps=False, lane_sums=False),
        "wide reads, shared taps": built.with_(lane_sums=False),
        "and lane sums": built,
    }
    for name, config in kinds.items():
        dense = predict_program(compile(network, config, batch=batch, k="dense"))
        program = compile(network, config, batch=batch)
        print(f"{name:24}{predict_program(program):>12,} cycles, {dense:,} dense")
    x = random_input(network, batch, 1)
    with driver.open("sim", config=built) as device:
        mismatch = driver.check_layers(program, x, device)
        device.load(program)
        device.infer(x)
        print(
            f"RTL: {mismatch or 'every layer equal to the golden model'}, {device.cycles:,} cycles"
        )
        return mismatch is None and device.cycles == predict_program(program)


def logic():
    columns = ("LUT4", "PFUMX", "CCU2C", "TRELLIS_FF", "DP16KD")
    print(f"{'part':44}" + "".join(f"{name:>12}" for name in columns))
    for name, part in PARTS.items():
        found = cells(part(), Path("build/loading") / name.translate(str.maketrans(" :()", "----")))
        print(f"{name:44}" + "".join(f"{found.get(c, 0):>12,}" for c in columns), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", choices=NETWORKS)
    parser.add_argument("--whole", choices=("resnet8", "demo"))
    parser.add_argument("--logic", action="store_true")
    arguments = parser.parse_args()
    if arguments.logic:
        logic()
        return 0
    if arguments.whole:
        return int(not whole(*NETWORKS[arguments.whole]()))
    print(
        f"{'':24}{'before':>12}{'built':>12}" + "".join(f"{name:>12}" for name in WAYS),
        "  other layers",
    )
    for name, make in NETWORKS.items():
        if arguments.layers in (None, name):
            totals, exact, others = network_cycles(*make(), arguments.layers)
            print(f"{name:24}{exact['before']:>12,}{exact['built']:>12,}", end="")
            print("".join(f"{totals[way]:>12,.0f}" for way in WAYS), f"{others:>12,}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
