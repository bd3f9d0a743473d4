"""What granularity pays in one layer: columns alone, strips, whole columns, patterns.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_granularity.py \
        [--model vgg_small] [--layer 10] [--densities .2,.14,.1,.07] \
        [--constraints 'strips of 1,priced at 0.7'] [--rounds 15]

Each constraint prunes the layer to each density with masks by ADMM and ridge least squares. The
error is the share of the layer's output variance that it then misses. The price is that of the
layer alone, of ones in place of the weights: with the activations of 10 images, over the same layer
dense in the traditional mapping; area is fill-free, with the index. Strips that are wider than an
operation unit take several, with one index; no mapping has them yet. A strip is indexed by its
number of columns less one and their numbers (7 bits each) and the subset of the part's rows.

    patterns of N    N shapes of kernels a layer
    strips of N      columns of crossbar-sized parts that keep the same rows, in whole operation
                     units
    priced at R      each column removed, whole, or in a strip of 1 to 16, whichever gains most
                     energy over its price, n (w + R) + 3 weights for w columns of n rows, at the
                     price of a weight at which the density is met; whole columns name no rows
    priced strips    the same without removed and whole columns

Then the prices at equal error, read off by interpolation over the error's logarithm; - where the
densities do not reach it. R is 0.4 where energy decides, 0.7 where size does and 5 where area does.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

from steelyard import data, importer, prune, zoo
from steelyard.cost import constant_set, price_layer
from steelyard.engines.crossbar import (
    Block,
    CrossbarConfig,
    LayerMapping,
    count,
    map_layer,
)
from steelyard.engines.crossbar.golden import windows
from steelyard.engines.crossbar.index import IndexWriter
from steelyard.engines.crossbar.placing import place
from steelyard.files import replacing
from steelyard.network import golden
from steelyard.prune.admm import layer_admm
from steelyard.prune.constraints import USUAL, MatrixShape, allowed, chunked, ranked
from steelyard.prune.groups import to_rows
from steelyard.prune.layerwise import _energy
from steelyard.prune.repair import layer_moments, prunable_layer
from steelyard.prune.solve import RIDGE, fit_error, regularize, solve
from steelyard.prune.statistics import Positions, wanted_outputs
from steelyard.quantize import quantize

SET = "yu2020"
ERRORS = (0.01, 0.02, 0.03, 0.05)
HALVINGS = 24
NEIGHBOURS = 8
"""Strips, most alike first, that one is tried to be joined with."""
WIDEST = 16
STRIP_COST = 3.0


@dataclass(frozen=True, eq=False)
class Part:
    """Strips of a part: energy of each row (strips, rows), of runs of them, best first, and rows
    of these (strips, runs)."""

    energy: torch.Tensor
    strips: list
    widths: torch.Tensor
    sums: torch.Tensor
    worth: torch.Tensor
    counts: torch.Tensor

    @classmethod
    def of(cls, energy, strips, height):
        """Strips of a part's columns, whose energy is (channels, rows)."""
        sums = torch.stack([energy[strip].sum(0) for strip in strips])
        worth, counts = chunked(sums, height)
        widths = torch.tensor([float(len(strip)) for strip in strips], dtype=energy.dtype)
        return cls(energy, strips, widths, sums, worth * counts, counts)


