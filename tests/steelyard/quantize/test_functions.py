"""Float networks with other activation functions than ReLU: one table each, or a layer's slopes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from steelyard import quantize
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.importer import load
from steelyard.importer.placeholders import placeholder_network
from steelyard.network import Conv, Network, golden

IMAGES = np.random.default_rng(1).standard_normal((32, 3, 12, 12)).astype(np.float32)
LEAST_DB = 38.0
"""Signal-to-noise ratio of the scores against float that every network below has."""
CONFIG = configure("array")


class Function(nn.Module):
    """A function as people write it themselves."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Residual(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(8, 8, 3, padding=1), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv(x) + x)


class Excited(nn.Module):
    """Squeeze and excite: a factor for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x)


def prelu() -> nn.PReLU:
    act = nn.PReLU(8)
    act.weight.data = torch.linspace(0, 1.4, 8)
    return act


TABLES: dict[str, Callable[[], nn.Module]] = {
    "SiLU": nn.SiLU,
    "Hardswish": nn.Hardswish,
    "Hardswish of parts": lambda: Function(lambda x: x * nn.functional.relu6(x + 3) / 6),
    "GELU": nn.GELU,
    "GELU by tanh": lambda: nn.GELU(approximate="tanh"),
    "Sigmoid": nn.Sigmoid,
    "Hardsigmoid": nn.Hardsigmoid,
    "Tanh": nn.Tanh,
    "ELU": nn.ELU,
    "SELU": nn.SELU,
    "CELU": lambda: nn.CELU(0.7),
    "Mish": nn.Mish,
    "Softplus": nn.Softplus,
    "Softsign": nn.Softsign,
    "LogSigmoid": nn.LogSigmoid,
    "LeakyReLU downwards": lambda: nn.LeakyReLU(-0.2),
    "square": lambda: Function(lambda x: 1 - x**2 * 0.3),
    "distance": lambda: Function(lambda x: torch.sqrt((x - 0.2) ** 2 + 0.1)),
}
SLOPES: dict[str, Callable[[], nn.Module]] = {
    "LeakyReLU": lambda: nn.LeakyReLU(0.1),
    "PReLU": prelu,
    "one PReLU": nn.PReLU,
}


def network_of(act: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), act(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8),
        act(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    ).eval()  # fmt: skip


def quantized(model: nn.Module, folder: Path, least: float = LEAST_DB) -> Network:
    """Network whose scores are as near to float as they must be, and that compiles."""
    quantize.export_onnx(model, IMAGES, folder / "f.onnx")
    network = load(quantize.quantize(folder / "f.onnx", IMAGES))
    x = network.tensor(network.input).quantize(IMAGES)
    scores = network.tensor(network.output).dequantize(golden.run(network, x, threads=1))
    with torch.no_grad():
        expected = model(torch.from_numpy(IMAGES)).numpy()
    noise = float(np.sum((scores.reshape(expected.shape) - expected) ** 2))
    decibels = 10 * np.log10(float(np.sum(expected**2)) / noise)
    assert decibels >= least, f"{decibels:.1f} dB"
    assert quantize.obstacles_of(model, IMAGES) == []
    # What 'steelyard check' estimates has the layers that come of it.
    planned = placeholder_network(quantize.checked(onnx.load(folder / "f.onnx"), folder)[1], "f")
    assert [layer.kind for layer in planned.layers] == [layer.kind for layer in network.layers]
    assert compile(network, CONFIG).layers
    return network


@pytest.mark.parametrize("name", TABLES)
def test_a_function_is_one_table(name: str, tmp_path: Path) -> None:
    network = quantized(network_of(TABLES[name]), tmp_path)
    kinds = [layer.kind for layer in network.layers]
    assert kinds == ["conv", "lookup", "conv", "lookup", "avg_pool", "fc"]


@pytest.mark.parametrize("name", SLOPES)
def test_a_slope_is_one_of_the_layer_before(name: str, tmp_path: Path) -> None:
    network = quantized(network_of(SLOPES[name]), tmp_path)
    assert [layer.kind for layer in network.layers] == ["conv", "conv", "avg_pool", "fc"]
    for layer in network.layers[:2]:
        assert isinstance(layer, Conv) and layer.negative_multiplier is not None


@pytest.mark.parametrize(
    ("act", "kind"), [(prelu, "conv"), (nn.PReLU, "lookup"), (nn.SiLU, "lookup")]
)
def test_a_function_of_an_addition_is_a_layer_behind_it(
    act: Callable[[], nn.Module], kind: str, tmp_path: Path
) -> None:
    network = quantized(network_of(lambda: Residual(act())), tmp_path)
    kinds = [layer.kind for layer in network.layers]
    assert kinds == [*("conv", "conv", "add", kind) * 2, "avg_pool", "fc"]


@pytest.mark.parametrize("act", [nn.SiLU, nn.Hardsigmoid, nn.GELU, prelu, nn.Softplus])
def test_the_network_may_end_in_a_function(act: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(3)
    # No average takes the noise of the codes away.
    network = quantized(nn.Sequential(nn.Conv2d(3, 8, 1), act()).eval(), tmp_path, least=33)
    assert network.output == "output"


def test_factors_for_each_channel_are_products(tmp_path: Path) -> None:
    network = quantized(network_of(Excited), tmp_path)
    kinds = [layer.kind for layer in network.layers]
    assert kinds.count("mul") == kinds.count("lookup") == 2 and kinds.count("repeat") == 4


def test_what_reads_sums_beside_a_slope_makes_it_a_table(tmp_path: Path) -> None:
    class Both(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.act(y) + y

    network = quantized(network_of(lambda: Both(nn.LeakyReLU(0.1))), tmp_path)
    kinds = [layer.kind for layer in network.layers]
    assert kinds.count("lookup") == 2 and "add" not in kinds
