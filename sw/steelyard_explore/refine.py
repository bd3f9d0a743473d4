"""The later stages: what is built of a front, and what that says of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from steelyard.progress import Progress
from steelyard_boards import Board

from .conclusion import Built, Conclusion, Place, conclude_built, place
from .front import united_fronts
from .jobs import Job, Jobs, Result
from .search import Found
from .stages import placement_job, synthesis_job

__all__ = ["refine"]


def refine(
    conclusion: Conclusion,
    jobs: Jobs,
    stage: str,
    *,
    points: int = 8,
    seeds: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Conclusion:
    """Conclusion with what the later stages made of its front.

    Synthesis takes some of the front, evenly chosen, the best among them. Placement takes those
    that no other of these beats with their measured LUTs.

    Parameters
    ----------
    stage : the last to run, ``"synthesis"`` or ``"placement"``
    points : of the front, at most
    seeds : placements of each; None for as many as its family takes
    seconds : after which no more is waited for
    progress : called with jobs done, all of them, and what they do

    Raises
    ------
    UserError
        If a tool is missing, or the cluster's scheduler is not to be reached.
    """
    end = None if seconds is None else time.monotonic() + seconds
    boards = {each.board.name: each.board for each in conclusion.explorations}
    chosen = _chosen(conclusion, points)
    synthesis = {
        place(each): synthesis_job(boards[each.board], each.point.config) for each in chosen
    }
    results, stopped = jobs.carry_out(
        list(synthesis.values()), seconds=_left(end), progress=progress, what="synthesized"
    )
    made = {key: results[job.key] for key, job in synthesis.items() if job.key in results}
    built = {key: _synthesized(each, boards[key[0]]) for key, each in made.items()}
    if stage == "placement" and not stopped:
        placed = _measured_front(conclusion, chosen, built)
        wanted = {
            place(each): [
                placement_job(boards[each.board], synthesis[place(each)], made[place(each)].made, n)
                for n in range(1, (seeds or boards[each.board].device.family.seeds) + 1)
            ]
            for each in placed
        }
        every = [job for each in wanted.values() for job in each]
        results, stopped = jobs.carry_out(
            every, seconds=_left(end), progress=progress, what="placed"
        )
        for key, each in wanted.items():
            built[key] = _placed(built[key], boards[key[0]], each, results)
    return conclude_built(conclusion, stage, built, stopped)


def _left(end: float | None) -> float | None:
    return None if end is None else max(end - time.monotonic(), 0.0)


def _chosen(conclusion: Conclusion, points: int) -> list[Found]:
    """Some of a front, evenly, the best and the first among them; each build once."""
    front = list({place(each): each for each in conclusion.front}.values())
    count = min(points, len(front))
    rows = [round(row * (len(front) - 1) / max(count - 1, 1)) for row in range(count)]
    best = None if conclusion.best is None else place(conclusion.best)
    if best is not None and best not in (place(front[row]) for row in rows):
        own = next(row for row, each in enumerate(front) if place(each) == best)
        # In place of its neighbour.
        rows[min(range(count), key=lambda at: abs(rows[at] - own))] = own
    return [front[row] for row in rows]


def _measured_front(
    conclusion: Conclusion, chosen: Sequence[Found], built: Mapping[Place, Built]
) -> list[Found]:
    """Those that fit and that no other beats with the LUTs that synthesis made of it."""
    measured = []
    for each in chosen:
        own = built.get(place(each))
        if own is not None and own.lut is not None and not own.reason:
            demand = replace(each.point.demand, luts=own.lut)
            measured.append(replace(each, point=replace(each.point, demand=demand)))
    return united_fronts(measured, conclusion.objectives)


def _synthesized(result: Result, board: Board) -> Built:
    """What a synthesis says of a configuration."""
    values, device = result.values, board.device
    if result.reason:
        return Built(reason=result.reason)
    built = Built(**values)
    for what, used, available in (
        ("LUTs", built.lut, device.luts),
        ("block RAMs", built.block_rams, device.block_rams),
        ("multipliers", built.multipliers, device.multipliers),
    ):
        if used is not None and used > available:
            reason = f"It takes {used} {what} and device {device.name} has {available}."
            return replace(built, reason=reason)
    return built


def _placed(
    built: Built, board: Board, jobs: Sequence[Job], results: Mapping[str, Result]
) -> Built:
    """What placements say of a configuration; nothing of those that were not done."""
    done = [results[job.key] for job in jobs if job.key in results]
    fmax = tuple(float(each.values["fmax_mhz"]) for each in done if not each.reason)
    clock = board.clock_hz / 1e6
    reason = next((each.reason for each in done if each.reason), "") if not fmax else ""
    if fmax and len(done) == len(jobs) and max(fmax) < clock:
        reason = f"It reaches {max(fmax):.1f} MHz at best where the board's clock is {clock:g} MHz."
    return replace(built, fmax_mhz=fmax, seeds=len(done), reason=reason)
