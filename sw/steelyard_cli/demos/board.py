"""``steelyard demo-board``: the demo's network on a board's gateware, behind its serial port."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard import driver, zoo
from steelyard.compile import compile, compile_largest_batch
from steelyard.driver.boards import BoardFacts, find_board
from steelyard.driver.port import PINS_WORDS
from steelyard.errors import DoesNotFit
from steelyard.network import Network, golden
from steelyard.program import Program
from steelyard.report import layer_rows, speed_document

from ..errors import BadResult
from ..inputs.devices import announce, opened
from ..view.console import note, progress, show, table
from ..view.output import write_json
from ..view.speed import speed_table
from .array import Clock, pruned_network

__all__ = ["run_board_demo", "run_images"]

DEMO = Path("build/demo")
"""Where ``steelyard demo`` leaves the pruned and quantized network."""
MOST_IMAGES = 64
"""Of a batch: more brings nothing, for the line is slower than any array."""
APART = 4
"""Batches that are run one after the other, for comparison."""


def run_board_demo(
    name: str, network_name: str, images: int, folder: Path, device_name: str | None
) -> None:
    """``steelyard demo-board``.

    Raises
    ------
    BadResult
        If the device differs from the golden model, or fails.
    """
    board = find_board(name)
    clock = Clock()
    network = _network(network_name, folder, clock)
    program = _compiled(network, board, min(images, MOST_IMAGES))
    program.config.to_toml(folder / "config.toml")
    clock.step("compile", f"compiled for board {name!r}: batch {program.batch}")
    if program.external.size:
        words = program.external.size - PINS_WORDS
        note(f"{4 * program.external.size:,} bytes lie in the board's SDRAM")
        if device_name is None and words > 0:
            note(f"of these {4 * words:,} are placed in its model past the line")
    pixels = zoo.sample().test_input
    codes = network.tensor(network.input).quantize(np.resize(pixels, (images, *pixels.shape[1:])))
    own = program.config != board.default
    virtual = f"virtual:{name}" + (f"?config={folder / 'config.toml'}" if own else "")
    with opened(device_name or virtual) as device:
        # The first batches run once more, to be timed apart.
        announce(device, program, images + APART * program.batch, verify=False, check=False)
        device.load(program)
        clock.step("load", f"program loaded into {device.name!r}")
        report = run_images(device, program, codes)
        moved, speed = device.traffic, device.throughput
    clock.step("run", f"{images} images run and compared")
    report = {
        **_facts(board, program),
        "network": network_name,
        "device": device.name,
        **report,
        "seconds": clock.total,
        "step_seconds": clock.steps,
    }
    write_json(folder / "report.json", report)
    _show(report, moved, speed)
    show(f"\nThe report is {folder}/report.json.")
    if not report["bit_exact"]:
        raise BadResult(
            f"Board {name!r} differs from the golden model in image {report['first_wrong_image']}."
        )


def _compiled(network: Network, board: BoardFacts, most: int) -> Program:
    """Program of the largest batch for the board's default, or for one image with its SDRAM."""
    try:
        return compile_largest_batch(network, board.default, most)
    except DoesNotFit:
        if board.external is None:
            raise
    return compile(network, board.external)


def _network(name: str, folder: Path, clock: Clock) -> Network:
    """A bundled network, as a demo left it or made anew."""
    from steelyard.importer import load

    own = DEMO if name == "fashion" else folder
    path = own / f"{name}.onnx"
    if not path.exists():
        note(f"{path} is missing: pruning and quantizing the bundled network")
        own.mkdir(parents=True, exist_ok=True)
        return pruned_network(own, clock, name)[0]
    network = load(path)
    clock.step("network", f"took the pruned network from {path}")
    return network


def run_images(device: driver.Device, program: Program, codes: NDArray[np.int8]) -> dict[str, Any]:
    """Run images batch by batch, then all at once, and compare them with the golden model.

    Parameters
    ----------
    device : with the program loaded
    codes : int8 (images, channels, height, width)
    """
    apart = [codes[first : first + program.batch] for first in range(0, len(codes), program.batch)]
    apart = [batch for batch in apart[:APART] if len(batch) == program.batch]
    first_results, cycles_apart = [], []
    for batch in apart:
        first_results.append(device.infer(batch))
        if device.traffic is not None and device.traffic.board_cycles is not None:
            cycles_apart.append(device.traffic.board_cycles)
    with progress("running", len(codes)) as update:
        result = device.infer(codes, progress=update)
    moved, speed = device.traffic, device.throughput
    expected = golden.run(program.network, codes)
    wrong = np.flatnonzero((result != expected).any(axis=(1, 2, 3)))
    for number, values in enumerate(first_results):
        start = number * program.batch
        different = (values != expected[start : start + len(values)]).any(axis=(1, 2, 3))
        wrong = np.union1d(wrong, start + np.flatnonzero(different))
    report: dict[str, Any] = {
        "images": len(codes),
        "batch": program.batch,
        "bit_exact": not len(wrong),
        "first_wrong_image": int(wrong[0]) if len(wrong) else None,
        "cycles": device.cycles,
        "predicted_cycles": sum(entry.predicted_cycles for entry in program.layers),
        **speed_document(moved, speed),
        "measured": None,
        "layers": layer_rows(program, device.counters()),
    }
    if cycles_apart and moved is not None and moved.board_cycles is not None and speed is not None:
        # A board's first batch finds its link empty, and waits for what the others have ahead.
        sequential = sum(cycles_apart) / len(cycles_apart)
        pipelined = moved.board_cycles / moved.batches
        per_second = program.batch * speed.clock_hz
        report["measured"] = {
            "sequential_cycles_per_batch": sequential,
            "pipelined_cycles_per_batch": pipelined,
            "gain": sequential / pipelined,
            "sequential_images_per_second": per_second / sequential,
            "pipelined_images_per_second": per_second / pipelined,
        }
    return report


def _facts(board: BoardFacts, program: Program) -> dict[str, Any]:
    return {
        "board": board.name,
        "clock_hz": board.clock_of(program.config),
        "baud": board.baud,
        "config": program.config.values(),
        "config_sha256": program.config.hash().hex(),
    }


def _show(
    report: dict[str, Any], moved: driver.Traffic | None, speed: driver.Throughput | None
) -> None:
    measured = report["measured"]
    rows: list[tuple[object, ...]] = [
        ("images compared with the golden model", report["images"]),
        ("equal, bit for bit", report["bit_exact"]),
        (f"cycles of a batch of {report['batch']}", report["cycles"]),
        ("the same by the cycle model", report["predicted_cycles"]),
    ]
    if measured is not None:
        rows += [
            ("images/s by the simulated board's clock, one batch after the other",
             f"{measured['sequential_images_per_second']:.1f}"),
            ("the next batch sent meanwhile", f"{measured['pipelined_images_per_second']:.1f}"),
            ("gain", f"{measured['gain']:.2f}"),
        ]  # fmt: skip
    show(table(f"Board {report['board']!r}", ("", "value"), rows))
    if moved is not None:
        show("", speed_table(moved, speed))
