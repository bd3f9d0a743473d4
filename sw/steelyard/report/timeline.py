"""Timeline of a run: when each layer runs, and how its cycles are spent."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..compile.cycles import predict, predict_counters, run_cycles, vector_waits
from ..contract import AcceleratorConfig, Descriptor
from ..contract.descriptor import ANY_UNDER_WAY
from ..contract.latencies import between, fetched_after, fetched_meanwhile, opening
from ..contract.registers import COUNTERS
from ..engines.timing import reads
from ..errors import UserError
from ..program import LayerEntry, Program

__all__ = ["timeline_document"]

SHARES = {
    "issue": "engine",
    "vector_operations": "vector",
    "stall_load": "wait_load",
    "stall_weights": "wait_weights",
    "stall_drain": "wait_drain",
}
"""Counters of cycles of which no two count the same one, and the share of a layer that each is."""


def timeline_document(
    program: Program, measured: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Timeline of a batch as JSON holds it, cycle 0 being that of START.

    Of each layer its `start` and its `cycles`, the `shares` of these, and the cycles `between` it
    and the next layer, in which its counters are stored and a descriptor is taken; of a layer in
    several descriptors those of all together. Shares add up to the layer's cycles; cycles
    `between`, those of the layers and those of the `opening` to the run's.

    Of the shares, `engine` and `vector` are the cycles in which these work; `wait_load`,
    `wait_weights` and `wait_drain` those in which they wait, what the vector unit waits for always
    by the cycle model, since no counter tells it; `wait_memory` those of moves from external memory
    and of waiting for them, of `moved_words` in moves that the layer begins; `other` those that
    fill and empty pipelines and copy tables. Of a layer whose engine does not predict its counters,
    `engine` is what its work takes at most and `unknown` all else. `loading` and `storing` are
    cycles in which the loader reads and results leave, whatever goes on at the same time.

    Parameters
    ----------
    measured : what a run counted, as :func:`~steelyard.report.read_run` gives it; without one, what
        the cycle model predicts

    Raises
    ------
    UserError
        If the cycles that a run counted do not add up; names the layer.
    """
    config = program.config
    now = opening(config)
    layers: list[dict[str, Any]] = []
    for number, entry in enumerate(program.layers):
        every = [
            Descriptor.from_words(words)
            for words in program.descriptors[entry.first : entry.first + entry.count]
        ]
        descriptors = [each for each in every if not each.moves]
        moves = [each for each in every if each.moves]
        if measured is None:
            counts, told = _predicted(program, entry, descriptors)
        else:
            counts, told = measured["layers"][number], True
        shares = {share: counts[name] for name, share in SHARES.items()}
        for each in descriptors:
            load, drain = vector_waits(each, config)
            shares["wait_load"] += load
            shares["wait_drain"] += drain
        shares["wait_memory"] = 0
        if moves and program.engine.exact:
            computing = sum(predict(each, config) for each in descriptors)
            shares["wait_memory"] = counts["cycles"] - computing
        storing = counts["words_written"] * config.drain_cycles
        rest = counts["cycles"] - sum(shares.values())
        if rest < 0 or storing > counts["cycles"]:
            raise _odd(f"layer {entry.name!r} works and waits in more cycles than it takes")
        layers.append(
            {
                "name": entry.name,
                "start": now,
                "cycles": counts["cycles"],
                "shares": {
                    **shares,
                    "other": rest if told else 0,
                    "unknown": 0 if told else rest,
                },
                "between": entry.count * between(config)
                + (0 if measured is None else _fetching(moves, config)),
                "loading": sum(reads(each, config) for each in descriptors),
                "storing": storing,
                "words_loaded": counts["words_loaded"],
                "words_written": counts["words_written"],
                "moved_words": sum(each.rows * each.length for each in moves),
            }
        )
        now += layers[-1]["cycles"] + layers[-1]["between"]
    cycles = run_cycles(program.layers, config) if measured is None else measured["cycles"]
    if now != cycles:
        raise _odd(f"its layers end in cycle {now:,}, and the run took {cycles:,}")
    return {
        "measured": measured is not None,
        "cycles": cycles,
        "opening": opening(config),
        "layers": layers,
    }


def _predicted(
    program: Program, entry: LayerEntry, descriptors: list[Descriptor]
) -> tuple[Mapping[str, int], bool]:
    """Counters of a layer as far as they are known before it runs, and whether all are."""
    counts = Counter(dict.fromkeys(COUNTERS, 0))
    told = True
    for each in descriptors:
        found = predict_counters(each, program.config)
        told &= len(found) == len(COUNTERS)
        counts.update(found)
    counts["cycles"] = entry.predicted_cycles
    if not told:
        known = {
            "cycles": entry.predicted_cycles,
            "issue": entry.ideal_cycles,
            "words_written": entry.output.words,
        }
        return {**counts, **known}, False
    return counts, True


def _fetching(moves: list[Descriptor], config: AcceleratorConfig) -> int:
    """Cycles that descriptors behind moves are waited for; those predicted have them already."""
    return sum(
        fetched_meanwhile(config) if each.under_way == ANY_UNDER_WAY else fetched_after(config)
        for each in moves
    )


def _odd(what: str) -> UserError:
    return UserError(
        f"The counters of the run do not add up: {what}; measure it again with 'steelyard run "
        "--json'."
    )
