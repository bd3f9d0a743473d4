"""How full crossbars and operation units get, and what the index weighs.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_packing.py [--vgg16] [--trained]

Weights are random, of the shapes of VGG-small or VGG16, and pruned as the mapping expects or, for
comparison, anywhere; with ``--trained`` they are those of the bundled demo network, pruned and
repaired on the bundled images. Crossbars have 512 x 512 cells of 4 bits, differential weights,
and operation units of 9 x 8. ``apart`` is the crossbars that layers need without sharing.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import torch

from steelyard import importer, prune, zoo
from steelyard.engines.crossbar import CrossbarConfig, map_network, operation_units
from steelyard.files import replacing
from steelyard.network import Conv
from steelyard.prune.constraints import MatrixShape
from steelyard.quantize import quantize

RANDOM = (
    ("traditional", "dense", 1.0),
    ("pattern", "pattern", 0.15),
    ("pattern", "pattern", 0.22),
    ("mixed", "mixed", 0.075),
    ("mixed", "mixed", 0.15),
    ("ou_row", "ou_row", 0.15),
    ("ou_row", "unstructured", 0.15),
    ("pattern", "unstructured", 0.15),
)
"""Mapping, what pruned the weights, and the share of them that it kept."""
TRAINED = (("traditional", None, 0.0), ("pattern", "pattern", 0.75), ("ou_row", "ou_row", 0.75),
           ("mixed", "mixed", 0.8), ("mixed", "pattern", 0.75))  # fmt: skip
"""Mapping, constraint of pruning, and the share of weights removed outside the first layer."""


@dataclass(frozen=True)
class Layer:
    """Shape of a layer's weights (out, in, height, width)."""

    name: str
    shape: tuple[int, int, int, int]
    fully_connected: bool = False


def shapes(model, sample):
    """Shapes of the layers of a network, by what it does with a sample."""
    for info in prune.inspect(model, sample, keep_first=False).prunable:
        shape = tuple(model.get_submodule(info.name).weight.shape)
        full = len(shape) == 2
        source = info.source or (shape[1], 1, 1)
        yield Layer(info.name, (shape[0], *source) if full else shape, full)


def random_network(layers, pruned, keep, seed):
    """Layers of random int8 weights, pruned one by one: what a mapping reads of a network."""
    rng = np.random.default_rng(seed)
    made = []
    for layer in layers:
        outputs, inputs, height, width = layer.shape
        matrix = np.clip(np.rint(rng.normal(0, 30, (outputs, height * width * inputs))), -127, 127)
        matrix = np.where(matrix == 0, 1, matrix)
        if pruned != "dense":
            shape = MatrixShape(outputs, inputs, height * width, layer.fully_connected)
            energy = torch.from_numpy(matrix).square()
            matrix *= prune.constraint_of(pruned).project(energy, shape, keep).numpy()
        weight = matrix.reshape(outputs, height, width, inputs).transpose(0, 3, 1, 2)
        made.append(
            Conv(
                name=layer.name, inputs=("x",), output=layer.name, lo=-128, hi=127,
                weight=np.ascontiguousarray(weight).astype(np.int8),
                bias=np.zeros(outputs, np.int32), multiplier=np.ones(outputs, np.int32),
                shift=np.zeros(outputs, np.int32), fully_connected=layer.fully_connected,
            )
        )  # fmt: skip
    return SimpleNamespace(layers=made)


def trained_network(constraint, sparsity, seed):
    """The bundled demo network, pruned without labels and quantized."""
    model = zoo.load("fashion")
    calibration = zoo.to_input(zoo.sample().calibration[:500])
    if constraint is not None:
        found = prune.prune_for_crossbar(model, calibration, constraint, sparsity, seed=seed)
        model = found.model
    return importer.load(quantize(model, calibration))


def describe(network, mapping, config):
    """Figures of one mapping."""
    begin = time.process_time()
    mapped = map_network(network, config, mapping)
    seconds = time.process_time() - begin
    apart = map_network(network, config, mapping, share=False)
    units = [unit for layer in mapped.layers.values() for unit in operation_units(layer)]
    cells = config.rows * config.columns
    held = sum(unit.weights.size for unit in units)
    return {
        "mapping": mapping,
        "blocks": sum(len(layer.blocks) for layer in mapped.layers.values()),
        "cells_in_crossbars": mapped.cells / cells,
        "crossbars": mapped.crossbars,
        "fill": mapped.cells / (cells * mapped.crossbars),
        "crossbars_apart": apart.crossbars,
        "place_bits": sum(layer.place_index.bits for layer in mapped.layers.values()),
        "other_index_bits": sum(layer.index.bits for layer in mapped.layers.values()),
        "unit_rows": float(np.mean([len(unit.rows) for unit in units])),
        "unit_weights": float(np.mean([len(unit.channels) for unit in units])),
        "zero_cells": sum(int((unit.weights == 0).sum()) for unit in units) / held,
        "seconds": seconds,
    }


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--vgg16", is_flag=True, help="Shapes of VGG16, not VGG-small.")
@click.option("--trained", is_flag=True, help="The demo network's own weights.")
@click.option("--seed", type=int, default=0)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("build/crossbar-packing.json"),
)
def main(vgg16, trained, seed, output):
    """Print the table and write it as JSON."""
    torch.set_num_threads(1)
    config = CrossbarConfig()
    print(f"seed {seed}, {config}")
    print(
        "mapping      pruned        share  blocks  cells,xbars  xbars   fill  apart  places,kbit  "
        "index,kbit  rows/OU  weights/OU  zeros  CPU-s"
    )
    if vgg16:
        layers = list(shapes(zoo.build("vgg16", size=32, classes=10), torch.zeros(1, 3, 32, 32)))
    else:
        layers = list(shapes(zoo.build("vgg_small"), torch.zeros(1, 1, 28, 28)))
    rows = []
    for mapping, pruned, share in TRAINED if trained else RANDOM:
        if trained:
            network = trained_network(pruned, share, seed)
        else:
            network = random_network(layers, pruned, share, seed)
        found = describe(network, mapping, config)
        rows.append({"pruned": pruned, "share": share, **found})
        print(
            f"{mapping:12s} {pruned or 'dense':12s} {100 * share:5.1f} % {found['blocks']:7d} "
            f"{found['cells_in_crossbars']:12.2f} {found['crossbars']:6d} "
            f"{100 * found['fill']:4.1f} % {found['crossbars_apart']:6d} "
            f"{found['place_bits'] / 1000:12.1f} {found['other_index_bits'] / 1000:11.0f} "
            f"{found['unit_rows']:8.2f} {found['unit_weights']:11.2f} "
            f"{100 * found['zero_cells']:4.1f} % {found['seconds']:6.2f}",
            flush=True,
        )
    with replacing(output) as temporary:
        temporary.write_text(json.dumps({"seed": seed, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
