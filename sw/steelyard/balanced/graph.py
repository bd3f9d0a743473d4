"""Pruning of a float ONNX graph without labels: layer by layer, by onnxruntime and numpy."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.balanced.budget import (
    GROUP,
    LayerReport,
    check_k,
    check_reachable,
    check_sparsity,
    descend,
    removed_share,
    removed_work,
    uniform,
)
from steelyard.balanced.channels import remove_channels
from steelyard.balanced.fit import (
    ELIMINATED,
    RIDGE,
    Moments,
    alternate,
    balanced,
    eliminate,
    fit_error,
    fitted,
    product_score,
    regularize,
)
from steelyard.balanced.float_graph import FloatGraph, Teacher, Weights
from steelyard.balanced.layers import GraphLayer
from steelyard.balanced.running import ROWS, Runner, moments
from steelyard.errors import UserError
from steelyard.progress import Progress

if TYPE_CHECKING:
    import onnx

GRAPH_METHODS = ("magnitude", "reconstruct", "admm")
"""Largest weights, unrepaired; elimination and least squares; alternating directions likewise."""
TRIED = (1, 2, 3, 4, 5, 6, 8, 10, 12)
"""Weights of a group of 16 for which the damage of a layer is measured."""
TRIAL_IMAGES = 128
TRIAL_ROWS = 8192
TRIAL_WORK = 4e12
"""Multiplications of all trials together, above which fewer images are tried, but at least 8."""


@dataclass(frozen=True)
class GraphPruneResult:
    """A pruned graph and the account of it.

    Members
    -------
    model : float graph; pruned weights are exactly 0
    ks : weights kept in a group, by layer
    group : weights in a group
    sparsity, work : share of the weights and multiplications outside the first layer that is gone
    left_dense : name and reason of every layer that stayed dense
    layers : what was left of each pruned layer
    damage : what pruning and repairing a layer alone does to the network's output, by layer and K:
        mean square of the change over the outputs' variance; empty where it was not measured
    channels : name, output channels before and after of layers that lost whole channels
    """

    model: onnx.ModelProto
    ks: dict[str, int]
    group: int
    sparsity: float
    work: float
    left_dense: tuple[tuple[str, str], ...]
    layers: tuple[LayerReport, ...]
    damage: dict[str, dict[int, float]] = field(default_factory=dict)
    channels: tuple[tuple[str, int, int], ...] = ()


def prune_graph(
    source: str | os.PathLike[str] | onnx.ModelProto | FloatGraph,
    calibration: NDArray[np.float32],
    sparsity: float = 0.75,
    group: int = GROUP,
    method: str = "reconstruct",
    *,
    ks: Mapping[str, int] | None = None,
    work: float | None = None,
    channels: float = 0.0,
    exclude: Collection[str] = (),
    depthwise: bool = False,
    sequential: bool = True,
    ridge: float = RIDGE,
    seed: int = 0,
    damage: Mapping[str, Mapping[int, float]] | None = None,
    measured: bool = False,
    progress: Progress | None = None,
) -> GraphPruneResult:
    """Prune a float ONNX graph so that every group of weights keeps at most K, and repair it.

    As :func:`steelyard.prune.prune` does with a torch module, without torch. The graph stays as it
    is but for weights and biases; a convolution before a batch normalization is pruned itself, and
    gets a bias where it has none.

    Parameters
    ----------
    source : path of an ONNX file, loaded model, or what :class:`FloatGraph` made of one, which then
        has said what is excluded
    calibration : float32 (n, channels, height, width) or (n, features), no labels
    sparsity : share of the weights outside the first layer to remove, at least 0 and below 1
    group : weights in a group
    method : ``reconstruct`` chooses K by what pruning a layer does to the network's output, weights
        by elimination, and repairs by least squares; ``admm`` chooses weights by alternating
        directions; ``magnitude`` keeps the largest weights, the same K everywhere, as they are
    ks : K by layer in place of a target; others stay dense
    work : share of the multiplications outside the first layer to remove as well; `sparsity`
        unless given, 0 for no bound
    channels : share of the weights outside the first layer to remove as whole channels first,
        which `sparsity` and `work` count too; see :func:`remove_channels`
    exclude : layers to leave dense
    depthwise : prune depthwise convolutions too, which the array runs at K = 1 as they are
    sequential : fit later layers to what the pruned earlier ones give them
    ridge : of the least squares, relative to the mean power of a layer's inputs
    seed : of the choice of output positions
    damage : what :func:`graph_sensitivity` gave for this graph; measured unless given
    measured : measure what each layer alone does also where K is known without
    progress : called with the steps done, their number and what is being done

    Raises
    ------
    UserError
        If an argument is out of range, the target cannot be reached, a layer in `ks` cannot be
        pruned, or the graph or the images are not as :class:`FloatGraph` takes them.
    """
    if method not in GRAPH_METHODS:
        raise UserError(
            f"Pruning of an ONNX network has no method {method!r}; choose one of "
            f"{', '.join(GRAPH_METHODS)}."
        )
    check_sparsity(sparsity)
    check_k("every layer", 1, group)
    if isinstance(source, FloatGraph):
        graph = source
    else:
        graph = FloatGraph(source, calibration, exclude=exclude, depthwise=depthwise)
    lost: tuple[tuple[str, int, int], ...] = ()
    whole = graph
    if channels:
        if method == "magnitude":
            raise UserError(
                "Method 'magnitude' repairs nothing, as a network without whole channels needs; "
                "choose reconstruct or admm, or leave --channels out."
            )
        graph, lost = thinned(
            graph, channels, sequential=sequential, ridge=ridge, seed=seed, progress=progress
        )
    searching = ks is None and method != "magnitude"
    share = sparsity if work is None else work
    check_sparsity(share)
    target = _left(sparsity, graph.layers.weights_outside_first, graph.teacher.weights)
    bound = _left(share, graph.layers.macs_outside_first, graph.teacher.macs)
    if searching:
        check_reachable(graph.layers, group, 1, target, bound, f"K = 1 of {group}")
    known = {name: dict(own) for name, own in (damage or {}).items()}
    if not known and (measured or searching):
        known = graph_sensitivity(graph, group, seed=seed, progress=progress)
    if ks is not None:
        for name, k in ks.items():
            check_k(name, k, group)
            graph.layers.check_prunable(name)
        chosen = dict(ks)
    elif method == "magnitude":
        chosen = uniform(graph.layers, sparsity, group)
    else:
        chosen = descend(graph.layers, known, target, bound, group)
    model, errors = _pruned(graph, chosen, group, method, sequential, ridge, seed, progress)
    result = _result(graph, model, chosen, group, errors, known)
    return replace(result, channels=lost) if whole is not graph else result


def _left(share: float, left: int, whole: int) -> float:
    """Share of what is left that must go so that `share` of the whole is gone."""
    return max(0.0, 1.0 - (1.0 - share) * whole / max(1, left))


def _gone(share: float, left: int, whole: int) -> float:
    """Share of the whole that is gone where `share` of what was left is."""
    return 1.0 - (1.0 - share) * left / max(1, whole)


def _pruned(
    graph: FloatGraph,
    ks: Mapping[str, int],
    group: int,
    method: str,
    sequential: bool,
    ridge: float,
    seed: int,
    progress: Progress | None,
) -> tuple[onnx.ModelProto, dict[str, float]]:
    """The graph with its layers pruned in their order, and what each misses."""
    sparse = Weights(graph.dense)
    errors = {}
    layers = [layer for layer in graph.layers.prunable if layer.name in ks]
    for number, layer in enumerate(layers):
        if progress is not None:
            progress(number, len(layers), layer.name)
        errors[layer.name] = _prune_layer(
            graph, sparse, layer, ks[layer.name], group, method, sequential, ridge, seed
        )
    if progress is not None:
        progress(len(layers), len(layers), "done")
    return sparse.model, errors


def thinned(
    graph: FloatGraph,
    share: float,
    *,
    sequential: bool = True,
    ridge: float = RIDGE,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[FloatGraph, tuple[tuple[str, int, int], ...]]:
    """A graph without whole channels, its other weights fitted to what they gave.

    It remembers the graph that it was, whose outputs its layers follow when they are pruned.

    Parameters
    ----------
    share : of the weights outside the first layer; see :func:`remove_channels`
    sequential, ridge, seed, progress : as :func:`prune_graph` takes them

    Returns
    -------
    The graph; and name, output channels before and after of each layer that lost some.

    Raises
    ------
    UserError
        If the share cannot be reached.
    """
    thin = remove_channels(graph, share)
    teacher = Teacher(graph.dense, thin.kept, graph.teacher.weights, graph.teacher.macs)

    def following(model: onnx.ModelProto) -> FloatGraph:
        return FloatGraph(
            model, graph.images, exclude=graph.exclude, depthwise=graph.depthwise, teacher=teacher
        )

    bare = following(thin.model)
    every = {layer.name: GROUP for layer in bare.layers.prunable}
    model, _ = _pruned(bare, every, GROUP, "reconstruct", sequential, ridge, seed, progress)
    return following(model), thin.layers


def graph_sensitivity(
    graph: FloatGraph,
    group: int = GROUP,
    tried: Sequence[int] = TRIED,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, dict[int, float]]:
    """Damage to the network's output when one layer alone is pruned and repaired.

    For every layer and every K tried: the mean square change of the outputs over their variance, on
    the first 128 calibration images; on fewer, but 8, where the network is large. K of ``group``
    itself is 0.
    """
    layers = graph.layers.prunable
    work = max(1, graph.layers.macs_outside_first * len(layers) * len(tried))
    count = int(min(TRIAL_IMAGES, max(8, TRIAL_WORK // work)))
    images = graph.images[:count]
    batch = min(graph.batch, len(images)) if graph.batch > 1 else 1
    fixed = graph.dense.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    batch = fixed or batch
    output = graph.dense.graph.output[0].name
    clean = _stacked(Runner(graph.dense, [output]), images, batch, {})
    power = float(np.square(clean - clean.mean(0)).mean()) or 1.0
    damage: dict[str, dict[int, float]] = {}
    for number, layer in enumerate(layers):
        if progress is not None:
            progress(number, len(layers), f"sensitivity of {layer.name}")
        found = moments(
            layer, graph.dense, graph.dense, images, batch,
            rows=TRIAL_ROWS, seed=seed, centered=layer.offset,
        )  # fmt: skip
        rows = graph.rows(layer)
        trial = Weights(graph.dense)
        trial.set(layer, rows, np.zeros(layer.rows[0]) if layer.offset else None)
        names = trial.opened(layer)
        runner = Runner(trial.model, [output])
        damage[layer.name] = {group: 0.0}
        for k in (k for k in tried if k < group):
            mask = _mask(found, rows, layer, k, group, "product", RIDGE)
            new, offset = _fit(found, rows, mask, layer, RIDGE)
            values = dict(zip(names, trial.stored(layer, new, offset), strict=True))
            change = _stacked(runner, images, batch, values) - clean
            damage[layer.name][k] = float(np.square(change).mean()) / power
    return damage


def _stacked(
    runner: Runner, images: NDArray[np.float32], batch: int, more: dict[str, NDArray[Any]]
) -> NDArray[np.float64]:
    parts = [each[0] for _, each in runner.stream(images, batch, more)]
    result: NDArray[np.float64] = np.concatenate(parts).astype(np.float64)
    if not np.all(np.isfinite(result)):
        raise UserError(
            f"The network gives scores that are NaN or infinite for one of the first {len(images)} "
            "calibration images; leave such images out, or check their scale and the weights."
        )
    return result


def _prune_layer(
    graph: FloatGraph,
    sparse: Weights,
    layer: GraphLayer,
    k: int,
    group: int,
    method: str,
    sequential: bool,
    ridge: float,
    seed: int,
) -> float:
    """Prunes and repairs a layer of `sparse`; gives the share of its output's energy missed."""
    found = moments(
        layer, graph.teacher.model, sparse.model if sequential else graph.dense, graph.images,
        graph.batch, rows=ROWS, seed=seed, centered=layer.offset,
        kept=graph.teacher.kept.get(layer.name),
    )  # fmt: skip
    rows = graph.rows(layer)
    select = {"magnitude": "magnitude", "admm": "admm"}.get(method, "obs")
    mask = _mask(found, rows, layer, k, group, select, ridge)
    if method == "magnitude":
        new, offset, bias = np.where(mask, rows, 0.0), None, graph.bias(layer)
    else:
        new, offset = _fit(found, rows, mask, layer, ridge)
        bias = offset
    sparse.set(layer, new, offset)
    missed = power = 0.0
    for own, each in zip(found, _outputs_of(layer), strict=True):
        part, whole = fit_error(own, new[each])
        missed, power = missed + part, power + whole
        if bias is not None:
            apart = own.output_mean - new[each] @ own.input_mean - bias[each]
            missed += float(np.square(apart).sum())
    return missed / power if power > 0 else 0.0


