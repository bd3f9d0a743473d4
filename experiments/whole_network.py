"""Cycles of a whole network by kind of layer, and whether compiled RTL gives each layer exactly."""

import warnings
from collections import Counter

import click

from steelyard import driver, quantize
from steelyard.compile import compile
from steelyard.contract import AcceleratorConfig
from steelyard.importer import load
from steelyard.network import Conv
from steelyard.network.random import random_input
from structures import Structure


def measured(structure: Structure, config: AcceleratorConfig, rtl: bool) -> bool:
    """Print cycles; whether RTL was exact or not run.

    Parameters
    ----------
    structure : quantized with 8 of its own images
    rtl : whether an image runs on compiled RTL, layer by layer and as a whole
    """
    warnings.simplefilter("ignore")
    network = load(quantize.quantize(structure.model(), structure.images(8)))
    program = compile(network, config)
    cycles, macs, descriptors = Counter[str](), Counter[str](), Counter[str]()
    for layer, entry in zip(program.network.layers, program.layers, strict=True):
        kind = "depthwise" if isinstance(layer, Conv) and layer.groups > 1 else entry.kind
        cycles[kind] += entry.predicted_cycles
        macs[kind] += program.network.macs(layer)
        descriptors[kind] += entry.count
    for kind, count in cycles.most_common():
        if count:
            rate = macs[kind] / count
            click.echo(
                f"{kind:10} {count:8,} cycles  {count / cycles.total():6.1%}  {rate:6.1f} MAC a "
                f"cycle  {descriptors[kind]:4} descriptors"
            )
    click.echo(f"total      {cycles.total():8,} cycles, {macs.total():,} MAC")
    if not rtl:
        return True
    x = random_input(program.network, 1, 1)
    with driver.open("sim", config=config) as device:
        difference = driver.check_layers(program, x, device)
        outputs = device.infer_outputs(x)
        counted = [counters.cycles for counters in device.counters()]
        total = device.cycles
    right = program.golden(x)
    wrong = [name for name, codes in outputs.items() if (codes != right[name]).any()]
    exact = counted == [entry.predicted_cycles for entry in program.layers]
    click.echo(f"RTL: {difference or 'every layer equal to the golden model'}, {total:,} cycles")
    sizes = ", ".join(f"{name} {codes.shape[1:]}" for name, codes in outputs.items())
    click.echo(f"outputs as the golden model's: {'no: ' + ', '.join(wrong) if wrong else sizes}")
    click.echo(f"cycles of every layer as predicted: {'yes' if exact else 'no'}")
    return difference is None and exact and not wrong
