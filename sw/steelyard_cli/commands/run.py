"""``steelyard run``: a program on a device, with float or integer images."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from steelyard import driver
from steelyard.network import Network
from steelyard.program import Program

from ..devices import announce, opened
from ..errors import BadResult
from ..view.console import progress, show, table
from ..view.files import read_array, write_array, write_json
from ..view.layer_tables import occupancy, run_table

__all__ = ["input_codes", "layer_rows", "run_program", "speed_document", "speed_table"]

MICRO = 1e6


def run_program(
    path: Path,
    source: Path,
    output: Path,
    device_name: str,
    check: bool,
    verify: bool,
    raw: bool,
    json_file: Path | None,
) -> None:
    """``steelyard run``."""
    program = Program.load(path)
    codes = input_codes(program.network, read_array(source, "Input"), raw)
    with opened(device_name) as device:
        announce(device, program, len(codes), verify=verify, check=check)
        device.load(program, verify=verify)
        started = time.monotonic()
        with progress("running", len(codes)) as update:
            result = device.infer(codes, progress=lambda done, _: update(done, "images"))
        seconds = time.monotonic() - started
        speed = device.throughput
        moved = device.traffic
        counters, cycles = device.counters(), device.cycles
        mismatch = _check(program, codes, device) if check else None
    if mismatch is not None:
        raise BadResult(f"Device {device_name!r} differs from the golden model in {mismatch}.")
    write_array(output, result if raw else driver.real_output(program.network, result))
    layers = layer_rows(program, counters)
    if json_file:
        write_json(
            json_file,
            {
                "program": str(path),
                "device": device_name,
                "images": len(codes),
                "batch": program.batch,
                "seconds": seconds,
                "cycles": cycles,
                "checked": check,
                "bit_exact": True if check else None,
                **speed_document(moved, speed),
                "layers": layers,
            },
        )
    if layers:
        show(run_table(program, layers, cycles or 0))
    if moved is not None:
        show(speed_table(moved, speed))
    rate = len(codes) / seconds if seconds else 0.0
    checked = ", every layer equal to the golden model" if check else ""
    show(f"{output}: {len(codes)} images on {device_name!r}, {rate:.1f} images/s{checked}")


def input_codes(network: Network, images: NDArray, raw: bool = False) -> NDArray[np.int8]:
    """Int8 codes of what the user gave; a missing batch is not guessed.

    Raises
    ------
    UserError
        If the images have another type or shape than the network's input.
    """
    return driver.int8_codes(network, images) if raw else driver.float_codes(network, images)


def _check(
    program: Program, codes: NDArray[np.int8], device: driver.Device
) -> driver.Mismatch | None:
    with progress("checking every layer", len(codes)) as update:
        return driver.check_layers(
            program, codes, device, progress=lambda done, _: update(done, "images")
        )


def layer_rows(program: Program, counters: list[driver.LayerCounters]) -> list[dict[str, Any]]:
    """Counters of every layer beside its plan; empty where the device counts nothing."""
    rows = []
    for entry, counted in zip(program.layers, counters, strict=bool(counters)):
        row = {
            "name": entry.name,
            "kind": entry.kind,
            "k": entry.k,
            "nnz": entry.nnz,
            "ideal_cycles": entry.ideal_cycles,
            "predicted_cycles": entry.predicted_cycles,
            **asdict(counted),
        }
        rows.append(row | {"occupancy": occupancy(program, row)})
    return rows


def speed_document(moved: driver.Traffic | None, speed: driver.Throughput | None) -> dict[str, Any]:
    """Traffic of an inference of one batch and the board's speed, as JSON holds them."""
    return {
        "traffic": moved and {
            **asdict(moved),
            "bytes_sent_per_batch": moved.bytes_sent / moved.batches,
            "bytes_received_per_batch": moved.bytes_received / moved.batches,
            "cpu_seconds_per_batch": moved.cpu_seconds / moved.batches,
        },
        "throughput": speed and {
            **asdict(speed),
            "transfer_seconds": speed.transfer_seconds,
            "sequential_seconds": speed.sequential_seconds,
            "pipelined_seconds": speed.pipelined_seconds,
            "sequential_images_per_second": speed.sequential_images_per_second,
            "pipelined_images_per_second": speed.pipelined_images_per_second,
        },
    }  # fmt: skip


def speed_table(moved: driver.Traffic, speed: driver.Throughput | None) -> Table:
    """Traffic of an inference of one batch and the board's speed."""
    rows: list[tuple[object, ...]] = [
        ("bytes sent", round(moved.bytes_sent / moved.batches)),
        ("bytes received", round(moved.bytes_received / moved.batches)),
        ("frames sent again, in all", moved.repeated),
        ("processor time of the driver, us", round(moved.cpu_seconds / moved.batches * MICRO)),
    ]
    if speed is not None:
        at = f"at {speed.baud / MICRO:.3g} Mbaud"
        rows += [
            (f"transfer {at}, us", round(speed.transfer_seconds * MICRO)),
            (f"computation at {speed.clock_hz / MICRO:g} MHz, us",
             round(speed.compute_seconds * MICRO)),
            ("predicted images/s, one batch after the other",
             f"{speed.sequential_images_per_second:.1f}"),
            ("predicted images/s, the next batch sent meanwhile",
             f"{speed.pipelined_images_per_second:.1f}"),
        ]  # fmt: skip
    images = "image" if moved.images == moved.batches else "batch"
    return table(f"Link, for one {images}", ("", "value"), rows)
