"""Constraints of crossbar-aware pruning: which weights may stay, given what each is worth.

Weights are rows (output channels, positions), positions as docs/crossbar.md orders them: a crossbar
has a wordline for each position, and bitlines for each output channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from steelyard.errors import UserError
from steelyard.prune.groups import GROUP, Map, balanced_mask

MAX_SET = 32
"""Positions of the largest row set; see :meth:`MatrixShape.row_sets`."""


@dataclass(frozen=True)
class CrossbarShape:
    """What pruning has to know of a crossbar, in plain numbers.

    Attributes
    ----------
    rows
        Wordlines of a crossbar.
    channels
        Output channels that fit its bitlines side by side.
    ou_rows
        Wordlines of an operation unit.
    ou_channels
        Output channels of an operation unit.

    Raises
    ------
    UserError
        If a number is not positive, or an operation unit is larger than the crossbar.
    """

    rows: int = 512
    channels: int = 128
    ou_rows: int = 9
    ou_channels: int = 2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(
                    f"Crossbar field {name!r} must be an integer of at least 1, not {value!r}; "
                    "give the numbers of the crossbar's configuration."
                )
        for small, large in (("ou_rows", "rows"), ("ou_channels", "channels")):
            if getattr(self, small) > getattr(self, large):
                raise UserError(
                    f"Crossbar field {small!r} is {getattr(self, small)}, more than the "
                    f"crossbar's {getattr(self, large)} {large}; an operation unit is a part of "
                    "one crossbar."
                )


USUAL = CrossbarShape()
"""512 x 512 cells of 4 bits, differential weights, operation units of 9 x 8."""


@dataclass(frozen=True)
class MatrixShape:
    """A layer's weights as a matrix of positions by output channels.

    Attributes
    ----------
    channels
        Output channels.
    inputs
        Input channels, which run fastest along the positions.
    taps
        Places of the kernel.
    fully_connected
        Whether the kernel is the whole map, and its taps no neighbourhood.
    """

    channels: int
    inputs: int
    taps: int
    fully_connected: bool = False

    @classmethod
    def of(cls, weight: torch.Tensor, source: Map | None = None) -> MatrixShape:
        """That of a convolution (oc, ic, kh, kw) or a Linear layer (out, in).

        ``source`` is the map that a Linear layer's input was flattened from.
        """
        if weight.dim() == 4:
            return cls(weight.shape[0], weight.shape[1], weight.shape[2] * weight.shape[3])
        inputs, taps = (
            (weight.shape[1], 1) if source is None else (source[0], source[1] * source[2])
        )
        return cls(weight.shape[0], inputs, taps, True)

    @property
    def positions(self) -> int:
        """Weights of an output channel."""
        return self.inputs * self.taps

    def row_sets(self, crossbar: CrossbarShape) -> torch.Tensor:
        """Positions (sets, size) that a pattern is a pattern of; -1 fills up the last set.

        The taps of each input channel; where the kernel has no 2 to 32 taps, and in fully
        connected layers, runs of an operation unit's rows.
        """
        if not self.fully_connected and 1 < self.taps <= MAX_SET:
            return torch.arange(self.taps) * self.inputs + torch.arange(self.inputs)[:, None]
        size = min(crossbar.ou_rows, MAX_SET)
        sets = torch.arange(-(-self.positions // size) * size).reshape(-1, size)
        return torch.where(sets < self.positions, sets, -1)

    def parts(self, crossbar: CrossbarShape) -> Iterator[tuple[slice, slice]]:
        """Crossbar-sized sub-matrices: channels and positions of each."""
        for top in range(0, self.positions, crossbar.rows):
            for left in range(0, self.channels, crossbar.channels):
                yield (
                    slice(left, min(left + crossbar.channels, self.channels)),
                    slice(top, min(top + crossbar.rows, self.positions)),
                )


class Constraint(Protocol):
    """A shape that the zeros of a layer must have."""

    def project(self, energy: torch.Tensor, shape: MatrixShape, keep: float) -> torch.Tensor:
        """Mask of the weights that may stay, bool (channels, positions).

        Of all masks of the shape it is, as nearly as the method finds, the one that keeps most.

        Parameters
        ----------
        energy
            What each weight is worth, at least 0, float64 (channels, positions).
        shape
            Of the layer.
        keep
            Share of the weights that may stay, above 0 and at most 1.
        """
        ...

    def variants(self) -> Sequence[Constraint]:
        """The settings among which a layer's own measurement may choose; itself as a rule."""
        ...


@dataclass(frozen=True)
class Unstructured:
    """Any weights: the bound of what every other constraint can reach."""

    def project(self, energy: torch.Tensor, shape: MatrixShape, keep: float) -> torch.Tensor:
        """See :meth:`Constraint.project`."""
        return best(energy.flatten(), allowed(energy, keep)).reshape(energy.shape)

    def variants(self) -> Sequence[Constraint]:
        """Itself."""
        return (self,)


