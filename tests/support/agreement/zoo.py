"""The structures against onnxruntime, layer by layer; ``python -m agreement.zoo`` prints them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import click
import onnx

from agreement.measure import assert_ties
from steelyard import quantize
from steelyard.compare import Agreement, agreements
from steelyard.importer import load
from structures import STRUCTURES

IMAGES = 32
SHARE = 0.999
"""Of a layer's codes, in all layers but means."""
MEANS = {"densenet": "avg_pool", "inception": "add", "unet_bilinear": "interleave"}
"""Kind of the layers that a structure's means of an even number end in: exact, and often a half."""


def assert_zoo(name: str, found: Iterable[Agreement]) -> None:
    """What differs is a tie, in each layer but means a thousandth of the codes or one."""
    rows = list(found)
    assert_ties(rows, share=0.98)
    for each in rows:
        differ = each.elements - each.equal
        most = max(1.0, (1 - SHARE) * each.elements)
        assert each.kind == MEANS.get(name) or differ <= most, f"{each.layer}: {differ} differ"


@click.command(help=__doc__)
def main() -> None:
    """Print each structure's share of equal codes, and its least layer's."""
    warnings.simplefilter("ignore")
    click.echo("structure          layers     codes     equal   ties  others  least equal layer")
    for name, structure in STRUCTURES.items():
        images = structure.images(2 * IMAGES)
        model = onnx.load_from_string(quantize.quantize(structure.model(), images[:IMAGES]))
        rows = agreements(model, load(model), images[IMAGES:])
        try:
            assert_zoo(name, rows)
        except AssertionError as error:
            raise click.ClickException(f"{name}: {error}") from None
        elements, equal = (sum(getattr(e, key) for e in rows) for key in ("elements", "equal"))
        ties, others = (sum(getattr(e, key) for e in rows) for key in ("ties", "others"))
        least = min(rows, key=lambda e: e.equal / e.elements)
        click.echo(
            f"{name:18} {len(rows):6} {elements:9} {equal / elements:9.4%} {ties:6} {others:7}  "
            f"{least.equal / least.elements:.3%} ({least.kind})"
        )


if __name__ == "__main__":
    main()
