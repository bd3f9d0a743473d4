"""``steelyard demo-crossbar``: pruning for RRAM crossbars side by side, proved on the tile."""

import os
from concurrent.futures import Executor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from steelyard import zoo
from steelyard.contract import configure
from steelyard.driver import DeviceTimeout
from steelyard.engines.crossbar import CrossbarConfig, map_network
from steelyard.errors import UserError
from steelyard.network import Network
from steelyard.report import cost_over_dense
from steelyard_sim.build.toolchain import BuildFailed

from ..errors import BadResult
from ..view.console import note, progress, show, table
from ..view.output import write_json
from . import crossbar_work as work
from .array import Clock, workers
from .crossbar_pictures import write_pictures
from .crossbar_work import WAYS, Way

__all__ = ["ADC_BITS", "CONFIG", "ROUNDINGS", "Settings", "run_crossbar_demo"]

CONFIG = configure(
    "crossbar",
    lanes=16,
    requantizers=16,
    window_groups=64,
    activation_words=16384,
    weight_words=16384,
    parameter_words=512,
    partial_sum_channels=64,
    crossbar=CrossbarConfig(rows=128, columns=128),
)
"""Tile of the demo. Its crossbars are small, so that a small network fills several."""
BATCH = 10
"""Images in the tile together: a multiple of what fills its lanes on small maps."""
ADC_BITS = (3, 4, 5, 6, 7, 8)
ROUNDINGS = {"unit": "floor", "full": "nearest"}
"""Rounding of the converter with each range policy: `unit` clips and rounds nothing."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a demo runs on.

    Members
    -------
    images : to run on the tile and to price
    accuracy_images : first test images that the accuracy of a network is of
    converter_images : first test images that the accuracies under converters are of
    adc_range : range policy of the converters, ``unit`` or ``full``
    calibration : bundled images to prune and tune with, without labels
    epochs : of tuning
    device : what runs the programs, ``sim`` or ``golden``
    seed : of pruning and tuning
    data : folder of Fashion-MNIST, if it need not be found or fetched
    """

    images: int
    accuracy_images: int
    converter_images: int
    adc_range: str
    calibration: int
    epochs: int
    device: str
    seed: int
    data: Path | None = None


