"""Maps with pixels of their own around them."""

from __future__ import annotations

from dataclasses import replace

from steelyard.errors import UserError
from steelyard.importer.node import Node
from steelyard.importer.walk import Walk
from steelyard.network import Padding, Tensor, border


def bordered(walk: Walk, node: Node, source: Tensor, padding: Padding, mode: str) -> Tensor:
    """Map with pixels of its own around it.

    Parameters
    ----------
    padding : top, left, bottom, right, from 0
    mode : one of :data:`steelyard.network.BORDERS`

    Raises
    ------
    UserError
        If it has too few of them; begins with the node.
    """
    made = replace(source, name=f"{node.outputs[0]}/{mode}")
    try:
        return border(walk.append, source, made, padding, mode)
    except UserError as error:
        reason = str(error).rstrip(".")
        raise node.error(f"cannot run: {reason}.") from None