def _outputs_of(layer: GraphLayer) -> list[slice]:
    """Output channels of each of a layer's groups."""
    each = layer.rows[0] // layer.groups
    return [slice(first, first + each) for first in range(0, layer.rows[0], each)]


def _mask(
    found: Sequence[Moments],
    rows: NDArray[np.float64],
    layer: GraphLayer,
    k: int,
    group: int,
    select: str,
    ridge: float,
) -> NDArray[np.bool_]:
    run, kept = layer.segment(group), layer.kept_in(k, group)
    if kept >= run:
        return np.ones(rows.shape, bool)
    if select == "magnitude":
        return balanced(np.abs(rows), kept, run)
    masks = []
    for own, each in zip(found, _outputs_of(layer), strict=True):
        if select == "admm":
            masks.append(alternate(own, rows[each], kept, run, ridge))
        elif select == "obs" and rows.shape[1] <= ELIMINATED:
            masks.append(eliminate(*regularize(own, rows[each], ridge), kept, run))
        else:
            masks.append(balanced(product_score(own, rows[each]), kept, run))
    return np.concatenate(masks)


def _fit(
    found: Sequence[Moments],
    rows: NDArray[np.float64],
    mask: NDArray[np.bool_],
    layer: GraphLayer,
    ridge: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Best weights where the mask is set, and the bias that keeps the mean output right."""
    new, offsets = [], []
    for own, each in zip(found, _outputs_of(layer), strict=True):
        new.append(fitted(*regularize(own, rows[each], ridge), mask[each]))
        offsets.append(own.output_mean - new[-1] @ own.input_mean)
    # What single precision makes of a weight decides the offset too.
    return np.concatenate(new), np.concatenate(offsets) if layer.offset else None


def _result(
    graph: FloatGraph,
    model: onnx.ModelProto,
    ks: dict[str, int],
    group: int,
    errors: Mapping[str, float],
    damage: dict[str, dict[int, float]],
) -> GraphPruneResult:
    dense = list(graph.layers.left_dense)
    reports = []
    for layer in graph.layers.prunable:
        if layer.name not in ks:
            dense.append((layer.name, "not in the given table of K"))
            continue
        k = ks[layer.name]
        kept = layer.kept(k, group)
        macs = layer.macs // layer.weights * kept
        reports.append(
            LayerReport(layer.name, k, layer.weights, kept, layer.macs, macs, errors[layer.name])
        )
    return GraphPruneResult(
        model,
        {layer.name: ks[layer.name] for layer in graph.layers.prunable if layer.name in ks},
        group,
        _gone(
            removed_share(graph.layers, ks, group),
            graph.layers.weights_outside_first,
            graph.teacher.weights,
        ),
        _gone(
            removed_work(graph.layers, ks, group),
            graph.layers.macs_outside_first,
            graph.teacher.macs,
        ),
        tuple(dense),
        tuple(reports),
        damage,
    )
