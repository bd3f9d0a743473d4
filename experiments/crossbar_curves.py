"""Curves of crossbar-aware pruning: accuracy against compression, area, energy and time.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_curves.py \
        [--model vgg_small] [--methods pattern,columns,ou_row] [--densities .28,.2,.14,.1,.07] \
        [--seeds 0,1,2] [--folder build/crossbar-curves] [--quick]

A point is a method at a density, the share of the weights and of the multiplications outside the
first layer that stays, with a seed. What each layer keeps follows from the damage that pruning it
to the method's shape alone does to the network's outputs; no share is given by hand. Each density
is pruned from the network of the one before it, without labels or tuning. Accuracy is that of the
integers; a seed draws the calibration images and the positions that the fits look at. Methods:

    dense         the network as trained, in the traditional mapping
    unstructured  any weights, in the usual mapping: the bound of accuracy for all others
    structured    whole filters and input channels
    ou_row        rows across the channels of an operation unit, alike channels brought together
    pattern       4 patterns a layer
    pattern_32    32 patterns a layer
    columns       each column of a crossbar-sized part keeps rows of its own in whole operation
                  units, channels by activity
    pairs         the same in strips of two columns, an operation unit's
    mixed         columns removed, alone and kept whole, by thresholds that each layer chooses

Every point is priced with converters that resolve all bits and with such that stop
(``adc_resolve = "reach"``); the dense network has the same choice, and ratios are over it with
converters of the same kind. Areas are of whole crossbars and *fill-free*: of as many crossbars, and
parts of one, as the cells in use would fill. Points are files of their own, named by all that they
follow from, the sources included, and are not made again while they are there; ``--only-show``
makes none. Then come the table, a picture, and the comparison at equal accuracy: each method's
values are read off its curve by interpolation where the curve reaches, with the standard error over
test images and seeds drawn anew. ``--quick`` is the demo network with its bundled images at two
densities.
"""

import base64
import json
from dataclasses import asdict
from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np
import torch
from crossbar_points import METHODS, RESOLVE, SET, Bench, Maker

from steelyard import zoo
from steelyard.cost import CONSTANTS
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.files import replacing
from steelyard.report import Curve, at_loss, over

LOSSES = (0.25, 0.5, 1.0, 2.0, 3.0)
"""Points below the dense network at which curves are read."""


def recognized(point, images):
    """Which test images a point recognizes, bool (images,)."""
    packed = np.frombuffer(base64.b64decode(point["hits"]), np.uint8)
    return np.unpackbits(packed, count=images).astype(bool)


def areas(priced, config):
    """Areas by how they are counted: cells of crossbars and as many more as the index would take,
    and um2 of all; of whole crossbars, and of those and parts of one that the cells in use fill."""
    size, used = config.rows * config.columns, priced["mapped"] * config.weight_bitlines
    index = priced["index_bits"] * CONSTANTS[SET].buffer_area.value
    whole = priced["prices"][SET]["area"]
    return {
        "crossbar area": priced["crossbars"] * size + priced["index_bits"] / config.cell_bits,
        "crossbar area, fill-free": used + priced["index_bits"] / config.cell_bits,
        "whole area": whole,
        "whole area, fill-free": used / size * (whole - index) / priced["crossbars"] + index,
    }


def gains(point, dense):
    """How much less a point takes than the dense network with the same converters, and counts."""
    config, found = CrossbarConfig(), {}
    found["compression"] = (
        8 * point["weights"] / (8 * point["all"]["mapped"] + point["all"]["index_bits"])
    )
    for resolve, suffix in zip(RESOLVE, ("", ", stop"), strict=True):
        own, other = point[resolve], dense[resolve]
        taken, dense_taken = areas(own, config), areas(other, config)
        for name, area in taken.items():
            found[name + suffix] = dense_taken[name] / area
        paid, before = own["prices"][SET], other["prices"][SET]
        found["energy" + suffix] = before["energy"] / paid["energy"]
        found["speed" + suffix] = before["time"] / paid["time"]
        found["index KiB" + suffix] = own["index_bits"] / 8192
    found["crossbars"] = point["all"]["crossbars"]
    return found


USUAL = ("pattern", "columns", "ou_row", "pattern_32", "pairs", "structured", "unstructured")
AREAS = ("crossbar area", "crossbar area, fill-free", "whole area", "whole area, fill-free")
COLUMNS = (
    "compression", "crossbars", *AREAS, "energy", "energy, stop", "speed", "index KiB",
    "index KiB, stop",
)  # fmt: skip
READ = ("compression", *AREAS, "energy", "energy, stop", "speed")
"""Gains that are read off the curves at equal accuracy."""


