"""Run of a program: the counters of its layers beside their plan, traffic and speed."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..contract.registers import COUNTERS
from ..driver import LayerCounters, Throughput, Traffic
from ..errors import UserError
from ..program import Program
from ..reading import MALFORMED, first_line, read_text

__all__ = ["layer_rows", "occupancy", "read_run", "speed_document"]

MOST_CYCLES = 1 << 48
"""More than that nobody has run, nor can a picture show it."""


def layer_rows(program: Program, counters: Sequence[LayerCounters]) -> list[dict[str, Any]]:
    """Counters of every layer beside its plan; empty where the device counts nothing."""
    rows = []
    for entry, counted in zip(program.layers, counters, strict=bool(counters)):
        row = {
            "name": entry.name,
            "kind": entry.kind,
            "k": entry.k,
            "nnz": entry.nnz,
            "ideal_cycles": entry.ideal_cycles,
            "predicted_cycles": entry.predicted_cycles,
            **asdict(counted),
        }
        rows.append(row | {"occupancy": occupancy(program, row)})
    return rows


def occupancy(program: Program, row: Mapping[str, Any]) -> float:
    """Share of a layer's cycles in which the engine is at work.

    Parameters
    ----------
    row : layer as it ran; steps that an engine skips are no work
    """
    work = row["ideal_cycles"] if program.engine.exact else row["issue"]
    return work / row["cycles"] if row["cycles"] else 0.0


def speed_document(moved: Traffic | None, speed: Throughput | None) -> dict[str, Any]:
    """Traffic of an inference of one batch and the board's speed, as JSON holds them."""
    return {
        "traffic": moved and {
            **asdict(moved),
            "bytes_sent_per_batch": moved.bytes_sent / moved.batches,
            "bytes_received_per_batch": moved.bytes_received / moved.batches,
            "cpu_seconds_per_batch": moved.cpu_seconds / moved.batches,
        },
        "throughput": speed and {
            **asdict(speed),
            "transfer_seconds": speed.transfer_seconds,
            "sequential_seconds": speed.sequential_seconds,
            "pipelined_seconds": speed.pipelined_seconds,
            "sequential_images_per_second": speed.sequential_images_per_second,
            "pipelined_images_per_second": speed.pipelined_images_per_second,
        },
    }  # fmt: skip


def read_run(path: str | os.PathLike[str], program: Program) -> dict[str, Any]:
    """What a run of a program counted, as ``steelyard run --json`` wrote it.

    Raises
    ------
    UserError
        If the file is none of ``steelyard run --json``, or of another program.
    """
    advice = "give what 'steelyard run --json' wrote for this program."
    name = repr(os.fsdecode(path))
    expected = [(entry.name, entry.ideal_cycles) for entry in program.layers]
    try:
        document = json.loads(read_text(Path(path)))
        rows = document["layers"]
        names = [(row["name"], row["ideal_cycles"]) for row in rows]
        other = names != expected
        counted = other or (
            _is_count(document["cycles"])
            and all(_is_count(row[name]) for row in rows for name in COUNTERS)
        )
        document["device"]
    except (OSError, *MALFORMED) as error:
        raise UserError(f"Run {name} cannot be read ({first_line(error)}); {advice}") from None
    if not names or not counted:
        raise UserError(f"Run {name} holds no cycles, for its device counts none; run on 'sim'.")
    if other:
        raise UserError(f"Run {name} is of another program; {advice}")
    measured: dict[str, Any] = document
    return measured


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < MOST_CYCLES
