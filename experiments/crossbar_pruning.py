"""Crossbar-aware pruning side by side: accuracy, compression, crossbars, area, energy, speed.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_pruning.py \
        [--model fashion] [--weights build/vgg_small.npz] [--methods pattern:0.85,mixed:0.92] \
        [--epochs 0] [--save DIR | --load DIR] [--output build/crossbar-pruning/report.json]

A method is a name and the share of weights that it removes outside the first layer, or the shares
that the layers keep (``pattern:.4/.3/.3``), with settings of its constraint behind plus signs, for
all layers (``pattern:0.82+kernel_cost=4``) or by layer (``mixed:.4/.3/.3+width=2/1/1``); with
``--budget`` points of accuracy the share is searched for instead. Every network is quantized and
read as integers; its accuracy is that of the integers. Costs are those of the weights mapped and
of the activations met, over the dense network in the traditional mapping, whose channels stay in
the order of training. Below every network stands OU-row compression of the same weights
(``ou_row``), the usual way, to compare with. Beside `mixed` its columns of crossbar-sized parts are
counted: how many are removed, kept, and in strips of how many.

``--save`` keeps the pruned networks as METHOD.npz; ``--load`` prices kept ones in place of pruning,
for when only mapping or costs have changed, and a method is then a name and a file's
(``pattern:seed1`` for seed1.npz).
"""

import json
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import torch

from steelyard import data, importer, prune, zoo
from steelyard.cost import CONSTANTS, compare, price
from steelyard.engines.crossbar import CrossbarConfig, activity, map_network
from steelyard.files import replacing
from steelyard.network import golden
from steelyard.quantize import quantize
from steelyard.train import accuracy, augment

MAPPINGS = {
    "unstructured": "ou_row", "balanced": "ou_row", "ou_row": "ou_row",
    "structured": "structured", "pattern": "pattern", "mixed": "mixed",
}  # fmt: skip
USUAL = "unstructured:0.85,balanced:0.75,structured:0.5,ou_row:0.85,pattern:0.85,mixed:0.92"
JUDGED = 2000
"""Images by whose labels a budget is searched; calibration sees none of them."""


