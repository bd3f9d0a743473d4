"""One operator of a parsed graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from steelyard.errors import UserError


@dataclass(frozen=True)
class Node:
    """One operator of the graph.

    Members
    -------
    name : the file's name, or operator and output where the file has none
    op : operator type, with its domain in front if that is neither ONNX's own nor a quantizer's
    inputs, outputs : names of values, an absent optional input is empty
    attributes : plain Python values of all attributes that the opset knows; None without default
    proto : onnx's own form of it
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: Any = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """Operator and name, as sentences begin."""
        return f"{self.op} node {self.name!r}"

    def error(self, message: str) -> UserError:
        """Error whose sentence begins with the node's operator and name."""
        return UserError(f"{self.title} {message}")