def curves(points, dense, images):
    """Curve of each method and gain, of the seeds that all its densities have."""
    found = {}
    for method in dict.fromkeys(p["method"] for p in points if p["method"] != "dense"):
        own = {(p["density"], p["seed"]): p for p in points if p["method"] == method}
        densities = sorted({density for density, _ in own}, reverse=True)
        seeds = [s for s in sorted({seed for _, seed in own})
                 if all((density, s) in own for density in densities)]  # fmt: skip
        if not seeds:
            continue
        rows = [[own[density, seed] for seed in seeds] for density in densities]
        seen = np.array([[recognized(p, images) for p in row] for row in rows])
        for gain in READ:
            values = np.array([[gains(p, dense)[gain] for p in row] for row in rows])
            found.setdefault(method, {})[gain] = Curve(values, seen)
    return found


def table(points, dense, images):
    """Rows of the table: means over seeds, and the least and the most accurate of them."""
    rows = []
    for method, density in dict.fromkeys((p["method"], p["density"]) for p in points):
        own = [p for p in points if (p["method"], p["density"]) == (method, density)]
        reached = [100 * p["accuracy"] for p in own]
        each = [gains(p, dense) for p in own]
        rows.append({
            "method": method, "density": density, "seeds": [p["seed"] for p in own],
            "accuracy": float(np.mean(reached)), "least": min(reached), "most": max(reached),
            "removed": 100 * (1 - np.mean([p["nonzero"] / p["weights"] for p in own])),
            **{name: float(np.mean([row[name] for row in each])) for name in COLUMNS},
        })  # fmt: skip
    return rows


def shown(estimate, digits=2):
    """An estimate as text."""
    if estimate.value is None:
        return "-"
    error = "" if estimate.error is None else f" ± {estimate.error:.{digits}f}"
    return f"{estimate.value:.{digits}f}{error}"


def compared(found, dense_hits, references):
    """What each curve gains at equal accuracy, over the dense network and over other curves."""
    rows = []
    for gain in READ:
        for method, own in found.items():
            for loss in LOSSES:
                rows.append({"gain": gain, "method": method, "over": "dense", "loss": loss,
                             "found": at_loss(own[gain], dense_hits, loss / 100)})  # fmt: skip
            for other in references:
                if other == method or other not in found:
                    continue
                for loss in (*LOSSES, None):
                    share = None if loss is None else loss / 100
                    value = over(own[gain], found[other][gain], dense_hits, share)
                    rows.append({"gain": gain, "method": method, "over": other, "loss": loss,
                                 "found": value})  # fmt: skip
    return rows


def carried(columns):
    """Share of the columns of crossbar-sized parts, and of the weights, by what they are."""
    whole = np.sum(list(columns.values()), axis=0)
    shares = {kind: np.array(own) / whole for kind, own in sorted(columns.items())}
    return ", ".join(f"{kind} {own[0]:.1%} of the columns, {own[1]:.1%} of the weights"
                     for kind, own in shares.items())  # fmt: skip


def show(points, dense, images, references):
    """Print the table and the comparison; the document with both."""
    rows = table(points, dense, images)
    base = 100 * dense["accuracy"]
    error = np.sqrt(base * (100 - base) / images)
    print(f"\ndense {base:.2f} %, {images} test images: the standard error of one is {error:.2f}")
    print("| method | density | seeds | accuracy | removed | " + " | ".join(COLUMNS) + " |")
    print("|---" * (5 + len(COLUMNS)) + "|")
    for row in rows:
        spread = f" ({row['least']:.2f} to {row['most']:.2f})" if len(row["seeds"]) > 1 else ""
        print(
            f"| {row['method']} | {row['density']:g} | {len(row['seeds'])} "
            f"| {row['accuracy']:.2f} %{spread} | {row['removed']:.1f} % | "
            + " | ".join(f"{row[name]:.{0 if name == 'crossbars' else 2}f}" for name in COLUMNS)
            + " |"
        )
    for point in points:
        if "columns" in point:
            print(f"{point['method']} {point['density']:g}, seed {point['seed']}: "
                  f"{carried(point['columns'])}")  # fmt: skip
    comparison = compared(curves(points, dense, images), recognized(dense, images), references)
    for other in dict.fromkeys(row["over"] for row in comparison):
        losses = [*LOSSES, *([] if other == "dense" else [None])]
        heads = ["all in common" if each is None else f"at {each:g} points lost" for each in losses]
        print(f"\n| over {other} | method | " + " | ".join(heads) + " |")
        print("|---" * (2 + len(heads)) + "|")
        own = {(row["gain"], row["method"], row["loss"]): row["found"]
               for row in comparison if row["over"] == other}  # fmt: skip
        for gain, method in dict.fromkeys(key[:2] for key in own):
            cells = [shown(own[gain, method, loss]) for loss in losses]
            print(f"| {gain} | {method} | " + " | ".join(cells) + " |")
    return {
        "table": rows,
        "equal_accuracy": [{**row, "found": asdict(row["found"])} for row in comparison],
    }