@dataclass(frozen=True)
class Structured:
    """Whole filters and whole input channels.

    From the dense matrix on, the filter or input channel whose weights are worth least on average
    goes next. What other layers' weights say about a filter belongs into its energy; see
    :func:`steelyard.prune.dependency.weight_dependency`.
    """

    def project(self, energy: torch.Tensor, shape: MatrixShape, keep: float) -> torch.Tensor:
        """See :meth:`Constraint.project`."""
        # Input channels run fastest, so each is a stride of the positions.
        by_input = energy.reshape(shape.channels, shape.taps, shape.inputs).sum(1)
        rows = torch.ones(shape.channels, dtype=torch.bool)
        columns = torch.ones(shape.inputs, dtype=torch.bool)
        limit = allowed(energy, keep)
        while int(rows.sum()) * int(columns.sum()) * shape.taps > limit:
            worth_row = (by_input * columns).sum(1) / columns.sum()
            worth_column = (by_input * rows[:, None]).sum(0) / rows.sum()
            worth_row = torch.where(rows, worth_row, torch.inf)
            worth_column = torch.where(columns, worth_column, torch.inf)
            narrow = int(columns.sum()) == 1
            if int(rows.sum()) == 1 and narrow:
                break
            if narrow or (int(rows.sum()) > 1 and worth_row.min() <= worth_column.min()):
                rows[worth_row.argmin()] = False
            else:
                columns[worth_column.argmin()] = False
        return rows[:, None] & columns.repeat(shape.taps)[None, :]

    def variants(self) -> Sequence[Constraint]:
        """Itself."""
        return (self,)


@dataclass(frozen=True)
class OuRows:
    """Rows of zeros across the adjacent channels of an operation unit (SRE, PIM-Prune).

    Each run of channels keeps whole multiples of an operation unit's rows, so that none is worked
    half empty.
    """

    crossbar: CrossbarShape = USUAL

    def project(self, energy: torch.Tensor, shape: MatrixShape, keep: float) -> torch.Tensor:
        """See :meth:`Constraint.project`."""
        width, height = self.crossbar.ou_channels, self.crossbar.ou_rows
        runs = -(-shape.channels // width)
        whole = energy.new_zeros(runs * width, shape.positions)
        whole[: shape.channels] = energy
        rows = whole.reshape(runs, width, -1).sum(1)
        worth, counts = chunked(rows, height)
        taken = best(worth.flatten(), allowed(energy, keep), counts.flatten() * width)
        kept = ranked(rows, (taken.reshape(worth.shape) * counts).sum(1))
        return kept.repeat_interleave(width, 0)[: shape.channels]

    def variants(self) -> Sequence[Constraint]:
        """Itself."""
        return (self,)


@dataclass(frozen=True)
class Balanced:
    """The same number of weights in every group, as the sparse array has them."""

    group: int = GROUP

    def project(self, energy: torch.Tensor, shape: MatrixShape, keep: float) -> torch.Tensor:
        """See :meth:`Constraint.project`."""
        k = max(1, int(keep * self.group + 1e-9))
        return balanced_mask(energy, k, self.group) != 0

    def variants(self) -> Sequence[Constraint]:
        """Itself."""
        return (self,)


def allowed(energy: torch.Tensor, keep: float) -> int:
    """Weights that may stay, at least one."""
    if not 0.0 < keep <= 1.0:
        raise UserError(f"A layer must keep a share above 0 and up to 1, not {keep!r}.")
    return max(1, int(keep * energy.numel() + 1e-9))


def best(worth: torch.Tensor, limit: int, sizes: torch.Tensor | None = None) -> torch.Tensor:
    """The worthiest units (n,) whose sizes stay within ``limit``, at least one; ties by place."""
    order = worth.argsort(descending=True, stable=True)
    if sizes is None:
        taken = order[:limit]
    else:
        taken = order[: max(1, int((sizes[order].cumsum(0) <= limit).sum()))]
    mask = torch.zeros(len(worth), dtype=torch.bool)
    mask[taken] = True
    return mask


def chunked(rows: torch.Tensor, height: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean worth, and length, of runs of ``height`` rows, best rows first.

    From rows (strips, n): two tensors (strips, runs). Means fall along a strip, so taking the
    best runs of all strips takes each strip's from its first on.
    """
    strips, length = rows.shape
    runs = -(-length // height)
    ordered = rows.new_zeros(strips, runs * height)
    ordered[:, :length] = rows.sort(dim=1, descending=True).values
    counts = torch.full((runs,), height)
    counts[-1] = length - (runs - 1) * height
    return ordered.reshape(strips, runs, height).sum(2) / counts, counts.expand(strips, runs)


def ranked(rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mask (strips, n) of the ``counts`` (strips,) best rows of every strip; ties by place."""
    order = rows.argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(rows.shape[1]).expand_as(order))
    return place < counts[:, None]
