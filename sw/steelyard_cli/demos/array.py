"""``steelyard demo``: the whole chain on the bundled network, on two processors side by side."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard import zoo
from steelyard.compile import compile as compile_program
from steelyard.contract import configure
from steelyard.driver import DeviceTimeout, LayerCounters
from steelyard.network import Network
from steelyard.program import Program
from steelyard.report import prune_document
from steelyard_sim.build.toolchain import BuildFailed

from ..errors import BadResult
from ..threads import one_thread
from ..view.console import note, percent, progress, show, table
from ..view.output import write_array, write_json
from . import array_work as demo_work

__all__ = ["CONFIG", "Clock", "pruned_network", "run_demo", "workers"]

CONFIG = configure(
    "array",
    lanes=16,
    columns=8,
    requantizers=16,
    activation_words=20480,
    weight_words=16384,
    parameter_words=512,
    partial_sum_channels=64,
)
"""Array of the demo; its memories hold the network at BATCH, dense as well as sparse."""
BATCH = 16
SPARSITY = 0.75
WORKERS = 2
TIMED_BATCHES = 2


class Clock:
    """Remarks with the time since the start, and the time each step took."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self.steps: dict[str, float] = {}

    def step(self, name: str, text: str) -> None:
        now = time.monotonic()
        self.steps[name] = round(now - self._last, 3)
        self._last = now
        note(f"[{now - self._start:5.1f} s] {text}")

    @property
    def total(self) -> float:
        return round(time.monotonic() - self._start, 3)


def run_demo(folder: Path, data: Path | None, images: int, device: str) -> None:
    """``steelyard demo``.

    Raises
    ------
    BadResult
        If the device differs from the golden model, or fails.
    """
    # Processes side by side make better use of few processors than threads inside each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    clock = Clock()
    try:
        with workers() as pool:
            report = _chain(pool, folder, data, images, device, clock)
    except (BuildFailed, DeviceTimeout) as error:
        raise BadResult(f"Device {device!r} failed: {error}") from error
    except BrokenProcessPool as error:
        raise BadResult("A worker of the demo was killed; is there memory enough?") from error
    report["seconds"] = clock.total
    report["step_seconds"] = clock.steps
    write_json(folder / "report.json", report)
    _show(report, folder)
    if not report["bit_exact"]:
        raise BadResult(f"The device differs from the golden model in {report['mismatch']}.")


@contextmanager
def workers() -> Iterator[ProcessPoolExecutor]:
    """Processes that share the work of a demo."""
    # A forked child of a process that runs threads may hang, so children start afresh.
    pool = ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _chain(
    pool: ProcessPoolExecutor,
    folder: Path,
    data: Path | None,
    images: int,
    device: str,
    clock: Clock,
) -> dict[str, Any]:
    """All steps; gives the report."""
    baseline = pool.submit(demo_work.baseline, data)
    built = pool.submit(demo_work.build, device, CONFIG)
    network, pruning = pruned_network(folder, clock)
    sparse = compile_program(network, CONFIG, batch=BATCH)
    dense = compile_program(network, CONFIG, batch=BATCH, k="dense")
    codes = _codes(network, images)
    _leave(folder, sparse)
    clock.step("compile", f"compiled: {len(sparse.descriptors)} layers, batch {BATCH}")
    if not built.done():
        note("           building the simulation of the accelerator; the next run finds it built")
    built.result()
    clock.step("build", "simulated accelerator is ready")
    known = baseline.result()
    clock.step("baseline", f"measured the dense network on {known.images:,} images")
    int8_sparse = pool.submit(demo_work.accuracy, network, data, known.bundled)
    runs = _simulate(pool, device, sparse, dense, codes)
    clock.step("simulate", f"{len(codes)} images compared in every layer")
    report: dict[str, Any] = {
        "accuracy_float_dense": known.float_accuracy,
        "accuracy_int8_dense": known.int8_accuracy,
        "accuracy_int8_sparse": int8_sparse.result(),
        "accuracy_images": known.images,
        "accuracy_data": known.source,
        **pruning,
        **runs,
        "batch": BATCH,
        "device": device,
        "config": CONFIG.values(),
        "config_sha256": CONFIG.hash().hex(),
    }
    clock.step("accuracy", f"accuracies on {known.images:,} test images: {known.source}")
    return report