def run_crossbar_demo(folder: Path, names: tuple[str, ...], settings: Settings) -> None:
    """``steelyard demo-crossbar``.

    Raises
    ------
    BadResult
        If the device differs from the golden crossbar or its counters from the cost model, or the
        device fails.
    UserError
        If the folder of the data does not hold them.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    clock = Clock()
    # All ratios are over the dense network.
    wanted = {*names, "dense"}
    ways = [way for way in WAYS if not names or way.name in wanted]
    note(f"seed {settings.seed}: of pruning and tuning; images are the first ones")
    settings, source = _with_data(settings)
    try:
        with workers() as pool:
            rows, networks = _chain(pool, ways, settings, clock)
    except (BuildFailed, DeviceTimeout) as error:
        raise BadResult(f"Device {settings.device!r} failed: {error}") from error
    except BrokenProcessPool as error:
        raise BadResult("A worker of the demo was killed; is there memory enough?") from error
    report = {
        "methods": rows,
        "seed": settings.seed,
        "calibration_images": settings.calibration,
        "tuning_epochs": settings.epochs,
        "accuracy_images": settings.accuracy_images,
        "accuracy_data": source,
        "accuracy_standard_error": _standard_error(
            [row["accuracy"] for row in rows], settings.accuracy_images
        ),
        "converter_images": settings.converter_images,
        "converter_standard_error": _standard_error(
            [row["accuracy_by_adc_bits"][_ideal_bits()] for row in rows], settings.converter_images
        ),
        "adc_range": settings.adc_range,
        "adc_rounding": ROUNDINGS[settings.adc_range],
        "device": settings.device,
        "batch": BATCH,
        "config": CONFIG.values(),
        "config_sha256": CONFIG.hash().hex(),
        "seconds": clock.total,
        "step_seconds": clock.steps,
    }
    write_json(folder / "report.json", report)
    mappings = {
        way.name: map_network(network, CONFIG.engine.crossbar, way.mapping)
        for way, network in zip(ways, networks, strict=True)
    }
    pictures = write_pictures(rows, mappings, folder)
    _show(report, settings, folder, pictures)
    wrong = [row["mismatch"] for row in rows if row["mismatch"]]
    if wrong:
        raise BadResult(f"The device differs: {wrong[0]}.")


def _with_data(settings: Settings) -> tuple[Settings, str]:
    """Settings that the test images there are suffice for, and where these come from."""
    most = max(settings.accuracy_images, settings.converter_images)
    try:
        return settings, work.tested(most, settings.data)[2]
    except UserError as error:
        if settings.data is not None:
            raise
        bundled = len(zoo.sample().test)
        note(f"           accuracies on the {bundled} bundled test images alone: {error}")
        fewer = replace(
            settings,
            accuracy_images=min(settings.accuracy_images, bundled),
            converter_images=min(settings.converter_images, bundled),
        )
        return fewer, work.tested(bundled, None)[2]


def _standard_error(accuracies: list[float], images: int) -> float:
    """Standard error of the least sure of some accuracies."""
    return max((reached * (1 - reached) / images) ** 0.5 for reached in accuracies)


def _ideal_bits() -> str:
    """Key of the results under the ideal converter."""
    return str(CONFIG.engine.crossbar.adc_bits)


def _chain(
    pool: Executor, ways: list[Way], settings: Settings, clock: Clock
) -> tuple[list[dict[str, Any]], list[Network]]:
    """All steps; gives the report's rows and the networks."""
    images, device = settings.images, settings.device
    built = pool.submit(work.build, device, CONFIG)
    jobs = [
        pool.submit(
            work.pruned, way, CONFIG.engine.crossbar, settings.calibration, settings.epochs,
            settings.seed,
        )
        for way in ways
    ]  # fmt: skip
    found = _gathered("pruning", jobs)
    networks: list[Network] = [network for network, _ in found]
    clock.step("prune", f"pruned and quantized {len(ways)} networks, no labels used")
    codes = _codes(networks[0], images)
    known = [
        pool.submit(
            cost_over_dense, network, CONFIG.engine.crossbar, way.mapping, networks[0], codes
        )
        for way, network in zip(ways, networks, strict=True)
    ]
    prices = _gathered("mapping", known)
    clock.step("map", f"mapped and priced on {images} images")
    if not built.done():
        note("           building the simulation of the tile; the next run finds it built")
    built.result()
    clock.step("build", "simulated tile is ready")
    checks = _checked(pool, ways, networks, codes, device)
    clock.step("simulate", f"{len(codes)} images of every method compared, with all counters")
    # Eight bits are ideal for this operation unit: these are the integers' results.
    whole = [
        pool.submit(
            work.accuracy, network, way.mapping, CONFIG.engine.crossbar,
            settings.accuracy_images, settings.data,
        )
        for way, network in zip(ways, networks, strict=True)
    ]  # fmt: skip
    reached = _gathered("accuracy", whole)
    clock.step("accuracy", f"accuracies on {settings.accuracy_images:,} test images")
    converted = _under_converters(pool, ways, networks, settings)
    clock.step("converters", f"all converters on {settings.converter_images:,} test images")
    rows = [
        {
            "method": way.name,
            "mapping": way.mapping,
            "sparsity": sparsity,
            "accuracy": own,
            **price,
            "accuracy_by_adc_bits": by_bits,
            **checked,
        }
        for way, (_, sparsity), price, own, by_bits, checked in zip(
            ways, found, prices, reached, converted, checks, strict=True
        )
    ]
    return rows, networks


def _gathered(title: str, jobs: list[Future[Any]]) -> list[Any]:
    """Results in order, with a bar of what is done."""
    with progress(title, len(jobs)) as update:
        for done, job in enumerate(as_completed(jobs), start=1):
            job.result()
            update(done, len(jobs), f"{done} of {len(jobs)}")
    return [job.result() for job in jobs]


def _codes(network: Network, images: int) -> NDArray[np.int8]:
    pixels = zoo.sample().test_input
    return network.tensor(network.input).quantize(np.resize(pixels, (images, *pixels.shape[1:])))


def _checked(
    pool: Executor,
    ways: list[Way],
    networks: list[Network],
    codes: NDArray[np.int8],
    device: str,
) -> list[dict[str, Any]]:
    """What the tile gave, a row for each way."""
    batches = [codes[first : first + BATCH] for first in range(0, len(codes), BATCH)]
    jobs = [
        pool.submit(work.check, device, network, way.mapping, CONFIG, number * BATCH, batch)
        for way, network in zip(ways, networks, strict=True)
        for number, batch in enumerate(batches)
    ]
    results: list[work.Checked] = _gathered("simulating", jobs)
    rows = []
    for number in range(len(ways)):
        own = results[number * len(batches) : (number + 1) * len(batches)]
        cycles = [each.cycles for each in own if each.cycles is not None]
        wrong = next((each.wrong for each in own if each.wrong), None)
        rows.append(
            {
                "bit_exact": wrong is None,
                "mismatch": wrong and f"method {ways[number].name!r}, {wrong}",
                "images_checked": sum(each.images for each in own),
                "counters_equal": wrong is None if all(each.counted for each in own) else None,
                "cycles_per_image": sum(cycles) / len(codes) if cycles else None,
            }
        )
    return rows


