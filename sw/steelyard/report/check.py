"""What a check of a network found, as JSON holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Only this needs onnx.
    from ..check import BoardFit, Estimate, Examined

__all__ = ["check_document"]


def check_document(
    examined: Examined,
    cost: Estimate | None,
    clock_hz: float | None,
    board: str | None,
    boards: Sequence[BoardFit],
    problems: Sequence[str],
) -> dict[str, Any]:
    """Report of a check.

    Parameters
    ----------
    cost : what the network would take of a configuration; None where it cannot be told
    clock_hz : that its frames a second are for; None where no board was named or found
    board : whose configuration it is
    boards : what each board of the catalogue says; empty where one was named
    problems : why the named board or configuration does not run the network
    """
    return {
        "network": examined.name,
        "quantized": examined.quantized,
        "obstacles": list(examined.obstacles),
        "problems": list(problems),
        "host": None if examined.host is None else examined.host.to_dict(),
        "board": board,
        "estimate": None if cost is None else _estimate(cost, clock_hz),
        "boards": [
            {
                "board": each.name,
                "fits": each.problem is None,
                "problem": each.problem,
                "external_memory": bool(each.config.memory.external_words),
                "cycles": None if each.estimate is None else each.estimate.cycles,
            }
            for each in boards
        ],
    }


def _estimate(cost: Estimate, clock_hz: float | None) -> dict[str, Any]:
    rate = None if clock_hz is None else cost.frames_per_second(clock_hz)
    return {
        "config": cost.config.values(),
        "batch": cost.batch,
        "fits": cost.fits,
        "exact": cost.exact,
        "memories": [asdict(use) for use in cost.uses],
        "cycles": cost.cycles,
        "moved_words": cost.moved_words,
        "stored_words": cost.stored_words,
        "roofline_cycles": cost.roofline_cycles,
        "clock_hz": clock_hz,
        "frames_per_second": rate,
        "layers": [asdict(layer) for layer in cost.layers],
    }
