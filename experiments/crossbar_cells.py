"""Units formed of live rows, cells of signed weights, shorter indices: what each would save.

    OMP_NUM_THREADS=1 PYTHONPATH=sw python experiments/crossbar_cells.py \
        [--model fashion] [--networks traditional,mixed:build/pruned/mixed.npz] [--images 10]

A network is a mapping and a file of weights, as of crossbar_converters.py; the first is the
baseline. Figures are of one image, under `yu2020`, over the activations of so many test images.

The first table prices what is built: fixed units or such of rows with an input bit, converters that
resolve all bits or stop, differential cells or an offset. `plain` ratios are over the baseline with
fixed units, all bits and differential cells; `same` over the baseline with the same three choices.

The second holds ways to store a sign against each other: bitlines a weight, and conversions with
their energy. Two's complement has the byte's slices with the sign bit in a bitline of its own,
which is subtracted. One polarity stores magnitudes: rows of up to `ou_columns / 2` channels are
sorted by the signs of their weights, so that an operation unit has one sign a bitline, and the
index has a bit for each weight that takes cells.

The third says what other codes take for the subsets in the index, and for numbers of patterns.
"""

import heapq
import json
from collections import Counter
from pathlib import Path
from unittest import mock

import click
import numpy as np
import torch
from crossbar_networks import compared

from steelyard import zoo
from steelyard.cost import compare, constant_set, price
from steelyard.engines.crossbar import CrossbarConfig, activity, map_network
from steelyard.engines.crossbar.crossbar import ADC_RESOLVES, OU_FORMATIONS, SIGNED_SCHEMES
from steelyard.engines.crossbar.formation import greatest_levels, live_rows
from steelyard.engines.crossbar.golden import windows
from steelyard.engines.crossbar.index import IndexWriter, bits_for
from steelyard.files import replacing
from steelyard.network import Conv, golden

SET = "yu2020"
SCHEMES = ("differential", "offset", "two's complement", "one polarity")


def priced(network, mapping, tensors, images):
    """Price of a network for each of the choices that are built, and its row."""
    found = {}
    for signed in SIGNED_SCHEMES:
        for resolve in ADC_RESOLVES:
            for formation in OU_FORMATIONS:
                config = CrossbarConfig(
                    constants=SET, signed=signed, adc_resolve=resolve, ou_formation=formation
                )
                mapped = map_network(network, config, mapping)
                cost = price(mapped, activity(network, mapped, tensors))
                energy = {part: value / images / 1e6 for part, value in cost.total.energy.items()}
                found[signed, resolve, formation] = cost, {
                    "signed": signed, "resolve": resolve, "formation": formation,
                    "energy_uj": energy, "total_uj": sum(energy.values()),
                    "steps": cost.ou_steps / images, "crossbars": mapped.crossbars,
                    "area_mm2": cost.total.total_area / 1e6,
                    "index_kib": mapped.index_bits / 8192,
                }  # fmt: skip
    return found


def slices(weights, scheme):
    """Levels of weights (...), (..., bitlines), in 4-bit cells."""
    w = weights.astype(np.int64)
    if scheme == "differential":
        parts = [np.maximum(w, 0), np.maximum(w, 0) >> 4, np.maximum(-w, 0), np.maximum(-w, 0) >> 4]
    elif scheme == "offset":
        parts = [w + 128, (w + 128) >> 4]
    elif scheme == "two's complement":
        parts = [w & 255, (w & 127) >> 4, (w & 255) >> 7]
    else:
        parts = [abs(w), abs(w) >> 4]
    return np.stack(parts, axis=-1) & 15


def sorted_by_sign(weights, config):
    """Rows of a block that work together where every bitline has one sign: channels and rows."""
    width = config.ou_columns // 2
    for left in range(0, weights.shape[1], width):
        channels = slice(left, left + width)
        negative = weights[:, channels] < 0
        code = negative @ (1 << np.arange(negative.shape[1]))
        for value in np.unique(code):
            yield channels, np.flatnonzero(code == value)


