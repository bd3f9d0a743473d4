"""Networks of fewer weights, pruned from the float network with repair: a job for each K."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import steelyard
from steelyard.errors import UserError
from steelyard.network import Conv, Network
from steelyard.progress import Progress

from .accuracy import PRUNED_GROUP
from .cluster import Cluster, Task
from .jobs import DONE, FAILED, NEVER, Job, Jobs, Result
from .record import Record, code_hash

__all__ = ["Pruned", "check_same", "prune_to"]

CODE = ("balanced", "quantize", "importer")
"""Rooms of the core that a pruned network follows from."""
PACKAGES = ("numpy", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Pruned:
    """A network that was pruned to a K, repaired and quantized.

    Members
    -------
    k : weights kept of each 16, in all layers but the first
    content : ONNX file with quantizers
    known : whether a record knew it
    """

    k: int
    content: bytes
    known: bool


class _Here:
    """In a cluster's place: this process."""

    def carry_out(
        self, tasks: Sequence[Task], done: Callable[[Task, Any], None], **_: object
    ) -> str:
        try:
            for task in tasks:
                done(task, task.function(*task.arguments))
        except KeyboardInterrupt:
            return "interrupted"
        return ""


def prune_to(
    ks: Sequence[int],
    source: Path,
    calibration: NDArray[np.float32],
    *,
    cut: Sequence[str] = (),
    cluster: Cluster | None = None,
    record: Record | None = None,
    progress: Progress | None = None,
) -> list[Pruned]:
    """Prune a float network to each K, repair what is left, and quantize it.

    As 'steelyard prune' with this K of every layer that it can prune, and 'steelyard quantize' do.

    Parameters
    ----------
    ks : 1 to 16
    source : float ONNX file
    calibration : float32 network inputs, images first
    cut : where the part for the host begins
    cluster : does the work; this process unless given
    record : knows what was pruned before, and receives what is
    progress : called with networks done, all of them, and what is done

    Raises
    ------
    UserError
        If the network cannot be pruned or quantized.
    KeyboardInterrupt
        If that ended the work; what was done is in the record.
    """
    jobs = {k: _job(k, source.read_bytes(), calibration, tuple(cut)) for k in ks}
    work = Jobs(cluster or _Here(), record)  # type: ignore[arg-type]
    known = {k for k, job in jobs.items() if work.knows(job)}
    results, stopped = work.carry_out(list(jobs.values()), progress=progress, what="pruned")
    if stopped:
        raise KeyboardInterrupt
    made = []
    for k, job in jobs.items():
        result = results[job.key]
        if result.state != DONE:
            raise UserError(f"Network {source.name!r} was not pruned to K = {k}: {result.reason}")
        made.append(Pruned(k, result.made, k in known))
    return made


def check_same(network: Network, pruned: Network, source: Path) -> None:
    """Refuse a network whose layers are not those of the one that is explored.

    Raises
    ------
    UserError
        If a layer differs in more than its weights.
    """
    own, other = (
        [(type(e).__name__, e.weight.shape if isinstance(e, Conv) else ()) for e in each.layers]
        for each in (network, pruned)
    )
    if own != other:
        raise UserError(
            f"Network {source.name!r} has other layers than {network.name!r} has; give the float "
            "network that was quantized."
        )


def _job(k: int, content: bytes, calibration: NDArray[np.float32], cut: tuple[str, ...]) -> Job:
    core = Path(steelyard.__path__[0])
    images = np.ascontiguousarray(calibration)
    identity = {
        "stage": "pruning",
        "network": hashlib.sha256(content).hexdigest(),
        "calibration": hashlib.sha256(images.tobytes()).hexdigest(),
        "shape": list(images.shape),
        "k": k,
        "group": PRUNED_GROUP,
        "cut": list(cut),
        "versions": {
            "code": code_hash([core / name for name in CODE]),
            **{name: version(name) for name in PACKAGES},
        },
    }
    # The text is part of the name, which must not depend on the order of keys.
    return Job(json.loads(json.dumps(identity)), _prune, (k, content, images, cut))


def _prune(
    k: int, content: bytes, calibration: NDArray[np.float32], cut: tuple[str, ...]
) -> Result:
    """Prune on this machine."""
    from steelyard.balanced import FloatGraph, prune_graph
    from steelyard.quantize import quantize_measured

    try:
        with tempfile.TemporaryDirectory() as folder:
            source, pruned = Path(folder, "float.onnx"), Path(folder, "pruned.onnx")
            source.write_bytes(content)
            graph = FloatGraph(source, calibration)
            ks = {layer.name: k for layer in graph.layers.prunable}
            result = prune_graph(graph, calibration, group=PRUNED_GROUP, ks=ks)
            pruned.write_bytes(result.model.SerializeToString())
            made = quantize_measured(pruned, calibration, cut=cut)
        return Result(DONE, {"sparsity": result.sparsity}, made=made.content)
    except UserError as error:
        return Result(NEVER, reason=str(error))
    except OSError as error:
        # A full disk, say.
        return Result(FAILED, reason=str(error))
