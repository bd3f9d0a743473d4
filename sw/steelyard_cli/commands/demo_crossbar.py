"""``steelyard demo-crossbar``."""

from pathlib import Path
from typing import Any

import click

from ..options import FOLDER, OUTPUT_FOLDER

__all__ = ["command"]


@click.command("demo-crossbar")
@click.option(
    "-o", "--output", type=OUTPUT_FOLDER, default=Path("build/demo-crossbar"), show_default=True,
    metavar="DIR", help="Folder of the report and the pictures.",
)  # fmt: skip
@click.option(
    "--method", "names", multiple=True,
    type=click.Choice(("unstructured", "balanced", "structured", "ou_row", "pattern", "mixed")),
    help="Method to show beside the dense network; may be repeated, all unless given.",
)  # fmt: skip
@click.option("--images", type=click.IntRange(1), default=50, show_default=True,
              help="Images to run on the simulated tile and to price.")  # fmt: skip
@click.option("--data", type=FOLDER, metavar="DIR",
              help="Folder of Fashion-MNIST's gzip files; found if not given.")  # fmt: skip
@click.option("--accuracy-images", type=click.IntRange(1, 10000), default=10000, show_default=True,
              help="Test images for each accuracy; up to 1000 are bundled.")  # fmt: skip
@click.option("--converter-images", type=click.IntRange(1, 10000), default=1000, show_default=True,
              help="Test images for each accuracy under a converter.")  # fmt: skip
@click.option(
    "--adc-range", type=click.Choice(("unit", "full")), default="unit", show_default=True,
    help="Converter: unit clips great sums, full rounds all. With few rows in an operation unit "
    "sums are small, and clipping is far the better.",
)  # fmt: skip
@click.option("--calibration", type=click.IntRange(50, 1000), default=500, show_default=True,
              help="Images to prune and tune with, without labels.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(0), default=6, show_default=True,
              help="Of tuning towards the dense network.")  # fmt: skip
@click.option(
    "--device", default="sim", show_default=True, help="What runs the programs: sim or golden."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def command(
    output: Path, names: tuple[str, ...], **settings: Any
) -> None:  # fmt: skip
    """Prune the bundled network for RRAM crossbars in every way, side by side.

    Each way is pruned without labels, quantized, mapped onto crossbars and priced on actual
    activations; runs on the simulated tile, where results are compared with the golden crossbar and
    all counters with the cost model; and is judged under converters of 3 to 8 bits. A row "the
    same" has the weights above it compressed by rows of operation units (ou_row), the usual way,
    to compare with. The report is DIR/report.json.

    \b
    Examples:
      steelyard demo-crossbar
      steelyard demo-crossbar --method pattern --method mixed --images 10
    """
    from ..demos.crossbar import Settings, run_crossbar_demo

    run_crossbar_demo(output, names, Settings(**settings))
