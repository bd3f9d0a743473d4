"""Runs the SDRAM controller on Micron's own model of a chip, in Icarus Verilog.

    python experiments/sdram_second.py mt48lc16m16a2.v --mhz 100 --seed 1
    python experiments/sdram_second.py mt48lc16m16a2.v --wrong rcd    # the model must complain

The model, MT48LC16M16A2.V of 2002, is found in many public repositories; its licence keeps it out
of this one. It works in ns, not in cycles: its clock comes most of a period behind the
controller's, and pins 1 ns behind their registers. Random bursts with random stalls, every word
read compared with numpy. Exit status 1 if a word differs or the model reports an error.
"""

import pathlib
import re
import subprocess
import sys
from dataclasses import replace

import click
import numpy as np

from steelyard_hw.memory.chips import W9825G6KH_6, Figure
from steelyard_hw.memory.sdram import SdramController
from steelyard_hw.verilog import convert_component
from steelyard_sim.memory.simulation import Burst
from steelyard_sim.memory.work import golden_reads, random_words

SOURCE = "Micron's model, grade -7E"
NS = {"rcd": 15, "rp": 15, "ras": 37, "rc": 60, "rrd": 14, "rfc": 66, "wr": 14, "cl2": 7.5,
      "cl3": 7, "power_up": 1000}  # fmt: skip
CHIP = replace(
    W9825G6KH_6,
    name="MT48LC16M16A2-7E",
    **{name: Figure(value, "ns", SOURCE) for name, value in NS.items()},
    mrd=Figure(2, "tCK", SOURCE),
)
AREAS = (0, 1 << 10, (1 << 11) + 77, 5 << 10, (1 << 22) - 300, (1 << 23) - 350)
"""Begins of what is used, each in its first words: rows of one bank and others, the end."""
AREA = 700
SHIFT = 0.8
"""Of the chip's clock, in periods behind the controller's."""
BENCH = """`timescale 1ns/1ps
module bench;
  reg clk = 0, rst = 1, chip_clk = 0;
  always #{half} clk = ~clk;
  initial begin #{shift}; forever #{half} chip_clk = ~chip_clk; end
  reg [39:0] commands [0:{commands}];
  reg [31:0] writes [0:{writes}], reads [0:{reads}];
  integer command = 0, written = 0, read = 0, differ = 0, cycles = 0;
  reg command_valid = 0, write_valid = 0, read_ready = 0, moved_command, moved_write, moved_read;
  wire command_ready, write_ready, read_valid;
  wire [31:0] word;
  reg [31:0] moved_word;
  wire enable, select, drive, late_enable, late_select;
  wire [2:0] code, late_code;
  wire [1:0] bank, mask, late_bank, late_mask;
  wire [12:0] address, late_address;
  wire [15:0] out, pins;
  assign #1 pins = drive ? out : 16'bz;
  assign #1 {{late_enable, late_select, late_code, late_bank, late_mask, late_address}}
    = {{enable, select, code, bank, mask, address}};
  dut dut (.clk(clk), .rst(rst), .latency(3'd{latency}), .start(1'b0), .ready(),
    .port__command__valid(command_valid), .port__command__ready(command_ready),
    .port__command__payload(commands[command]),
    .port__write__valid(write_valid), .port__write__ready(write_ready),
    .port__write__payload(writes[written]),
    .port__read__valid(read_valid), .port__read__ready(read_ready), .port__read__payload(word),
    .pins__clock_enable(enable), .pins__select(select), .pins__command(code), .pins__bank(bank),
    .pins__address(address), .pins__mask(mask), .pins__data_o(out), .pins__data_oe(drive),
    .pins__data_i(pins));
  mt48lc16m16a2 chip (.Dq(pins), .Addr(late_address), .Ba(late_bank), .Clk(chip_clk),
    .Cke(late_enable), .Cs_n(~late_select), .Ras_n(~late_code[2]), .Cas_n(~late_code[1]),
    .We_n(~late_code[0]), .Dqm(late_mask));
  initial begin
    $readmemh("commands.hex", commands);
    $readmemh("writes.hex", writes);
    $readmemh("reads.hex", reads);
    repeat (5) @(posedge clk);
    #0.1 rst = 0;
    while ((command <= {commands} || read <= {reads}) && cycles < 2000000) begin
      @(posedge clk);
      moved_command = command_valid && command_ready;
      moved_write = write_valid && write_ready;
      moved_read = read_valid && read_ready;
      moved_word = word;
      #0.1;
      if (moved_read) begin differ = differ + (moved_word !== reads[read]); read = read + 1; end
      if (moved_command) begin command = command + 1; command_valid = 0; end
      if (moved_write) begin written = written + 1; write_valid = 0; end
      if (!command_valid) command_valid = command <= {commands} && ($random & 7) != 0;
      if (!write_valid) write_valid = written <= {writes} && ($random & 7) != 0;
      read_ready = ($random & 7) != 0;
      cycles = cycles + 1;
    end
    $display("done %0d %0d %0d", cycles, read, differ);
    $finish;
  end
endmodule
"""


