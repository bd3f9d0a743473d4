"""``steelyard demo-board``."""

from pathlib import Path

import click

from ..options import OUTPUT_FOLDER

__all__ = ["command"]


@click.command("demo-board")
@click.option("--board", required=True, metavar="NAME", help="'steelyard boards' lists them.")
@click.option(
    "--network", type=click.Choice(("fashion", "vgg_small")), default="fashion", show_default=True,
    help="Bundled network; vgg_small lies in the SDRAM of boards that have one.",
)  # fmt: skip
@click.option("--images", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "-o", "--output", type=OUTPUT_FOLDER, default=Path("build/demo-board"), show_default=True,
    metavar="DIR", help="Folder of the report.",
)  # fmt: skip
@click.option(
    "--device", metavar="DEVICE",
    help="What runs it in place of virtual:NAME, for example a real board's port.",
)  # fmt: skip
def command(board: str, network: str, images: int, output: Path, device: str | None) -> None:
    """Run the demo's network on a board's simulated gateware, through its serial port.

    The network is compiled for the board's default configuration, with the largest batch that fits,
    or for the one with its SDRAM, most of whose words are placed in the simulated chip directly;
    every output is compared with the golden model. Says what the board's time goes into. The report
    is DIR/report.json.

    \b
    Examples:
      steelyard demo-board --board ulx3s_85f
      steelyard demo-board --board ulx3s_85f --network vgg_small --images 4
      steelyard demo-board --board ulx3s_85f --device /dev/ttyUSB0
    """
    from ..demos.board import run_board_demo

    run_board_demo(board, network, images, output, device)
