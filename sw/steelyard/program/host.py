"""The part of a network behind the accelerator's, which the host computes with onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

__all__ = ["HostPart", "HostRun"]

FATAL_ONLY = 4
"""onnxruntime's severity at which it writes nothing to stderr."""


@dataclass(frozen=True)
class HostPart:
    """ONNX model that takes outputs of the network in real units.

    Members
    -------
    model : ONNX file
    values : names of the network's outputs that are the model's inputs
    outputs : names of what the whole gives, in order: outputs of the model, and outputs of the
        network that the host only hands on
    operators : what the model computes, in order
    """

    model: bytes
    values: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it computes, as ``Softmax of 'logits'``."""
        return f"{_listed(self.operators)} of {_listed(map(repr, self.values))}"

    def open(self) -> HostRun:
        """The part, ready to run.

        Raises
        ------
        UserError
            If onnxruntime is not installed, cannot take the model, or finds other inputs in it.
        """
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise UserError(
                f"The program leaves {self.title} to the host, whose Python package 'onnxruntime' "
                "is not installed; install it with \"pip install 'steelyard[import]'\", or take "
                "the scores before it with --no-host."
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = FATAL_ONLY
        # Small graphs, which it would not always leave as they are: see quantize's sessions.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = onnxruntime.InferenceSession(
                self.model, options, providers=["CPUExecutionProvider"]
            )
        # onnxruntime's exceptions have no common class but this.
        except Exception as error:
            raise self.refused(error) from None
        inputs = [item.name for item in session.get_inputs()]
        if set(inputs) != set(self.values):
            raise self.refused(ValueError(f"its inputs are {', '.join(inputs) or 'none'}"))
        return HostRun(self, session)

    def refused(self, error: Exception) -> UserError:
        """What to raise where onnxruntime raises."""
        reason = " ".join(str(error).split())[:400].rstrip(". ")
        return UserError(
            f"The host's part of the program ({self.title}) cannot be run by onnxruntime "
            f"({reason}); take the scores before it with --no-host."
        )

    def to_dict(self) -> dict[str, Any]:
        """All but the model, as JSON holds it."""
        return {
            "values": list(self.values),
            "outputs": list(self.outputs),
            "operators": list(self.operators),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], model: NDArray) -> HostPart:
        """Part of what :meth:`to_dict` gave, and of the model's bytes.

        Raises
        ------
        ValueError
            If they are none.
        """
        if model.dtype != np.uint8 or model.ndim != 1 or not model.size:
            raise ValueError(
                f"the host's model must be uint8 (n,), not {model.dtype} {model.shape}"
            )
        lists = []
        for key in ("values", "outputs", "operators"):
            if not isinstance(values[key], list) or not values[key]:
                raise ValueError(f"the host's part has no {key}")
            lists.append(tuple(map(str, values[key])))
        return cls(model.tobytes(), *lists)


class HostRun:
    """A host's part that onnxruntime has taken."""

    def __init__(self, part: HostPart, session: Any) -> None:
        self._part = part
        self._session = session

    def run(self, results: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """All outputs by name, of what the network gives.

        Parameters
        ----------
        results : float32, images first, as :func:`steelyard.driver.real_output` gives them, by name

        Raises
        ------
        UserError
            If onnxruntime cannot run it.
        """
        given = {name: results[name] for name in self._part.values}
        images = len(next(iter(given.values())))
        batches = [item.shape[0] for item in self._session.get_inputs() if item.shape]
        size = next((batch for batch in batches if isinstance(batch, int)), images)
        missing = -images % size
        # A file made for one batch size takes no other; the last image fills the last batch.
        filled = {
            name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
            for name, array in given.items()
        }
        names = [item.name for item in self._session.get_outputs()]
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
        for first in range(0, images + missing, size):
            feed = {name: array[first : first + size] for name, array in filled.items()}
            try:
                arrays = self._session.run(names, feed)
            except Exception as error:
                raise self._part.refused(error) from None
            for name, array in zip(names, arrays, strict=True):
                parts[name].append(np.atleast_1d(np.asarray(array)))
        # What has a row for each thing that was found is not cut off at the number of images.
        rows = images if missing else None
        made = {name: np.concatenate(arrays)[:rows] for name, arrays in parts.items()}
        found: dict[str, NDArray[Any]] = {**results, **made}
        absent = [name for name in self._part.outputs if name not in found]
        if absent:
            raise self._part.refused(ValueError(f"it gives no {absent[0]}"))
        return {name: found[name] for name in self._part.outputs}


def _listed(words: Iterable[str]) -> str:
    *most, last = [*words] or ["nothing"]
    return f"{', '.join(most)}{' and ' if most else ''}{last}"
