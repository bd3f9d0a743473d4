"""The part of a network behind the accelerator's, which the host computes with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
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
    """ONNX model that takes the network's output in real units.

    Members
    -------
    model : ONNX file
    value : name of the network's output, the model's only input
    operators : what the model computes, in order
    """

    model: bytes
    value: str
    operators: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it computes, as ``Softmax of 'logits'``."""
        *most, last = self.operators
        return f"{', '.join(most)}{' and ' if most else ''}{last} of {self.value!r}"

    def open(self) -> HostRun:
        """The part, ready to run.

        Raises
        ------
        UserError
            If onnxruntime is not installed, or cannot take the model.
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
        try:
            session = onnxruntime.InferenceSession(
                self.model, options, providers=["CPUExecutionProvider"]
            )
        # onnxruntime's exceptions have no common class but this.
        except Exception as error:
            raise self.refused(error) from None
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
        return {"value": self.value, "operators": list(self.operators)}

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
        operators = values["operators"]
        if not isinstance(operators, list) or not operators:
            raise ValueError("the host's part has no operators")
        return cls(model.tobytes(), str(values["value"]), tuple(map(str, operators)))


class HostRun:
    """A host's part that onnxruntime has taken."""

    def __init__(self, part: HostPart, session: Any) -> None:
        self._part = part
        self._session = session

    def run(self, scores: NDArray[np.float32]) -> NDArray[Any]:
        """What the part makes of the network's output.

        Parameters
        ----------
        scores : float32, images first, as :func:`steelyard.driver.real_output` gives them

        Raises
        ------
        UserError
            If onnxruntime cannot run it.
        """
        source = self._session.get_inputs()[0]
        batch = source.shape[0] if source.shape else None
        size = batch if isinstance(batch, int) else len(scores)
        missing = -len(scores) % size
        # A file made for one batch size takes no other; the last image fills the last batch.
        filled = np.concatenate([scores, np.repeat(scores[-1:], missing, axis=0)])
        parts = []
        for first in range(0, len(filled), size):
            feed = {source.name: filled[first : first + size]}
            try:
                parts.append(np.asarray(self._session.run(None, feed)[0]))
            except Exception as error:
                raise self._part.refused(error) from None
        return np.concatenate([np.atleast_1d(part) for part in parts])[: len(scores)]