@dataclass(frozen=True)
class Priced:
    """Classes and widths of columns by what they gain over their price."""

    row_cost: float
    classes: bool = True
    crossbar: prune.CrossbarShape = USUAL

    def project(self, energy, shape, keep):
        """See `steelyard.prune.Constraint.project`."""
        limit, height = allowed(energy, keep), self.crossbar.ou_rows
        places = list(shape.parts(self.crossbar))
        parts = [
            Part.of(energy[c, r], [[n] for n in range(c.stop - c.start)], height) for c, r in places
        ]
        width = 1
        while width < WIDEST:
            price = self.price(parts, limit)
            parts = [self.joined(part, width, price) for part in parts]
            width *= 2
        price = self.price(parts, limit)
        mask = torch.zeros(energy.shape, dtype=torch.bool)
        for (channels, rows), part in zip(places, parts, strict=True):
            kept = ranked(part.sums, self.chosen(part, price)[0])
            for members, taken in zip(part.strips, kept, strict=True):
                mask[channels, rows][members] = taken
        return mask

    def chosen(self, part, price):
        """Rows that each strip keeps at a price of a weight, and its gain over the price."""
        gains = part.worth - price * part.counts * (part.widths + self.row_cost)[:, None]
        gained = gains.clamp_min(0.0).sum(1) - price * STRIP_COST
        rows = torch.where(gains > 0, part.counts, 0).sum(1)
        if not self.classes:
            return rows, gained
        height = part.sums.shape[1]
        whole = part.sums.sum(1) - price * height * part.widths
        rows = torch.where(gained > 0, rows, 0)
        rows = torch.where(whole > gained.clamp_min(0.0), height, rows)
        return rows, torch.maximum(whole, gained).clamp_min(0.0)

    def price(self, parts, limit):
        """Nearly the least price at which the weights stay within the limit."""

        def weights(price):
            return sum(float((self.chosen(p, price)[0] * p.widths).sum()) for p in parts)

        low, high = 0.0, max(float(part.worth.max()) for part in parts) + 1e-300
        for _ in range(HALVINGS):
            # Worths span many powers of 10.
            middle = (low * high) ** 0.5 if low > 0 else high / 4
            low, high = (middle, high) if weights(middle) > limit else (low, middle)
        return high

    def joined(self, part, width, price):
        """Strips of a width in pairs where two gain more together, the best pairs first."""
        _, gained = self.chosen(part, price)
        amplitude = torch.nn.functional.normalize(part.sums.sqrt(), dim=1)
        likeness = (amplitude @ amplitude.T).fill_diagonal_(-1.0)
        near = likeness.topk(min(NEIGHBOURS, len(part.strips) - 1), dim=1).indices
        left = torch.arange(len(near))[:, None].expand_as(near).flatten()
        pairs = torch.stack([left, near.flatten()], 1).sort(1).values.unique(dim=0)
        pairs = pairs[(part.widths[pairs] == width).all(1)]
        if not len(pairs):
            return part
        both = [part.strips[a] + part.strips[b] for a, b in pairs.tolist()]
        height = self.crossbar.ou_rows
        _, together = self.chosen(Part.of(part.energy, both, height), price)
        more = together - gained[pairs].sum(1)
        free, strips = set(range(len(part.strips))), []
        for number in more.argsort(descending=True, stable=True).tolist():
            pair = set(pairs[number].tolist())
            if float(more[number]) > 0 and pair <= free:
                free -= pair
                strips.append(both[number])
        return Part.of(part.energy, strips + [part.strips[n] for n in sorted(free)], height)


def strips_of(width):
    """The constraint of strips of so many columns, whatever an operation unit holds."""
    crossbar = prune.CrossbarShape(ou_channels=max(2, width))
    return prune.MixedGranularity(crossbar, remove=0.0, whole=2.0, width=width)


CONSTRAINTS = {
    "patterns of 4": prune.KernelPatterns(4, kernel_cost=1.0),
    "patterns of 8": prune.KernelPatterns(8),
    "patterns of 32": prune.KernelPatterns(32, kernel_cost=0.5),
    **{f"strips of {width}": strips_of(width) for width in (1, 2, 4, 8, 16)},
    **{f"priced at {cost:g}": Priced(cost) for cost in (0.4, 0.7, 5.0)},
    **{f"priced strips at {cost:g}": Priced(cost, False) for cost in (0.7, 5.0)},
}


