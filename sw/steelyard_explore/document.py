"""What an exploration found, as JSON holds it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .conclusion import Built, Conclusion
from .search import Exploration, Found

__all__ = ["FIELDS", "explore_document", "row"]

FORMAT = 1
FIELDS = (
    "lanes", "columns", "group", "window_groups", "requantizers", "multiplier_stages",
    "wide_reads", "shared_taps", "additions", "fused_additions", "partial_sum_channels",
    "activation_words", "weight_words", "parameter_words", "max_layers",
)  # fmt: skip
"""Fields in which configurations of a space differ; all others are its template's."""
MEASURES = (
    "batch", "k", "accuracy", "cycles", "frames_per_second", "latency_s", "luts", "block_rams",
    "multipliers", "fmax_mhz", "misses_clock",
)  # fmt: skip


def row(found: Found) -> dict[str, Any]:
    """Fields and measures of a configuration."""
    point = found.point
    plain = point.config.plain()
    measures = (
        point.batch, found.k, found.accuracy, point.cycles, found.frames_per_second,
        found.latency_s, point.demand.luts, point.demand.block_rams, point.demand.multipliers,
        None if found.fmax_mhz is None else round(found.fmax_mhz, 1), found.misses_clock,
    )  # fmt: skip
    return {name: plain[name] for name in FIELDS} | dict(zip(MEASURES, measures, strict=True))


def explore_document(conclusion: Conclusion, commands: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Report of an exploration.

    Parameters
    ----------
    commands : that build each of the front, none for what must be pruned first
    """
    front, best = conclusion.front, conclusion.best
    return {
        "format": FORMAT,
        "network": conclusion.network.name,
        "stage": conclusion.stage,
        "stopped": conclusion.stopped or None,
        "objectives": list(conclusion.objectives),
        "constraints": {
            "max_lut": conclusion.max_lut, "min_accuracy": conclusion.min_accuracy,
            "meets_clock": conclusion.meets_clock,
        },
        "found": conclusion.found,
        "allowed": conclusion.allowed,
        "best": None if best is None else front.index(best),
        "front": [
            {
                "board": each.board,
                "number": each.point.number,
                **row(each),
                "times_default": _times_default(each, conclusion),
                "built": _built(conclusion.built_of(each)),
                "config": each.point.config.values(),
                "hash": each.point.config.hash().hex(),
                "commands": list(own),
            }
            for each, own in zip(front, commands, strict=True)
        ],
        "boards": [_board(each, conclusion) for each in conclusion.explorations],
    }  # fmt: skip


def _built(built: Built | None) -> dict[str, Any] | None:
    """What later stages made of a configuration; None if they did not take it."""
    if built is None:
        return None
    return {**asdict(built), "fmax_mhz": list(built.fmax_mhz), "reason": built.reason or None}


def _times_default(found: Found, conclusion: Conclusion) -> float | None:
    """Frames a second over those of the board's own configuration at the same batch."""
    default = conclusion.defaults[found.board, found.point.batch].frames_per_second
    return None if default is None else found.frames_per_second / default


def _board(exploration: Exploration, conclusion: Conclusion) -> dict[str, Any]:
    space, board = exploration.space, exploration.board
    estimated = board.device.fmax_of(space.template) is not None
    defaults = {
        batch: each for (name, batch), each in conclusion.defaults.items() if name == board.name
    }
    return {
        "board": board.name,
        "device": board.device.name,
        "clock_hz": board.clock_hz,
        "luts": board.device.luts,
        "luts_error": board.device.family.error_of(space.template),
        "fmax_error": board.device.family.fmax_error if estimated else None,
        "defaults": [{"batch": batch, **each.to_dict()} for batch, each in defaults.items()],
        "choices": [
            {"choice": each.name, "values": [dict(value) for value in each.values]}
            for each in space.choices
        ],
        "configurations": len(space),
        "evaluated": exploration.evaluated,
        "to_evaluate": exploration.total,
        "stopped": exploration.stopped or None,
        "refused": [
            {"reason": reason, "configurations": count, "first": sentence}
            for reason, (count, sentence) in exploration.refused.items()
        ],
        "template": space.template.values(),
        "names": ["number", *FIELDS, *MEASURES],
        "points": [[each.point.number, *row(each).values()] for each in exploration.found],
    }
