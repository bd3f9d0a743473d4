"""Images a second of networks in crossbars for an area: pipelines with copies of layers.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_throughput.py \
        [--model fashion] [--networks traditional,pattern:build/pruned/pattern.npz] [--images 4] \
        [--budgets 0.6,1,1.5,2,4,8] [--constants yu2020] [--apart]

A network is a mapping and a file of weights (as of crossbar_pruning.py --save), without one the
model's own weights. The first is the baseline: budgets are over the area of its pipeline without
copies, the same mm2 for all networks, and `x` is images a second over the baseline's in that area.
Activity is that of so many test images. ``index`` is the part of the area that indices take, and
the last columns are the copies of each layer, with a star where they share one index. With
``--apart`` each copy has its own.
"""

import json
from pathlib import Path

import click
import torch
from crossbar_networks import compared

from steelyard import zoo
from steelyard.cost import CONSTANTS
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.files import replacing
from steelyard.report import compare_with_traditional, throughput


def line(name, plan, first):
    """A row of the table."""
    if plan is None:
        return f"{name:18s}  no copy of every layer fits"
    own = plan.document()
    indices = sum(
        cost.area["index"] * (1 if name in own["shared_index"] else own["copies"].get(name, 1))
        for name, cost in plan.cost.layers.items()
    )
    copies = " ".join(
        f"{many}{'*' * (name in own['shared_index'])}" for name, many in own["copies"].items()
    )
    buffers, index = own["buffer_um2"] / own["area_um2"], indices / own["area_um2"]
    parts = f"{own['buffer_bytes'] / 1024:6.1f} {buffers:7.1%} {index:6.1%}"
    gain = "-" if first is None else f"{plan.images_per_second / first.images_per_second:.2f}"
    return (
        f"{name:18s} {own['area_um2'] / 1e6:8.3f} {parts} {own['crossbars']:6d} "
        f"{own['programmed_cells'] / 1e6:8.2f} {own['energy_uj']:9.1f} {own['latency_ms']:10.3f} "
        f"{own['images_per_second']:10.2f} {gain:>7s}  {copies}"
    )


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--model", type=click.Choice(zoo.TRAINABLE), default="fashion")
@click.option("--networks", default="traditional,pattern,mixed", metavar="MAPPING[:FILE],...")
@click.option("--images", type=click.IntRange(1), default=4)
@click.option("--budgets", default="0.6,1,1.5,2,4,8", metavar="X,X,...")
@click.option("--constants", type=click.Choice(tuple(CONSTANTS)), default="yu2020")
@click.option("--size", type=int, default=512, help="Wordlines and bitlines of a crossbar.")
@click.option("--apart", is_flag=True, help="An index for each copy.")
@click.option("--bundled", is_flag=True, help="Only the bundled images.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path),
              default=Path("build/crossbar-throughput/report.json"))  # fmt: skip
def main(model, networks, images, budgets, constants, size, apart, bundled, output):
    """Print a table for each network and write the figures."""
    torch.set_num_threads(1)
    config = CrossbarConfig(rows=size, columns=size, constants=constants)
    print(config)
    wanted = [float(each) for each in budgets.split(",")]
    written, baseline, unit = [], None, None
    for item, mapping, _, network, codes in compared(model, networks, images, bundled=bundled):
        found = compare_with_traditional(network, config, mapping, codes)
        own = throughput(found, (), codes)[constants].unit
        unit = unit or own
        # The same mm2 for all: buffers of the traditional mapping differ a little by activations.
        areas = [each * unit / own for each in wanted]
        speeds = throughput(found, areas, codes, share_index=not apart)
        rows = [(name, budget, plan) for name, budget, plan, _ in speeds[constants].rows()]
        baseline = baseline or [plan for _, _, plan in rows]
        print(f"\n{item}\nplan                    mm2    KiB buffers  index  xbars   Mcells"
              "  uJ/image latency ms   images/s       x  copies")  # fmt: skip
        made = []
        for (name, budget, plan), first in zip(rows, baseline, strict=True):
            title = name if budget is None else f"{name}, {budget * own / unit:g}"
            print(line(title, plan, first), flush=True)
            made.append({"plan": title, "own": plan and plan.document()})
        written.append({"network": item, "plans": made})
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