class Bench:
    """Images, the dense network, and the price of its traditional mapping."""

    def __init__(self, options):
        self.options = options
        if options.bundled:
            sample = zoo.sample()
            train, labels = sample.calibration, sample.calibration_labels
            test, truth = sample.test, sample.test_labels
            source = "bundled sample"
        else:
            whole = data.find(options.data)
            train, labels = whole.train_images, whole.train_labels
            test, truth, source = whole.test_images, whole.test_labels, whole.source
        print(source)
        seen = options.calibration
        self.calibration, self.labels = zoo.to_input(train[:seen]), labels[:seen]
        self.judged = train[seen : seen + JUDGED], labels[seen : seen + JUDGED]
        self.tuning = zoo.to_input(train[: options.tuning]), labels[: options.tuning]
        self.test, self.truth = test[: options.images], truth[: options.images]
        self.dense = self.model = zoo.load(options.model, options.weights)
        if options.order:
            self.model = prune.order_channels(self.dense, self.calibration)
        self.config = CrossbarConfig(constants="yu2020")
        self.shape = prune.CrossbarShape(
            self.config.rows, self.config.crossbar_weights, self.config.ou_rows,
            self.config.ou_weights,
        )  # fmt: skip
        self.judge = accuracy(self.model, *self.judged) if options.budget is not None else None
        self.reference = None

    def row(self, method, model, mapping, **more):
        """Figures of one network in one mapping."""
        network = importer.load(quantize(model, self.calibration[:500]))
        x = network.tensor(network.input).quantize(zoo.to_input(self.test))
        scores = golden.run(network, x, threads=1).reshape(len(x), -1)
        reached = float((scores.argmax(1) == self.truth).mean())
        traced = golden.run(network, x[: self.options.priced], trace=True, threads=1)
        weights = [conv.weight for conv in network.layers if hasattr(conv, "weight")]
        total = sum(w.size for w in weights)
        nonzero = sum(int(np.count_nonzero(w)) for w in weights)
        found = {
            "method": method, "accuracy": reached, "weights": total, "nonzero": nonzero,
            "compression": total / max(1, nonzero),
            **self.costs(method, network, traced, mapping, total, nonzero, reached), **more,
        }  # fmt: skip
        if mapping == "mixed":
            found["columns"] = columns(map_network(network, self.config, mapping), self.shape)
            print(f"  columns: {found['columns']}", flush=True)
        if mapping not in ("traditional", "ou_row"):
            found["same_weights_ou_row"] = self.costs(
                "  the same", network, traced, "ou_row", total, nonzero, reached
            )
        return found

    def costs(self, title, network, traced, mapping, total, nonzero, reached):
        """Costs of one network in one mapping, printed as a row of the table."""
        mapped = map_network(network, self.config, mapping)
        works = activity(network, mapped, traced)
        prices = {name: price(mapped, works, name) for name in CONSTANTS}
        if self.reference is None:
            self.reference = prices
        ratios = {n: asdict(compare(p, self.reference[n])) for n, p in prices.items()}
        cells = sum(layer.weights for layer in mapped.layers.values())
        yu = ratios["yu2020"]
        found = {
            "mapping": mapping, "mapped_weights": cells,
            "memory_compression": 8 * total / max(1, 8 * cells + mapped.index_bits),
            "crossbars": mapped.crossbars, "index_bits": mapped.index_bits,
            "area_ratio": yu["area"], "energy_ratio": yu["energy"], "speed_ratio": yu["speed"],
            "ou_steps": prices["yu2020"].ou_steps, "ou_skipped": prices["yu2020"].ou_skipped,
            "ratios": ratios,
            "energy_parts": prices["yu2020"].total.energy,
            "crossbars_by_layer": {n: m.crossbars for n, m in mapped.layers.items()},
            "cells_in_crossbars": mapped.cells / (self.config.rows * self.config.columns),
        }  # fmt: skip
        print(
            f"{title:13s} {mapping:11s} {100 * reached:6.2f} {total / max(1, nonzero):7.2f} "
            f"{found['memory_compression']:7.2f} {yu['cells']:7.2f} {mapped.crossbars:5d} "
            f"{yu['crossbars']:7.2f} {yu['crossbar_area']:7.2f} {yu['area']:7.2f} "
            f"{yu['energy']:7.2f} {yu['speed']:7.2f} "
            f"{yu['parallel_speed']:7.2f} {mapped.index_bits / 8192:8.1f}",
            flush=True,
        )
        return found

    def prune(self, method, wanted, settings):
        """A pruned network."""
        options = self.options
        structure = prune.inspect(self.model, torch.from_numpy(self.calibration[:8]))
        kept = [float(share) for share in wanted.split("/")]
        names = [info.name for info in structure.prunable]
        keeps = dict(zip(names, kept, strict=True)) if len(kept) > 1 else None
        sparsity = 0.0 if keeps else kept[0]
        given = {
            key: [json.loads(one) for one in text.split("/")] for key, text in settings.items()
        }
        usual = prune.constraint_of(method, self.shape)
        rules = {
            name: replace(usual, **{key: own[number % len(own)] for key, own in given.items()})
            for number, name in enumerate(names)
        }

        def attempt(share):
            return prune.prune_for_crossbar(
                self.model, self.calibration, rules[names[0]], share, crossbar=self.shape,
                constraints=rules if keeps else None, keeps=keeps,
                select=options.select, work=options.work * share or None, epochs=options.epochs,
                stages=options.stages, tuning=self.tuning[0],
                labels=self.tuning[1] if options.labels else None,
                augment=augment, rate=options.rate, seed=options.seed,
                batch_statistics=options.batch_statistics,
                progress=tell if options.progress else None,
            )  # fmt: skip

        if options.budget is None:
            return attempt(sparsity)
        least = self.judge - options.budget / 100
        found = prune.sparsest(
            attempt, lambda model: accuracy(model, *self.judged), least, 0.5, 0.97
        )
        return None if found is None else found[0]


