"""Measures the SDRAM controller: how much of the peak it reaches, its cells and its clock.

    python experiments/sdram.py                    # share of the peak, on the compiled model
    python experiments/sdram.py --slots 2          # of a chip at twice the controller's clock
    python experiments/sdram.py --cells            # cells on an ECP5, with yosys alone
    python experiments/sdram.py --cells --route    # and the clock of an ECP5-85F -6, with nextpnr

The peak is one word of 32 bits in two cycles of the chip. All words go through the port; a rule of
the chip that is broken ends the measurement.
"""

import collections
import json
import pathlib
import re
import subprocess
from types import SimpleNamespace

import click
import numpy as np
from accelerator_sizing import CELLS, comb, place_and_route
from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, Module, Mux, Signal, Value

from steelyard_hw.lib.tools import find_yosys
from steelyard_hw.memory.chips import CHIPS
from steelyard_hw.memory.sdram import SdramController
from steelyard_sim.memory.simulation import Burst, MemorySimulation

WORDS = 60_000
"""Of a measurement, about: long enough for some 150 refreshes."""
CLOCKS = (62.5, 80, 100)


def patterns(chip, seed):
    """Bursts to be measured, by name: ``{name: bursts}``."""
    words = 1 << chip.word_bits
    rng = np.random.default_rng(seed)

    def anywhere(length):
        return int(rng.integers(0, words - length))

    def alternating(length):
        return [Burst(anywhere(length), length, n % 2 == 0) for n in range(WORDS // length)]

    def reads(length):
        return [Burst(anywhere(length), length, False) for _ in range(WORDS // length)]

    # All four banks have this row.
    row = 4 << chip.column_bits - 1
    rows = [Burst(anywhere(64) // row * row, 64, False) for _ in range(WORDS // 64)]
    return {
        "one write": [Burst(anywhere(WORDS), WORDS, True)],
        "one read": [Burst(anywhere(WORDS), WORDS, False)],
        "256 words, write and read in turn": alternating(256),
        "64 words, write and read in turn": alternating(64),
        "64-word reads anywhere": reads(64),
        "64-word reads, one bank, other rows": rows,
        "16-word reads anywhere": reads(16),
        "4-word reads anywhere": reads(4),
    }


def waited_for(memory, rng, length, times):
    """Cycles of a read that is given when the one before it is done."""
    cycles = 0
    for _ in range(times):
        burst = Burst(int(rng.integers(0, (1 << memory.chip.word_bits) - length)), length, False)
        cycles += memory.run([burst], np.zeros(0, np.uint32))[1]
    return cycles / times


def measure(chip, clock_hz, slots, seed):
    """Prints the share of the peak that each pattern reaches."""
    with MemorySimulation(chip, clock_hz, slots=slots) as memory:
        rng = np.random.default_rng(seed)
        memory.start()
        for name, bursts in patterns(chip, seed).items():
            count = sum(each.words for each in bursts if each.write)
            words = rng.integers(0, 1 << 32, count, dtype=np.uint32)
            moved = sum(each.words for each in bursts)
            _, cycles = memory.run(bursts, words)
            rate = 4 * moved / cycles * clock_hz / 1e6
            print(f"  {name:38} {2 / slots * moved / cycles:7.1%} {rate:8.1f} MB/s")
        for length in (1, 64):
            cycles = waited_for(memory, rng, length, 300)
            print(f"  {length}-word read anywhere, waited for: {cycles:.1f} cycles")


def wrapped(controller):
    """Module with the controller's user side behind shift registers, and its ports."""
    m = Module()
    m.domains.sync = clock = ClockDomain("sync", reset_less=True)
    m.submodules.memory = controller
    inputs, outputs, pins = [], [], []
    for path, member, value in controller.signature.flatten(controller):
        group = pins if path[0] == "pins" else inputs if member.flow.name == "In" else outputs
        group.append(Value.cast(value))
    inputs, outputs = Cat(inputs), Cat(outputs)
    shift_in, load, shift_out = Signal(), Signal(), Signal()
    wrapper_load = Signal(reset_less=True)
    wrapper_in, wrapper_held = (Signal(len(inputs), reset_less=True) for _ in range(2))
    wrapper_out = Signal(len(outputs), reset_less=True)
    m.d.sync += [
        wrapper_load.eq(load),
        wrapper_in.eq(Cat(shift_in, wrapper_in)),
        wrapper_out.eq(Mux(wrapper_load, outputs, wrapper_out << 1)),
    ]
    with m.If(wrapper_load):
        m.d.sync += wrapper_held.eq(wrapper_in)
    m.d.comb += [inputs.eq(wrapper_held), shift_out.eq(wrapper_out[-1])]
    return m, [clock.clk, shift_in, load, shift_out, *pins]


def size(chip, clock_hz, slots, route, seed, folder):
    """Prints cells, and what nextpnr says."""
    folder.mkdir(parents=True, exist_ok=True)
    m, ports = wrapped(SdramController(chip, clock_hz, slots))
    (folder / "top.il").write_text(rtlil.convert(m, ports=ports, emit_src=False))
    script = (
        "read_rtlil top.il; hierarchy -top top; proc; flatten; rename -hide w:*[* x:* %d; "
        "synth_ecp5 -top top; check -assert; write_json top.json"
    )
    subprocess.run([*find_yosys("Sizing").command, "-q", "-p", script], cwd=folder, check=True)
    cells = json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"]
    kinds = collections.Counter(
        cell["type"] for name, cell in cells.items() if "wrapper" not in name
    )
    shown = {kind: kinds[kind] for kind in CELLS if kinds[kind]}
    print(f"  {shown}, {comb(kinds)} COMB")
    if route:
        arguments = SimpleNamespace(freq=150, seed=seed, router="router2", limit=500)
        result = place_and_route(folder, arguments)
        print(f"  seed {seed}: {result['fmax_mhz'][-1]} MHz, {result['used']}")
        print("    " + "\n    ".join(result.get("critical_path", [])))


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--chip", type=click.Choice(sorted(CHIPS)), multiple=True, help="All unless given.")
@click.option("--mhz", type=float, multiple=True, default=CLOCKS, help="Clocks of the controller.")
@click.option(
    "--slots",
    type=click.IntRange(1, 2),
    default=1,
    help="Cycles of the chip in one of its controller.",
)
@click.option("--cells", is_flag=True, help="Cells, not shares of the peak.")
@click.option("--route", is_flag=True, help="Run nextpnr as well.")
@click.option("--seed", type=int, default=1)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default=pathlib.Path("build/sdram"),
)
def main(chip, mhz, slots, cells, route, seed, folder):
    """Measure, or synthesize and route."""
    print(f"seed {seed}")
    for name in chip or sorted(CHIPS):
        for each in mhz:
            print(f"{name} at {each:g} MHz:", flush=True)
            clock_hz = round(each * 1e6)
            if cells:
                place = re.sub(r"\W", "-", f"{name}-{each:g}-{slots}")
                size(CHIPS[name], clock_hz, slots, route, seed, folder / place)
            else:
                measure(CHIPS[name], clock_hz, slots, seed)


if __name__ == "__main__":
    main()
