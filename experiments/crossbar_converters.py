"""Converters that stop at the bits a bitline can reach: energy, time and index of networks.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_converters.py \
        [--model fashion] [--networks traditional,pattern:build/pruned/pattern0.npz] [--images 10]

A network is a mapping and a file of weights (as of crossbar_pruning.py --save), without one the
model's own weights. Each is priced with converters that resolve all bits and with such that stop.
The first is the baseline, which has the same choice: ratios are over it with plain converters
(`over plain`) and with the same as the network (`over same`). Activity is that of so many test
images; energies are uJ an image under `yu2020`.

Below it, what the conversions take by what else may be charged for b of 8 bits: (b + 2) / 10 of a
whole conversion as priced, b / 8 with nothing beside the bits, and a converter of b bits of the
set's own, which would be another converter for every bitline. Then, what they take where several
bitlines share the number of bits that they stop at, with the index (its entropy) that says it.
"""

import json
from pathlib import Path

import click
import numpy as np
import torch
from crossbar_networks import compared

from steelyard import zoo
from steelyard.cost import compare, constant_set, price
from steelyard.engines.crossbar import (
    CrossbarConfig,
    activity,
    block_cells,
    block_reaches,
    map_network,
)
from steelyard.engines.crossbar.golden import windows
from steelyard.files import replacing
from steelyard.network import Conv, golden

SET = "yu2020"


def priced(network, mapping, config, tensors, images):
    """Prices of a network by constant set, and what its conversions resolve."""
    mapped = map_network(network, config, mapping)
    works = activity(network, mapped, tensors)
    prices = {name: price(mapped, works, name) for name in (SET, "mnsim")}
    energy = {part: value / images / 1e6 for part, value in prices[SET].total.energy.items()}
    conversions = sum(work.conversions for work in works.values())
    slowest = sum(work.slowest.sum(axis=0) for work in works.values())
    return prices, {
        "energy_uj": energy, "total_uj": sum(energy.values()),
        "index_kib": mapped.index_bits / 8192,
        "conversions": conversions.tolist(), "slowest": slowest.tolist(),
    }  # fmt: skip


def charged(conversions, images):
    """Energy of the conversions alone by three ways to charge their bits, uJ an image."""
    constants, bits = constant_set(SET), np.arange(len(conversions))
    whole, most = constants.adc(len(bits) - 1)[0].value, len(bits) - 1
    own = np.array([constants.adc(int(n))[0].value for n in bits])
    made = bits > 0
    ways = {
        "(b + 2) / 10": (bits + 2) / (most + 2) * whole * made,
        "b / 8": bits / most * whole,
        "own": own * made,
    }
    return {way: float(conversions @ energy) / images / 1e6 for way, energy in ways.items()}


def shared(reaches, unit, whole):
    """Reaches of a block by who shares them: what converters resolve, and what the index holds."""
    ends = range(0, reaches.shape[1], unit.ou_weights)
    alike = np.maximum.reduceat(reaches, ends, axis=1)
    of_runs = reaches.max(axis=1, keepdims=True)
    return {
        "none": (reaches, reaches),
        "alike bitlines of an OU": (
            np.repeat(alike, unit.ou_weights, axis=1)[:, : reaches.shape[1]], alike,
        ),
        "alike bitlines of a block's rows of an OU": (of_runs, of_runs),
        "alike bitlines of a layer": (whole, reaches[:0]),
    }  # fmt: skip


def entropy(values):
    """Bits of values by their frequency."""
    found = np.bincount(values) if len(values) else np.ones(1)
    share = found[found > 0] / found.sum()
    return -len(values) * float(share @ np.log2(share))


def sharing(network, mapping, tensors, images):
    """Energy of conversions and of their index, uJ an image, and KiB of this, by who shares."""
    config = CrossbarConfig(constants=SET, adc_resolve="reach")
    mapped, constants = map_network(network, config, mapping), constant_set(SET)
    whole = constants.adc(config.adc_bits)[0].value
    bit = constants.buffer_energy.value + constants.bus_energy.value
    found = {}
    for layer in network.layers:
        if not isinstance(layer, Conv):
            continue
        own = mapped.layers[layer.name]
        inputs = [part for _, part in windows(network, layer, tensors[layer.inputs[0]])]
        pixels = np.concatenate(inputs, axis=1)
        reaches = block_reaches(block_cells(own), config)
        most = np.max([each.max(axis=(0, 1)) for each in reaches], axis=0)
        stored = {}
        for block, each in zip(own.blocks, reaches, strict=True):
            steps = executed(own, block, pixels)
            for name, (used, held) in shared(each, config, most).items():
                spent = np.where(used > 0, (used + 2.0) / (config.adc_bits + 2), 0)
                spent = np.broadcast_to(spent, each.shape).sum(axis=(1, 2)) @ steps
                row = found.setdefault(name, np.zeros(3))
                row[0] += spent * whole / images / 1e6
                stored.setdefault(name, []).append(held.reshape(-1, config.weight_bitlines))
        for name, parts in stored.items():
            bits = sum(entropy(each) for each in np.concatenate(parts).T)
            found[name][1:] += bits * pixels.shape[1] * bit / images / 1e6, bits / 8192
    return found


