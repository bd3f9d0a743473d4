"""Pattern pruning: few kernel shapes a layer, after Yu et al. (arXiv 2010.06156).

Irregular pruning gives a histogram of kernel shapes; the most useful of them are the layer's
patterns, and every kernel is projected onto its best, which may be the empty one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steelyard.errors import UserError
from steelyard.prune.constraints import (
    USUAL,
    Constraint,
    CrossbarShape,
    MatrixShape,
    allowed,
    best,
)

CANDIDATES = 8
"""Candidates of the histogram for each pattern that is wanted."""
HALVINGS = 40


@dataclass(frozen=True)
class KernelPatterns:
    """Every kernel has one of ``patterns`` shapes or is all zero.

    A *kernel* is the weights of one output channel in one row set. The price of a weight decides
    everything: a kernel takes the pattern that gains most over its weights' price, none where
    all cost more than they gain, and the price is the one at which the budget is met. So the
    share of empty kernels follows from the budget.

    Attributes
    ----------
    patterns
        Patterns of a layer beside the empty one, 1 to 256.
    crossbar
        Its operation unit gives the row sets of layers without small kernels.
    kernel_cost
        What a kernel costs beside its weights, in weights: an operation unit is worked for a
        kernel of one weight as for one of nine, and the index names it.
    even
        Whether every input channel keeps the same number of kernels (connectivity pruning), so
        that all its patterns share the work evenly.

    Raises
    ------
    UserError
        If a number is out of range.
    """

    patterns: int = 8
    crossbar: CrossbarShape = USUAL
    kernel_cost: float = 2.0
    even: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.patterns <= 256:
            raise UserError(f"A layer can have 1 to 256 patterns, not {self.patterns!r}.")
        if not self.kernel_cost >= 0.0:
            raise UserError(
                f"The cost of a kernel must be at least 0 weights, not {self.kernel_cost!r}."
            )

    def project(self, energy: torch.Tensor, shape: MatrixShape, keep: float) -> torch.Tensor:
        """See :meth:`Constraint.project`."""
        sets = shape.row_sets(self.crossbar)
        padded = torch.cat([energy, energy.new_zeros(len(energy), 1)], 1)
        # (sets, channels, rows): -1 reads the zero behind the last position.
        kernels = padded[:, sets].permute(1, 0, 2)
        flat = kernels.reshape(-1, sets.shape[1])
        limit = allowed(energy, keep)
        masks = self._choose(flat, limit)
        number = self._assign(flat, masks, limit, kernels.shape[:2])
        chosen = torch.cat([masks, masks.new_zeros(1, masks.shape[1])])[number]
        mask = torch.zeros_like(padded, dtype=torch.bool)
        spread = chosen.reshape(kernels.shape)
        mask[:, sets.flatten()] = spread.permute(1, 0, 2).reshape(len(energy), -1)
        return mask[:, :-1]

    def variants(self) -> Sequence[Constraint]:
        """Itself."""
        return (self,)

    def _choose(self, kernels: torch.Tensor, limit: int) -> torch.Tensor:
        """The layer's patterns, bool (patterns, rows): greedily those that gain most together."""
        irregular = best(kernels.flatten(), limit).reshape(kernels.shape)
        candidates = histogram(kernels, irregular)[: CANDIDATES * self.patterns]
        price = float(kernels[irregular].min())
        gains = self._gains(kernels, candidates, price).float()
        present = gains.new_zeros(len(kernels))
        taken: list[int] = []
        for _ in range(min(self.patterns, len(candidates))):
            won = torch.maximum(gains, present[:, None]).sum(0)
            taken.append(int(won.argmax()))
            if taken.count(taken[-1]) > 1:
                # No further pattern gains anything.
                taken.pop()
                break
            present = torch.maximum(present, gains[:, taken[-1]])
        return candidates[taken]

    def _gains(self, kernels: torch.Tensor, masks: torch.Tensor, price: float) -> torch.Tensor:
        """What each kernel (n) gains by each pattern (p) over the price of its weights, (n, p)."""
        wide = masks.to(kernels.dtype)
        return kernels @ wide.T - price * (wide.sum(1) + self.kernel_cost)

    def _assign(
        self, kernels: torch.Tensor, masks: torch.Tensor, limit: int, grid: torch.Size
    ) -> torch.Tensor:
        """Pattern number of each kernel (n,), ``len(masks)`` for none, within the limit."""
        sizes = torch.cat([masks.sum(1), torch.zeros(1, dtype=torch.long)])
        kept = kernels @ masks.to(kernels.dtype).T

        def at(price: float) -> tuple[torch.Tensor, torch.Tensor]:
            gains = kept - price * (sizes[:-1] + self.kernel_cost)
            value, number = gains.max(1)
            return torch.where(value > 0, number, len(masks)), value

        low, high = 0.0, float(kept.max()) + 1.0
        if int(sizes[at(low)[0]].sum()) > limit:
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                if int(sizes[at(middle)[0]].sum()) > limit:
                    low = middle
                else:
                    high = middle
        else:
            high = low
        number, value = at(high)
        if not self.even:
            return number
        each = int((number < len(masks)).sum()) // grid[0]
        if each == 0:
            return number
        _, fullest = (kept - high * sizes[:-1]).max(1)
        order = value.reshape(grid).argsort(dim=1, descending=True, stable=True)[:, :each]
        even = torch.full(tuple(grid), len(masks))
        even.scatter_(1, order, fullest.reshape(grid).gather(1, order))
        return even.flatten()


def histogram(kernels: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Shapes of irregularly pruned kernels, most useful first, bool (shapes, rows).

    A shape's use is all that its kernels keep, energy and not mere frequency; the empty shape is
    none. Ties by the shape itself.

    Parameters
    ----------
    kernels
        Energy (n, rows).
    kept
        Bool (n, rows).
    """
    places = 1 << torch.arange(kernels.shape[1])
    found, owner = torch.unique((kept * places).sum(1), return_inverse=True)
    use = torch.zeros(len(found), dtype=kernels.dtype)
    use.index_add_(0, owner, (kernels * kept).sum(1))
    order = use.argsort(descending=True, stable=True)
    order = order[found[order] != 0]
    return (found[order][:, None] & places) != 0
