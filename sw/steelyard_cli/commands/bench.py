"""``steelyard bench``."""

from pathlib import Path

import click

from ..options import OUTPUT_FILE

__all__ = ["command"]


@click.command("bench")
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="FILE.json")
@click.option("--quick", is_flag=True, help="The cheap cases only.")
@click.option("--case", metavar="NAME", help="This case only, without the software's figures.")
def command(output: Path, quick: bool, case: str | None) -> None:
    """Measure cycles of the reference layer, VGG16 and ResNet-18 and compare them with targets.

    Cases run on the simulated gateware, or, where they say so, by the cycle model after layers of
    the same network were found equal on both. Exit status 1 if a target is missed.

    \b
    Examples:
      steelyard bench -o build/bench/array.json
      steelyard bench --quick -o build/bench/quick.json
      steelyard bench --case "vgg16_32 ulx3s_85f" -o build/bench/board.json
    """
    from ..bench.bench import run_bench

    run_bench(output, quick, case)