def pruned_network(
    folder: Path, clock: Clock, name: str = "fashion"
) -> tuple[Network, dict[str, Any]]:
    """A bundled network, pruned and quantized, and what the report says of it.

    It is left in the folder, under its name.
    """
    from steelyard.importer import load
    from steelyard.prune import prune
    from steelyard.quantize import quantize

    one_thread()
    model = zoo.load(name)
    calibration = zoo.sample().calibration_input
    clock.step("load", "loaded the bundled network; the dense one is measured meanwhile")
    with progress("pruning") as update:
        result = prune(
            model,
            calibration,
            SPARSITY,
            progress=update,
        )
    clock.step("prune", f"pruned {percent(result.sparsity)} of the weights, no labels used")
    quantize(result.model, calibration, folder / f"{name}.onnx")
    network = load(folder / f"{name}.onnx")
    clock.step("quantize", "quantized to int8")
    return network, {"sparsity": result.sparsity, "pruning": prune_document(result)}


def _codes(network: Network, images: int) -> NDArray[np.int8]:
    """Test images for the device, whole batches."""
    whole = -(-max(images, TIMED_BATCHES * BATCH) // BATCH) * BATCH
    pixels = zoo.sample().test_input
    return network.tensor(network.input).quantize(np.resize(pixels, (whole, *pixels.shape[1:])))


def _leave(folder: Path, program: Program) -> None:
    """Files for the commands to try next."""
    program.save(folder / "fashion.syp")
    program.config.to_toml(folder / "config.toml")
    sample = zoo.sample()
    write_array(folder / "images.npy", sample.test_input[: 2 * BATCH])
    write_array(folder / "calibration.npy", sample.calibration_input)


def _simulate(
    pool: ProcessPoolExecutor, device: str, sparse: Program, dense: Program, codes: NDArray[np.int8]
) -> dict[str, Any]:
    """Layers compared with the golden model, and whole batches timed, sparse and dense."""
    batches = [codes[first : first + BATCH] for first in range(0, len(codes), BATCH)]
    timed = {
        (program, number): pool.submit(demo_work.measure, device, program, batches[number])
        for program in (dense, sparse)
        for number in range(TIMED_BATCHES)
    }
    checks = [
        pool.submit(demo_work.check, device, sparse, number * BATCH, batch)
        for number, batch in enumerate(batches)
    ]
    jobs: list[Future[Any]] = [*timed.values(), *checks]
    with progress("simulating", len(jobs)) as update:
        for done, job in enumerate(as_completed(jobs), start=1):
            job.result()
            update(done, len(jobs), "batches")
    checked = [job.result() for job in checks]
    mismatch = next((each.mismatch for each in checked if each.mismatch is not None), None)
    measured = {key: job.result() for key, job in timed.items()}
    ran = [measured[sparse, number] for number in range(TIMED_BATCHES)]
    ran_dense = [measured[dense, number] for number in range(TIMED_BATCHES)]
    equal = all(each.equal for each in measured.values())
    result: dict[str, Any] = {
        "bit_exact": mismatch is None and equal,
        "mismatch": str(mismatch) if mismatch else None if equal else "the output of a whole run",
        "images_checked": sum(each.images for each in checked),
        "cycles_repeat": all(
            a.counters == b.counters and a.cycles == b.cycles for a, b in (ran, ran_dense)
        ),
    }
    seconds = sum(each.seconds for each in measured.values())
    cycles, dense_cycles = ran[0].cycles, ran_dense[0].cycles
    if cycles is None or dense_cycles is None:
        return result | _uncounted(sparse)
    simulated = TIMED_BATCHES * (cycles + dense_cycles)
    layers = _layers(sparse, ran[0].counters, ran_dense[0].counters)
    pruned = [row for row in layers[1:] if row["kind"] == "conv"]
    return result | {
        "cycles": cycles,
        "dense_cycles": dense_cycles,
        "speedup": dense_cycles / cycles,
        "speedup_pruned_conv": sum(row["dense_cycles"] for row in pruned)
        / sum(row["cycles"] for row in pruned),
        "cycles_per_image": cycles / BATCH,
        "simulation_cycles_per_second": simulated / seconds,
        "simulated_images_per_second": simulated / seconds / (cycles / BATCH),
        "layers": layers,
    }


def _uncounted(program: Program) -> dict[str, Any]:
    """Report of a device that counts no cycles."""
    keys = ("cycles", "dense_cycles", "speedup", "speedup_pruned_conv")
    rows = [
        {"name": e.name, "kind": e.kind, "k": e.k, "nnz": e.nnz, "ideal_cycles": e.ideal_cycles,
         "cycles": None, "dense_cycles": None, "occupancy": None}
        for e in program.layers
    ]  # fmt: skip
    return {**dict.fromkeys(keys), "layers": rows}


def _layers(
    program: Program, counters: list[LayerCounters], dense: list[LayerCounters]
) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "k": entry.k,
            "nnz": entry.nnz,
            "ideal_cycles": entry.ideal_cycles,
            "predicted_cycles": entry.predicted_cycles,
            "cycles": counted.cycles,
            "dense_cycles": other.cycles,
            "occupancy": entry.ideal_cycles / counted.cycles,
        }
        for entry, counted, other in zip(program.layers, counters, dense, strict=True)
    ]


