"""Cycles of averages over whole maps on the 85F's array, a pixel and a word of pixels a cycle.

docs/notes/operators.md has the figures.
"""

import click

from steelyard.compile import compile
from steelyard.network import NetworkBuilder
from steelyard_boards.configs import LARGE

MAPS = ((64, 8), (64, 7), (512, 7), (1280, 3), (2048, 7))
"""Channels and side: ResNet-8, the demo network, ResNet-18, MobileNetV2 at 96x96, ResNet-50."""


@click.command(help=__doc__)
def main() -> None:
    """Print the cycles of each."""
    print("map             without   with lane_sums")
    for channels, side in MAPS:
        cycles = []
        for lane_sums in (False, True):
            builder = NetworkBuilder("average", (channels, side, side))
            builder.avg_pool()
            config = LARGE.with_(
                lane_sums=lane_sums, activation_words=1 << 16, parameter_words=4096
            )
            program = compile(builder.network(), config)
            cycles.append(program.layers[0].predicted_cycles)
        print(f"{channels:5} x {side} x {side} {cycles[0]:10} {cycles[1]:10}")


if __name__ == "__main__":
    main()
