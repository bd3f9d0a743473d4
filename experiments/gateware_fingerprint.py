"""SHA-256 of the gateware's RTLIL for six configurations: did a change leave the hardware alone?

The text has no source lines, so that moves and comments do not show. The registers that hold the
configuration's hash are masked with --without-hash: what is left is what computes.

    python experiments/gateware_fingerprint.py
    python experiments/gateware_fingerprint.py --without-hash
"""

import hashlib
from pathlib import Path

import click
from amaranth.back import rtlil

from steelyard.contract import AcceleratorConfig, configure
from steelyard_boards.configs import LARGE, UP5K_COMPACT
from steelyard_cli.demos.array import CONFIG as DEMO
from steelyard_cli.demos.crossbar import CONFIG as DEMO_TILE
from steelyard_hw.accelerator import Accelerator

CONFIGURATIONS = {
    "default array": configure("array"),
    "demo": DEMO,
    "ECP5-85F": LARGE,
    "compact": UP5K_COMPACT,
    "default tile": configure("crossbar"),
    "crossbar demo, two units": DEMO_TILE.with_(ou_parallel=2),
}


def text(config: AcceleratorConfig, *, without_hash: bool) -> str:
    """RTLIL of the accelerator, with zeros for the words of the hash if these do not count."""
    found = rtlil.convert(Accelerator(config), emit_src=False)
    if without_hash:
        digest = config.hash()
        for first in range(0, 32, 4):
            word = int.from_bytes(digest[first : first + 4], "little")
            found = found.replace(f"32'{word:032b}", f"32'{0:032b}")
    return found


@click.command(help=__doc__.splitlines()[0])
@click.option("--without-hash", is_flag=True, help="Mask the configuration's hash.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write the texts here.",
)
def main(without_hash: bool, keep: Path | None) -> None:
    """Print a line a configuration."""
    for name, config in CONFIGURATIONS.items():
        found = text(config, without_hash=without_hash)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{name}.il").write_text(found, encoding="utf-8")
        print(f"{hashlib.sha256(found.encode()).hexdigest()}  {name}")


if __name__ == "__main__":
    main()