def bursts(rng, count):
    """Writes of all areas, then bursts inside of them."""
    made = [Burst(start, AREA, True) for start in AREAS]
    for _ in range(count):
        words = int(rng.integers(0, 9) if rng.random() < 0.5 else 2 ** rng.uniform(0, 7))
        place = AREAS[int(rng.integers(len(AREAS)))] + int(rng.integers(0, AREA - words + 1))
        made.append(Burst(place % (1 << CHIP.word_bits), words, bool(rng.random() < 0.5)))
    return made


def prepare(folder, chip, clock_hz, seed, count):
    """Writes controller, bench and work; returns the number of words to be read."""
    rng = np.random.default_rng(seed)
    commands = bursts(rng, count)
    words = random_words(rng, commands)
    reads = golden_reads(np.zeros(1 << chip.word_bits, np.uint32), commands, words)
    codes = [
        each.address | each.words << chip.word_bits | each.write << chip.word_bits + 16
        for each in commands
    ]
    for name, values in (("commands", codes), ("writes", words), ("reads", reads)):
        text = "".join(f"{int(value):x}\n" for value in values)
        (folder / f"{name}.hex").write_text(text)
    controller = SdramController(chip, clock_hz)
    (folder / "dut.sv").write_text(convert_component(controller, "dut"))
    period = 1e9 / clock_hz
    (folder / "bench.sv").write_text(
        BENCH.format(
            half=f"{period / 2:.3f}",
            shift=f"{period * SHIFT:.3f}",
            latency=controller.timing.cas,
            commands=len(codes) - 1,
            writes=len(words) - 1,
            reads=len(reads) - 1,
        )
    )
    return len(reads)


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=pathlib.Path))
@click.option("--mhz", type=click.FloatRange(25, 133), default=100, help="Clock.")
@click.option("--seed", type=int, default=1)
@click.option("--bursts", "count", type=click.IntRange(min=1), default=1500)
@click.option("--wrong", type=click.Choice(sorted(NS)), help="A figure to be 5 ns.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default=pathlib.Path("build/sdram-second"),
)
def main(model, mhz, seed, count, wrong, folder):
    """Generate, simulate, compare."""
    print(f"{mhz:g} MHz, seed {seed}" + f", {wrong} of 5 ns" * bool(wrong))
    folder.mkdir(parents=True, exist_ok=True)
    chip = replace(CHIP, **({wrong: Figure(5, "ns", "wrong")} if wrong else {}))
    expected = prepare(folder, chip, round(mhz * 1e6), seed, count)
    # It has no unit of time of its own; latin-1 reads any bytes.
    text = "`timescale 1ns/1ps\n" + model.read_text(encoding="latin-1")
    (folder / "model.v").write_text(text, encoding="latin-1")
    files = ("bench.sv", "dut.sv", "model.v")
    compiler = ["iverilog", "-g2012", "-s", "bench", "-o", "bench.vvp", *files]
    subprocess.run(compiler, cwd=folder, check=True, stderr=subprocess.DEVNULL)
    result = subprocess.run(
        ["vvp", "bench.vvp"], cwd=folder, check=True, capture_output=True, text=True
    )
    errors = re.findall(r"ERROR: (.*?) during", result.stdout)
    errors += re.findall(r"ERROR: (?!.* during)(.*)", result.stdout)
    cycles, read, differ = map(int, re.findall(r"^done (\d+) (\d+) (\d+)", result.stdout, re.M)[0])
    kinds = ", ".join(f"{errors.count(kind)} {kind}" for kind in sorted(set(errors)))
    print(f"{cycles} cycles, {read} of {expected} words read, {differ} differ")
    print(f"the model reports {kinds or 'no error'}")
    sys.exit(bool(errors or differ or read != expected))


if __name__ == "__main__":
    main()
