"""Accuracy against weights left: groups alone, channels then groups, ADMM with the groups.

    PYTHONPATH=sw python experiments/pruning_curve.py --model fashion --output curve.json

Without labels. A seed draws the calibration images from the training images and the output
positions that the fits look at. Every way is measured on the 10,000 test images; the table has
the mean loss and the losses of the seeds in points. Writes JSON, and a picture beside it. With
--bundled the 1,000 bundled images of each kind take the place of the whole data.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

from steelyard import data, quantize, zoo
from steelyard.balanced import FloatGraph, graph_sensitivity, prune_graph, thinned
from steelyard.files import replacing

BATCH = 500
WAYS = {
    "groups": ("reconstruct", False, True),
    "ADMM": ("admm", False, True),
    "channels, then groups": ("admm", True, True),
    "groups, each layer on its own": ("reconstruct", False, False),
}
"""Method of the groups, whether whole channels go first, and whether layers follow the pruned ones
before them."""
USUAL = [*WAYS][:3]


def images(bundled):
    """Calibration pool, test images as network inputs, and test labels."""
    sample = zoo.sample()
    if bundled:
        return sample.calibration_input, sample.test_input, sample.test_labels
    whole = data.find()
    return (
        zoo.to_input(whole.train_images),
        zoo.to_input(whole.test_images),
        whole.test_labels,
    )


def accuracy(content, x, labels):
    """Share of the images whose class is found."""
    session = onnxruntime.InferenceSession(content)
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: x[i : i + BATCH]})[0] for i in range(0, len(x), BATCH)]
    return float((np.concatenate(parts).argmax(1) == labels).mean())


def picture(found, path):
    """Loss of every way against the weights left."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for way in dict.fromkeys(row["way"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["way"] == way]
        left = sorted({row["target"] for row in rows})
        mean = [np.mean([row["loss"] for row in rows if row["target"] == each]) for each in left]
        x = [100 * (1 - each) for each in left]
        (line,) = axes.plot(x, mean, marker="o", label=way)
        for row in rows:
            axes.plot(100 * (1 - row["target"]), row["loss"], ".", color=line.get_color())
    axes.set_xlabel("weights left outside the first layer, %")
    axes.set_ylabel("loss, points")
    axes.set_title(f"{found['model']}, {found['images']} test images")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)
    plt.close(figure)


def joined(paths, settings):
    """Rows of earlier outputs of the same settings."""
    rows = []
    for path in paths:
        found = json.loads(path.read_text())
        if {key: found[key] for key in settings} != settings:
            raise SystemExit(f"{path} was measured with other settings; leave it out of --join")
        rows += found["rows"]
    return sorted(rows, key=lambda row: row["seed"])


def write(path, report):
    """Keep what is measured so far."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=zoo.TRAINABLE, default="fashion")
    parser.add_argument("--bundled", action="store_true")
    parser.add_argument("--calibration", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.75, 0.875])
    parser.add_argument("--channels", type=float, default=0.15, help="weights that channels take")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=USUAL)
    parser.add_argument("--test", type=int, default=10000)
    parser.add_argument("--join", type=Path, nargs="+", default=[], help="outputs to continue")
    parser.add_argument("--output", type=Path, default=Path("build/pruning-curve.json"))
    given = parser.parse_args()

    pool, x, labels = images(given.bundled)
    x, labels = x[: given.test], labels[: given.test]
    settings = {
        "model": given.model, "images": len(x), "calibration": given.calibration,
        "channels": given.channels, "bundled": given.bundled,
    }  # fmt: skip
    rows = joined(given.join, settings)
    with tempfile.TemporaryDirectory() as folder:
        dense = Path(folder) / "dense.onnx"
        quantize.export_onnx(zoo.load(given.model), pool[:1], dense)
        base = accuracy(dense.read_bytes(), x, labels)
        print(f"{given.model}: {100 * base:.2f} % of {len(x)} images, seeds {given.seeds}")
        for seed in given.seeds:
            chosen = np.random.default_rng(seed).permutation(len(pool))[: given.calibration]
            calibration = pool[np.sort(chosen)]
            graphs = {}
            for way, target in itertools.product(given.ways, given.sparsity):
                if any((r["way"], r["seed"], r["target"]) == (way, seed, target) for r in rows):
                    continue
                method, thin, sequential = WAYS[way]
                if thin not in graphs:
                    graph, lost = FloatGraph(dense, calibration), ()
                    if thin:
                        graph, lost = thinned(graph, given.channels, seed=seed)
                    graphs[thin] = graph, lost, graph_sensitivity(graph, seed=seed)
                graph, lost, damage = graphs[thin]
                start = time.process_time()
                result = prune_graph(
                    graph, graph.images, target, method=method, work=0.0, seed=seed,
                    damage=damage, sequential=sequential,
                )  # fmt: skip
                found = accuracy(result.model.SerializeToString(), x, labels)
                rows.append({
                    "way": way, "seed": seed, "target": target, "accuracy": found,
                    "loss": 100 * (base - found), "sparsity": result.sparsity,
                    "work": result.work, "k": list(result.ks.values()), "channels": lost,
                })  # fmt: skip
                write(given.output, {**settings, "accuracy": base, "rows": rows})
                print(
                    f"seed {seed}, {way}, {100 * result.sparsity:.1f} % removed: "
                    f"{100 * found:.2f} %, {time.process_time() - start:.0f} CPU-s",
                    flush=True,
                )
    report = {**settings, "accuracy": base, "rows": rows}
    write(given.output, report)
    picture(report, given.output.with_suffix(".png"))
    print("\n| way | weights removed | accuracy | loss, points | of the seeds |")
    print("|---|---|---|---|---|")
    for way, target in itertools.product(given.ways, given.sparsity):
        own = [row for row in rows if row["way"] == way and row["target"] == target]
        mean = np.mean([row["loss"] for row in own])
        each = ", ".join(f"{row['loss']:.2f}" for row in own)
        print(
            f"| {way} | {100 * np.mean([row['sparsity'] for row in own]):.1f} % "
            f"| {100 * base - mean:.2f} % | {mean:.2f} | {each} |"
        )


if __name__ == "__main__":
    main()
