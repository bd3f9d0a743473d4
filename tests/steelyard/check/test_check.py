"""What a check says beforehand is what quantizing, compiling and running then give."""

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from qdq_graphs import Qdq, start
from steelyard import quantize
from steelyard.check import assess, examine, fits, smallest
from steelyard.compile import compile
from steelyard.compile.cycles import busy, predict
from steelyard.compile.plans import planned
from steelyard.contract import AcceleratorConfig, configure
from steelyard.errors import UserError
from steelyard.importer import load
from steelyard.network.random import random_network

CONFIG = configure("array", lanes=4, columns=4, requantizers=2, weight_words=16384)
SLOW = configure(
    "array", lanes=8, columns=3, group=8, requantizers=1, window_groups=4, weight_words=16384,
    partial_sum_channels=48,
)  # fmt: skip
TILE = configure("crossbar")
LINE = configure("array", "compact", lanes=4, columns=2, requantizers=1, accumulator_bits=20)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = self.stem(x)
        return torch.relu(self.a(y) + y) + self.b(y)


NETS = {
    "plain": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1),
        nn.ReLU6(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(8, 5),
    ),
    "norm": lambda: nn.Sequential(
        nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ),
    "residual": lambda: nn.Sequential(Residual(), nn.Flatten(), nn.Linear(4 * 36, 3)),
    "pool first": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3)),
    "vectors": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 9), nn.ReLU(), nn.Linear(9, 4)),
}  # fmt: skip