class Layer:
    """One layer: its fits, its inputs, its price dense."""

    def __init__(self, model, layer, calibration, test, rounds):
        self.rounds, self.config = rounds, CrossbarConfig(constants=SET)
        torch_model = prune.order_channels(model, calibration)
        images = torch.from_numpy(calibration)
        infos = prune.inspect(torch_model, images[:8]).prunable
        names = [each.name for each in infos]
        if layer not in names:
            raise click.BadParameter(
                f"There is no layer {layer!r}; choose from {', '.join(names)}."
            )
        info = infos[names.index(layer)]
        positions = Positions(len(images), seed=0)
        wanted = wanted_outputs(torch_model, [info], images, positions)
        self.module = prunable_layer(torch_model, layer)
        self.found = layer_moments(torch_model, info, images, wanted[layer], positions)
        self.rows = to_rows(self.module.weight.detach(), info.source)
        self.shape = MatrixShape.of(self.module.weight, info.source)
        self.energy = _energy(self.found, self.rows, "energy", None)
        self.system = regularize(self.found, self.rows, RIDGE)
        network = importer.load(quantize(torch_model, calibration[:500]))
        codes = network.tensor(network.input).quantize(test)
        tensors = golden.run(network, codes, trace=True, threads=1)
        size = self.module.weight.shape
        layers = [each for each in network.layers if hasattr(each, "weight")]
        alike = [each for each in layers if each.weight.shape == size]
        if len(alike) != 1:
            raise click.BadParameter(f"Another layer has the shape of {layer!r}; choose another.")
        (convolution,) = alike
        parts = windows(network, convolution, tensors[convolution.inputs[0]])
        self.inputs = np.concatenate([part for _, part in parts], axis=1)
        dense = np.ones((self.shape.channels, self.shape.positions), bool)
        self.dense = self.paid(self.mapped("traditional", dense))

    def pruned(self, constraint, density):
        """Mask (channels, positions) and what the repaired layer misses."""
        masks = [constraint.project(self.energy, self.shape, density)]
        if self.rounds:
            masks.append(layer_admm(
                self.found, self.rows, lambda e: constraint.project(e, self.shape, density),
                ridge=RIDGE, rounds=self.rounds,
            ))  # fmt: skip
        fits = [(fit_error(self.found, solve(*self.system, mask)), mask) for mask in masks]
        return min(fits, key=lambda fit: fit[0])

    def mapped(self, mapping, mask):
        """The layer's mapping, of ones where the mask keeps a weight."""
        side = round(self.shape.taps**0.5)
        ones = mask.reshape(self.shape.channels, side, side, -1).astype(np.int8)
        return map_layer(ones.transpose(0, 3, 1, 2).copy(), self.config, mapping)

    def in_strips(self, mask):
        """Mapping in strips of all columns of a part that keep the same rows; columns by width."""
        writer, blocks, kinds = IndexWriter(), [], Counter()
        for channels, rows in self.shape.parts(USUAL):
            own, groups = mask[channels, rows], {}
            for number, column in enumerate(own):
                groups.setdefault(column.tobytes(), []).append(number)
            for members in groups.values():
                taken, columns = np.flatnonzero(own[members[0]]), np.array(members)
                kind = f"strips of {2 ** int(np.ceil(np.log2(len(members))))}"
                if len(taken) in (0, own.shape[1]):
                    kind = "whole" if len(taken) else "removed"
                kinds[kind] += len(members)
                writer.write("columns", columns, 7)
                if kind.startswith("strips"):
                    writer.write("columns", len(members) - 1, 7)
                    writer.write_subset("rows", taken, own.shape[1])
                positions = taken + rows.start
                inputs = self.shape.inputs
                positions = positions[np.lexsort((positions // inputs, positions % inputs))]
                for top in range(0, len(positions), self.config.block_rows):
                    some = positions[top : top + self.config.block_rows].astype(np.int32)
                    ones = np.ones((len(some), len(columns)), np.int8)
                    blocks.append(Block(some, (columns + channels.start).astype(np.int32), ones))
        side = round(self.shape.taps**0.5)
        shape = self.shape.channels, self.shape.inputs, side, side
        sizes = [(len(block.rows), len(block.channels)) for block in blocks]
        (placed,) = place([lambda _: sizes], self.config)
        mapped = LayerMapping(
            "layer", "strips", shape, self.config, tuple(blocks), placed.places, writer.finish(),
            placed.index,
        )  # fmt: skip
        return mapped, dict(sorted(kinds.items()))

    def paid(self, mapped):
        """Size in bits, energy and fill-free area."""
        crossbars = mapped.cells / (self.config.rows * self.config.columns)
        work = count(mapped, self.inputs)
        cost = price_layer(mapped, work, constant_set(SET), crossbars=crossbars)
        return np.array(
            [8 * mapped.weights + mapped.index_bits, cost.total_energy, cost.total_area]
        )

    def row(self, constraint, density):
        """Figures of a constraint at a density."""
        error, mask = self.pruned(constraint, density)
        kept = mask.numpy()
        if isinstance(constraint, prune.KernelPatterns):
            mapped, kinds = self.mapped("pattern", kept), {}
        else:
            mapped, kinds = self.in_strips(kept)
        gains = self.dense / self.paid(mapped)
        return {"density": float(kept.mean()), "error": error, "index": mapped.index_bits
                / mapped.weights, "gains": gains.tolist(), "columns": kinds}  # fmt: skip


def at_error(rows, error):
    """Gains at an error, interpolated; None outside."""
    rows = sorted(rows, key=lambda row: row["error"])
    errors = np.log([row["error"] for row in rows])
    if not errors[0] <= np.log(error) <= errors[-1]:
        return None
    gains = np.log([row["gains"] for row in rows])
    return [float(np.exp(np.interp(np.log(error), errors, column))) for column in gains.T]


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--model", type=click.Choice(zoo.TRAINABLE), default="vgg_small")
@click.option("--layer", default="10")
@click.option("--densities", default=".2,.14,.1,.07")
@click.option("--constraints", default=",".join(CONSTRAINTS))
@click.option("--rounds", type=click.IntRange(0), default=15, help="Of ADMM.")
@click.option("--calibration", type=click.IntRange(1), default=600)
@click.option("--bundled", is_flag=True, help="Only the bundled images.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path),
              default=Path("build/crossbar-granularity.json"))  # fmt: skip
def main(model, layer, densities, constraints, rounds, calibration, bundled, output):
    """Print both tables and write the figures."""
    torch.set_num_threads(1)
    for name in (chosen := constraints.split(",")):
        if name not in CONSTRAINTS:
            raise click.BadParameter(f"There is no {name!r}; choose from {', '.join(CONSTRAINTS)}.")
    images = zoo.sample() if bundled else data.find(None)
    train = images.calibration if bundled else images.train_images
    test = images.test if bundled else images.test_images
    bench = Layer(zoo.load(model), layer, zoo.to_input(train[:calibration]),
                  zoo.to_input(test[:10]), rounds)  # fmt: skip
    print(f"layer {layer}: {bench.shape}, seed 0")
    print("| constraint | density | error | index, bits a weight | compression | energy | area "
          "| columns |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    found = {}
    for name in chosen:
        for density in map(float, densities.split(",")):
            row = bench.row(CONSTRAINTS[name], density)
            found.setdefault(name, []).append(row)
            kinds = ", ".join(f"{kind}: {count}" for kind, count in row["columns"].items())
            gains = " | ".join(f"{gain:.2f}" for gain in row["gains"])
            print(f"| {name} | {row['density']:.3f} | {100 * row['error']:.2f} % "
                  f"| {row['index']:.2f} | {gains} | {kinds} |", flush=True)  # fmt: skip
    print("\ncompression, energy, area at equal error\n| constraint | "
          + " | ".join(f"{100 * error:g} %" for error in ERRORS)
          + " |\n" + "|---" * (1 + len(ERRORS)) + "|")  # fmt: skip
    for name, rows in found.items():
        read = [at_error(rows, error) for error in ERRORS]
        cells = [", ".join(f"{gain:.2f}" for gain in own) if own else "-" for own in read]
        print(f"| {name} | " + " | ".join(cells) + " |")
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
