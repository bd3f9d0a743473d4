"""``steelyard quantize``."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from steelyard.files import replacing
from steelyard.report import quantize_document

from ..inputs.arrays import calibration_images
from ..options import FILE, OUTPUT_FILE, cut_option
from ..view.console import percent, progress, show, table, warn
from ..view.output import beside, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from steelyard.quantize import Quantized

__all__ = ["command"]


@click.command("quantize")
@click.argument("network", type=FILE, metavar="FLOAT.onnx")
@click.option("--calibration", type=FILE, required=True, metavar="X.npy",
              help="float32 network inputs, batch first, no labels.")  # fmt: skip
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="Q.onnx")
@click.option(
    "--ranges", default="minmax", show_default=True, metavar="minmax|percentile|entropy",
    help="How the ranges of activations are found.",
)  # fmt: skip
@cut_option
@click.option("--json", "json_file", type=OUTPUT_FILE, metavar="FILE",
              help="The report as JSON; Q.json beside the network if left out.")  # fmt: skip
def command(
    network: Path, calibration: Path, output: Path, ranges: str, cut: tuple[str, ...],
    json_file: Path | None,
) -> None:  # fmt: skip
    """Quantize a float ONNX network to int8; pruned weights stay zero.

    The network is brought to one form first, quantized by onnxruntime, and compared with the float
    one on calibration images: anything but rounding is an error that names the layer. The table has
    the signal-to-noise ratio of every layer. A network that other tools quantized in part gets the
    quantizers that it misses. What --cut leaves to the host stays in float behind the rest; the
    same --cut goes to compile. What compile will refuse is said first.

    \b
    Examples:
      steelyard quantize pruned.onnx --calibration images.npy -o int8.onnx
      steelyard quantize float.onnx --calibration images.npy -o int8.onnx --cut Softmax
    """
    from steelyard.quantize import quantize_measured

    images = calibration_images(calibration)
    with progress("quantizing", len(np.atleast_1d(images))) as update:
        result = quantize_measured(
            network,
            images,
            ranges=ranges,
            cut=cut,
            progress=update,
            warn=warn,
        )
    with replacing(output) as temporary:
        temporary.write_bytes(result.content)
    report = json_file or beside(output, output.with_suffix(".json"))
    if report is not None:
        write_json(report, quantize_document(result, ranges))
    if result.layers:
        show(_layer_table(output, ranges, len(images), result))
    else:
        show(f"{output}: missing quantizers added, ranges of {result.images} images")


def _layer_table(output: Path, ranges: str, images: int, result: "Quantized") -> "Table":
    rows = [
        (e.name, e.operator, f"{e.low:.4g}", f"{e.high:.4g}", f"{e.scale:.4g}",
         percent(e.clipped), "exact" if math.isinf(e.snr_db) else f"{e.snr_db:.1f}")
        for e in result.layers
    ]  # fmt: skip
    return table(
        f"{output}: int8, ranges by {ranges} of {images} images; float against int8 on "
        f"{result.images} of them",
        ("layer", "operator", "least", "greatest", "step", "clipped", "SNR dB"),
        rows,
        left=2,
    )
