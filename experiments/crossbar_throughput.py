"""Images a second of networks in crossbars for an area: pipelines with copies of layers.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_throughput.py \
        [--model fashion] [--networks traditional,pattern:build/pruned/pattern.npz] [--images 4] \
        [--budgets 0.6,1,1.5,2,4,8] [--constants yu2020] [--step]

A network is a mapping and a file of weights (as of crossbar_pruning.py --save), without one the
model's own weights. The first is the baseline: budgets are over the area of its pipeline without
copies, the same mm2 for all networks, and `x` is images a second over the baseline's in that area.
Activity is that of so many test images. ``--step`` adds what is left of the images a second if
copies do not go on by themselves: every pixel waits for the slowest of its layer's crossbars, and
every round for the slowest of its pixels, which skip different steps.
"""

import json
from pathlib import Path

import click
import numpy as np
import torch

from steelyard import data, importer, zoo
from steelyard.cost import CONSTANTS
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.engines.crossbar.golden import windows
from steelyard.files import replacing
from steelyard.network import golden
from steelyard.quantize import quantize
from steelyard.report import compare_with_traditional, throughput

CALIBRATION = 500


def pixel_steps(network, layer, mapping, tensors):
    """Executed steps of every output pixel in each crossbar, int64 (crossbars, pixels)."""
    unit, numbers = mapping.config, mapping.crossbar_numbers.tolist()
    parts = []
    for _, inputs in windows(network, layer, tensors[layer.inputs[0]]):
        steps, known = np.zeros((len(numbers), inputs.shape[1]), np.int64), {}
        for block, crossbar in zip(mapping.blocks, mapping.places[:, 0].tolist(), strict=True):
            key = block.rows.tobytes()
            if key not in known:
                first = np.arange(0, len(block.rows), unit.ou_rows)
                bits = np.bitwise_or.reduceat(inputs[block.rows], first, axis=0)
                known[key] = np.bitwise_count(bits).sum(axis=0, dtype=np.int64)
            across = -(-len(block.channels) // unit.ou_weights)
            steps[numbers.index(crossbar)] += across * known[key]
        parts.append(steps)
    return np.concatenate(parts, axis=1)


def intervals(steps, copies, images):
    """Steps of a layer between images: with the mean of its pixels, and with rounds in step."""
    pixels = steps.shape[1] // images
    rounds = -(-pixels // copies)
    padded = np.zeros((images, rounds * copies), np.int64)
    padded[:, :pixels] = steps.max(axis=0, initial=0).reshape(images, -1)
    held = padded.reshape(images, rounds, copies).max(axis=2).sum() / images
    return steps.sum(axis=1).max(initial=0) / steps.shape[1] * rounds, held


def left(network, plan, tensors, images):
    """Share of a plan's images a second that is left if copies go in step."""
    layers, both = {layer.name: layer for layer in network.layers}, []
    for name, copies in plan.design.copies.items():
        mapping = plan.cost.mapping.layers[name]
        both.append(intervals(pixel_steps(network, layers[name], mapping, tensors), copies, images))
    free, held = np.max(both, axis=0)
    return free / held


def line(name, plan, first, share):
    """A row of the table."""
    if plan is None:
        return f"{name:18s}  no copy of every layer fits"
    own = plan.document()
    parts = f"{own['buffer_um2'] / own['area_um2']:7.1%} {own['buffer_bytes'] / 1024:8.1f}"
    gain = "-" if first is None else f"{plan.images_per_second / first.images_per_second:.2f}"
    return (
        f"{name:18s} {own['area_um2'] / 1e6:8.3f} {parts} {own['crossbars']:6d} "
        f"{own['programmed_cells'] / 1e6:8.2f} {own['energy_uj']:9.1f} {own['latency_ms']:10.3f} "
        f"{own['images_per_second']:10.2f} {gain:>7s} {share:>8s}"
    )


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--model", type=click.Choice(zoo.TRAINABLE), default="fashion")
@click.option("--networks", default="traditional,pattern,mixed", metavar="MAPPING[:FILE],...")
@click.option("--images", type=click.IntRange(1), default=4)
@click.option("--budgets", default="0.6,1,1.5,2,4,8", metavar="X,X,...")
@click.option("--constants", type=click.Choice(tuple(CONSTANTS)), default="yu2020")
@click.option("--size", type=int, default=512, help="Wordlines and bitlines of a crossbar.")
@click.option("--step", is_flag=True, help="What is left if copies go in step.")
@click.option("--bundled", is_flag=True, help="Only the bundled images.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path),
              default=Path("build/crossbar-throughput/report.json"))  # fmt: skip
def main(model, networks, images, budgets, constants, size, step, bundled, output):
    """Print a table for each network and write the figures."""
    torch.set_num_threads(1)
    if bundled:
        sample = zoo.sample()
        train, test = sample.calibration, sample.test
    else:
        whole = data.find(None)
        train, test = whole.train_images, whole.test_images
    config = CrossbarConfig(rows=size, columns=size, constants=constants)
    print(config)
    wanted = [float(each) for each in budgets.split(",")]
    calibration, written, baseline, unit = zoo.to_input(train[:CALIBRATION]), [], None, None
    for item in networks.split(","):
        mapping, _, file = item.partition(":")
        quantized = importer.load(quantize(zoo.load(model, file or None), calibration))
        codes = quantized.tensor(quantized.input).quantize(zoo.to_input(test[:images]))
        found = compare_with_traditional(quantized, config, mapping, codes)
        network = found.network
        tensors = golden.run(network, codes, trace=True, threads=1)
        own = throughput(found, (), codes)[constants].unit
        unit = unit or own
        # The same mm2 for all: buffers of the traditional mapping differ a little by activations.
        areas = [each * unit / own for each in wanted]
        rows = [(name, budget, plan) for name, budget, plan, _ in
                throughput(found, areas, codes)[constants].rows()]  # fmt: skip
        baseline = baseline or [plan for _, _, plan in rows]
        print(f"\n{item}\nplan                    mm2 buffers      KiB  xbars  Mcells  uJ/image "
              " latency ms   images/s       x  in step")  # fmt: skip
        made = []
        for (name, budget, plan), first in zip(rows, baseline, strict=True):
            share = ""
            if step and plan is not None and plan.design.copies:
                share = f"{left(network, plan, tensors, images):.1%}"
            title = name if budget is None else f"{name}, {budget * own / unit:g}"
            print(line(title, plan, first, share), flush=True)
            made.append({"plan": title, "own": plan and plan.document(), "in_step": share})
        last = rows[-1][2]
        if last is not None:
            print("copies, largest area:", " ".join(map(str, last.design.copies.values())))
        written.append({"network": item, "plans": made})
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