def conversions(weights, inputs, config, scheme):
    """Conversions of a block and the bits that they resolve if they stop, fixed and dynamic:
    int64 (4,)."""
    if scheme == "one polarity":
        parts = [(weights[rows, channels], inputs[rows])
                 for channels, rows in sorted_by_sign(weights, config)]  # fmt: skip
    else:
        parts = [(weights, inputs)]
    found = np.zeros(4)
    for own, applied in parts:
        levels = slices(own, scheme).reshape(len(own), -1)
        begins = np.arange(0, len(own), config.ou_rows)
        bits = np.bitwise_or.reduceat(applied, begins, axis=0)
        steps = np.bitwise_count(bits).sum(axis=1, dtype=np.int64)
        reach = config.reach(np.add.reduceat(levels, begins, axis=0)).astype(np.int64)
        formed = int((-(-live_rows(applied, config) // config.ou_rows)).sum(dtype=np.int64))
        most = config.reach(greatest_levels(levels, config)).astype(np.int64)
        # What a conversion has beside its bits is worth two of them (MNSIM).
        found += [
            steps.sum() * levels.shape[1], steps @ (reach + 2 * (reach > 0)).sum(axis=1),
            formed * levels.shape[1], formed * (most + 2 * (most > 0)).sum(),
        ]  # fmt: skip
    return found


def stored(network, mapping, tensors, images):
    """Conversions by scheme, and how many bitlines of operation units have one sign as it is."""
    config = CrossbarConfig(constants=SET)
    mapped, signs = map_network(network, config, mapping), Counter()
    found = {scheme: np.zeros(5) for scheme in SCHEMES}
    for layer in network.layers:
        if not isinstance(layer, Conv):
            continue
        parts = [own for _, own in windows(network, layer, tensors[layer.inputs[0]])]
        pixels = np.concatenate(parts, axis=1)
        for block in mapped.layers[layer.name].blocks:
            begins = np.arange(0, len(block.rows), config.ou_rows)
            plus = np.add.reduceat(block.weights > 0, begins, axis=0, dtype=int) > 0
            minus = np.add.reduceat(block.weights < 0, begins, axis=0, dtype=int) > 0
            signs.update(both=int((plus & minus).sum()), one=int((plus ^ minus).sum()))
            for scheme, row in found.items():
                row[:4] += conversions(block.weights, pixels[block.rows], config, scheme)
                row[4] += slices(block.weights[:1, :1], scheme).size * block.weights.size
    adc = constant_set(SET).adc(config.adc_bits)[0].value / images / 1e6
    rows = []
    for scheme, (static, static_bits, dynamic, dynamic_bits, cells) in found.items():
        weights = sum(layer.weights for layer in mapped.layers.values())
        rows.append({
            "scheme": scheme, "bitlines": cells / weights, "kcells": cells / 1000,
            "static_conversions": static / images / 1e6, "static_uj": static * adc,
            "static_stopped_uj": static_bits / (config.adc_bits + 2) * adc,
            "dynamic_conversions": dynamic / images / 1e6, "dynamic_uj": dynamic * adc,
            "dynamic_stopped_uj": dynamic_bits / (config.adc_bits + 2) * adc,
            "sign_kib": weights / 8192 if scheme == "one polarity" else 0.0,
        })  # fmt: skip
    return rows, signs["one"] / max(1, signs["one"] + signs["both"])


def entropy(values):
    """Bits of values by how often each occurs."""
    counts = np.array(list(Counter(values).values()))
    return float(-(counts @ np.log2(counts / counts.sum()))) if len(counts) else 0.0


def huffman(values, width):
    """Bits of values in a shortest prefix code, with its lengths (4 bits each) before them."""
    heap, total = sorted(Counter(values).values()), 0
    if len(heap) == 1:
        total = heap[0]
    while len(heap) > 1:
        both = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, both)
        total += both
    return total + 4 * width


def rice(gaps):
    """Bits of gaps in Golomb-Rice codes of the best parameter, which takes 3 bits."""
    return 3 + min(int((gaps >> low).sum()) + len(gaps) * (low + 1) for low in range(8))


def coded(network, mapping):
    """KiB of the index as it is, and of its subsets and pattern numbers in other codes."""
    config, kept = CrossbarConfig(constants=SET), []
    write = IndexWriter.write_subset

    def keep(writer, part, members, size):
        before = writer._parts.get(part, 0)
        write(writer, part, members, size)
        kept.append((np.asarray(members), size, writer._parts[part] - before))

    with mock.patch.object(IndexWriter, "write_subset", keep):
        mapped = map_network(network, config, mapping)
    subsets = Counter(now=0, rice=0, huffman=0, entropy=0)
    every = []
    for members, size, bits in kept:
        gaps, share = np.diff(members, prepend=-1) - 1, len(members) / max(size, 1)
        other = 2 + bits_for(size + 1) + rice(gaps)
        subsets.update(now=bits, rice=min(bits, other))
        every += gaps.tolist()
        subsets["huffman"] += 2 + bits_for(size + 1)
        if 0 < share < 1:
            each = share * np.log2(share) + (1 - share) * np.log2(1 - share)
            subsets["entropy"] -= size * each
    subsets["huffman"] += huffman(every, max(every, default=0) + 1)
    numbers = Counter()
    if mapping == "pattern":
        for layer in mapped.layers.values():
            numbers.update(pattern_numbers(layer))
    return {
        "index_kib": mapped.index_bits / 8192,
        "subsets_kib": {code: bits / 8192 for code, bits in subsets.items()},
        "patterns_kib": {code: bits / 8192 for code, bits in numbers.items()},
    }


def pattern_numbers(layer):
    """Bits of a convolution's pattern numbers as they are, and in a prefix code of their own."""
    if layer.shape[2] * layer.shape[3] == 1:
        return {}
    names, found = {}, []
    for block in layer.blocks:
        # Blocks of a pattern have the same taps, in every input channel.
        taps = tuple((block.rows // layer.shape[1]).tolist())
        found += [names.setdefault(taps, len(names) + 1)] * len(block.channels)
    found += [0] * (layer.shape[0] * layer.shape[1] - len(found))
    now = layer.index.parts.get("kernels", 0) + layer.index.parts.get("channels", 0)
    return {"now": now, "huffman": huffman(found, len(names) + 1), "entropy": entropy(found)}


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--model", type=click.Choice(zoo.TRAINABLE), default="fashion")
@click.option("--networks", default="traditional,mixed,pattern", metavar="MAPPING[:FILE],...")
@click.option("--images", type=int, default=10)
@click.option("--bundled", is_flag=True, help="Only the bundled images.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path),
              default=Path("build/crossbar-cells/report.json"))  # fmt: skip
def main(model, networks, images, bundled, output):
    """Print the three tables and write the figures."""
    torch.set_num_threads(1)
    report, baseline = [], None
    print(CrossbarConfig(constants=SET))
    for item, mapping, file, network, x in compared(model, networks, images, bundled=bundled):
        tensors = golden.run(network, x, trace=True, threads=1)
        prices = priced(network, mapping, tensors, images)
        baseline = baseline or prices
        print(f"\n{mapping} {Path(file).name}\n"
              "cells         converters  units      adc     dac    cells   index   total  plain"
              "   same  speed plain   same  area plain   same   Msteps")  # fmt: skip
        for choice, (cost, row) in prices.items():
            plain = compare(cost, baseline["differential", "all", "static"][0])
            same = compare(cost, baseline[choice][0])
            row |= {
                "energy_over_plain": plain.energy, "energy_over_same": same.energy,
                "speed_over_plain": plain.speed, "speed_over_same": same.speed,
                "area_over_plain": plain.area, "area_over_same": same.area,
            }  # fmt: skip
            own = row["energy_uj"]
            print(
                f"{choice[0]:13s} {choice[1]:11s} {choice[2]:8s} {own['adc']:6.1f} "
                f"{own['dac']:7.2f} {own['cells']:8.1f} {own['index']:7.1f} {row['total_uj']:7.1f} "
                f"{plain.energy:6.2f} {same.energy:6.2f} {plain.speed:12.2f} {same.speed:6.2f} "
                f"{plain.area:11.2f} {same.area:6.2f} {row['steps'] / 1e6:8.2f}",
                flush=True,
            )
        schemes, single = stored(network, mapping, tensors, images)
        print("sign              bitlines   kcells  fixed: Mconv     uJ  stopped  dynamic: Mconv"
              f"     uJ  stopped  sign KiB   (one sign: {single:.1%} of columns)")  # fmt: skip
        for row in schemes:
            print(
                f"{row['scheme']:18s} {row['bitlines']:7.0f} {row['kcells']:8.0f} "
                f"{row['static_conversions']:13.2f} {row['static_uj']:6.1f} "
                f"{row['static_stopped_uj']:8.1f} {row['dynamic_conversions']:15.2f} "
                f"{row['dynamic_uj']:6.1f} {row['dynamic_stopped_uj']:8.1f} {row['sign_kib']:9.1f}",
                flush=True,
            )
        index = coded(network, mapping)
        print("index, KiB:", json.dumps(index))
        rows = [row for _, row in prices.values()]
        report.append({"network": item, "built": rows, "signs": schemes, "one_sign": single,
                       "index": index})  # fmt: skip
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
