"""Prunings and quantizations as JSON holds them."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only these need torch and onnx.
    from ..prune import CrossbarPruneResult, PruneResult
    from ..quantize import Quantized

__all__ = ["crossbar_prune_document", "prune_document", "quantize_document"]


def prune_document(result: "PruneResult") -> dict[str, Any]:
    """Report of a pruning for the array."""
    return {
        "group": result.group,
        "sparsity": result.sparsity,
        "work": result.work,
        **_layers(result),
    }


def crossbar_prune_document(result: "CrossbarPruneResult") -> dict[str, Any]:
    """Report of a pruning for the crossbar."""
    return {
        "engine": "crossbar",
        "constraint": result.constraint,
        "sparsity": result.sparsity,
        "seed": result.seed,
        **_layers(result),
    }


def _layers(result: "PruneResult | CrossbarPruneResult") -> dict[str, Any]:
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