def pruned(model: nn.Module, seed: int) -> nn.Module:
    """With every other weight zero, and none so small that int8 makes it zero."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.copy_((torch.rand_like(layer.weight) + 0.2) * 0.2)
                layer.weight.view(-1)[::2] = 0
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.9, 1.1)
    return model.eval()


@pytest.mark.parametrize("name", NETS)
def test_a_float_network_takes_what_it_takes_once_it_is_quantized(tmp_path, name):
    model = pruned(NETS[name](), 1)
    images = np.random.default_rng(2).random((6, 2, 6, 6), np.float32)
    path = tmp_path / "f.onnx"
    quantize.export_onnx(model, images, path)
    examined = examine(path)
    assert examined.obstacles == () and not examined.quantized and examined.network is not None
    cost, problems = assess(examined.network, CONFIG)
    assert problems == [] and cost is not None
    program = compile(load(quantize.quantize(path, images)), CONFIG)
    # Branches may come in another order.
    assert sorted((each.kind, str(each.k), each.nnz) for each in cost.layers) == sorted(
        (each.kind, str(each.k), each.nnz) for each in program.layers
    )
    assert cost.uses == program.uses
    found = {layer.k for layer in cost.layers} - {None}
    assert max(found) <= 8


def test_a_weight_that_is_not_zero_counts_however_small_it_is(tmp_path):
    model = nn.Conv2d(1, 1, 3)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, 0, 0] = torch.tensor([1.0, 1e-6, -1e-6])
    path = tmp_path / "f.onnx"
    quantize.export_onnx(model, np.zeros((1, 1, 5, 5), np.float32), path)
    network = examine(path).network
    assert network is not None
    (weight,) = (layer.weight for layer in network.layers)
    np.testing.assert_array_equal(weight[0, 0, 0], [127, 1, -1])
    assert np.count_nonzero(weight) == 3


def test_weights_that_are_all_tiny_count_too(tmp_path):
    model = nn.Conv2d(1, 1, 3)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, 0, 0] = torch.tensor([1e-45, 0.0, -1e-45])
    path = tmp_path / "f.onnx"
    quantize.export_onnx(model, np.zeros((1, 1, 5, 5), np.float32), path)
    network = examine(path).network
    assert network is not None
    (weight,) = (layer.weight for layer in network.layers)
    np.testing.assert_array_equal(weight[0, 0, 0], [127, 0, -127])


def test_what_a_file_with_too_many_constants_has_besides_is_listed():
    g = Qdq(3, 9, 9)
    weight = g.constant(np.zeros((4, 3, 3, 3), np.float32))
    y = g.op("Flatten", g.op("LRN", g.op("Conv", "x", weight), size=3))
    wide = g.op("ConstantOfShape", g.constant(np.array([196, 1 << 28])))
    found = examine(g.model(g.op("Softmax", g.op("MatMul", y, wide)))).obstacles
    assert [each.split()[0] for each in found] == ["LRN", "ConstantOfShape", "Softmax"]
    assert "store the weights in the file" in found[1]


def test_a_float_network_without_an_output_cannot_be_cut():
    g = Qdq(3, 9, 9)
    weight = g.constant(np.zeros((4, 3, 3, 3), np.float32))
    model = g.model(g.op("Relu", g.op("Conv", "x", weight)))
    del model.graph.output[:]
    with pytest.raises(UserError, match="'by_hand' has no outputs, at least one is needed"):
        examine(model, "Relu")


def qdq() -> onnx.ModelProto:
    g, x = start()
    y = g.pair(g.op("Relu", g.conv(x, pads=[1] * 4)), 0.05, -128)
    return g.model(g.pair(g.op("Flatten", g.op("GlobalAveragePool", y)), 0.01))


def test_a_quantized_network_takes_what_its_program_takes():
    examined = examine(qdq())
    assert examined.quantized and examined.network is not None
    for config, batch in ((CONFIG, 1), (CONFIG, 3), (SLOW, 1), (TILE, 1)):
        cost, problems = assess(examined.network, config, batch=batch)
        program = compile(load(qdq()), config, batch=batch)
        assert problems == [] and cost is not None
        assert cost.uses == program.uses
        assert cost.exact == program.engine.exact
        assert [layer.weight_words for layer in cost.layers] == [
            entry.weight_items for entry in program.layers
        ]


def test_obstacles_take_the_place_of_an_estimate():
    g, x = start()
    y = g.op("Sin", g.pair(g.conv(x), 0.05))
    examined = examine(g.model(g.op("Cos", y)))
    assert examined.network is None and len(examined.obstacles) == 2


@dataclass(frozen=True)
class FakeBoard:
    name: str
    default: AcceleratorConfig
    clock_hz: int = 1_000_000
    baud: int = 1
    memory: object = None
    external: AcceleratorConfig | None = None

    def clock_of(self, config: AcceleratorConfig) -> int:
        return self.clock_hz

    def check(self, config: AcceleratorConfig) -> None:
        raise AssertionError("the board's own configuration fits it")


def test_the_smallest_board_that_fits_is_taken_and_others_say_why_not():
    network = examine(qdq()).network
    assert network is not None
    boards = [
        FakeBoard("large", configure("array", lanes=16, columns=16)),
        FakeBoard("right", CONFIG),
        FakeBoard("short", CONFIG.with_(weight_words=16)),
        FakeBoard("no pooling", LINE.with_(vector_bits=0, additions=False)),
    ]
    found = {each.name: each for each in fits(network, boards)}
    assert found["large"].problem is None and found["right"].problem is None
    assert "weight words where the configuration has 16" in str(found["short"].problem)
    assert "pools" in str(found["no pooling"].problem)
    assert found["no pooling"].estimate is None
    short = found["short"].estimate
    assert short is not None and not short.fits
    assert short.cycles == getattr(found["right"].estimate, "cycles", None)
    best = smallest(list(found.values()))
    assert best is not None and best.name == "right"
    assert best.estimate is not None
    assert best.estimate.frames_per_second(1e6) == pytest.approx(1e6 / best.estimate.cycles)
    assert smallest([found["short"]]) is None


def test_a_board_whose_own_configuration_is_too_small_is_taken_with_its_external_memory():
    network = random_network(3, layers=9, max_channels=48, max_pixels=64)
    whole = configure("array", lanes=4, columns=4, requantizers=2, weight_words=8192)
    small = whole.with_(weight_words=512)
    external = small.with_(external_words=1 << 20, max_layers=512)
    too_small = external.with_(max_layers=2)
    boards = [
        FakeBoard("without", small),
        FakeBoard("with", small, external=external),
        FakeBoard("too small", small, external=too_small),
        FakeBoard("on chip", whole, external=external),
    ]
    without, with_it, short, own = fits(network, boards)
    assert without.problem is not None and without.config == small
    assert with_it.problem is None and with_it.config == external
    assert with_it.estimate is not None and with_it.estimate.moved_words > 0
    # What would be missing on the chip is what the user can do something about.
    assert short.problem == without.problem and short.config == small
    assert own.problem is None and own.config == whole


def test_every_layer_that_a_configuration_leaves_out_is_a_problem():
    g, x = start()
    y = g.pair(g.op("MaxPool", g.pair(g.conv(x), 0.05), kernel_shape=[2, 2]), 0.05)
    network = load(g.model(g.pair(g.op("MaxPool", y, kernel_shape=[3, 3]), 0.05)))
    cost, problems = assess(network, LINE.with_(vector_bits=0, additions=False))
    assert cost is None and len(problems) == 2
    assert all("no vector unit" in sentence for sentence in problems)


SEED = 11


@pytest.mark.parametrize("config", [CONFIG, SLOW], ids=["fast drains", "slow drains"])
def test_no_unit_alone_takes_longer_than_the_layer(config):
    """A unit's own cycles are a lower bound; over many layers each unit is the longest of some."""
    longest = set()
    for seed in range(SEED, SEED + 25):
        network = random_network(seed, group=config.engine.group)
        for plan in planned(network, config, 1, {}).plans:
            for step in plan.steps:
                units = busy(step.descriptor, config)
                cycles = predict(step.descriptor, config)
                assert 0 < max(units.values()) <= cycles, (seed, plan.layer.name, units, cycles)
                longest.add(max(units, key=lambda unit: units[unit]))
    assert {"engine", "loading", "draining"} <= longest, longest


def test_what_bounds_a_layer_is_what_makes_it_faster():
    """Layers of few weights load, deep ones multiply, shallow ones of many outputs drain."""
    g, x = start(16, 8, 8)
    one = np.zeros((1, 16, 1, 1), np.int8)
    one[0, 3] = 1
    y = g.pair(g.op("Conv", x, g.weight(one)), 0.05)
    loading = load(g.model(y))
    g, x = start(16, 8, 8)
    engine = load(g.model(g.pair(g.conv(x, channels=16, outputs=64), 0.05)))
    g, x = start(1, 8, 8)
    wide = np.ones((64, 1, 1, 1), np.int8)
    draining = load(g.model(g.pair(g.op("Conv", x, g.weight(wide)), 0.05)))
    for network, bound in ((loading, "loading"), (engine, "engine"), (draining, "draining")):
        cost, _ = assess(network, CONFIG)
        assert cost is not None and [layer.bound for layer in cost.layers] == [bound]
