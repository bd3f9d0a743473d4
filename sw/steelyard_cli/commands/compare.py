"""``steelyard compare``: a program beside the ONNX network that it was made of."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from steelyard.program import Program
from steelyard.report import compare_document

from ..errors import BadResult
from ..inputs.arrays import read_array
from ..options import FILE, json_option
from ..view.console import note, progress, show, table
from ..view.output import write_json

if TYPE_CHECKING:
    from rich.table import Table

    from steelyard.compare import Comparison, LayerComparison

__all__ = ["command"]


@click.command("compare")
@click.argument("network", type=FILE, metavar="NET.onnx")
@click.argument("program", type=FILE, metavar="NET.syp")
@click.option("--input", "source", type=FILE, required=True, metavar="X.npy",
              help="Floating-point images in the network's input units, batch first.")  # fmt: skip
@json_option
def command(network: Path, program: Path, source: Path, json_file: Path | None) -> None:
    """Compare a program with the ONNX network that it was compiled from.

    onnxruntime runs the network, operator by operator, and the program's golden model, which every
    device equals bit for bit, runs the program. The signal-to-noise ratio is that of a layer's
    values when each side runs on its own from the input.

    Of a quantized network each layer is also fed onnxruntime's own codes. A code that differs by
    one is a tie where onnxruntime's real value lies in the middle between two codes: the table has
    how far the farthest lies off, and up to where it may. Codes that differ otherwise are others,
    and the exit status is 1.

    Of the float network before its quantization, the ratios of those layers are shown whose values
    kept their names.

    \b
    Examples:
      steelyard compare int8.onnx net.syp --input images.npy
      steelyard compare float.onnx net.syp --input images.npy --json compare.json
    """
    from steelyard.compare import compare

    compiled = Program.load(program)
    images = read_array(source, "Input")
    with progress("comparing", len(images) if images.ndim else 0) as update:
        found = compare(network, compiled, images, update)
    if json_file:
        write_json(json_file, compare_document(found, compiled.network.name))
    show(_table(found, compiled.network.name))
    if found.missing:
        note(f"The network has no value of the layers {', '.join(found.missing)}.")
    if not found.quantized:
        return
    rows = found.agreements
    elements, equal, ties, others = (
        sum(getattr(each, name) for each in rows)
        for name in ("elements", "equal", "ties", "others")
    )
    show(
        f"{equal:,} of {elements:,} codes are equal ({100 * equal / elements:.4f} %), {ties:,} "
        f"differ at ties, {others:,} otherwise"
    )
    wrong = found.wrong()
    if wrong is not None:
        raise BadResult(
            f"Layer {wrong.layer!r} differs from onnxruntime in {wrong.others} of "
            f"{wrong.elements} codes that are no ties, by up to {wrong.worst}; compile the network "
            "again, and if that changes nothing report it as a fault of steelyard."
        )


def _table(found: "Comparison", program: str) -> "Table":
    title = f"{program}: golden model against onnxruntime on {found.network}, {found.images} images"
    names = ["layer", "kind", "SNR dB"]
    if found.quantized:
        names += ["codes", "equal", "ties", "farthest", "tie up to", "others", "worst"]
    return table(title, names, [_row(each) for each in found.layers], left=2)


def _row(each: "LayerComparison") -> Sequence[object]:
    ratio = "equal" if math.isinf(each.snr_db) else f"{each.snr_db:.1f}"
    codes = each.agreement
    if codes is None:
        return (each.layer, each.kind, ratio)
    farthest = f"{codes.farthest:.1e}" if codes.ties else None
    return (
        each.layer, each.kind, ratio, codes.elements, f"{100 * codes.equal / codes.elements:.3f} %",
        codes.ties, farthest, f"{codes.margin:.1e}", codes.others, codes.worst,
    )  # fmt: skip