def _under_converters(
    pool: Executor, ways: list[Way], networks: list[Network], settings: Settings
) -> list[dict[str, float]]:
    """Accuracy by bits of the converter, a row for each way."""
    rounding = ROUNDINGS[settings.adc_range]
    converters = [
        CONFIG.engine.crossbar.with_(
            adc_bits=bits, adc_range=settings.adc_range, adc_rounding=rounding
        )
        for bits in ADC_BITS
    ]
    jobs = [
        pool.submit(
            work.accuracy, network, way.mapping, converter, settings.converter_images,
            settings.data,
        )
        for way, network in zip(ways, networks, strict=True)
        for converter in converters
    ]  # fmt: skip
    results = iter(_gathered("converters", jobs))
    return [{str(bits): next(results) for bits in ADC_BITS} for _ in ways]


def _cost_row(name: str, mapping: str, own: dict[str, Any], images: int, *first: str) -> tuple:
    """A row of costs, of a way or of its weights in the usual mapping."""
    return (
        name,
        mapping,
        *first,
        f"{own['memory_compression']:.2f}",
        own["crossbars"],
        *(f"{own[key]['isaac32']:.2f}" for key in ("area_ratio", "energy_ratio", "speed_ratio")),
        round(own["ou_steps"] / images / 1000),
        f"{own['index_bits'] / 8192:.1f}",
    )


def _costs(rows: list[dict[str, Any]], settings: Settings) -> Table:
    """What each way costs, and below it what its weights cost in the usual mapping."""
    unit = CONFIG.engine.crossbar
    lines = []
    for row in rows:
        shown = (f"{100 * row[key]:.1f}" for key in ("sparsity", "accuracy"))
        found = (*shown, f"{row['compression']:.2f}")
        lines.append(_cost_row(row["method"], row["mapping"], row, settings.images, *found))
        usual = row.get("same_weights_ou_row")
        if usual is not None:
            lines.append(_cost_row("  the same", "ou_row", usual, settings.images, "", "", ""))
    return table(
        f"Crossbars of {unit.rows} x {unit.columns}, operation units of {unit.ou_rows} x "
        f"{unit.ou_columns}; area, energy and speed over dense traditional, constant set isaac32",
        ("method", "mapping", "removed %", "accuracy %", "compr.", "with index", "xbars",
         "area", "energy", "speed", "OU steps k/img", "index KiB"),
        lines,
        left=2,
    )  # fmt: skip


def _show(report: dict[str, Any], settings: Settings, folder: Path, pictures: list[str]) -> None:
    rows = report["methods"]
    sets = list(rows[0]["area_ratio"])
    prices = table(
        "Area and energy under every constant set, over dense traditional",
        ("method", *(f"{what}, {name}" for what in ("area", "energy") for name in sets)),
        [
            (
                row["method"],
                *(f"{row[key][name]:.2f}" for key in ("area_ratio", "energy_ratio")
                  for name in sets),
            )
            for row in rows
        ],
    )  # fmt: skip
    says = {
        "unit": "a code is one unit of the sum, greater sums clip",
        "full": "codes reach the greatest sum, rounded to the nearest",
    }[settings.adc_range]
    converters = table(
        f"Accuracy in % by bits of the converter on {settings.converter_images:,} images, "
        f"{_ideal_bits()} bits ideal; range policy {settings.adc_range!r}: {says}",
        ("method", *(f"{bits} bits" for bits in ADC_BITS)),
        [
            (row["method"], *(f"{100 * v:.1f}" for v in row["accuracy_by_adc_bits"].values()))
            for row in rows
        ],
    )
    proof = table(
        "On the tile's RTL, and the golden crossbar",
        ("method", "images", "bit-exact", "counters equal", "cycles/image"),
        [
            (
                row["method"],
                row["images_checked"],
                row["bit_exact"],
                row["counters_equal"],
                None if row["cycles_per_image"] is None else round(row["cycles_per_image"]),
            )
            for row in rows
        ],
    )
    sure, converted = (
        100 * report[key] for key in ("accuracy_standard_error", "converter_standard_error")
    )
    show(
        _costs(rows, settings), prices, converters, proof,
        f"\nStandard error of an accuracy on {settings.accuracy_images:,} images: {sure:.2f} "
        f"points; on {settings.converter_images:,}: {converted:.2f}, and less of differences.",
        f"The report is {folder}/report.json; pictures: {', '.join(pictures)}.",
    )  # fmt: skip
