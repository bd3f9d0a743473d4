"""Activation functions as one table, against a layer and a quantizer for each of their operators.

Signal-to-noise ratio of the last map against float, and cycles, of a small network with random
weights; docs/notes/quantization.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import click
import numpy as np
import torch
from torch import nn

from steelyard import quantize
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.importer import load
from steelyard.network import golden

SEEDS = (0, 1, 2)
SHAPE = (3, 16, 16)
CHANNELS = 16


class HardSwish(nn.Module):
    """A Hardswish of parts, as older exporters write it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Its definition."""
        return x * nn.functional.relu6(x + 3) / 6


FUNCTIONS: dict[str, Callable[[], nn.Module]] = {
    "LeakyReLU": lambda: nn.LeakyReLU(0.1),
    "PReLU": lambda: nn.PReLU(CHANNELS),
    "SiLU": nn.SiLU,
    "Hardswish of parts": HardSwish,
    "GELU": nn.GELU,
    "GELU by tanh": lambda: nn.GELU(approximate="tanh"),
}


def network(act: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Three convolutions with the function behind each."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs in (SHAPE[0], CHANNELS, CHANNELS):
        layers += [nn.Conv2d(inputs, CHANNELS, 3, padding=1), act()]
        if isinstance(layers[-1], nn.PReLU):
            layers[-1].weight.data.uniform_(0, 0.5)
    return nn.Sequential(*layers)


def measured(model: nn.Module, images: np.ndarray, *, together: bool) -> tuple[float, int, int]:
    """Ratio in dB, cycles of an image, and layers."""
    if together:
        found = load(quantize.quantize(model, images))
    else:
        with patch("steelyard.quantize.static.remove_inner"):
            found = load(quantize.quantize(model, images), compose=False)
    x = found.tensor(found.input).quantize(images)
    values = found.tensor(found.output).dequantize(golden.run(found, x))
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    noise = np.sum((values.reshape(expected.shape) - expected) ** 2)
    program = compile(found, configure("array", parameter_words=4096))
    cycles = sum(layer.predicted_cycles for layer in program.layers)
    return float(10 * np.log10(np.sum(expected**2) / noise)), cycles, len(found.layers)


@click.command()
def main() -> None:
    """Print a row for each function: means over the seeds, apart and together."""
    click.echo("function              dB apart  together   cycles apart  together   layers")
    for name, act in FUNCTIONS.items():
        rows = []
        for seed in SEEDS:
            draw = np.random.default_rng(seed)
            images = draw.standard_normal((48, *SHAPE)).astype(np.float32)
            model = network(act, seed).eval()
            rows.append([measured(model, images, together=each) for each in (False, True)])
        (a, b) = np.mean(rows, axis=0)
        click.echo(
            f"{name:20} {a[0]:9.1f} {b[0]:9.1f} {a[1]:14,.0f} {b[1]:9,.0f} {a[2]:6.0f} {b[2]:3.0f}"
        )


if __name__ == "__main__":
    main()
