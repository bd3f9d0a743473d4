"""``steelyard demo``."""

from pathlib import Path

import click

from ..options import FOLDER, OUTPUT_FOLDER

__all__ = ["command"]


@click.command("demo")
@click.option(
    "-o", "--output", type=OUTPUT_FOLDER, default=Path("build/demo"), show_default=True,
    metavar="DIR", help="Folder of everything that the demo leaves.",
)  # fmt: skip
@click.option("--data", type=FOLDER, metavar="DIR", help="Folder of Fashion-MNIST's gzip files.")
@click.option(
    "--images", type=click.IntRange(1), default=208, show_default=True,
    help="Images to check in every layer, rounded up to whole batches.",
)  # fmt: skip
@click.option(
    "--device", default="sim", show_default=True, help="What runs the program: sim or golden."
)
def command(output: Path, data: Path | None, images: int, device: str) -> None:
    """Prune, quantize, compile and run the bundled network on the simulated accelerator.

    Loads a trained Fashion-MNIST network, removes 75 % of its weights in balanced groups,
    quantizes it to int8, compiles it, runs it on the simulated gateware, compares every layer with
    the golden model, and runs it with dense weights for comparison. The report is DIR/report.json.

    \b
    Example:
      steelyard demo -o build/demo
    """
    from ..demos.array import run_demo

    run_demo(output, data, images, device)
