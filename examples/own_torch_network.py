"""A torch network of your own, from training to scores of the accelerator, in under a minute.

    python own_torch_network.py            # the golden model computes the program
    python own_torch_network.py sim        # the compiled gateware does (needs a C++ compiler)

The task is small enough to learn here: say in which quarter of a picture the bright spot is.
Needs steelyard[prune,import]; with `sim` also steelyard[hw,sim].
"""

import sys

import torch
from torch import nn

import steelyard
from steelyard import importer
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.prune import prune
from steelyard.quantize import quantize

torch.manual_seed(0)


def pictures(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with one bright spot, (count, 1, 12, 12), and the quarter that it lies in."""
    images = 0.3 * torch.randn(count, 1, 12, 12)
    places = torch.randint(0, 12, (count, 2))
    images[torch.arange(count), 0, places[:, 0], places[:, 1]] += 3.0
    return images, (places[:, 0] // 6) * 2 + places[:, 1] // 6


# Any module of the supported layers: convolution, linear, pooling, residual add, ReLU, flatten.
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
    nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 3 * 3, 4),
)  # fmt: skip

optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for _ in range(80):
    images, labels = pictures(128)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
model.eval()

# Three of four weights go, the same number in every group of 16. No label is needed, only inputs.
calibration, _ = pictures(256)
sparse = prune(model, calibration, sparsity=0.75).model

# Int8 with onnxruntime, read back as the integer network that all devices compute to the bit.
network = importer.load(quantize(sparse, calibration.numpy()))

# An accelerator of 4 lanes x 4 columns. Any other size runs the same network.
config = configure("array", lanes=4, columns=4, requantizers=4)
program = compile(network, config, batch=4)

test, labels = pictures(400)
with steelyard.open(sys.argv[1] if len(sys.argv) > 1 else "golden") as device:
    device.load(program)
    scores = torch.from_numpy(device.infer_float(test.numpy()))
    cycles = device.cycles  # None of the golden model, which has no clock
predicted = sum(layer.predicted_cycles for layer in program.layers)

with torch.no_grad():
    dense = model(test).argmax(1)
print(f"accuracy, float, dense    {(dense == labels).float().mean():.1%}")
print(f"accuracy, int8, sparse    {(scores.argmax(1) == labels).float().mean():.1%}")
print(f"cycles of a batch of 4    {cycles or predicted:,}")
