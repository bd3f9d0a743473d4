"""Weight groups: their order in a layer, balanced masks, and the torch pruning method.

A group is ``group`` consecutive weights of one output channel along the flattened (ky, kx, ic)
axis, input channel fastest; the last group of a channel may be shorter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from steelyard.balanced import GROUP, check_k
from steelyard.errors import UserError

Map = tuple[int, int, int]
"""Channels, height and width of the feature map that a Linear layer's input was flattened from."""


def check_finite(name: str, values: torch.Tensor) -> None:
    """Raises UserError if a weight or score is NaN or infinite, naming the layer."""
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise UserError(
            f"Layer {name!r} has {bad} weights or scores that are NaN or infinite; "
            "train the network again or load other weights."
        )


def to_rows(weight: torch.Tensor, source: Map | None = None) -> torch.Tensor:
    """Weight as (output channels, weights in group order).

    Parameters
    ----------
    weight
        (oc, ic, kh, kw) of a convolution or (out, in) of a Linear layer; a matrix without
        ``source`` is in group order already.
    source
        Map that the Linear layer's input was flattened from; the layer is then ordered as the
        convolution whose kernel covers that map.
    """
    if source is not None and weight.dim() == 2:
        weight = weight.reshape(weight.shape[0], *source)
    if weight.dim() == 4:
        weight = weight.permute(0, 2, 3, 1)
    return weight.reshape(weight.shape[0], -1)


def from_rows(rows: torch.Tensor, shape: torch.Size, source: Map | None = None) -> torch.Tensor:
    """The inverse of :func:`to_rows` for a weight of that shape."""
    if len(shape) == 4:
        oc, ic, kh, kw = shape
    elif source is not None:
        oc, (ic, kh, kw) = shape[0], source
    else:
        return rows.reshape(shape)
    # A mask of another layout would give its layout to the weight, and that to the maps behind it.
    return rows.reshape(oc, kh, kw, ic).permute(0, 3, 1, 2).reshape(shape).contiguous()


def group_rows(rows: torch.Tensor, group: int, fill: float) -> torch.Tensor:
    """Rows (oc, n) as (oc, groups, group), the last group padded with ``fill``."""
    padding = -rows.shape[1] % group
    padded = nn.functional.pad(rows, (0, padding), value=fill)
    return padded.reshape(rows.shape[0], -1, group)


def balanced_mask(
    weight: torch.Tensor,
    k: int,
    group: int = GROUP,
    score: torch.Tensor | None = None,
    *,
    source: Map | None = None,
    name: str = "weight",
) -> torch.Tensor:
    """Mask of 0 and 1 in the shape of ``weight`` that keeps the ``k`` best of every group.

    Parameters
    ----------
    weight
        Convolution (oc, ic, kh, kw) or matrix (out, in).
    k
        Weights kept in a group; a shorter last group keeps ``min(k, its size)``.
    group
        Weights in a group.
    score
        Importance of each weight in the shape of ``weight``, ``abs(weight)`` unless given; of
        equal scores the earlier weight stays.
    source
        See :func:`to_rows`.
    name
        Of the layer, for the messages.

    Raises
    ------
    UserError
        If ``k`` is not from 1 to ``group``, or a score is NaN or infinite.
    """
    check_k(name, k, group)
    importance = (weight if score is None else score).detach().abs()
    if importance.shape != weight.shape:
        raise UserError(
            f"Layer {name!r} has a score of the shape {tuple(importance.shape)} where its weight "
            f"has {tuple(weight.shape)}; give one score a weight."
        )
    check_finite(name, importance)
    rows = to_rows(importance, source)
    grouped = group_rows(rows, group, -1.0)
    best = grouped.argsort(dim=2, descending=True, stable=True)[:, :, :k]
    mask = torch.zeros_like(grouped, dtype=weight.dtype).scatter_(2, best, 1.0)
    return from_rows(mask.flatten(1)[:, : rows.shape[1]], weight.shape, source)


def kept_weights(rows_shape: tuple[int, int], k: int, group: int = GROUP) -> int:
    """Weights that stay in a layer of (output channels, weights a channel) at ``k`` a group."""
    channels, length = rows_shape
    full, rest = divmod(length, group)
    return channels * (full * k + min(k, rest))


class BalancedGroups(torch_prune.BasePruningMethod):
    """Pruning method of torch that keeps ``k`` weights of every group.

    Parameters
    ----------
    k, group, source, name
        As in :func:`balanced_mask`.
    """

    # torch hands an "unstructured" method that follows another only a flat selection of weights,
    # in which groups cannot be told; a "global" one gets the whole tensor.
    PRUNING_TYPE = "global"

    def __init__(self, k: int, group: int, source: Map | None, name: str) -> None:
        check_k(name, k, group)
        self.k = k
        self.group = group
        self.source = source
        self.name = name

    def compute_mask(self, t: torch.Tensor, default_mask: torch.Tensor) -> torch.Tensor:
        """Mask that keeps the ``k`` best scores ``t`` of those that ``default_mask`` still has."""
        # A weight that went before must not come back, however large its score.
        score = (t.abs() + torch.finfo(t.dtype).tiny) * default_mask
        check_finite(self.name, t)
        mask = balanced_mask(t, self.k, self.group, score, source=self.source, name=self.name)
        return mask * default_mask


def layer_mask(layer: nn.Module) -> torch.Tensor | None:
    """The mask that torch's pruning holds on the layer's weight, if there is one."""
    return dict(layer.named_buffers(recurse=False)).get("weight_mask")


def stored_weight(layer: nn.Module) -> torch.Tensor:
    """The trainable weight of a layer, pruned or not, without its mask applied."""
    return layer.get_parameter("weight" if layer_mask(layer) is None else "weight_orig")


def finish(model: nn.Module) -> None:
    """Makes all masks of the model permanent: pruned weights become exactly 0."""
    for layer in model.modules():
        if layer_mask(layer) is not None:
            torch_prune.remove(layer, "weight")


def verify(
    model: nn.Module,
    ks: Mapping[str, int],
    group: int = GROUP,
    sources: Mapping[str, Map] | None = None,
) -> None:
    """Checks that every group of the named layers keeps at most K nonzero weights.

    Parameters
    ----------
    model
        The pruned network.
    ks
        K of every pruned layer, by its name in the model.
    group
        Weights in a group.
    sources
        Maps that the inputs of Linear layers were flattened from, as a ``PruneResult`` holds.

    Raises
    ------
    UserError
        With the layer, the output channel and the group of the first that keeps more.
    """
    layers = dict(model.named_modules())
    for name, k in ks.items():
        check_k(name, k, group)
        layer = layers.get(name)
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            raise UserError(
                f"The network has no convolution or Linear layer {name!r}; name one of its layers."
            )
        weight = layer.weight.detach()
        check_finite(name, weight)
        rows = to_rows(weight, (sources or {}).get(name))
        counts = (group_rows(rows, group, 0.0) != 0).sum(2)
        if int(counts.max()) > k:
            channel, index = (int(i) for i in (counts > k).nonzero()[0])
            raise UserError(
                f"Layer {name!r} keeps {int(counts[channel, index])} weights in group {index} of "
                f"output channel {channel} where K = {k} allows {k}; prune the network again."
            )
