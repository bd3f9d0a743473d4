"""``steelyard crossbar``: a network in crossbars as tables, JSON, CSV and pictures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from steelyard.driver import float_codes
from steelyard.engines.crossbar import (
    Converter,
    CrossbarConfig,
    EffectLevel,
    effect_levels,
    fit_converters,
)
from steelyard.errors import UserError
from steelyard.network import Network
from steelyard.report import (
    Comparison,
    Spread,
    Width,
    check_labels,
    check_widths,
    compare_with_traditional,
    layer_costs,
    throughput,
    under_converters,
    under_effects,
)

from ..inputs.arrays import read_array
from ..inputs.configs import crossbar_config, device_effects
from ..inputs.networks import load_network
from ..options import FILE, OUTPUT_FOLDER
from ..view.console import note, percent, progress, show, table, warn
from ..view.output import write_csv, write_json, write_text

__all__ = ["command"]

ROUNDINGS = {"unit": "floor", "full": "nearest"}
"""Rounding of the converters with each range of --adc-range."""
CALIBRATION = 50
"""Images of --input that ranges are fitted to where no others are given."""
FILLS = 4
"""Crossbars whose fill the last line says."""
FEW = 4
"""Crossbars up to which ratios of whole ones say little."""
RATIOS = {
    "crossbars": "xbars x",
    "crossbar_area": "with index x",
    "area": "area x",
    "fill_free_area": "fill-free x",
    "energy": "energy x",
    "speed": "speed x",
    "parallel_speed": "parallel x",
}
"""Ratios of the table and their headings."""


@click.command("crossbar")
@click.argument("network", type=FILE, metavar="NET.onnx|NET.tflite")
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, metavar="DIR")
@click.option(
    "--mapping", metavar="NAME", default="pattern", show_default=True,
    help="How crossbars hold the weights: traditional, structured, ou_row, pattern or mixed.",
)  # fmt: skip
@click.option("--config", type=FILE, metavar="FILE.toml",
              help="Crossbar: a table [crossbar], or a crossbar tile's configuration.")  # fmt: skip
@click.option("--input", "source", type=FILE, metavar="X.npy",
              help="Images whose activations count; without, no step is skipped.")  # fmt: skip
@click.option("--labels", type=FILE, metavar="Y.npy",
              help="Class of each image of --input, for the accuracy.")  # fmt: skip
@click.option("--adc-bits", metavar="N,N,...",
              help="Widths of converters to compare, in place of the configuration's.")  # fmt: skip
@click.option(
    "--adc-range", "ranges", type=click.Choice(("unit", "full", "fitted")),
    help="Range of the converters, in place of the configuration's: unit clips great sums, full "
    "rounds all, fitted sets each layer's by the sums of calibration images.",
)  # fmt: skip
@click.option("--calibration", type=FILE, metavar="CAL.npy",
              help="Images to fit ranges to; the first 50 of --input unless given.")  # fmt: skip
@click.option("--effect", "effects", multiple=True, metavar="NAME=VALUE[,VALUE...]",
              help="Effect of real devices, in one or several levels; repeatable. More than the "
              "table [effects] of --config says.")  # fmt: skip
@click.option("--budget", metavar="X,X,...",
              help="Areas for copies of layers that work as a pipeline, over the area of such a "
              "pipeline without copies in the traditional mapping.")  # fmt: skip
@click.option("--draws", type=click.IntRange(1), default=3, show_default=True,
              help="Devices that are drawn of each level of effects.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of the first device; the others count on from it.")  # fmt: skip
def command(
    network: Path,
    output: Path,
    mapping: str,
    config: Path | None,
    source: Path | None,
    labels: Path | None,
    adc_bits: str | None,
    ranges: str | None,
    calibration: Path | None,
    effects: tuple[str, ...],
    budget: str | None,
    draws: int,
    seed: int,
) -> None:
    """Map a quantized ONNX or TFLite network onto RRAM crossbars and price it.

    Prints for each layer what it takes of the crossbars, its index, its work, and what energy and
    time are to those of the traditional mapping of the same network. DIR receives crossbar.json,
    layers.csv and pictures: the filled crossbars, energy and area by layer, and the accuracy.

    With --labels or --adc-bits the images go through the crossbars, every conversion computed:
    energy and area of each width of the converters, how many images keep the class that the
    integer network gives them, and how many have the right one.

    Effects are faults of cells per million, which the crossbar tile can emulate too (stuck_at_zero,
    stuck_at_one, deviating by up to deviation levels), and what only the golden model has:
    variation (standard deviation of the logarithm of a conductance), read_noise (of a bitline sum,
    in levels), drift and drift_spread (exponents) after drift_seconds.

    With --budget all layers work at a time, on rows as they become ready, and layers have copies,
    so that images a second are the most within each area, buffers and indices included; the
    traditional mapping gets the same areas.

    \b
    Examples:
      steelyard crossbar int8.onnx -o crossbars
      steelyard crossbar int8.onnx -o crossbars --mapping mixed --input images.npy
      steelyard crossbar int8.onnx -o crossbars --config crossbar.toml
      steelyard crossbar int8.onnx -o crossbars --input images.npy --labels labels.npy \\
        --adc-bits 3,4,5,6,8 --adc-range fitted
      steelyard crossbar int8.onnx -o crossbars --input images.npy --labels labels.npy \\
        --effect stuck_at_zero=1000,10000,50000 --effect variation=0.1 --draws 3
      steelyard crossbar int8.onnx -o crossbars --input images.npy --budget 1,1.5,2,4
    """
    # Pictures need a package of their own.
    from ..view.crossbar_costs import cost_pictures
    from ..view.crossbar_pictures import sheets
    from ..view.crossbar_throughput import throughput_picture, throughput_tables

    configured = crossbar_config(config)
    if ranges in ROUNDINGS:
        configured = configured.with_(adc_range=ranges, adc_rounding=ROUNDINGS[ranges])
    widths, budgets = _widths(adc_bits), _budgets(budget)
    check_widths(configured, widths)
    if not widths and ranges != "fitted":
        for sentence in configured.warnings():
            warn(sentence)
    _check_options(source, labels, ranges, calibration, effects)
    if ranges == "fitted" and configured.adc_resolve == "reach":
        raise UserError(
            "--adc-range fitted gives every layer a step of its own, and adc_resolve = 'reach' "
            "counts bits by the configuration's; set adc_resolve to 'all', or leave --adc-range "
            "out."
        )
    levels = effect_levels(device_effects(config, effects))
    loaded, _ = load_network(network, ())
    if source is None:
        note("No --input: no step counts as skipped, so energy and time are the most possible.")
        codes = None
    else:
        codes = float_codes(loaded, read_array(source, "Input"))
    classes = None if labels is None else read_array(labels, "Label")
    if classes is not None and codes is not None:
        check_labels(loaded, len(codes), classes)
    fit_to = None
    if ranges == "fitted":
        fit_to = _calibration(loaded, calibration, codes)
    found = compare_with_traditional(loaded, configured, mapping, codes)
    warning = found.shape_warning()
    if warning:
        warn(warning)
    few = found.traditional.crossbars
    if few <= FEW:
        note(
            f"The traditional mapping takes {few} crossbar{'s' * (few != 1)}: area ratios are "
            "mostly their rounding, and the fill-free ratio has none of it."
        )
    fitted = None if fit_to is None else _fit(found, configured, widths, fit_to)
    with progress("images", 1) as update:
        tried = under_converters(found, widths, codes, classes, fitted=fitted, progress=update)
    speeds = throughput(found, budgets, codes) if budgets else {}
    if speeds:
        speeds[configured.constants].check()
    spreads = _spreads(found, tried, levels, codes, classes, draws, seed)
    document = found.document()
    document["converters"] = [width.document() for width in tried]
    document["effects"] = [spread.document() for spread in spreads]
    document["throughput"] = {name: own.document() for name, own in speeds.items()}
    pictures = {f"crossbars-{n}": text for n, text in enumerate(sheets(found.mapping), start=1)}
    pictures |= cost_pictures(tried, spreads, configured.constants)
    tables = []
    if speeds:
        speed = speeds[configured.constants]
        tables = throughput_tables(speed, configured.constants)
        pictures["throughput"] = throughput_picture(speed, mapping, configured.constants)
    for name, picture in pictures.items():
        write_text(output / f"{name}.svg", picture + "\n")
    write_csv(output / "layers.csv", layer_costs(tried))
    write_json(output / "crossbar.json", document)
    title = f"{loaded.name}: {mapping} mapping, {configured.constants}"
    tables[:0] = [_layer_table(title, document, configured.constants), _constants_table(document)]
    if widths or labels is not None:
        tables.append(_width_table(tried, configured.constants))
    if spreads:
        tables.append(_effects_table(spreads))
    show(*tables)
    if "conversions_by_bits" in document:
        show(
            f"Conversions resolve {_resolved(document['conversions_by_bits'])}; traditional "
            f"mapping: {_resolved(document['traditional_conversions_by_bits'])}"
        )
    filled = ", ".join(percent(fill) for fill in document["fills"][:FILLS])
    more = ", ..." if len(document["fills"]) > FILLS else ""
    show(
        f"Crossbars of {configured.rows} x {configured.columns}: {document['crossbars']}, "
        f"{document['traditional']['crossbars']} in the traditional mapping; filled "
        f"{filled or 'none'}{more}",
        f"{output}/crossbar.json, layers.csv; pictures: {len(pictures)}",
    )


def _check_options(
    source: Path | None,
    labels: Path | None,
    ranges: str | None,
    calibration: Path | None,
    effects: Sequence[str],
) -> None:
    """Refuses options that lack what they are for."""
    if effects and source is None:
        raise UserError("--effect changes what images give; give them with --input X.npy.")
    if labels is not None and source is None:
        raise UserError("--labels are of the images of --input; give these too.")
    if calibration is not None and ranges != "fitted":
        raise UserError(
            "--calibration is what ranges are fitted to; add --adc-range fitted or leave it out."
        )
    if ranges == "fitted" and calibration is None and source is None:
        raise UserError(
            "--adc-range fitted needs images to fit to; give --calibration X.npy or --input X.npy."
        )


def _calibration(
    network: Network, calibration: Path | None, codes: NDArray[np.int8] | None
) -> NDArray[np.int8]:
    """Images that ranges are fitted to."""
    if calibration is not None:
        return float_codes(network, read_array(calibration, "Calibration"))
    assert codes is not None  # Options are refused before.
    note(f"Ranges are fitted to the first {min(CALIBRATION, len(codes))} images of --input.")
    return codes[:CALIBRATION]


def _fit(
    found: Comparison, config: CrossbarConfig, widths: Sequence[int], codes: NDArray[np.int8]
) -> dict[int, dict[str, Converter]]:
    """Converters of every layer and width."""
    bits = widths or (config.adc_bits,)
    with progress("fitting", len(found.mapping.layers)) as update:
        return fit_converters(found.network, found.mapping, codes, bits, progress=update)


def _spreads(
    found: Comparison,
    tried: Sequence[Width],
    levels: Sequence[EffectLevel],
    codes: NDArray[np.int8] | None,
    classes: NDArray[np.integer] | None,
    draws: int,
    seed: int,
) -> list[Spread]:
    """What the images give under effects of real devices."""
    if not levels:
        return []
    if codes is None:
        note("No --input: the table [effects] changes nothing.")
        return []
    note(f"Effects are drawn with the seeds {seed} to {seed + draws - 1}.")
    trials = [width.trial for width in tried]
    with progress("effects", 1) as update:
        return under_effects(
            found.network, trials, levels, codes, classes, draws=draws, seed=seed, progress=update
        )


def _effects_table(spreads: Sequence[Spread]) -> Table:
    """Accuracy under effects, with what the draws differ by."""
    rows: list[tuple[object, ...]] = []
    for spread in spreads:
        own = spread.document()
        rows.append(
            (
                str(spread.level),
                f"{spread.bits}",
                *_spread_cells(own["accuracy"]),
                *_spread_cells(own["agreement"])[:2],
            )
        )
    draws = len(spreads[0].draws)
    return table(
        f"Under effects of real devices, mean and standard deviation of {draws} draws",
        ("effects", "ADC bits", "accuracy", "+-", "least", "most", "integers' class", "+-"),
        rows,
    )


def _spread_cells(own: dict[str, Any] | None) -> list[str | None]:
    """Mean, deviation and extremes in per cent."""
    if own is None:
        return [None] * 4
    keys = ("mean", "deviation", "least", "most")
    return [None if own[key] is None else percent(own[key]) for key in keys]


def _widths(text: str | None) -> tuple[int, ...]:
    """Bits of --adc-bits in ascending order, each once; none unless given."""
    if text is None:
        return ()
    try:
        return tuple(sorted({int(each) for each in text.split(",")}))
    except ValueError:
        raise UserError(
            f"--adc-bits must be whole numbers with commas between them, not {text!r}; "
            "write for example '3,4,6,8'."
        ) from None


def _budgets(text: str | None) -> tuple[float, ...]:
    """Areas of --budget in ascending order, each once; none unless given."""
    if text is None:
        return ()
    try:
        found = sorted({float(each) for each in text.split(",")})
    except ValueError:
        found = [0.0]
    if not all(0 < each < math.inf for each in found):
        raise UserError(
            f"--budget must be numbers above 0 with commas between them, not {text!r}; "
            "write for example '1,1.5,2,4'."
        )
    return tuple(found)


def _width_table(widths: Sequence[Width], constants: str) -> Table:
    """What each width of the converters gives and costs."""
    rows: list[tuple[object, ...]] = []
    for width in widths:
        own = width.document()
        cost = own["constants"][constants]
        shares = [None if own[key] is None else percent(own[key])
                  for key in ("accuracy", "agreement")]  # fmt: skip
        steps = own["steps"].values()
        least, most = min(steps), max(steps)
        rows.append(
            (
                f"{width.trial.bits}",
                f"{least}" if least == most else f"{least} to {most}",
                *shares,
                cost["energy_uj"],
                percent(cost["adc_energy_uj"] / cost["energy_uj"]) if cost["energy_uj"] else None,
                cost["area_um2"],
                cost["priced_bits"],
            )
        )
    images = f" on {widths[0].images:,} images" if widths[0].measured else ""
    return table(
        f"By bits of the converters{images}, {constants}",
        ("ADC bits", "step", "accuracy", "integers' class", "energy uJ", "of it ADC", "area um2",
         "priced bits"),
        rows,
    )  # fmt: skip


def _layer_table(title: str, document: dict[str, Any], constants: str) -> Table:
    rows: list[tuple[object, ...]] = []
    for layer in document["layers"]:
        cost = layer["constants"][constants]
        own = layer["ou_steps"] + layer["ou_skipped"]
        all_steps = layer["traditional_ou_steps"] + layer["traditional_ou_skipped"]
        rows.append(
            (
                layer["name"],
                f"{layer['crossbar_share']:.2f}",
                layer["cells"],
                layer["index_bits"],
                layer["ou_steps"],
                percent(layer["ou_skipped"] / own) if own else None,
                cost["energy_uj"],
                cost["serial_ms"],
                _ratio(layer["weights"], layer["mapped_weights"]),
                _ratio(all_steps, own),
                _ratio(cost["traditional_energy_uj"], cost["energy_uj"]),
                _ratio(cost["traditional_serial_ms"], cost["serial_ms"]),
            )
        )
    return table(
        title,
        ("layer", "xbars", "cells", "index b", "OU steps", "skipped", "energy uJ", "time ms",
         "cells x", "steps x", "energy x", "speed x"),
        rows,
    )  # fmt: skip


def _resolved(conversions: list[int]) -> str:
    """Mean bits of conversions by their bits, and the share of those left out."""
    bits = sum(bits * many for bits, many in enumerate(conversions))
    left, made = conversions[0], sum(conversions[1:])
    share = percent(left / (left + made)) if left + made else "none"
    return f"{bits / made if made else 0:.2f} of {len(conversions) - 1} bits, {share} left out"


def _ratio(other: float, own: float) -> str:
    return f"{other / own:.2f}" if own else "-"


def _constants_table(document: dict[str, Any]) -> Table:
    rows: list[tuple[object, ...]] = []
    for name, cost in document["constants"].items():
        ratios = cost["ratios"]
        found = [None if ratios[key] is None else f"{ratios[key]:.2f}" for key in RATIOS]
        costs = (cost[key] for key in ("area_um2", "energy_uj", "serial_ms", "parallel_ms"))
        rows.append((name, *costs, *found))
    return table(
        "An image, and ratios of the traditional mapping to this one (x)",
        ("constants", "area um2", "energy uJ", "serial ms", "parallel ms", *RATIOS.values()),
        rows,
    )
