"""Label-free repair of a pruned network, layer by layer, by least squares.

Every layer's kept weights are fitted so that, on the inputs that the already pruned network
gives it, it returns what the dense layer returns on the dense network's inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from steelyard.errors import UserError
from steelyard.progress import Progress
from steelyard.prune.calls import Layer
from steelyard.prune.groups import (
    GROUP,
    BalancedGroups,
    check_finite,
    check_k,
    from_rows,
    layer_mask,
    stored_weight,
    to_rows,
)
from steelyard.prune.layers import LayerInfo, Structure, as_input, inspect
from steelyard.prune.solve import RIDGE, choose, fit_error, regularize, solve
from steelyard.prune.statistics import Moments, Positions, moments, wanted_outputs


def prunable_layer(model: nn.Module, name: str) -> Layer:
    """The convolution or Linear layer of that name.

    Raises
    ------
    UserError
        If there is none.
    """
    layer = dict(model.named_modules()).get(name)
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        raise UserError(
            f"The network has no convolution or Linear layer {name!r}; name one of its layers."
        )
    return layer


def check_ks(structure: Structure, ks: Mapping[str, int], group: int) -> None:
    """Raises UserError unless every layer of ``ks`` can be pruned and its K suits the group."""
    for name, k in ks.items():
        check_k(name, k, group)
        structure.check_prunable(name)


def has_offset(model: nn.Module, info: LayerInfo) -> bool:
    """Whether a constant can be added to the layer's outputs: by its bias or by the norm behind."""
    layer = prunable_layer(model, info.name)
    if layer.bias is not None:
        return True
    norm = None if info.norm is None else model.get_submodule(info.norm)
    return norm is not None and getattr(norm, "running_mean", None) is not None


def set_fit(model: nn.Module, info: LayerInfo, rows: torch.Tensor, found: Moments) -> None:
    """Stores weights (oc, d) in the layer, and the offset that keeps its mean output right."""
    layer = prunable_layer(model, info.name)
    weight = stored_weight(layer)
    with torch.no_grad():
        weight.copy_(from_rows(rows.to(weight.dtype), weight.shape, info.source))
        mask = layer_mask(layer)
        if mask is not None:
            layer.weight = weight * mask
        if not has_offset(model, info):
            return
        offset = found.output_mean - rows.double() @ found.input_mean
        if layer.bias is not None:
            layer.bias.copy_(offset.to(layer.bias.dtype))
        elif info.norm is not None:
            # The norm subtracts its mean: what the outputs lack is subtracted less.
            mean = model.get_submodule(info.norm).get_buffer("running_mean")
            mean.sub_(offset.to(mean.dtype))


def layer_moments(
    model: nn.Module,
    info: LayerInfo,
    images: torch.Tensor,
    wanted: torch.Tensor,
    positions: Positions,
) -> Moments:
    """Moments of a layer, centered where its offset can adapt."""
    return moments(model, info, images, wanted, positions, centered=has_offset(model, info))


def prune_sequentially(
    dense: nn.Module,
    sparse: nn.Module,
    calibration: torch.Tensor,
    structure: Structure,
    ks: Mapping[str, int],
    group: int,
    *,
    select: str = "obs",
    ridge: float = RIDGE,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Prunes and repairs the layers of ``sparse`` in the order in which they run.

    Masks are held by torch's pruning afterwards. Returns for every layer the share of its
    outputs' variance that is missed.
    """
    infos = [info for info in structure.prunable if info.name in ks]
    positions = Positions(len(calibration), seed=seed)
    wanted = wanted_outputs(dense, infos, calibration, positions)
    errors = {}
    for number, info in enumerate(infos):
        if progress is not None:
            progress(number, len(infos), info.name)
        layer = prunable_layer(sparse, info.name)
        check_finite(info.name, layer.weight)
        found = layer_moments(sparse, info, calibration, wanted[info.name], positions)
        rows = to_rows(layer.weight.detach(), info.source)
        mask = choose(found, rows, ks[info.name], group, select=select, ridge=ridge, name=info.name)
        score = from_rows(mask.to(layer.weight.dtype), layer.weight.shape, info.source)
        BalancedGroups.apply(
            layer, "weight", ks[info.name], group, info.source, info.name, importance_scores=score
        )
        fitted = solve(*regularize(found, rows, ridge), mask)
        set_fit(sparse, info, fitted, found)
        errors[info.name] = fit_error(found, fitted)
    if progress is not None:
        progress(len(infos), len(infos), "done")
    return errors


def reconstruct(
    model_dense: nn.Module,
    model_sparse: nn.Module,
    calibration: torch.Tensor | np.ndarray,
    ridge: float = RIDGE,
    *,
    seed: int = 0,
    exclude: Collection[str] = (),
) -> dict[str, float]:
    """Fits the kept weights of a pruned network, in place, with the masks that it has.

    Parameters
    ----------
    model_dense
        The network as trained.
    model_sparse
        The same network with pruned weights: held masks of torch's pruning, or zeros.
    calibration
        Network inputs without labels, batch first.
    ridge
        Pull towards the present weights, relative to the mean power of a layer's inputs.
    seed
        Of the choice of output positions.
    exclude
        Layers to leave as they are.

    Returns
    -------
    dict
        For every fitted layer the share of the wanted outputs' variance that is still missed.

    Raises
    ------
    UserError
        If a weight is NaN, or the two networks differ in their layers.
    """
    images = as_input(calibration)
    structure = inspect(model_dense, images, exclude)
    model_dense.eval()
    model_sparse.eval()
    positions = Positions(len(images), seed=seed)
    infos = [i for i in structure.prunable if _sparse(prunable_layer(model_sparse, i.name))]
    wanted = wanted_outputs(model_dense, infos, images, positions)
    errors = {}
    for info in infos:
        layer = prunable_layer(model_sparse, info.name)
        check_finite(info.name, layer.weight)
        found = layer_moments(model_sparse, info, images, wanted[info.name], positions)
        rows = to_rows(layer.weight.detach(), info.source)
        mask = layer_mask(layer)
        kept = to_rows((layer.weight if mask is None else mask).detach() != 0, info.source)
        fitted = solve(*regularize(found, rows, ridge), kept.double())
        set_fit(model_sparse, info, fitted, found)
        errors[info.name] = fit_error(found, fitted)
    return errors


def _sparse(layer: Layer) -> bool:
    return bool((layer.weight.detach() == 0).any())


def prune_balanced(
    model: nn.Module,
    ks: Mapping[str, int],
    group: int = GROUP,
    *,
    structure: Structure,
    scores: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Holds balanced masks on the named layers, in place, by torch's pruning.

    Parameters
    ----------
    model
        Network to prune.
    ks
        Weights kept in a group, by layer.
    group
        Weights in a group.
    structure
        From :func:`steelyard.prune.inspect`.
    scores
        Importance in the shape of a layer's weight; magnitude where there is none.

    Raises
    ------
    UserError
        If a layer cannot be pruned, its K is out of range, or a weight is NaN.
    """
    check_ks(structure, ks, group)
    sources = structure.sources
    for name, k in ks.items():
        layer = prunable_layer(model, name)
        check_finite(name, layer.weight)
        score = (scores or {}).get(name, layer.weight.detach().abs())
        BalancedGroups.apply(
            layer, "weight", k, group, sources.get(name), name, importance_scores=score
        )


def hold(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Holds the given masks of 0 and 1 on the named layers by torch's pruning."""
    for name, mask in masks.items():
        torch_prune.custom_from_mask(prunable_layer(model, name), "weight", mask)
