"""Prunings and quantizations as JSON holds them."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only these need torch and onnx.
    from ..balanced import GraphPruneResult
    from ..prune import CrossbarPruneResult, PruneResult
    from ..quantize import Quantized

__all__ = [
    "crossbar_prune_document",
    "damage_document",
    "graph_prune_document",
    "prune_document",
    "quantize_document",
]


def prune_document(result: "PruneResult | GraphPruneResult") -> dict[str, Any]:
    """Report of a pruning for the array."""
    return {
        "group": result.group,
        "sparsity": result.sparsity,
        "work": result.work,
        **_layers(result),
    }


def graph_prune_document(result: "GraphPruneResult") -> dict[str, Any]:
    """Report of a pruned ONNX network, with what each layer alone does where it was measured."""
    return {
        **prune_document(result),
        "channels": [
            {"name": name, "before": before, "after": after}
            for name, before, after in result.channels
        ],
        "sensitivity": damage_document(result.damage),
    }


def damage_document(damage: Mapping[str, Mapping[int, float]]) -> list[dict[str, Any]]:
    """What pruning a layer alone does to the outputs, a row a layer and K."""
    return [
        {"name": name, "k": k, "error": error}
        for name, own in damage.items()
        for k, error in sorted(own.items())
    ]


def crossbar_prune_document(result: "CrossbarPruneResult") -> dict[str, Any]:
    """Report of a pruning for the crossbar."""
    return {
        "engine": "crossbar",
        "constraint": result.constraint,
        "sparsity": result.sparsity,
        "seed": result.seed,
        **_layers(result),
    }


def _layers(result: "PruneResult | GraphPruneResult | CrossbarPruneResult") -> dict[str, Any]:
    return {
        "layers": [asdict(layer) for layer in result.layers],
        "left_dense": [{"name": name, "reason": why} for name, why in result.left_dense],
    }


def quantize_document(result: "Quantized", ranges: str) -> dict[str, Any]:
    """Report of a quantization; a layer without noise has no ratio."""
    layers = [asdict(each) for each in result.layers]
    for row in layers:
        row["snr_db"] = None if math.isinf(row["snr_db"]) else row["snr_db"]
    return {"ranges": ranges, "images_compared": result.images, "layers": layers,
            "warnings": result.warnings()}  # fmt: skip
