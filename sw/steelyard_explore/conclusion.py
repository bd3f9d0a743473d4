"""What follows from explorations: the front, the best, and what it is compared with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from steelyard.compile import compile as compile_program
from steelyard.compile.cycles import predict_program
from steelyard.network import Network

from .default import Default, default_of
from .front import united_fronts
from .search import Exploration, Found

__all__ = ["Built", "Conclusion", "Place", "conclude", "conclude_built", "place"]

Place = tuple[str, str]
"""Board's name and hash of a configuration, which decide what is built."""


def place(found: Found) -> Place:
    """What decides how a configuration is built."""
    return found.board, found.point.config.hash().hex()


@dataclass(frozen=True, kw_only=True)
class Built:
    """What the later stages made of a configuration.

    Members
    -------
    lut, ff, multipliers, block_rams : cells, as placement counts them; None if that failed
    fmax_mhz : highest clock of each placement that was routed
    seeds : placements that were done
    reason : why it is not to be built, or was not; else empty
    """

    lut: int | None = None
    ff: int | None = None
    multipliers: int | None = None
    block_rams: int | None = None
    fmax_mhz: tuple[float, ...] = ()
    seeds: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """Result of explorations of one network on some boards.

    Members
    -------
    network : as it is
    explorations : of each board
    objectives : what was looked for, the most important first
    max_lut, min_accuracy : constraints; None for none
    meets_clock : whether what is estimated to miss the board's clock was left out
    allowed : how many of the configurations keep to them
    front : those that no other with the same weights beats, of all boards together, the best first
    best : the best of them for the network as it is; None if there is none
    defaults : what each board's own configuration reaches, by its name and the batch
    stage : the last that was run
    built : what later stages made of some of the front
    stopped : why they ended early, or nothing
    """

    network: Network
    explorations: tuple[Exploration, ...]
    objectives: tuple[str, ...]
    max_lut: int | None
    min_accuracy: float | None
    meets_clock: bool
    allowed: int
    front: tuple[Found, ...]
    best: Found | None
    defaults: dict[tuple[str, int], Default]
    stage: str = "cycles"
    built: Mapping[Place, Built] = field(default_factory=dict)
    stopped: str = ""

    def built_of(self, found: Found) -> Built | None:
        """What later stages made of a configuration; None if they did not take it."""
        return self.built.get(place(found))

    @property
    def found(self) -> int:
        """Configurations that run the network, whether or not they are allowed."""
        return sum(len(each.found) for each in self.explorations)


def conclude(
    network: Network,
    explorations: Sequence[Exploration],
    *,
    objectives: Sequence[str] = ("fps", "lut"),
    max_lut: int | None = None,
    min_accuracy: float | None = None,
    meets_clock: bool = False,
) -> Conclusion:
    """Front and best of what was found, the best compiled to be sure of it.

    Parameters
    ----------
    network : as it is
    objectives : names in :data:`~steelyard_explore.OBJECTIVES`, the most important first
    max_lut : LUTs at most
    min_accuracy : share of right answers at least; configurations whose accuracy is not known are
        left out
    meets_clock : leave out those whose estimated clock is below the board's by more than its error
    """
    allowed = [
        found
        for each in explorations
        for found in each.found
        if (max_lut is None or found.point.demand.luts <= max_lut)
        and (min_accuracy is None or (found.accuracy or 0.0) >= min_accuracy)
        and not (meets_clock and found.misses_clock)
    ]
    front = united_fronts(allowed, objectives)
    best = next((each for each in front if each.k is None), None)
    if best is not None:
        _verify(best, network, explorations)
    batches = {found.point.batch for each in explorations for found in each.found}
    return Conclusion(
        network=network,
        explorations=tuple(explorations),
        objectives=tuple(objectives),
        max_lut=max_lut,
        min_accuracy=min_accuracy,
        meets_clock=meets_clock,
        allowed=len(allowed),
        front=tuple(front),
        best=best,
        defaults={
            (each.board.name, batch): default_of(network, each.board, batch)
            for each in explorations
            for batch in sorted(batches)
        },
    )


def conclude_built(
    conclusion: Conclusion, stage: str, built: Mapping[Place, Built], stopped: str
) -> Conclusion:
    """Conclusion with what later stages made of its front.

    The best is then the first that came through them, and if none did the first of which nothing
    is said against.
    """
    done = replace(conclusion, stage=stage, built=built, stopped=stopped)
    own = [(each, done.built_of(each)) for each in done.front if each.k is None]
    whole = [
        each
        for each, made in own
        if made is not None and not made.reason and (stage != "placement" or made.fmax_mhz)
    ]
    open_ones = [each for each, made in own if made is None or not made.reason]
    best = next(iter([*whole, *open_ones]), None)
    if best is not None and best is not conclusion.best:
        _verify(best, conclusion.network, conclusion.explorations)
    return replace(done, best=best)


def _verify(best: Found, network: Network, explorations: Sequence[Exploration]) -> None:
    """Compile for the best: it fits, the board takes it, and its cycles are those found.

    Raises
    ------
    RuntimeError
        If one is not so, which is a fault of this package.
    """
    point = best.point
    program = compile_program(network, point.config, batch=point.batch)
    (board,) = (each.board for each in explorations if each.board.name == best.board)
    board.check(point.config, program)
    cycles = predict_program(program)
    if cycles != point.cycles:
        raise RuntimeError(
            f"Configuration {point.number} of board {best.board!r} was evaluated to "
            f"{point.cycles} cycles and compiles to {cycles}"
        )