def _show(report: dict[str, Any], folder: Path) -> None:
    counted = report["cycles"] is not None
    rows = [
        (
            row["name"],
            row["kind"],
            f"{row['k']}/{CONFIG.engine.group}" if row["k"] else None,
            row["nnz"] if row["k"] else None,
            row["ideal_cycles"] if row["k"] else None,
            row["cycles"],
            row["dense_cycles"],
            percent(row["occupancy"]) if row["k"] and counted else None,
        )
        for row in report["layers"]
    ]
    show(
        table(
            f"One batch of {BATCH} images on {CONFIG.outline}",
            ("layer", "kind", "K", "nnz", "ideal cyc.", "cycles", "dense cyc.", "occup."),
            rows,
            left=2,
        ),
        table("Summary", ("", "value"), _summary(report)),
        f"\nThe report is {folder}/report.json. Try next:",
        f"  steelyard run {folder}/fashion.syp --input {folder}/images.npy "
        f"--output {folder}/scores.npy --check",
        f"  steelyard report {folder}/fashion.syp -o {folder}/report",
        f"  steelyard compile {folder}/fashion.onnx -o {folder}/single.syp --batch 1",
    )


def _summary(report: dict[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        ("test images for accuracy", report["accuracy_images"]),
        ("accuracy, float, dense", f"{100 * report['accuracy_float_dense']:.2f} %"),
        ("accuracy, int8, dense", f"{100 * report['accuracy_int8_dense']:.2f} %"),
        ("accuracy, int8, sparse", f"{100 * report['accuracy_int8_sparse']:.2f} %"),
        ("weights removed outside the first layer", percent(report["sparsity"])),
        ("images compared in every layer", report["images_checked"]),
        ("equal to the golden model, bit for bit", report["bit_exact"]),
    ]
    if report["cycles"] is not None:
        rows += [
            (f"cycles of a batch of {BATCH}", report["cycles"]),
            ("cycles with dense weights", report["dense_cycles"]),
            ("speedup", f"{report['speedup']:.2f}"),
            ("speedup, pruned convolutions", f"{report['speedup_pruned_conv']:.2f}"),
            ("simulated cycles a CPU second", round(report["simulation_cycles_per_second"])),
            ("simulated images a CPU second", f"{report['simulated_images_per_second']:.1f}"),
        ]
    return rows
