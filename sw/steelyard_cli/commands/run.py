"""``steelyard run``: a program on a device, with float or integer images."""

import time
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from steelyard import driver
from steelyard.errors import UserError
from steelyard.program import Program
from steelyard.report import layer_rows, speed_document

from ..errors import BadResult
from ..inputs.arrays import read_array
from ..inputs.devices import announce, opened
from ..options import DEVICE_HELP, FILE, OUTPUT_FILE, json_option
from ..view.console import progress, show
from ..view.layer_tables import run_table
from ..view.output import write_arrays, write_json
from ..view.speed import speed_table

__all__ = ["command"]


@click.command("run")
@click.argument("program", type=FILE, metavar="NET.syp")
@click.option("--input", "source", type=FILE, metavar="X.npy")
@click.option("--output", type=OUTPUT_FILE, metavar="Y.npy")
@click.option("--device", default="sim", show_default=True, help=DEVICE_HELP)
@click.option(
    "--check", is_flag=True,
    help="Compare every layer with the golden model and name the first difference.",
)  # fmt: skip
@click.option("--verify", is_flag=True, help="Read weights and parameters back when loaded.")
@click.option(
    "--raw", is_flag=True,
    help="Read and write int8 codes in place of float32, without the host's part.",
)  # fmt: skip
@click.option(
    "--no-host", is_flag=True,
    help="Write the accelerator's scores, without what the program leaves to the host.",
)  # fmt: skip
@click.option(
    "--selftest", is_flag=True,
    help="Run the program's own image instead and name the first layer whose output is wrong.",
)  # fmt: skip
@json_option
def command(
    program: Path, source: Path | None, output: Path | None, device: str, check: bool,
    verify: bool, raw: bool, selftest: bool, no_host: bool, json_file: Path | None,
) -> None:  # fmt: skip
    """Run a compiled network on a device.

    X.npy holds float32 in the network's own input units, batch first; Y.npy receives float32 in its
    output units, Y.npz those of several outputs by their names, after the part that 'steelyard
    compile --cut' left to the host, if there is one. Any number of images runs, batch by batch. For
    boards the table says what a batch moves over the line and how many images a second that
    predicts.

    \b
    Examples:
      steelyard run net.syp --input images.npy --output scores.npy
      steelyard run net.syp --input images.npy --output scores.npy --device /dev/ttyUSB0
      steelyard run net.syp --input images.npy --output scores.npy --device virtual:ulx3s_85f
      steelyard run net.syp --input images.npy --output scores.npy --device golden
      steelyard run net.syp --input codes.npy --output codes_out.npy --raw --check
      steelyard run net.syp --input images.npy --output scores.npy --no-host
      steelyard run net.syp --selftest --device /dev/ttyUSB0
    """
    compiled = Program.load(program)
    if selftest:
        if source or output or check or raw:
            raise UserError(
                "--selftest runs the image that the program carries; leave out --input, --output, "
                "--check and --raw."
            )
        _selftest(compiled, device, verify, json_file)
        return
    if source is None or output is None:
        raise UserError(
            "A run needs --input X.npy and --output Y.npy; give both, or --selftest to run the "
            "image that the program carries."
        )
    part = None if raw or no_host else compiled.host
    outputs = compiled.network.outputs if part is None else part.outputs
    if len(outputs) > 1 and output.suffix != ".npz":
        raise UserError(
            f"Network {compiled.network.name!r} has {len(outputs)} outputs "
            f"({', '.join(map(repr, outputs))}), which {str(output)!r} cannot hold; "
            "end the name in .npz."
        )
    # Before the device works in vain.
    host = None if part is None else part.open()
    images = read_array(source, "Input")
    codes_of = driver.int8_codes if raw else driver.float_codes
    codes = codes_of(compiled.network, images)
    with opened(device) as found:
        announce(found, compiled, len(codes), verify=verify, check=check)
        found.load(compiled, verify=verify)
        started = time.monotonic()
        with progress("running", len(codes)) as update:
            results = found.infer_outputs(codes, progress=update)
        seconds = time.monotonic() - started
        speed = found.throughput
        moved = found.traffic
        counters, cycles = found.counters(), found.cycles
        lost = found.lost_words
        mismatch = _check(compiled, codes, found) if check else None
    if mismatch is not None:
        raise BadResult(f"Device {device!r} differs from the golden model in {mismatch}.")
    if raw:
        codes_out = {n: driver.raw_output(compiled.network, v, n) for n, v in results.items()}
        write_arrays(output, codes_out)
    else:
        real = {n: driver.real_output(compiled.network, v, n) for n, v in results.items()}
        if host is not None:
            real = host.run(real)
        write_arrays(output, real)
    layers = layer_rows(compiled, counters)
    if json_file:
        write_json(
            json_file,
            {
                "program": str(program),
                "device": device,
                "images": len(codes),
                "batch": compiled.batch,
                "seconds": seconds,
                "cycles": cycles,
                "host": None if part is None else part.to_dict(),
                "checked": check,
                "bit_exact": True if check else None,
                **speed_document(moved, speed),
                "lost_words": [asdict(word) for word in lost],
                "layers": layers,
            },
        )
    if layers:
        show(run_table(compiled, layers, cycles or 0))
    if moved is not None:
        show(speed_table(moved, speed))
    if part is not None:
        show(f"the host computes {part.title}")
    rate = len(codes) / seconds if seconds else 0.0
    checked = ", every layer equal to the golden model" if check else ""
    show(f"{output}: {len(codes)} images on {device!r}, {rate:.1f} images/s{checked}")


def _selftest(program: Program, device: str, verify: bool, json_file: Path | None) -> None:
    """Run the known answer.

    Raises
    ------
    BadResult
        If a layer differs.
    """
    with opened(device) as found:
        announce(found, program, 1, verify=verify, check=False)
        found.load(program, verify=verify)
        wrong = driver.check_known_answer(program, found)
    if json_file:
        write_json(json_file, {"device": device, "bit_exact": wrong is None, "layer": wrong})
    if wrong is not None:
        raise BadResult(
            f"Device {device!r} does not give the program's known answer: layer {wrong!r} is the "
            "first whose output differs."
        )
    show(f"{device!r} gives the known answer of all {len(program.layers)} layers.")


def _check(
    program: Program, codes: NDArray[np.int8], device: driver.Device
) -> driver.Mismatch | None:
    with progress("checking every layer", len(codes)) as update:
        return driver.check_layers(program, codes, device, progress=update)
