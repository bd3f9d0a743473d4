"""``steelyard prune --engine crossbar``: zeros in the shape that a crossbar can leave out."""

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from steelyard.contract.tile import TileConfig
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.errors import UserError
from steelyard.reading import read_text

from ..view.console import percent, progress, steps_of, table

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from steelyard.prune import CrossbarPruneResult, CrossbarShape

__all__ = [
    "crossbar_config",
    "crossbar_document",
    "crossbar_lines",
    "crossbar_shape",
    "prune_crossbar",
]


def crossbar_config(path: Path | None) -> CrossbarConfig:
    """Configuration of a file with the crossbar's table, alone or in that of a tile; the default
    one without a file.

    Raises
    ------
    UserError
        If the file is missing, is not TOML, or holds a bad field.
    """
    if path is None:
        return CrossbarConfig()
    try:
        tables = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        # Read again below, where errors get their sentence.
        tables = {}
    if "array" in tables and "crossbar" in tables:
        return TileConfig.from_toml(path).crossbar
    return CrossbarConfig.from_toml(path)


def crossbar_shape(config: CrossbarConfig) -> "CrossbarShape":
    """What pruning has to know of a crossbar."""
    from steelyard.prune import CrossbarShape

    return CrossbarShape(config.rows, config.crossbar_weights, config.ou_rows, config.ou_weights)


def prune_crossbar(
    network: "nn.Module",
    images: NDArray[np.float32],
    sparsity: float,
    method: str,
    *,
    constraint: str,
    config_file: Path | None,
    keep: Sequence[str],
    width: int | None,
    exclude: Sequence[str],
    epochs: int,
    seed: int,
) -> "CrossbarPruneResult":
    """A pruned copy of a network.

    Parameters
    ----------
    method : ``reconstruct``, or ``finetune`` for `epochs` of tuning behind it
    constraint : name of the shape of the zeros
    keep : entries LAYER=SHARE in place of `sparsity`
    width : columns of a strip of mixed granularity

    Raises
    ------
    UserError
        If an option is out of range or does not fit the others.
    """
    from steelyard.prune import MixedGranularity, constraint_of, prune_for_crossbar

    if method not in ("reconstruct", "finetune"):
        raise UserError(
            f"Pruning for the crossbar has no method {method!r}; choose reconstruct or finetune."
        )
    shape = crossbar_shape(crossbar_config(config_file))
    rule = constraint_of(constraint, shape)
    if width is not None:
        if not isinstance(rule, MixedGranularity):
            raise UserError(
                f"--width is of strips of mixed granularity, not of {constraint!r}; leave it out "
                "or add --constraint mixed."
            )
        rule = replace(rule, width=width)
    with progress("pruning") as update:
        return prune_for_crossbar(
            network,
            images,
            cast(Any, constraint),
            sparsity,
            crossbar=shape,
            constraint=rule,
            keeps=_shares(keep),
            exclude=exclude,
            epochs=epochs if method == "finetune" else 0,
            seed=seed,
            progress=steps_of(update),
        )


def _shares(entries: Sequence[str]) -> dict[str, float] | None:
    shares: dict[str, float] = {}
    for entry in entries:
        name, _, value = entry.rpartition("=")
        try:
            shares[name] = float(value)
        except ValueError:
            name = ""
        if not name:
            raise UserError(f"--keep takes LAYER=SHARE, not {entry!r}; write for example 'c2=0.2'.")
    return shares or None


def crossbar_document(result: "CrossbarPruneResult") -> dict[str, Any]:
    """Report of a pruning as JSON holds it."""
    return {
        "engine": "crossbar",
        "constraint": result.method,
        "sparsity": result.sparsity,
        "seed": result.seed,
        "layers": [asdict(layer) for layer in result.layers],
        "left_dense": [{"name": name, "reason": why} for name, why in result.left_dense],
    }


def crossbar_lines(output: Path, result: "CrossbarPruneResult") -> "list[Table | str]":
    """What to show of a pruning: what stays of each layer, and how it came about."""
    layers = table(
        f"{output}: {percent(result.sparsity)} of the weights outside the first layer removed",
        ("layer", "weights", "kept", "empty kernels", "kernel shapes", "removed columns", "error"),
        [
            (
                layer.name,
                layer.weights,
                layer.kept,
                percent(layer.empty_kernels),
                layer.patterns,
                percent(layer.removed_columns),
                layer.error,
            )
            for layer in result.layers
        ],
    )
    return [layers, f"constraint {result.method}, seed {result.seed}"]
