"""Explorations as commands run them: with progress, up to an interrupt."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.contract import AcceleratorConfig
from steelyard.errors import DoesNotFit, UserError
from steelyard.files import replacing
from steelyard.network import Network

from ..view.console import note, progress, warn
from ..view.explore_tables import refused_line
from .arrays import calibration_images

if TYPE_CHECKING:
    from steelyard_boards import Board
    from steelyard_explore import Cluster, Conclusion, Exploration, Record, Variant

__all__ = ["best_config", "explored", "pruned_networks", "refined"]


def explored(
    variants: "Sequence[Variant]", boards: "Sequence[Board]", limit: float | None, workers: int,
    **draw: Any,
) -> "list[Exploration]":  # fmt: skip
    """Explorations of boards, up to an interrupt.

    Parameters
    ----------
    limit : seconds for all boards together; None for no end
    draw : further parameters of :func:`steelyard_explore.explore`

    Raises
    ------
    UserError
        If the only board cannot be explored; of several those are named and left out.
    """
    from steelyard_explore import explore

    explorations: list[Exploration] = []
    for number, board in enumerate(boards):
        # Boards that are quicker leave their time to the others.
        seconds = None if limit is None else limit / (len(boards) - number)
        begin = time.monotonic()
        with progress(f"exploring {board.name}", total=1) as update:
            try:
                done = explore(
                    variants, board, seconds=seconds, workers=workers, progress=update, **draw
                )
            except UserError as error:
                if len(boards) == 1:
                    raise
                note(f"board {board.name}: {error}")
                continue
        if limit is not None:
            limit = max(limit - (time.monotonic() - begin), 0.0)
        explorations.append(done)
        note(refused_line(done))
        if done.unkept:
            warn(f"What was found is not kept for another time: {done.unkept}")
        if done.stopped == "interrupted":
            break
    return explorations


def pruned_networks(
    ks: Sequence[int], source: Path, calibration: Path, cut: Sequence[str], folder: Path,
    record: "Record", cluster: "Cluster | None",
) -> dict[int | None, Path]:  # fmt: skip
    """Files of a float network that is pruned to each K, repaired and quantized.

    Parameters
    ----------
    folder : receives them
    """
    from steelyard_explore import prune_to

    images = calibration_images(calibration)
    with progress("pruning", total=1) as update:
        made = prune_to(
            ks, source, images, cut=cut, cluster=cluster, record=record, progress=update
        )
    known = sum(each.known for each in made)
    if known:
        note(f"{known} of {len(made)} networks were pruned before")
    files: dict[int | None, Path] = {}
    for each in made:
        file = files[each.k] = folder / f"k{each.k}.onnx"
        with replacing(file) as temporary:
            temporary.write_bytes(each.content)
    return files


def refined(
    conclusion: "Conclusion", cluster: "Cluster | None", record: "Record", stage: str, **draw: Any
) -> "Conclusion":
    """Conclusion with what the later stages made of its front, up to an interrupt.

    Parameters
    ----------
    draw : further parameters of :func:`steelyard_explore.refine`
    """
    from steelyard_explore import Jobs, refine

    assert cluster is not None  # Later stages have one.
    jobs = Jobs(cluster, record)
    with progress("building the front", total=1) as update:
        done = refine(conclusion, jobs, stage, progress=update, **draw)
    if jobs.known:
        note(f"{jobs.known} of the later stages' jobs were done before")
    if jobs.unkept:
        warn(f"What was built is not kept for another time: {jobs.unkept}")
    return done


def best_config(network: Network, board: str, batch: int) -> AcceleratorConfig[Any]:
    """The fastest configuration that a board holds for a network.

    Raises
    ------
    UserError
        If there is no such board, or it holds none.
    """
    from steelyard_boards import board as find_board
    from steelyard_explore import Variant, conclude

    explorations = explored(
        [Variant(network=network)], [find_board(board)], None, 2, batches=(batch,)
    )
    if explorations[0].stopped:
        raise KeyboardInterrupt
    best = conclude(network, explorations).best
    if best is None:
        raise DoesNotFit(
            f"No configuration of board {board!r} runs network {network.name!r}",
            "use a larger board, a smaller batch or a sparser network.",
        )
    return best.point.config
