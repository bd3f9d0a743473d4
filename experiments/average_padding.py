"""Cycles of padded 3x3 averages, with padding that counts and with padding that does not.

docs/notes/moves.md has the figures.
"""

import sys
from pathlib import Path

import click

from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.importer import load

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from qdq_graphs import Qdq


@click.command(help=__doc__)
def main() -> None:
    """Print layers and cycles of each."""
    config = configure("array")
    print("16 channels  counted           not counted      ratio")
    for size in (7, 14, 28):
        cycles, layers = [], []
        for counted in (1, 0):
            graph = Qdq(16, size, size)
            x = graph.pair("x", 0.02)
            y = graph.op(
                "AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=counted
            )
            program = compile(load(graph.model(graph.pair(y, 0.02))), config)
            layers.append(len(program.layers))
            cycles.append(sum(entry.predicted_cycles for entry in program.layers))
        cells = [f"{c:6} in {n:2} layers" for c, n in zip(cycles, layers, strict=True)]
        print(f"{size:4} x {size:2}  {'  '.join(cells)}  {cycles[1] / cycles[0]:5.2f}")


if __name__ == "__main__":
    main()
