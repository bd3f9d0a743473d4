"""A program beside its ONNX network, as JSON holds it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only this needs onnx.
    from ..compare import Agreement, Comparison

__all__ = ["compare_document"]


def compare_document(comparison: Comparison, program: str) -> dict[str, Any]:
    """Report of a comparison.

    An infinite signal-to-noise ratio, where nothing differs, is None.

    Parameters
    ----------
    program : name of the program's network
    """
    return {
        "network": comparison.network,
        "program": program,
        "quantized": comparison.quantized,
        "images": comparison.images,
        "layers": [
            {
                "layer": each.layer,
                "kind": each.kind,
                "tensor": each.tensor,
                "snr_db": None if math.isinf(each.snr_db) else each.snr_db,
                "codes": None if each.agreement is None else _codes(each.agreement),
            }
            for each in comparison.layers
        ],
        "missing": list(comparison.missing),
    }


def _codes(agreement: Agreement) -> dict[str, Any]:
    return {
        "elements": agreement.elements,
        "equal": agreement.equal,
        "ties": agreement.ties,
        "others": agreement.others,
        "worst": agreement.worst,
        "tie_margin": agreement.margin,
        "farthest_tie": agreement.farthest,
    }