def executed(mapping, block, pixels):
    """Executed steps of each run of a block's rows, int64 (runs,)."""
    unit = mapping.config
    runs = [block.rows[first : first + unit.ou_rows] for first in
            range(0, len(block.rows), unit.ou_rows)]  # fmt: skip
    bits = np.stack([np.bitwise_or.reduce(pixels[rows]) for rows in runs])
    return np.bitwise_count(bits).sum(axis=1, dtype=np.int64)


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--model", type=click.Choice(zoo.TRAINABLE), default="fashion")
@click.option("--networks", default="traditional,pattern,mixed", metavar="MAPPING[:FILE],...")
@click.option("--images", type=int, default=10)
@click.option("--bundled", is_flag=True, help="Only the bundled images.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path),
              default=Path("build/crossbar-converters/report.json"))  # fmt: skip
def main(model, networks, images, bundled, output):
    """Print both tables and write the figures."""
    torch.set_num_threads(1)
    rows, baseline = [], {}
    print(CrossbarConfig(constants=SET))
    print("network                  resolve  converters   index   total  over plain  over same"
          "  area x  mnsim time x  mean bits  left out  index KiB")  # fmt: skip
    for item, mapping, file, network, x in compared(model, networks, images, bundled=bundled):
        tensors = golden.run(network, x, trace=True, threads=1)
        for resolve in ("all", "reach"):
            config = CrossbarConfig(constants=SET, adc_resolve=resolve)
            prices, row = priced(network, mapping, config, tensors, images)
            baseline.setdefault(resolve, prices)
            plain, same = (compare(prices[SET], baseline[kind][SET]) for kind in ("all", resolve))
            conversions = np.array(row["conversions"])
            row |= {
                "network": item, "resolve": resolve, "over_plain": plain.energy,
                "over_same": same.energy, "area_over_plain": plain.area,
                "mnsim_speed": compare(prices["mnsim"], baseline["all"]["mnsim"]).speed,
                "mean_bits": conversions @ np.arange(9) / conversions[1:].sum(),
                "left_out": conversions[0] / conversions.sum(),
                "charged": charged(conversions, images),
            }  # fmt: skip
            if resolve == "reach":
                row["sharing"] = {
                    name: dict(zip(("adc_uj", "index_uj", "index_kib"), own.tolist(), strict=True))
                    for name, own in sharing(network, mapping, tensors, images).items()
                }
            rows.append(row)
            name = f"{mapping} {Path(file).stem}"
            print(
                f"{name:24s} {resolve:7s} {row['energy_uj']['adc']:11.1f} "
                f"{row['energy_uj']['index']:7.1f} {row['total_uj']:7.1f} "
                f"{row['over_plain']:11.2f} {row['over_same']:10.2f} {row['area_over_plain']:7.2f} "
                f"{row['mnsim_speed']:13.2f} {row['mean_bits']:10.2f} {row['left_out']:9.1%} "
                f"{row['index_kib']:10.1f}",
                flush=True,
            )
    print("\nconversions, uJ       of all bits  " + "  ".join(rows[0]["charged"]) + "  by bits")
    for before, row in zip(rows[::2], rows[1::2], strict=True):
        costs = "  ".join(f"{value:.1f}" for value in row["charged"].values())
        share = np.array(row["conversions"]) / sum(row["conversions"])
        whole = before["charged"]["b / 8"]
        print(f"{row['network'][:20]:20s} {whole:8.1f}  {costs}  {share.round(3).tolist()}")
    print("\nwho shares the bits                          conversions, uJ   index, uJ   index, KiB")
    for row in rows[1::2]:
        print(row["network"])
        for name, own in row["sharing"].items():
            print(f"  {name:42s} {own['adc_uj']:15.1f} {own['index_uj']:11.2f} "
                  f"{own['index_kib']:12.2f}")  # fmt: skip
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
