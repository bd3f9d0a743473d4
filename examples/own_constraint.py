"""A pruning constraint of your own: which weights may stay, and what a crossbar makes of them.

    python own_constraint.py

The constraint here removes whole kernels (all taps of one input channel in one output channel). It
stands beside two of the library's in a table: accuracy, weights, cells, and the mapping's index.
Needs steelyard[prune,import].
"""

from dataclasses import dataclass

import torch

from steelyard import importer, zoo
from steelyard.engines.crossbar import CrossbarConfig, map_network
from steelyard.prune import CrossbarShape, MatrixShape, constraint_of, prune_for_crossbar
from steelyard.quantize import quantize


@dataclass(frozen=True)
class WholeKernels:
    """Keeps the kernels that are worth most; satisfies :class:`steelyard.prune.Constraint`."""

    def project(self, energy: torch.Tensor, shape: MatrixShape, keep: float) -> torch.Tensor:
        """Mask (channels, positions) of the weights that may stay, given what each is worth."""
        # Positions run over the taps, input channels fastest.
        kernels = energy.reshape(shape.channels, shape.taps, shape.inputs).sum(1)
        count = max(1, int(keep * kernels.numel()))
        kept = torch.zeros(kernels.numel(), dtype=torch.bool)
        kept[kernels.flatten().topk(count).indices] = True
        return kept.reshape(shape.channels, 1, shape.inputs).expand(-1, shape.taps, -1).flatten(1)

    def variants(self) -> tuple["WholeKernels"]:
        """Settings to choose among for each layer: this one."""
        return (self,)


def _is_large(layer: torch.nn.Module) -> bool:
    return isinstance(layer, torch.nn.Conv2d) and layer.in_channels >= 16


crossbar = CrossbarConfig(rows=128, columns=128)
sizes = CrossbarShape(
    rows=crossbar.rows, channels=crossbar.crossbar_weights,
    ou_rows=crossbar.ou_rows, ou_channels=crossbar.ou_weights,
)  # fmt: skip

# The bundled network; three of four weights go each time, judged on 50 of its images, no labels.
model, sample = zoo.load(), zoo.sample()
calibration, test = sample.calibration_input[:50], sample.test_input[:200]
keeps = {name: 0.25 for name, layer in model.named_modules() if _is_large(layer)}
print("constraint      accuracy  weights left  cells in use  index KiB")
for name, constraint, mapping in (
    ("whole kernels", WholeKernels(), "pattern"),
    ("pattern", constraint_of("pattern", sizes), "pattern"),
    ("ou_row", constraint_of("ou_row", sizes), "ou_row"),
):
    pruned = prune_for_crossbar(
        model, calibration, crossbar=sizes, constraint=constraint, keeps=keeps, select="energy"
    )
    network = importer.load(quantize(pruned.model, calibration))
    mapped = map_network(network, crossbar, mapping)
    with torch.no_grad():
        hits = pruned.model(torch.from_numpy(test)).argmax(1).numpy() == sample.test_labels[:200]
    print(
        f"{name:<15} {hits.mean():>8.1%} {1 - pruned.sparsity:>13.1%} {mapped.cells:>13,}"
        f" {mapped.index_bits / 8192:>10.1f}"
    )
