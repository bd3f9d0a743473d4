"""Mapped layers: blocks of weights, their places in crossbars, the operation units over them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .crossbar import CrossbarConfig
from .index import Index

__all__ = ["Block", "LayerMapping", "OperationUnit", "matrix_of", "operation_units", "unmap"]


@dataclass(frozen=True, eq=False)
class Block:
    """Rectangle of cells: some rows of the weight matrix by some output channels."""

    rows: NDArray[np.int32]
    """Flattened positions ``(ky*KW + kx)*IC + ic``, by input channel and then by tap: one wordline
    each."""
    channels: NDArray[np.int32]
    """Output channels, in bitline order: `weight_bitlines` bitlines each."""
    weights: NDArray[np.int8]
    """int8 (rows, channels), zeros among them included."""


@dataclass(frozen=True, eq=False)
class LayerMapping:
    """One layer's weights in crossbars, which other layers of its network may share."""

    name: str
    mapping: str
    shape: tuple[int, int, int, int]
    """Output channels, input channels, kernel height and width."""
    config: CrossbarConfig
    blocks: tuple[Block, ...]
    places: NDArray[np.int32]
    """int32 (blocks, 3): crossbar, first wordline and first bitline of each block. Crossbars are
    numbered through a network."""
    index: Index
    """Rows and channels of the blocks, which hardware must know beside the cells."""
    place_index: Index
    """Where in the crossbars the blocks are, which it must know too."""
    reach_index: Index = field(default_factory=lambda: Index(b"", {}))
    """Where `adc_resolve` is "reach", what the bitlines of every operation unit reach, of cells as
    written: empty otherwise."""

    @property
    def positions(self) -> int:
        """Rows of the layer's weight matrix."""
        return self.shape[1] * self.shape[2] * self.shape[3]

    @property
    def weights(self) -> int:
        """Weights that take cells."""
        return sum(block.weights.size for block in self.blocks)

    @property
    def cells(self) -> int:
        """Cells in use."""
        return self.weights * self.config.weight_bitlines

    @property
    def index_bits(self) -> int:
        """Bits of all indices."""
        return self.index.bits + self.place_index.bits + self.reach_index.bits

    @property
    def crossbar_numbers(self) -> NDArray[np.int32]:
        """Numbers of the crossbars in which the layer has blocks, ascending."""
        return np.unique(self.places[:, 0])

    @property
    def crossbars(self) -> int:
        """Crossbars in which the layer has blocks."""
        return len(self.crossbar_numbers)

    @property
    def fill(self) -> float:
        """Share of the cells of its crossbars that the layer takes; 0 without crossbars."""
        whole = self.crossbars * self.config.rows * self.config.columns
        return self.cells / whole if whole else 0.0

    @property
    def cells_by_crossbar(self) -> NDArray[np.int64]:
        """Cells in use in each crossbar from number 0 to the last, int64."""
        cells = np.array([block.weights.size for block in self.blocks], np.int64)
        found = np.zeros(int(self.places[:, 0].max(initial=-1)) + 1, np.int64)
        np.add.at(found, self.places[:, 0], cells * self.config.weight_bitlines)
        return found

    def occupancy(self, crossbar: int) -> NDArray[np.int32]:
        """Number of the block in every cell of a crossbar, int32 (rows, columns), -1 for none."""
        cells = np.full((self.config.rows, self.config.columns), -1, np.int32)
        for number in np.flatnonzero(self.places[:, 0] == crossbar):
            cells[self.window(int(number))] = number
        return cells

    def window(self, block: int) -> tuple[slice, slice]:
        """Wordlines and bitlines of a block in its crossbar."""
        _, row, column = (int(value) for value in self.places[block])
        rows, channels = self.blocks[block].weights.shape
        width = channels * self.config.weight_bitlines
        return slice(row, row + rows), slice(column, column + width)

    @property
    def operation_units(self) -> int:
        """Operation units of one output pixel."""
        rows, weights = self.config.ou_rows, self.config.ou_weights
        return sum(
            -(-len(block.rows) // rows) * -(-len(block.channels) // weights)
            for block in self.blocks
        )

    @property
    def unit_rows(self) -> int:
        """Rows of all blocks, those of a block once for each `ou_weights` of its channels."""
        return sum(
            len(block.rows) * -(-len(block.channels) // self.config.ou_weights)
            for block in self.blocks
        )


@dataclass(frozen=True, eq=False)
class OperationUnit:
    """Part of a block that works in one step."""

    block: int
    """Number of the block."""
    within: tuple[slice, slice]
    """Rows and channels of the block, counted from its first."""
    rows: NDArray[np.int32]
    channels: NDArray[np.int32]
    weights: NDArray[np.int8]
    """int8 (rows, channels)."""
    crossbar: int
    row: int
    """First wordline in the crossbar."""
    column: int
    """First bitline in the crossbar."""


def operation_units(mapping: LayerMapping) -> Iterator[OperationUnit]:
    """Operation units of a layer in the order in which hardware works on them.

    Block by block; in a block, runs of `ou_rows` rows; in a run, runs of `ou_weights` channels.
    """
    config = mapping.config
    for number, (block, place) in enumerate(zip(mapping.blocks, mapping.places, strict=True)):
        crossbar, top, left = (int(value) for value in place)
        for row in range(0, len(block.rows), config.ou_rows):
            rows = slice(row, row + config.ou_rows)
            for column in range(0, len(block.channels), config.ou_weights):
                channels = slice(column, column + config.ou_weights)
                yield OperationUnit(
                    number,
                    (rows, channels),
                    block.rows[rows],
                    block.channels[channels],
                    block.weights[rows, channels],
                    crossbar,
                    top + row,
                    left + column * config.weight_bitlines,
                )


def matrix_of(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Weight matrix int8 (positions, out_channels) of (out_channels, in_channels, KH, KW)."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)))


def unmap(mapping: LayerMapping) -> NDArray[np.int8]:
    """Weights int8 (out_channels, in_channels, KH, KW) that a mapping holds."""
    outputs, inputs, height, width = mapping.shape
    matrix = np.zeros((mapping.positions, outputs), np.int8)
    for block in mapping.blocks:
        matrix[np.ix_(block.rows, block.channels)] += block.weights
    return np.ascontiguousarray(
        matrix.reshape(height, width, inputs, outputs).transpose(3, 2, 0, 1)
    )
