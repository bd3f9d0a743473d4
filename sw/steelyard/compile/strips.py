"""Strips of a layer's output: what of the input each reads, and its descriptor.

A strip is a layer of its own: the same walk from another pixel on, over a map that begins and ends
with the rows that it reads.
"""

from dataclasses import dataclass
from math import gcd

from ..contract.descriptor import Descriptor
from ..network import Add, AvgPool, Conv, Layer, Lookup, MaxPool, Mul, Pad, Repeat

__all__ = ["Strip", "cut", "row_unit", "takes_channels", "takes_strips"]


@dataclass(frozen=True)
class Strip:
    """Pixels of a layer's output that follow each other, row by row.

    Members
    -------
    descriptor : of the strip, without addresses; its origin counts from the first word it reads
    rows : of the inputs that it reads, first and last (exclusive)
    reads, writes : words (first, last exclusive) of a channel's plane of the inputs and the output
    """

    descriptor: Descriptor
    rows: tuple[int, int]
    reads: tuple[int, int]
    writes: tuple[int, int]


def takes_strips(layer: Layer, d: Descriptor) -> bool:
    """Whether a layer's output can be computed some pixels at a time."""
    return isinstance(layer, Conv | MaxPool | AvgPool | Add | Mul | Lookup) and not d.lane_sum


def takes_channels(layer: Layer, d: Descriptor) -> bool:
    """Whether it can be computed some channels at a time: also averages of whole maps, and what
    moves codes within each of them."""
    return takes_strips(layer, d) or bool(d.lane_sum) or isinstance(layer, Pad | Repeat)


def row_unit(d: Descriptor, lanes: int) -> int:
    """Output rows after which a word ends with its row, the fewest."""
    return lanes // gcd(d.out_w * d.batch, lanes)


def _each_pixel(d: Descriptor) -> bool:
    """Whether each pixel of the output follows from the same pixel of the inputs alone."""
    return (
        (d.kernel_h, d.kernel_w, d.stride_h, d.stride_w) == (1, 1, 1, 1)
        and (d.origin, d.x_origin, d.y_origin) == (0, 0, 0)
        and d.in_w == d.out_w
    )


def cut(
    d: Descriptor, first: int, last: int, lanes: int, *, source: bool = True, target: bool = True
) -> Strip:
    """Strip of output pixels `first` to `last`, the last one excluded.

    Parameters
    ----------
    d : descriptor of the whole layer, or of some of its channels
    first : a multiple of the lanes, if the output's words are those of the whole plane; without a
        batch it may lie within a row
    source, target : whether the words of the inputs and of the output are those of whole planes;
        else there are planes of their own, which begin with the strip's first row
    """
    row, width = d.in_w * d.batch, d.out_w * d.batch
    line, within = divmod(first, width)
    skipped = within // d.batch
    top = d.y_origin + line * d.stride_h
    below = d.y_origin + (-(-last // width) - 1) * d.stride_h + d.kernel_h
    # A window of nothing but padding reads none of them; the walk has to stay in some row.
    begin = min(max(top, 0), d.in_h - 1)
    end = max(min(below, d.in_h), begin + 1)
    if source:
        # Of a layer that works on each pixel apart these are its pixels, and else whole rows.
        apart = _each_pixel(d)
        low, high = (first, last) if apart else (begin * row, end * row)
        reads = (low // lanes, -(-high // lanes))
        start = reads[0] * lanes
    else:
        reads, start = (0, -(-(end - begin) * row // lanes)), begin * row
    pixels = last - first
    tiles = -(-pixels // lanes)
    descriptor = d.but(
        origin=d.origin + line * d.stride_h * row + skipped * d.stride_w * d.batch - start,
        y_origin=top - begin,
        in_h=end - begin,
        out_tiles=tiles,
        last_lanes=pixels - (tiles - 1) * lanes,
        skipped_columns=skipped,
        skipped_x=skipped * d.stride_w,
    )
    word = first // lanes if target else 0
    return Strip(descriptor, (begin, end), reads, (word, word + tiles))
