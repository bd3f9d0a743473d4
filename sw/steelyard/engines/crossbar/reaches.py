"""Bits that bitlines can reach: what a converter has to resolve, and the index that says it.

The cells of an operation unit are known when they are programmed, and so is the greatest sum of
each of its bitlines: that of all its rows driven in full.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .crossbar import CrossbarConfig
from .formation import greatest_levels, row_runs
from .index import Index, IndexReader, IndexWriter, bits_for

__all__ = ["block_reaches", "decode_reaches", "reach_index"]


def block_reaches(
    cells: Sequence[NDArray[np.uint8]], config: CrossbarConfig
) -> list[NDArray[np.uint8]]:
    """Bits that every bitline of every block can reach, uint8 (runs, channels, weight_bitlines).

    A run is an operation unit's rows; a bitline has a reach in each. With dynamic formation any
    rows of a block meet, so it is one run, of which a bitline can reach its greatest cells.

    Parameters
    ----------
    cells : levels of every block, uint8 (rows, channels, weight_bitlines)
    """
    if config.dynamic:
        return [config.reach(greatest_levels(levels, config)[None]) for levels in cells]
    return [
        config.reach(
            np.add.reduceat(levels, range(0, len(levels), config.ou_rows), axis=0, dtype=np.int64)
        )
        for levels in cells
    ]


def reach_index(reaches: Sequence[NDArray[np.uint8]], config: CrossbarConfig) -> Index:
    """Reaches of all blocks in the order of operation units, in prefix codes.

    Each bitline of a weight has a shortest code of its own (Huffman), since high slices reach less
    than low ones. Before the reaches stand the lengths of its codes for 0 to `adc_bits`,
    ``bits(adc_bits + 1)`` each, 0 where a reach does not occur; codes of a length ascend.
    """
    writer = IndexWriter()
    flat = _flat(reaches, config)
    if not len(flat):
        return writer.finish()
    width = bits_for(config.adc_bits + 1)
    lengths = np.array(
        [_lengths(np.bincount(own, minlength=config.adc_bits + 1)) for own in flat.T]
    )
    writer.write("reaches", lengths.ravel(), width)
    longest = int(lengths.max())
    places = np.arange(longest)
    bits = np.zeros((*lengths.shape, longest), np.uint8)
    for place, own in enumerate(lengths):
        for value, code in _codes(own).items():
            for number in range(own[value]):
                bits[place, value, number] = code >> (own[value] - 1 - number) & 1
    bitlines = np.arange(flat.shape[1])
    used = places < lengths[bitlines, flat][..., None]
    writer.write("reaches", bits[bitlines, flat][used], 1)
    return writer.finish()


def decode_reaches(
    index: Index, sizes: Sequence[tuple[int, int]], config: CrossbarConfig
) -> list[NDArray[np.uint8]]:
    """Reaches of every block, as of :func:`block_reaches`, from the bits of the index alone.

    Parameters
    ----------
    sizes : rows and channels of each block, as the layer's index gives them
    """
    if not sizes:
        return []
    reader = IndexReader(index)
    bitlines, values = config.weight_bitlines, config.adc_bits + 1
    lengths = reader.read(bits_for(values), bitlines * values).reshape(bitlines, values)
    known = [
        {(int(own[value]), code): value for value, code in _codes(own).items()} for own in lengths
    ]
    found = []
    for rows, channels in sizes:
        block = np.empty((len(row_runs(rows, config)), channels, bitlines), np.uint8)
        for place in np.ndindex(block.shape):
            length = code = 0
            while (length, code) not in known[place[-1]]:
                length, code = length + 1, code << 1 | reader.read_one(1)
            block[place] = known[place[-1]][length, code]
        found.append(block)
    return found


def _flat(reaches: Sequence[NDArray[np.uint8]], config: CrossbarConfig) -> NDArray[np.intp]:
    """All of them in order, a column for each bitline of a weight."""
    rows = [own.reshape(-1, config.weight_bitlines) for own in reaches]
    return np.concatenate([np.zeros((0, config.weight_bitlines), np.intp), *rows]).astype(np.intp)


def _lengths(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Bits of each value in a shortest prefix code, 0 for values that do not occur."""
    lengths = np.zeros(len(counts), np.int64)
    # Of equal counts those with the smallest value go first, so that the code is always the same.
    heap = [(int(count), value, [value]) for value, count in enumerate(counts) if count]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapq.heapify(heap)
    while len(heap) > 1:
        (few, first, left), (more, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        lengths[left + right] += 1
        heapq.heappush(heap, (few + more, first, left + right))
    return lengths


def _codes(lengths: NDArray[np.int64]) -> dict[int, int]:
    """Code of each value that occurs: short ones first, of one length by value."""
    codes: dict[int, int] = {}
    code = last = 0
    for length, value in sorted((int(n), value) for value, n in enumerate(lengths) if n):
        code <<= length - last
        codes[value], last = code, length
        code += 1
    return codes
