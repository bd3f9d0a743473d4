"""Mixed-granularity pruning, after Zhou & Chen (doi 10.12052/gdutxb.240011).

Every column of every crossbar-sized part of a layer's matrix is classified by its redundancy and
each class is pruned in its own way. The thresholds of the paper are not public: ours are chosen
by measurement, layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from steelyard.errors import UserError
from steelyard.prune.constraints import (
    USUAL,
    Constraint,
    CrossbarShape,
    MatrixShape,
    allowed,
    best,
    chunked,
    ranked,
)

REMOVE_TRIED = (0.0, 0.1, 0.25, 0.5)
NONE_WHOLE = 2.0
WHOLE_TRIED = (0.8, NONE_WHOLE)


@dataclass(frozen=True)
class MixedGranularity:
    """Columns removed whole, pruned finely inside operation units, or kept.

    A column is the weights of one output channel in one part. A weight is *important* if
    irregular pruning to the layer's budget keeps it; a column's share of important weights, over
    the layer's budget, is what it holds beside an average column. Below ``remove`` the column
    is removed; columns in which at least the share ``whole`` of all weights is important are kept;
    the others are fine: they are joined into strips, as wide as an operation unit or narrower, of
    columns whose important weights lie in the same rows, and a strip keeps whole operation units
    of rows.

    Attributes
    ----------
    crossbar
        Size of a part and of an operation unit.
    remove
        Share of important weights, relative to the layer's, below which a column is removed.
    whole
        Share of important weights from which a column is kept as it is; above 1 none is.
    width
        Columns of a strip, those of an operation unit unless given. Narrower ones choose their
        rows more freely; conversions and cell reads stay the same, for these are of bitlines in
        use, but operation units, input traffic and index grow.

    Raises
    ------
    UserError
        If a threshold is negative, or the width is not from 1 to that of an operation unit.
    """

    crossbar: CrossbarShape = USUAL
    remove: float = 0.25
    whole: float = 0.8
    width: int | None = None

    def __post_init__(self) -> None:
        for name in ("remove", "whole"):
            if not getattr(self, name) >= 0.0:
                raise UserError(
                    f"Threshold {name!r} of mixed granularity must be at least 0, "
                    f"not {getattr(self, name)!r}."
                )
        widest = self.crossbar.ou_channels
        if self.width is not None and self.width not in range(1, widest + 1):
            raise UserError(
                f"A strip of mixed granularity cannot be {self.width!r} columns wide; give from 1 "
                f"to {widest}, the output channels of an operation unit."
            )

    def variants(self) -> Sequence[Constraint]:
        """The thresholds among which a layer chooses by its reconstruction error."""
        tried = [
            replace(self, remove=remove, whole=whole)
            for remove in REMOVE_TRIED
            for whole in WHOLE_TRIED
        ]
        return tried if self in tried else [self, *tried]

    def project(self, energy: torch.Tensor, shape: MatrixShape, keep: float) -> torch.Tensor:
        """See :meth:`Constraint.project`."""
        limit = allowed(energy, keep)
        important = best(energy.flatten(), limit).reshape(energy.shape)
        mask = torch.zeros_like(important)
        strips: list[tuple[torch.Tensor, slice]] = []
        for channels, rows in shape.parts(self.crossbar):
            fine, whole = self._classify(important[channels, rows], limit / energy.numel())
            mask[channels, rows][whole] = True
            joined = join(energy[channels, rows], fine, self.width or self.crossbar.ou_channels)
            strips += [(strip + channels.start, rows) for strip in joined]
        left = limit - int(mask.sum())
        if left < 0:
            # Zeros among what is kept whole have outgrown the budget: prune it finely too.
            return replace(self, whole=NONE_WHOLE).project(energy, shape, keep)
        if strips:
            self._prune_finely(energy, strips, left, mask)
        return mask

    def classes(self, mask: torch.Tensor, shape: MatrixShape) -> dict[str, int]:
        """Columns of parts that ``mask`` (channels, positions) removes, prunes finely, keeps."""
        found = {"removed": 0, "fine": 0, "kept": 0}
        for channels, rows in shape.parts(self.crossbar):
            part = mask[channels, rows]
            found["removed"] += int((~part.any(1)).sum())
            found["kept"] += int(part.all(1).sum())
            found["fine"] += int((part.any(1) & ~part.all(1)).sum())
        return found

    def _classify(
        self, important: torch.Tensor, budget: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers of the fine columns and of the kept ones of a part (channels, rows)."""
        share = important.double().mean(1)
        whole = share >= self.whole
        fine = ~whole & (share >= self.remove * budget) & (share > 0)
        return fine.nonzero()[:, 0], whole.nonzero()[:, 0]

    def _prune_finely(
        self,
        energy: torch.Tensor,
        strips: list[tuple[torch.Tensor, slice]],
        limit: int,
        mask: torch.Tensor,
    ) -> None:
        """Adds to ``mask`` the worthiest operation units of the strips, within the limit."""
        sums = [energy[channels, rows].sum(0) for channels, rows in strips]
        worths, sizes, owners = [], [], []
        for number, ((channels, _), total) in enumerate(zip(strips, sums, strict=True)):
            worth, counts = chunked(total[None], self.crossbar.ou_rows)
            worths.append(worth[0] / len(channels))
            sizes.append(counts[0] * len(channels))
            owners.append(torch.full((len(worth[0]),), number))
        size, owner = torch.cat(sizes), torch.cat(owners)
        taken = best(torch.cat(worths), limit, size)
        kept = torch.zeros(len(strips), dtype=torch.long)
        kept.index_add_(0, owner[taken], size[taken])
        for (channels, rows), total, count in zip(strips, sums, kept, strict=True):
            own = ranked(total[None], count[None] // len(channels))[0]
            inside = torch.arange(rows.start, rows.stop)[own]
            mask[channels[:, None], inside] = True


def join(energy: torch.Tensor, columns: torch.Tensor, width: int) -> list[torch.Tensor]:
    """Columns in strips of ``width`` (the last may be narrower) that need much the same rows.

    The worthiest free column opens a strip and takes, one by one, the column whose amplitudes
    agree most with the strip's.

    Parameters
    ----------
    energy
        Of a part, (channels, rows).
    columns
        Channels to join, (n,).
    """
    amplitude = energy[columns].sqrt()
    likeness = amplitude @ amplitude.T
    free = energy[columns].sum(1).argsort(descending=True, stable=True).tolist()
    strips = []
    while free:
        strip = [free.pop(0)]
        while free and len(strip) < width:
            agreement = likeness[strip][:, free].sum(0)
            strip.append(free.pop(int(agreement.argmax())))
        strips.append(columns[torch.tensor(sorted(strip))])
    return strips