def picture(rows, path):
    """Accuracy against energy, and against compression with index."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
    names = (("energy", "energy, dense over own"), ("compression", "compression with index"))
    base = next(row["accuracy"] for row in rows if row["method"] == "dense")
    for axis, (name, label) in zip(axes, names, strict=True):
        for method in dict.fromkeys(row["method"] for row in rows if row["method"] != "dense"):
            own = [row for row in rows if row["method"] == method]
            x, y = [row[name] for row in own], np.array([row["accuracy"] for row in own])
            spread = [y - [row["least"] for row in own], [row["most"] for row in own] - y]
            axis.errorbar(x, y, spread, marker="o", markersize=4, capsize=2, label=method)
        axis.axhline(base, color="black", linewidth=0.8, linestyle=":", label="dense")
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("{x:g}")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("accuracy, %")
    axes[0].legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def numbers(kind):
    """Option of several numbers in a row."""

    def parsed(context, option, text):
        try:
            return [kind(each) for each in text.split(",")]
        except ValueError:
            raise click.BadParameter(
                f"Give numbers with commas between them, not {text!r}."
            ) from None

    return parsed


def names(context, option, text):
    """Option of several methods in a row."""
    for name in (chosen := text.split(",")):
        if name not in METHODS or name == "dense":
            known = ", ".join(each for each in METHODS if each != "dense")
            raise click.BadParameter(f"There is no method {name!r}; choose from {known}.")
    return chosen


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--model", type=click.Choice(zoo.TRAINABLE), default="vgg_small")
@click.option("--methods", callback=names, default=",".join(USUAL))
@click.option("--densities", callback=numbers(float), default=".28,.2,.14,.1,.07",
              help="Falling: each is pruned from the one before it.")  # fmt: skip
@click.option("--seeds", callback=numbers(int), default="0,1,2")
@click.option("--over", "references", callback=names, default="pattern,ou_row",
              help="Methods to compare the others with at equal accuracy.")  # fmt: skip
@click.option("--calibration", type=click.IntRange(1), default=600, help="Images to repair on.")
@click.option("--images", type=click.IntRange(1), default=10000, help="Test images.")
@click.option(
    "--priced", type=click.IntRange(1), default=10, help="Images whose activity is priced."
)
@click.option("--bundled", is_flag=True, help="Only the bundled images.")
@click.option("--quick", is_flag=True, help="The demo network in seconds, in place of the above.")
@click.option("--only-show", is_flag=True, help="Make no point, show those that are there.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path),
              default=Path("build/crossbar-curves"))  # fmt: skip
def main(model, methods, densities, seeds, references, quick, only_show, folder, **sizes):
    """Make what is missing, then table, comparison and picture."""
    torch.set_num_threads(1)
    bench = Bench(model, **sizes)
    if quick:
        bench = Bench("fashion", calibration=40, images=200, priced=2, bundled=True)
        methods, densities, seeds = ["pattern", "ou_row"], [0.4, 0.2], [0]
    if not all(1 > a > b > 0 for a, b in zip(densities, [*densities[1:], 1e-9], strict=True)):
        raise click.BadParameter("Densities must fall and lie between 0 and 1.")
    if bench.calibration > (most := bench.known):
        raise click.BadParameter(
            f"There are {most} images to calibrate with; give so many at most."
        )
    maker = Maker(bench, folder / "points")
    wanted = [("dense", 0, [])] + [
        (method, seed, densities[: count + 1])
        for seed in seeds for method in methods for count in range(len(densities))
    ]  # fmt: skip
    print(f"{bench}, seeds {seeds}, {maker.config}", flush=True)
    points = []
    for number, (method, seed, own) in enumerate(wanted):
        if only_show and not maker.there(method, seed, own):
            continue
        print(f"{number + 1} of {len(wanted)}: {method} {own[-1] if own else 1:g}, seed {seed}",
              end=": ", flush=True)  # fmt: skip
        points.append(found := maker.point(method, seed, own))
        seconds = found["network_seconds"] + found["price_seconds"]
        print(f"{100 * found['accuracy']:.2f} %, {seconds:.0f} CPU-s", flush=True)
    if not points or points[0]["method"] != "dense":
        raise click.UsageError("No point of the dense network is there; leave --only-show out.")
    images = min(bench.images, 1000 if bench.bundled else 10000)
    document = {
        "settings": {**asdict(bench), "densities": densities, "seeds": seeds},
        "crossbar": str(maker.config), **show(points, points[0], images, references),
    }  # fmt: skip
    with replacing(folder / "curves.json") as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n")
    picture(document["table"], folder / "curves.png")
    print(f"\n{folder}/curves.json, curves.png")


if __name__ == "__main__":
    main()