def columns(mapped, shape):
    """Columns of crossbar-sized parts of all layers but the first, by what `mixed` does with them.

    Keys are ``all``, ``removed``, ``kept``, and ``in strips of N``.
    """
    found = Counter()
    for layer in list(mapped.layers.values())[1:]:
        parts = -(-layer.positions // shape.rows)
        rows, widths = Counter(), {}
        for block in layer.blocks:
            for channel in block.channels.tolist():
                place = int(block.rows.min()) // shape.rows, channel
                rows[place] += len(block.rows)
                widths[place] = len(block.channels)
        found["all"] += parts * layer.shape[0]
        found["removed"] += parts * layer.shape[0] - len(widths)
        for (part, channel), width in widths.items():
            whole = min(shape.rows, layer.positions - part * shape.rows)
            kept = rows[part, channel] == whole
            found["kept" if kept else f"in strips of {width}"] += 1
    return dict(found)


def tell(number, count, step):
    """Say which of a method's steps begins."""
    print(f"  {time.process_time():.0f} CPU-s: {step} {number + 1} of {count}", flush=True)


def stages(text):
    """Stages of pruning of an option."""
    pairs = (item.partition(":") for item in text.split(",") if item)
    return tuple((float(factor), int(images)) for factor, _, images in pairs)


FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--model", type=click.Choice(zoo.TRAINABLE), default="fashion")
@click.option("--weights", type=FILE)
@click.option("--methods", default=USUAL)
@click.option("--save", type=FOLDER, help="Folder for the pruned networks' weights.")
@click.option("--load", type=FOLDER, help="Folder of such, priced in place of pruning.")
@click.option("--select", type=click.Choice(["magnitude", "energy", "admm"]), default="admm")
@click.option("--work", type=float, default=0.0, help="Bound on work, by sparsity.")
@click.option("--budget", type=float, help="Points of accuracy to lose at most.")
@click.option("--order", is_flag=True, help="Channels by activity first.")
@click.option("--epochs", type=int, default=0, help="Of tuning after the repair.")
@click.option(
    "--stages", type=stages, default="", metavar="FACTOR:IMAGES,...",
    help="Before the last pruning, to FACTOR times what stays, tuning on IMAGES (may be 0).",
)  # fmt: skip
@click.option("--rate", type=float, default=5e-4, help="First learning rate of tuning.")
@click.option("--labels", is_flag=True, help="Tune with labels too.")
@click.option(
    "--batch-statistics", is_flag=True,
    help="Let batch normalization follow the batches of tuning.",
)  # fmt: skip
@click.option("--tuning", type=int, default=10000, help="Images to tune on.")
@click.option("--calibration", type=int, default=1000, help="Images to repair on.")
@click.option("--images", type=int, default=10000, help="Test images.")
@click.option("--priced", type=int, default=20, help="Images whose activity is priced.")
@click.option("--bundled", is_flag=True, help="Only the bundled images.")
@click.option("--data", type=FOLDER)
@click.option("--seed", type=int, default=0)
@click.option("--progress", is_flag=True, help="Say where tuning is.")
@click.option("--output", type=FILE, default=Path("build/crossbar-pruning/report.json"))
def main(**values):
    """Print the table and write it as JSON."""
    options = SimpleNamespace(**values)
    torch.set_num_threads(1)
    bench = Bench(options)
    print(f"seed {options.seed}, {bench.config}")
    print(
        "method        mapping     int8 %  weights  memory   cells  xbars   xbars  +index    area"
        "  energy   speed  parallel  index KiB"
    )
    rows = [bench.row("dense", bench.dense, "traditional")]
    for item in options.methods.split(","):
        item, *extra = item.split("+")
        method, _, share = item.partition(":")
        if options.load is not None:
            model = zoo.load(options.model, options.load / f"{share or method}.npz")
            rows.append(bench.row(share or method, model, MAPPINGS[method]))
            write(options, bench, rows)
            continue
        settings = dict(pair.split("=") for pair in extra)
        begin = time.process_time()
        result = bench.prune(method, share or "0.85", settings)
        if result is None:
            print(f"{method:13s} loses more than {options.budget} points at half the weights")
            continue
        layers = [{**asdict(r), "constraint": str(r.constraint)} for r in result.layers]
        rows.append(
            bench.row(
                method, result.model, MAPPINGS[method], sparsity=result.sparsity,
                seconds=time.process_time() - begin, layers=layers,
            )
        )  # fmt: skip
        if options.save is not None:
            path = options.save / f"{method}.npz"
            reached = rows[-1]["accuracy"]
            zoo.save(result.model, path, accuracy=reached, seed=options.seed, epochs=options.epochs)
        write(options, bench, rows)


def write(options, bench, rows):
    """Write what is there of the report."""
    settings = {name: str(value) for name, value in vars(options).items()}
    document = {"settings": settings, "crossbar": str(bench.config), "methods": rows}
    with replacing(options.output) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
