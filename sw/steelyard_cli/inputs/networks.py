"""Quantized networks that commands compile, and all that is against them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from steelyard.errors import UserError
from steelyard.network import Network
from steelyard.program import HostPart

from ..view.console import note

__all__ = ["load_network", "refuse"]


def load_network(path: Path, cut: Sequence[str]) -> tuple[Network, HostPart | None]:
    """Integer network of a quantized ONNX or TFLite file, and the part that is left to the host.

    Raises
    ------
    UserError
        If it cannot be imported; everything that is against it has been printed if that is more.
    """
    from steelyard.check import examine, host_part, obstacles_of_file
    from steelyard.importer import load
    from steelyard.importer.cutting import cut as cut_at
    from steelyard.importer.graph import read_model
    from steelyard.importer.tflite import is_tflite

    if is_tflite(path):
        examined = examine(path, cut, note)
        refuse(examined.obstacles, str(path))
        assert examined.network is not None  # There are no obstacles.
        return examined.network, None
    model = read_model(path)
    parts = cut_at(model, cut) if cut else None
    model = model if parts is None else parts.network
    try:
        network = load(model)
    except UserError as error:
        refuse(obstacles_of_file(model) or [str(error)], str(path))
        raise
    name = path.name.split(".")[0]
    host = None if parts is None else host_part(parts)
    return replace(network, name=name or network.name), host


def refuse(found: Sequence[str], name: str) -> None:
    """Raise what is against a network; where that is more than one thing, all is printed before.

    Raises
    ------
    UserError
        If anything is.
    """
    if len(found) == 1:
        raise UserError(found[0])
    for sentence in found:
        note(f"obstacle: {sentence}")
    remedies = {sentence.rpartition("; ")[2].rstrip(".") for sentence in found}
    if len(remedies) == 1:
        raise UserError(f"Network {name!r} has the {len(found)} obstacles above; {remedies.pop()}.")
    if found:
        raise UserError(
            f"Network {name!r} has the {len(found)} obstacles above; do what each line says behind "
            "its semicolon, and 'steelyard check' looks again at once."
        )
